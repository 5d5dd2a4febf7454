//! What towers have to beat: popularity and item-kNN, both without any learning.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{DAY_MS, Interaction, ItemId, Timestamp};

use crate::index::TopK;

/// Items by the number of their positive interactions, all or of the last days.
#[derive(Debug, Clone, PartialEq)]
pub struct Popularity {
    counts: Vec<f32>,
    window_days: Option<i64>,
}

impl Popularity {
    /// Windows that [`Popularity::tuned`] tries, in days.
    pub const WINDOWS: [i64; 6] = [1, 3, 7, 14, 30, 90];

    /// Counts positive interactions before `now`, within `window_days` of it where given.
    #[must_use]
    pub fn new(
        interactions: &[Interaction],
        n_items: usize,
        now: Timestamp,
        window_days: Option<i64>,
    ) -> Self {
        let from = window_days.map_or(Timestamp(i64::MIN), |days| now.plus_days(-days));
        let mut counts = vec![0.0; n_items];
        for i in interactions.iter().filter(|i| i.event_type.is_positive()) {
            if (from..now).contains(&i.timestamp) && i.item.idx() < n_items {
                counts[i.item.idx()] += 1.0;
            }
        }
        Self { counts, window_days }
    }

    /// The window (or none) whose 20 most popular items, counted up to the last tenth of the time
    /// before `now` (at most 30 days), take the most interactions of that tenth; then counted up to
    /// `now`. Nothing at or after `now` is read.
    #[must_use]
    pub fn tuned(interactions: &[Interaction], n_items: usize, now: Timestamp) -> Self {
        let times = interactions.iter().map(|i| i.timestamp).filter(|&t| t < now);
        let first = times.min().unwrap_or(now);
        let held_ms = (now.0.saturating_sub(first.0) / 10).min(30 * DAY_MS);
        let cut = Timestamp(now.0 - held_ms);
        let later = Self::new(interactions, n_items, now, None);
        let before = Self::new(interactions, n_items, cut, None);
        let held: Vec<f32> =
            later.counts.iter().zip(&before.counts).map(|(all, old)| all - old).collect();
        let taken = |window: Option<i64>| -> f32 {
            let top = Self::new(interactions, n_items, cut, window).recommend(&[], 20, &|_| true);
            top.iter().map(|(item, _)| held[item.idx()]).sum()
        };
        let mut best = (taken(None), None);
        for days in Self::WINDOWS {
            let score = taken(Some(days));
            if score > best.0 {
                best = (score, Some(days));
            }
        }
        Self::new(interactions, n_items, now, best.1)
    }

    /// The window that counts, in days; none: all time.
    #[must_use]
    pub fn window_days(&self) -> Option<i64> {
        self.window_days
    }

    /// The count of every item.
    #[must_use]
    pub fn counts(&self) -> &[f32] {
        &self.counts
    }

    /// The `n` most popular items that `keep` allows, with their counts; the same for everybody.
    #[must_use]
    pub fn recommend(
        &self,
        _history: &[Interaction],
        n: usize,
        keep: &dyn Fn(ItemId) -> bool,
    ) -> Vec<(ItemId, f32)> {
        let mut best = TopK::new(n);
        for (idx, &count) in self.counts.iter().enumerate() {
            let item = ItemId::from_idx(idx);
            if best.admits(item, count) && keep(item) {
                best.push(item, count);
            }
        }
        best.into_sorted()
    }
}

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
        let mut weight = 1.0;
        for item in last_items(history, self.config.last) {
            for &(other, similarity) in self.neighbours.get(item.idx()).into_iter().flatten() {
                scores[other.idx()] += weight * similarity;
            }
            weight *= self.config.decay;
        }
        let mut best = TopK::new(n);
        for (idx, &score) in scores.iter().enumerate() {
            let item = ItemId::from_idx(idx);
            if score > 0.0 && best.admits(item, score) && keep(item) {
                best.push(item, score);
            }
        }
        best.into_sorted()
    }
}

/// The last `n` distinct items with a positive interaction, newest first.
fn last_items(history: &[Interaction], n: usize) -> Vec<ItemId> {
    let mut seen = BTreeSet::new();
    let positive = history.iter().rev().filter(|i| i.event_type.is_positive());
    positive.map(|i| i.item).filter(|&item| seen.insert(item)).take(n).collect()
}

#[cfg(test)]
mod tests {
    use types::{EventType, Interaction, ItemId, Timestamp, UserId};

    use super::{ItemKnn, ItemKnnConfig, Popularity};

    /// One letter per interaction, one word per user; time in days.
    fn log(users: &[&str]) -> Vec<Interaction> {
        let mut all = Vec::new();
        for (user, items) in (0..).zip(users) {
            for (day, letter) in (0..).zip(items.bytes()) {
                all.push(Interaction {
                    user: UserId(user),
                    timestamp: Timestamp(0).plus_days(day),
                    item: ItemId(u32::from(letter - b'a')),
                    event_type: EventType::Purchase,
                });
            }
        }
        all
    }

    fn letters(found: &[(ItemId, f32)]) -> String {
        found.iter().map(|(i, _)| char::from(b'a' + i.0 as u8)).collect()
    }

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

    #[test]
    fn popularity_counts_its_window_and_never_reads_the_future() {
        let log = log(&["aaaaabbbb", "aaaaaaabcc"]);
        let now = Timestamp(0).plus_days(9); // the last c lies at day 9
        let all = Popularity::new(&log, 3, now, None);
        assert_eq!(all.counts(), [12.0, 5.0, 1.0]);
        let recent = Popularity::new(&log, 3, now, Some(2));
        assert_eq!(recent.counts(), [0.0, 3.0, 1.0]);
        assert_eq!(letters(&recent.recommend(&[], 2, &|_| true)), "bc");
    }

    #[test]
    fn the_tuned_window_follows_a_fashion() {
        // thirty old favourites, and twenty new ones that everybody takes lately
        let mut log = Vec::new();
        for day in 0..100i64 {
            for n in 0..20u32 {
                let item = if day < 80 { n } else { 20 + n };
                log.push(Interaction {
                    user: UserId(0),
                    timestamp: Timestamp(0).plus_days(day),
                    item: ItemId(item),
                    event_type: EventType::Click,
                });
            }
        }
        let tuned = Popularity::tuned(&log, 40, Timestamp(0).plus_days(100));
        assert!(tuned.window_days().is_some_and(|days| days <= 14), "{:?}", tuned.window_days());
    }
}
