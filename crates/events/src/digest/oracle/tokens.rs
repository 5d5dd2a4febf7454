//! Token counts that are asked for once and remembered.
//!
//! Levels before the lines are sums over parts (a time and behaviour, an item's text): joining
//! texts can move a token or two per event, which is the price of not writing out 37,000 lines.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use types::{Catalogue, EventType, Item, ItemId, Timestamp, TokenCounter};

use super::ItemCores;
use super::lines::{CellRef, Entity, Kept};
use super::state::DigestState;

const SHARDS: usize = 16;
const MOST_PHRASES: usize = 1 << 16; // per shard; beyond it, phrases are counted each time

/// Counts, with a memory per item and per phrase; shared by threads, and the same whatever they do.
pub(super) struct Tokens<'a> {
    cores: &'a ItemCores,
    catalogue: &'a Catalogue,
    counter: &'a TokenCounter<'a>,
    raw: Vec<AtomicU32>,  // count + 1 of an item's record; 0: not asked yet
    core: Vec<AtomicU32>, // count + 1 of an item's core words
    phrases: Vec<Mutex<HashMap<String, u32>>>,
    prefix: Vec<(EventType, u64)>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(
        cores: &'a ItemCores,
        catalogue: &'a Catalogue,
        now: Timestamp,
        counter: &'a TokenCounter<'a>,
    ) -> Self {
        let zeros = || (0..cores.len()).map(|_| AtomicU32::new(0)).collect();
        // every time of day has the same shape, so one stands for all
        let prefix =
            |kind: EventType| counter(&format!("{} 10:22 {} | ", now.date(), kind.as_str())) as u64;
        Self {
            cores,
            catalogue,
            counter,
            raw: zeros(),
            core: zeros(),
            phrases: (0..SHARDS).map(|_| Mutex::default()).collect(),
            prefix: EventType::ALL.into_iter().map(|kind| (kind, prefix(kind))).collect(),
        }
    }

    /// Exact count of a text, not remembered.
    pub(super) fn exact(&self, text: &str) -> usize {
        if text.is_empty() { 0 } else { (self.counter)(text) }
    }

    /// Count of a phrase that will be asked for again.
    pub(super) fn phrase(&self, text: &str) -> u64 {
        let shard = types::fnv1a64(text.as_bytes()) as usize % SHARDS;
        let lock = || self.phrases[shard].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(n) = lock().get(text) {
            return u64::from(*n);
        }
        let n = u32::try_from((self.counter)(text)).unwrap_or(u32::MAX);
        let mut phrases = lock();
        if phrases.len() < MOST_PHRASES {
            phrases.insert(text.to_owned(), n);
        }
        u64::from(n)
    }

    /// Tokens of an entity's text.
    pub(super) fn entity(&self, entity: &Entity<'_>) -> u64 {
        match entity.item {
            Some(id) => remembered(&self.core, id, |id| (self.counter)(self.cores.of(id))),
            None => self.phrase(&entity.text),
        }
    }

    /// The raw level (a line per event with the whole record) and the item level (core words).
    pub(super) fn of_history(&self, state: &DigestState) -> (usize, usize) {
        let prefixes: u64 = state.n_by_type.iter().map(|(kind, n)| self.prefix(*kind) * n).sum();
        let queries: u64 = state.queries.iter().map(|(query, f)| self.phrase(query) * f.n).sum();
        let (mut raw, mut item) = (prefixes + queries, prefixes + queries);
        for (item_id, facts) in &state.items {
            if let Some(id) = self.cores.find(item_id) {
                let record = |id| (self.counter)(&record(self.catalogue.item(id)));
                raw += facts.n * remembered(&self.raw, id, record);
                let core = |id| (self.counter)(self.cores.of(id));
                item += facts.n * remembered(&self.core, id, core);
            } else {
                let n = facts.n * self.phrase(item_id);
                raw += n;
                item += n;
            }
        }
        (raw as usize, item as usize)
    }

    /// The behaviour level: a line per kept event with core words.
    pub(super) fn of_kept(&self, kept: &Kept<'_>) -> usize {
        let of = |entity: &Entity<'_>| -> u64 {
            let text = self.entity(entity);
            let cell = |c: &CellRef<'_>| {
                let cell = c.get();
                let text = cell.query.as_ref().map_or(text, |query| self.phrase(query));
                cell.n * (self.prefix(cell.behaviour) + text)
            };
            entity.cells.iter().map(cell).sum()
        };
        kept.entities.iter().map(of).sum::<u64>() as usize
    }

    fn prefix(&self, kind: EventType) -> u64 {
        self.prefix.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n)
    }
}

/// The count of a row, asked for once.
fn remembered(memory: &[AtomicU32], id: ItemId, count: impl Fn(ItemId) -> usize) -> u64 {
    let cell = &memory[id.idx()];
    match cell.load(Ordering::Relaxed) {
        0 => {
            let n = u32::try_from(count(id)).unwrap_or(u32::MAX).min(u32::MAX - 1);
            cell.store(n + 1, Ordering::Relaxed);
            u64::from(n)
        }
        n => u64::from(n - 1),
    }
}

/// An item's record as a raw log line writes it: title, category, brand, price.
fn record(item: &Item) -> String {
    let price = item.price.map(|p| format!("{p:.2}")).unwrap_or_default();
    let brand = item.brand.as_deref().unwrap_or_default();
    [item.title.as_str(), &item.category_path, brand, &price]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}
