//! The items of a recommender, which come and change while it answers: what is known of each, its
//! vector, and what it counts for.

use std::collections::HashMap;

use retrieval::{ItemIndex, Popularity};
use types::{Catalogue, CategoryId, Interaction, Item, ItemId, Taxonomy, Timestamp};

use crate::{Encoder, ServeError};

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Added,
    Updated,
    Known,
}

/// The items, rows as in the index.
pub(crate) struct Shelf {
    catalogue: Catalogue,
    taxonomy: Taxonomy,
    encoder: Box<dyn Encoder>,
    index: ItemIndex,
    popularity: Popularity,
    merchants: HashMap<String, u32>,
    merchant_of: Vec<Option<u32>>,
    touched: Vec<bool>, // by anybody, ever
    has_words: bool,
}

impl Shelf {
    pub(crate) fn new(
        (catalogue, taxonomy): (Catalogue, Taxonomy),
        encoder: Box<dyn Encoder>,
        index: ItemIndex,
        popularity: Popularity,
        histories: &[Interaction],
    ) -> Self {
        let mut touched = vec![false; catalogue.len()];
        histories.iter().for_each(|i| touched[i.item.idx()] = true);
        let has_words = catalogue.has_words();
        let (merchants, merchant_of) = (HashMap::new(), Vec::new());
        let mut shelf = Self {
            catalogue,
            taxonomy,
            encoder,
            index,
            popularity,
            merchants,
            merchant_of,
            touched,
            has_words,
        };
        for row in 0..shelf.catalogue.len() {
            let merchant = shelf.merchant_number(row);
            shelf.merchant_of.push(merchant);
        }
        shelf
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    pub(crate) fn taxonomy(&self) -> &Taxonomy {
        &self.taxonomy
    }

    pub(crate) fn encoder(&self) -> &dyn Encoder {
        &*self.encoder
    }

    pub(crate) fn index(&self) -> &ItemIndex {
        &self.index
    }

    pub(crate) fn popularity(&self) -> &Popularity {
        &self.popularity
    }

    /// Whether the language model has words to read in the catalogue as it was loaded.
    pub(crate) fn has_words(&self) -> bool {
        self.has_words
    }

    pub(crate) fn has_merchant(&self, merchant: &str) -> bool {
        self.merchants.contains_key(merchant)
    }

    pub(crate) fn merchant_of(&self, item: ItemId) -> Option<u32> {
        self.merchant_of[item.idx()]
    }

    pub(crate) fn category_of(&self, item: ItemId) -> Option<CategoryId> {
        self.catalogue.item(item).category
    }

    /// Whether an item came on sale at or after `since`; where nobody says when, whether nobody has
    /// touched it yet.
    pub(crate) fn is_new(&self, item: ItemId, since: Timestamp) -> bool {
        match self.catalogue.item(item).listed_at {
            Some(listed) => listed >= since,
            None => !self.touched[item.idx()],
        }
    }

    /// Puts an item behind the others, or what is new about it in its place. Its vector is that of its
    /// content, and stays that of training where people have touched it.
    ///
    /// # Errors
    /// [`ServeError::Item`] when its vector is not of this index; then nothing has changed.
    pub(crate) fn put(&mut self, mut item: Item) -> Result<Put, ServeError> {
        item.category = self.taxonomy.find(&item.category_path);
        let known = self.catalogue.find(&item.item_id);
        if known.is_some_and(|row| *self.catalogue.item(row) == item) {
            return Ok(Put::Known);
        }
        let refused = |e: retrieval::RetrievalError| ServeError::Item {
            item_id: item.item_id.clone(),
            detail: e.to_string(),
        };
        match known {
            Some(row) if self.touched[row.idx()] => {}
            Some(row) => {
                let vector = self.encoder.item_vector(&item);
                self.index.replace(row, &vector).map_err(refused)?;
            }
            None => {
                let vector = self.encoder.item_vector(&item);
                self.index.insert(&vector).map_err(refused)?;
                self.encoder.push_item(&item);
                self.popularity.push_item();
                self.touched.push(false);
            }
        }
        if item.category.is_none() && !item.category_path.is_empty() {
            (self.taxonomy, item.category) = self.taxonomy.with_path(&item.category_path);
        }
        let row = self.catalogue.put(item);
        let merchant = self.merchant_number(row.idx());
        match self.merchant_of.get_mut(row.idx()) {
            Some(place) => *place = merchant,
            None => self.merchant_of.push(merchant),
        }
        Ok(if known.is_some() { Put::Updated } else { Put::Added })
    }

    /// The number of the merchant of a row, a new one where it has none yet.
    fn merchant_number(&mut self, row: usize) -> Option<u32> {
        let name = self.catalogue.items()[row].merchant_id.as_ref()?;
        let next = self.merchants.len() as u32;
        Some(*self.merchants.entry(name.clone()).or_insert(next))
    }
}
