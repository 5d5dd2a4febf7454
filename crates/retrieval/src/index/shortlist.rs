//! The best of a stream of estimated scores: what may still be among the best `k`, given how far each
//! estimate can be off.

use types::ItemId;

use super::rescore::rescore;

/// An estimate: the true score lies within `error` of `score`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    pub(crate) item: ItemId,
    pub(crate) score: f32,
    pub(crate) error: f32,
}

impl Estimate {
    fn least(&self) -> f32 {
        self.score - self.error
    }
}

/// Keeps every estimate that can be among the `k` best: whose highest possible score reaches the k-th
/// largest of the lowest possible ones (the floor).
#[derive(Debug)]
pub(crate) struct Shortlist {
    k: usize,
    floor: f32,
    limit: usize,
    entries: Vec<Estimate>,
}

impl Shortlist {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, floor: f32::NEG_INFINITY, limit: 2 * k + 64, entries: Vec::new() }
    }

    /// What a score (with its error added) must reach to be kept.
    pub(crate) fn floor(&self) -> f32 {
        self.floor
    }

    /// Adds an estimate that reaches the floor.
    pub(crate) fn push(&mut self, estimate: Estimate) {
        self.entries.push(estimate);
        if self.entries.len() >= self.limit {
            self.tighten();
            self.limit = self.limit.max(2 * self.entries.len());
        }
    }

    /// Raises the floor to where it stands for what was pushed, and drops what lies below.
    pub(crate) fn tighten(&mut self) {
        if self.k == 0 {
            self.entries.clear();
        } else if self.entries.len() >= self.k {
            let by_least = |a: &Estimate, b: &Estimate| b.least().total_cmp(&a.least());
            let (_, kth, _) = self.entries.select_nth_unstable_by(self.k - 1, by_least);
            self.floor = self.floor.max(kth.least());
            let floor = self.floor;
            self.entries.retain(|e| e.score + e.error >= floor);
        }
    }

    /// Takes over what another list kept.
    pub(crate) fn merge(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.floor = self.floor.max(other.floor);
        self.tighten();
    }

    /// The k-th best estimate so far, errors aside; negative infinity where there are fewer.
    pub(crate) fn kth_score(&mut self, k: usize) -> f32 {
        if k == 0 || self.entries.len() < k {
            return f32::NEG_INFINITY;
        }
        let by_score = |a: &Estimate, b: &Estimate| b.score.total_cmp(&a.score);
        self.entries.select_nth_unstable_by(k - 1, by_score).1.score
    }

    /// The `k` best by their true scores with `query` over `vectors`, best first; equal scores by item.
    pub(crate) fn rescore(
        mut self,
        k: usize,
        query: &[f32],
        vectors: &[f32],
    ) -> Vec<(ItemId, f32)> {
        self.tighten();
        let mut found = rescore(&self.entries, query, vectors);
        found.sort_unstable_by_key(|&(item, score)| rank(item, score));
        found.truncate(k);
        found
    }
}

/// Ascends from the largest score to the smallest, among equal ones from the smallest item: one number
/// compares without branches.
fn rank(item: ItemId, score: f32) -> u64 {
    let bits = score.to_bits();
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(!ascending) << 32 | u64::from(item.0)
}
