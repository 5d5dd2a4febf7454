//! What goes with what: co-occurrence above chance.

use std::collections::HashMap;

use types::ItemId;

/// Items that stand in the same histories more often than chance, nearest first.
#[derive(Debug, Clone)]
pub struct Neighbours {
    of: Vec<Vec<ItemId>>,
    most: usize,
}

/// Only so many of the latest different items of a history are paired.
const PAIRED: usize = 60;

impl Neighbours {
    /// Counts pairs in histories (before the cut) and keeps for each item the `most` with the highest
    /// `n_ab / sqrt(n_a n_b)`, those seen together at least twice and above chance (lift over 1).
    #[must_use]
    pub fn new(histories: &[Vec<ItemId>], n_items: usize, most: usize) -> Self {
        let mut alone = vec![0_u32; n_items];
        let mut together: HashMap<(ItemId, ItemId), u32> = HashMap::new();
        for history in histories {
            let mut items: Vec<ItemId> = Vec::new();
            for &item in history.iter().rev() {
                if items.len() == PAIRED {
                    break;
                }
                if item.idx() < n_items && !items.contains(&item) {
                    items.push(item);
                }
            }
            items.sort_unstable();
            for (row, &a) in items.iter().enumerate() {
                alone[a.idx()] += 1;
                for &b in &items[row + 1..] {
                    *together.entry((a, b)).or_insert(0) += 1;
                }
            }
        }
        let n = histories.len() as f64;
        let mut pairs: Vec<((ItemId, ItemId), u32)> =
            together.into_iter().filter(|&(_, count)| count >= 2).collect();
        pairs.sort_unstable();
        let mut scored: Vec<Vec<(f64, ItemId)>> = vec![Vec::new(); n_items];
        for ((a, b), count) in pairs {
            let (n_a, n_b) = (f64::from(alone[a.idx()]), f64::from(alone[b.idx()]));
            let count = f64::from(count);
            if count * n > n_a * n_b {
                let score = count / (n_a * n_b).sqrt();
                scored[a.idx()].push((score, b));
                scored[b.idx()].push((score, a));
            }
        }
        let of = scored
            .into_iter()
            .map(|mut near| {
                near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                near.into_iter().take(most).map(|(_, item)| item).collect()
            })
            .collect();
        Self { of, most }
    }

    /// Neighbours of an item, nearest first.
    #[must_use]
    pub fn of(&self, item: ItemId) -> &[ItemId] {
        self.of.get(item.idx()).map_or(&[], Vec::as_slice)
    }

    /// Most neighbours of any item.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }
}
