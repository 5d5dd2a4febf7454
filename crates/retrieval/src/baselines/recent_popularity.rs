//! Popularity that fades: what people take these days.

use types::{DAY_MS, Interaction, Timestamp, UserId};

use super::{Scorer, same_for_all};

/// Items by positive interactions, each of weight `2^(-age / half_life)`.
#[derive(Debug, Clone, PartialEq)]
pub struct RecentPopularity {
    counts: Vec<f32>,
}

impl RecentPopularity {
    /// Counts what lies before `now`; `half_life_days` is above 0.
    #[must_use]
    pub fn new(
        interactions: &[Interaction],
        n_items: usize,
        now: Timestamp,
        half_life_days: f64,
    ) -> Self {
        let mut counts = vec![0.0; n_items];
        let known = |i: &&Interaction| i.event_type.is_positive() && i.item.idx() < n_items;
        for i in interactions.iter().filter(known).filter(|i| i.timestamp < now) {
            let age_days = (now.0 - i.timestamp.0) as f64 / DAY_MS as f64;
            counts[i.item.idx()] += (-age_days / half_life_days).exp2() as f32;
        }
        Self { counts }
    }
}

impl Scorer for RecentPopularity {
    fn n_items(&self) -> usize {
        self.counts.len()
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        same_for_all(&self.counts, users.len(), out);
    }
}

#[cfg(test)]
mod tests {
    use types::Timestamp;

    use super::RecentPopularity;
    use crate::baselines::testing::log;

    #[test]
    fn an_act_loses_half_its_weight_per_half_life_and_the_future_counts_nothing() {
        let log = log(&["ab", "bc"]); // a 0; b 1, 0; c 1
        let counts = |now| RecentPopularity::new(&log, 3, Timestamp(0).plus_days(now), 1.0).counts;
        assert_eq!(counts(1), [0.5, 0.5, 0.0]);
        assert_eq!(counts(2), [0.25, 0.75, 0.5]);
    }
}
