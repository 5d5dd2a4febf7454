//! Items by how many people took them.

use types::{DAY_MS, Interaction, ItemId, Timestamp, UserId};

use super::{Scorer, same_for_all, top_of};

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

    /// Adds an item that nobody took yet.
    pub fn push_item(&mut self) {
        self.counts.push(0.0);
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
        top_of(&self.counts, n, keep)
    }
}

impl Scorer for Popularity {
    fn n_items(&self) -> usize {
        self.counts.len()
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        same_for_all(&self.counts, users.len(), out);
    }
}

#[cfg(test)]
mod tests {
    use types::{EventType, Interaction, ItemId, Timestamp, UserId};

    use super::Popularity;
    use crate::baselines::testing::{letters, log};

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
