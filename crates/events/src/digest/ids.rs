//! Ids of a catalogue, found by text: close together in memory, because a digest looks up every id of
//! every row group, in no order.

use ahash::RandomState;
use hashbrown::HashTable;

use super::state::tie_key;

/// Ids by row.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    text: String,
    ends: Vec<usize>,
    /// [`tie_key`] of each.
    ties: Vec<u32>,
    rows: HashTable<u32>,
    hasher: RandomState,
}

impl Ids {
    /// Adds an id as the next row; a later one of the same text is not found.
    pub(super) fn push(&mut self, id: &str) {
        let row = self.ends.len() as u32;
        self.text.push_str(id);
        self.ends.push(self.text.len());
        self.ties.push(tie_key(id));
        let Self { text, ends, rows, hasher, .. } = self;
        let of = |row: &u32| text_of(text, ends, *row);
        rows.entry(hasher.hash_one(id), |row| of(row) == id, |row| hasher.hash_one(of(row)))
            .or_insert(row);
    }

    pub(super) fn find(&self, id: &str) -> Option<u32> {
        self.rows.find(self.hasher.hash_one(id), |row| self.get(*row) == id).copied()
    }

    /// The id of a row.
    pub(super) fn get(&self, row: u32) -> &str {
        text_of(&self.text, &self.ends, row)
    }

    /// What orders acts of one moment on the item of a row.
    pub(super) fn tie_key(&self, row: u32) -> u32 {
        self.ties[row as usize]
    }

    /// Place of each row in the order of ids.
    pub(super) fn places(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.ends.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)));
        let mut places = vec![0; order.len()];
        order.iter().zip(0..).for_each(|(&row, place)| places[row as usize] = place);
        places
    }
}

fn text_of<'t>(text: &'t str, ends: &[usize], row: u32) -> &'t str {
    let row = row as usize;
    let start = if row == 0 { 0 } else { ends[row - 1] };
    &text[start..ends[row]]
}
