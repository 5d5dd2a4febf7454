//! Items that the same people took as the last items of a history.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Interaction, ItemId, UserId};

use super::Scorer;
use crate::index::TopK;

/// Settings of [`ItemKnn`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItemKnnConfig {
    /// How many distinct last items of a history speak.
    pub last: usize,
    /// The `k`-th last item speaks with weight `decay^k`.
    pub decay: f32,
    /// Neighbours kept per item.
    pub neighbours: usize,
    /// Distinct items of a user that count, the latest ones: bounds the work for one heavy user.
    pub items_per_user: usize,
}

impl Default for ItemKnnConfig {
    fn default() -> Self {
        Self { last: 10, decay: 0.8, neighbours: 1000, items_per_user: 1000 }
    }
}

/// Item neighbours by the cosine of co-counts: `sim(i, j) = c_ij / sqrt(c_i c_j)`, with `c_ij` the
/// number of users who took both; an item scores `sum_k decay^k sim(last_k, item)`.
#[derive(Debug, Clone)]
pub struct ItemKnn {
    config: ItemKnnConfig,
    neighbours: Vec<Vec<(ItemId, f32)>>,
}

impl ItemKnn {
    /// Counts users per pair of items; `interactions` are sorted by user and time.
    #[must_use]
    pub fn new(interactions: &[Interaction], n_items: usize, config: ItemKnnConfig) -> Self {
        let baskets: Vec<Vec<u32>> = interactions
            .chunk_by(|a, b| a.user == b.user)
            .map(|events| {
                let last = last_items(events, config.items_per_user);
                last.into_iter().filter(|i| i.idx() < n_items).map(|i| i.0).collect()
            })
            .collect();
        let mut users_of: Vec<Vec<u32>> = vec![Vec::new(); n_items];
        for (user, basket) in (0..).zip(&baskets) {
            basket.iter().for_each(|&item| users_of[item as usize].push(user));
        }
        let count = |item: usize| users_of[item].len() as f32;
        let neighbours = (0..n_items)
            .into_par_iter()
            .map_init(
                || (vec![0u32; n_items], Vec::new()),
                |(counts, touched), item| {
                    for &user in &users_of[item] {
                        for &other in &baskets[user as usize] {
                            if counts[other as usize] == 0 {
                                touched.push(other);
                            }
                            counts[other as usize] += 1;
                        }
                    }
                    let mut best = TopK::new(config.neighbours);
                    for other in touched.drain(..) {
                        let both = std::mem::take(&mut counts[other as usize]) as f32;
                        if other as usize != item {
                            best.push(
                                ItemId(other),
                                both / (count(item) * count(other as usize)).sqrt(),
                            );
                        }
                    }
                    best.into_sorted()
                },
            )
            .collect();
        Self { config, neighbours }
    }

    /// Neighbours of one item, nearest first.
    #[must_use]
    pub fn neighbours(&self, item: ItemId) -> &[(ItemId, f32)] {
        &self.neighbours[item.idx()]
    }

    /// The `n` best items that `keep` allows; items without any link to the history never come.
    #[must_use]
    pub fn recommend(
        &self,
        history: &[Interaction],
        n: usize,
        keep: &dyn Fn(ItemId) -> bool,
    ) -> Vec<(ItemId, f32)> {
        let mut scores = vec![0.0f32; self.neighbours.len()];
        self.add_scores(history, &mut scores);
        let mut best = TopK::new(n);
        for (idx, &score) in scores.iter().enumerate() {
            let item = ItemId::from_idx(idx);
            if score > 0.0 && best.admits(item, score) && keep(item) {
                best.push(item, score);
            }
        }
        best.into_sorted()
    }

    fn add_scores(&self, history: &[Interaction], scores: &mut [f32]) {
        let mut weight = 1.0;
        for item in last_items(history, self.config.last) {
            for &(other, similarity) in self.neighbours.get(item.idx()).into_iter().flatten() {
                scores[other.idx()] += weight * similarity;
            }
            weight *= self.config.decay;
        }
    }

    /// The same neighbours, asked in another way: `last` and `decay` of `config` count.
    #[must_use]
    pub fn asked(&self, config: ItemKnnConfig) -> Self {
        Self { config, neighbours: self.neighbours.clone() }
    }
}

/// The last `n` distinct items with a positive interaction, newest first.
pub(super) fn last_items(history: &[Interaction], n: usize) -> Vec<ItemId> {
    let mut seen = BTreeSet::new();
    let positive = history.iter().rev().filter(|i| i.event_type.is_positive());
    positive.map(|i| i.item).filter(|&item| seen.insert(item)).take(n).collect()
}

impl Scorer for ItemKnn {
    fn n_items(&self) -> usize {
        self.neighbours.len()
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        out.fill(0.0);
        for ((_, history), row) in users.iter().zip(out.chunks_mut(self.neighbours.len().max(1))) {
            self.add_scores(history, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use types::ItemId;

    use super::{ItemKnn, ItemKnnConfig};
    use crate::baselines::testing::{letters, log};

    #[test]
    fn knn_scores_are_decayed_cosines() {
        // c_a = 3, c_b = 2, c_c = 2, c_ab = 2, c_ac = 1, c_bc = 0... user 3 holds only c
        let log = log(&["ab", "aab", "ac", "c"]);
        let knn = ItemKnn::new(&log, 3, ItemKnnConfig::default());
        let found = knn.recommend(&log[..2], 9, &|_| true); // history a, then b
        assert_eq!(letters(&found), "abc");
        let (ab, ac) = (2.0 / 6f32.sqrt(), 1.0 / 6f32.sqrt());
        for (got, want) in found.iter().zip([ab, 0.8 * ab, 0.8 * ac]) {
            assert!((got.1 - want).abs() < 1e-6, "{found:?}");
        }
        assert_eq!(letters(&knn.recommend(&log[..2], 9, &|i| i != ItemId(0))), "bc");
        assert!(knn.recommend(&[], 9, &|_| true).is_empty());
    }
}
