//! The `k` best of a stream of scores.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use types::ItemId;

use super::reaching::reaching;

/// The `n` largest of `scores` that `keep` allows, best first; equal scores by item number. What is no
/// number is not among them.
#[must_use]
pub fn top_of(scores: &[f32], n: usize, keep: &dyn Fn(ItemId) -> bool) -> Vec<(ItemId, f32)> {
    let mut best = TopK::new(n);
    reaching(scores, best.floor(), |idx, score| {
        let item = ItemId::from_idx(idx);
        if best.admits(item, score) && keep(item) {
            best.push(item, score);
        }
        best.floor()
    });
    best.into_sorted()
}

/// The `k` best of a stream; larger score first, then smaller item number.
#[derive(Debug)]
pub(crate) struct TopK {
    k: usize,
    worst_first: BinaryHeap<Ranked>,
}

#[derive(Debug, PartialEq)]
struct Ranked(f32, ItemId);

impl Eq for Ranked {}

impl Ord for Ranked {
    /// Greater means worse, so that a max-heap shows the worst first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TopK {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, worst_first: BinaryHeap::with_capacity(k.min(4096) + 1) }
    }

    /// Whether [`TopK::push`] would keep it (`+ 0.0` makes the two zeros equal).
    pub(crate) fn admits(&self, item: ItemId, score: f32) -> bool {
        if self.worst_first.len() < self.k {
            return true;
        }
        self.worst_first.peek().is_some_and(|worst| Ranked(score + 0.0, item) < *worst)
    }

    /// What a score must reach to be kept.
    fn floor(&self) -> f32 {
        let worst = self.worst_first.peek().filter(|_| self.worst_first.len() >= self.k);
        worst.map_or(f32::NEG_INFINITY, |worst| worst.0)
    }

    pub(crate) fn push(&mut self, item: ItemId, score: f32) {
        self.worst_first.push(Ranked(score + 0.0, item));
        if self.worst_first.len() > self.k {
            self.worst_first.pop();
        }
    }

    /// Best first.
    pub(crate) fn into_sorted(self) -> Vec<(ItemId, f32)> {
        self.worst_first.into_sorted_vec().into_iter().map(|Ranked(s, item)| (item, s)).collect()
    }
}

#[cfg(test)]
mod tests {
    use types::ItemId;

    use super::top_of;

    #[test]
    fn the_largest_come_first_and_equal_ones_in_their_order() {
        let scores: Vec<f32> = (0..1000u32).map(|i| (i * 37 % 50) as f32).collect();
        let keep = |item: ItemId| !item.0.is_multiple_of(3);
        let mut order: Vec<ItemId> = (0..1000).map(ItemId).filter(|&item| keep(item)).collect();
        order.sort_by(|a, b| scores[b.idx()].total_cmp(&scores[a.idx()]).then(a.cmp(b)));
        for n in [0, 1, 2, 7, 50, 666, 4000] {
            let found: Vec<ItemId> = top_of(&scores, n, &keep).into_iter().map(|f| f.0).collect();
            assert_eq!(found, order[..n.min(order.len())], "{n}");
        }
        let least = [f32::NEG_INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let found: Vec<u32> = top_of(&least, 4, &|_| true).into_iter().map(|f| f.0.0).collect();
        assert_eq!(found, [1, 0, 2]);
    }
}
