//! What the catalogue says, and what the log before the window says goes together.

use std::collections::HashMap;

use align::{IncrementalShop, Neighbours, WindowEvent};
use events::ItemCores;
use intent::{TagLexicon, TagToCategory};
use types::{CategoryId, Event, ItemId, normalise_text};

use super::super::shop::{Log, Shop, positive_items};
use super::window::Window;

/// Neighbours that an item keeps.
const NEIGHBOURS: usize = 20;

/// A category of words that no item has counts from this certainty on.
const SURE: f32 = 0.5;

/// Shared by all users.
pub(super) struct Ground<'a> {
    shop: &'a Shop,
    cores: ItemCores,
    lexicon: TagLexicon,
    to_category: TagToCategory,
    neighbours: Neighbours,
    /// Items by their core words, normalised, in order.
    items_of: HashMap<String, Vec<ItemId>>,
}

impl<'a> Ground<'a> {
    /// Learns from what happened before the window alone.
    pub(super) fn new(shop: &'a Shop, log: &Log, window: &Window) -> Self {
        let cores = shop.cores();
        let mut items_of: HashMap<String, Vec<ItemId>> = HashMap::new();
        for item in (0..shop.catalogue.len()).map(ItemId::from_idx) {
            items_of.entry(normalise_text(cores.of(item))).or_default().push(item);
        }
        let before = |history: &&[types::Interaction]| {
            let end = history.partition_point(|i| i.timestamp < window.from);
            positive_items(&history[..end])
        };
        let histories: Vec<Vec<ItemId>> = log.histories().iter().map(before).collect();
        Self {
            shop,
            lexicon: shop.lexicon(),
            to_category: shop.tag_to_category(),
            neighbours: Neighbours::new(&histories, shop.catalogue.len(), NEIGHBOURS),
            cores,
            items_of,
        }
    }

    /// What samples read of the shop; the functions are [`Self::category_of`] and [`Self::goes_with`].
    pub(super) fn shop<'s>(
        &'s self,
        category_of_core: &'s (dyn Fn(&str) -> Option<CategoryId> + Sync),
        goes_with: &'s (dyn Fn(&str, &str) -> bool + Sync),
    ) -> IncrementalShop<'s> {
        IncrementalShop {
            taxonomy: &self.shop.taxonomy,
            lexicon: &self.lexicon,
            category_of_core,
            goes_with,
            to_category: &self.to_category,
        }
    }

    /// The catalogue's category of an item's core words; of other texts the one that is likely enough.
    pub(super) fn category_of(&self, text: &str) -> Option<CategoryId> {
        let item = self.items(text).iter().map(|item| self.shop.catalogue.item(*item));
        let likely = || self.to_category.predict(text).filter(|(_, sure)| *sure >= SURE);
        item.filter_map(|item| item.category).next().or_else(|| likely().map(|(id, _)| id))
    }

    /// Whether items of one text are among the neighbours of items of the other.
    pub(super) fn goes_with(&self, had: &str, new: &str) -> bool {
        let new = self.items(new);
        let near = |item: &ItemId| self.neighbours.of(*item).iter().any(|n| new.contains(n));
        !new.is_empty() && self.items(had).iter().any(near)
    }

    fn items(&self, text: &str) -> &[ItemId] {
        self.items_of.get(&normalise_text(text)).map_or(&[], Vec::as_slice)
    }

    /// Events with what the catalogue knows of their items; searches have none.
    pub(super) fn events<'s>(&'s self, events: &'s [Event]) -> Vec<WindowEvent<'s>> {
        events.iter().map(|event| self.event(event)).collect()
    }

    fn event<'s>(&'s self, event: &'s Event) -> WindowEvent<'s> {
        let item_id = event.item_id.as_deref().unwrap_or_default();
        let row = self.shop.catalogue.find(item_id);
        let item = row.map(|row| self.shop.catalogue.item(row));
        WindowEvent {
            item_id,
            event_type: event.event_type,
            timestamp: event.timestamp,
            value: event.value,
            core: row.map_or("", |row| self.cores.of(row)),
            title: item.map_or("", |item| &item.title),
            category: item.and_then(|item| item.category),
        }
    }
}
