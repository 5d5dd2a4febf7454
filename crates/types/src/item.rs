//! Items and the [`Catalogue`] that numbers them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{CategoryId, ItemId, Timestamp};

/// One thing on sale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Item {
    /// The id in the log.
    pub item_id: String,
    /// What the shop calls it; may be empty (a catalogue of numbers).
    pub title: String,
    /// Category path as written, `"Sports > Hiking > Boots"`; empty where unknown.
    pub category_path: String,
    /// The leaf of the taxonomy that the path, or the Tag-to-Category model, names.
    pub category: Option<CategoryId>,
    /// The brand, where known.
    pub brand: Option<String>,
    /// Who sells it, where known.
    pub merchant_id: Option<String>,
    /// Price in the shop's currency, where known.
    pub price: Option<f64>,
    /// When it came on sale, where known.
    pub listed_at: Option<Timestamp>,
    /// Names and values, such as `("material", "leather")`.
    pub attributes: Vec<(String, String)>,
    /// Free text; may be empty.
    pub description: String,
}

/// All items of a shop; an [`ItemId`] is a row of it.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    items: Vec<Item>,
    by_id: HashMap<String, ItemId>,
}

/// Two items carry the same id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("item id {0:?} occurs twice in the catalogue")]
pub struct DuplicateItem(pub String);

impl Catalogue {
    /// Numbers `items` in the given order.
    ///
    /// # Errors
    /// [`DuplicateItem`] when an id occurs twice.
    pub fn new(items: Vec<Item>) -> Result<Self, DuplicateItem> {
        let mut by_id = HashMap::with_capacity(items.len());
        for (idx, item) in items.iter().enumerate() {
            if by_id.insert(item.item_id.clone(), ItemId::from_idx(idx)).is_some() {
                return Err(DuplicateItem(item.item_id.clone()));
            }
        }
        Ok(Self { items, by_id })
    }

    /// Puts an item behind the others, or in the place of the one with its id; says which place.
    pub fn put(&mut self, item: Item) -> ItemId {
        let id = self.find(&item.item_id).unwrap_or_else(|| ItemId::from_idx(self.len()));
        self.by_id.insert(item.item_id.clone(), id);
        if id.idx() < self.items.len() {
            self.items[id.idx()] = item;
        } else {
            self.items.push(item);
        }
        id
    }

    /// All items, by [`ItemId`].
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The item of an id.
    ///
    /// # Panics
    /// When the id is not of this catalogue.
    #[must_use]
    pub fn item(&self, id: ItemId) -> &Item {
        &self.items[id.idx()]
    }

    /// The row of an item id of the log.
    #[must_use]
    pub fn find(&self, item_id: &str) -> Option<ItemId> {
        self.by_id.get(item_id).copied()
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the language model has words to read: at least half of the titles hold a letter.
    #[must_use]
    pub fn has_words(&self) -> bool {
        let worded = self.items.iter().filter(|i| i.title.chars().any(char::is_alphabetic)).count();
        worded * 2 >= self.items.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Catalogue, DuplicateItem, Item};
    use crate::ItemId;

    fn item(item_id: &str, title: &str) -> Item {
        Item { item_id: item_id.to_owned(), title: title.to_owned(), ..Item::default() }
    }

    #[test]
    fn rows_are_ids_and_ids_are_unique() {
        let c = Catalogue::new(vec![item("b", "boots"), item("a", "42")]).expect("unique ids");
        assert_eq!((c.find("a"), c.find("x"), c.len()), (Some(ItemId(1)), None, 2));
        assert!(c.has_words());
        let mut grown = c.clone();
        assert_eq!(
            (grown.put(item("x", "new")), grown.put(item("b", "shoes"))),
            (ItemId(2), ItemId(0))
        );
        assert_eq!((grown.len(), grown.item(ItemId(0)).title.as_str()), (3, "shoes"));
        assert_eq!(grown.find("x"), Some(ItemId(2)));
        assert!(!Catalogue::new(vec![item("a", "42")]).expect("unique ids").has_words());
        let twice = Catalogue::new(vec![item("a", ""), item("a", "")]);
        assert_eq!(twice.err(), Some(DuplicateItem("a".to_owned())));
    }
}
