//! Ids of a catalogue, found by text: close together in memory, because a digest looks up every id of
//! every row group, in no order.

use ahash::RandomState;
use hashbrown::HashTable;

use super::names::Texts;
use super::state::tie_key;

/// Ids by row.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    texts: Texts,
    /// [`tie_key`] of each.
    ties: Vec<u32>,
    rows: HashTable<u32>,
    hasher: RandomState,
}

impl Ids {
    /// Adds an id as the next row; a later one of the same text is not found.
    pub(super) fn push(&mut self, id: &str) {
        let new = self.texts.push(id);
        self.ties.push(tie_key(id));
        let Self { texts, rows, hasher, .. } = self;
        let hash = |row: &u32| hasher.hash_one(texts.get(*row));
        rows.entry(hasher.hash_one(id), |row| texts.get(*row) == id, hash).or_insert(new);
    }

    pub(super) fn find(&self, id: &str) -> Option<u32> {
        self.rows.find(self.hasher.hash_one(id), |row| self.get(*row) == id).copied()
    }

    /// The id of a row.
    pub(super) fn get(&self, row: u32) -> &str {
        self.texts.get(row)
    }

    /// What orders acts of one moment on the item of a row.
    pub(super) fn tie_key(&self, row: u32) -> u32 {
        self.ties[row as usize]
    }

    /// Place of each row in the order of ids.
    pub(super) fn places(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.texts.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)));
        let mut places = vec![0; order.len()];
        order.iter().zip(0..).for_each(|(&row, place)| places[row as usize] = place);
        places
    }
}
