//! What a user took before, where people take the same things again.

use types::{Interaction, Timestamp, UserId};

use super::{Popularity, Scorer};
use crate::repeats::acts;

/// `score(i) = sum over the user's acts on i of decay^(distinct moments since)`; items that the user
/// never took follow by popularity.
#[derive(Debug, Clone, PartialEq)]
pub struct PersonalFrequency {
    popularity: Vec<f32>, // below the score of any own item
    decay: f32,
}

impl PersonalFrequency {
    /// Popularity is counted over `interactions`; `decay` lies in `(0, 1]`, 1 counts all acts alike.
    #[must_use]
    pub fn new(interactions: &[Interaction], n_items: usize, decay: f32) -> Self {
        let popularity = Popularity::new(interactions, n_items, Timestamp(i64::MAX), None);
        let most = popularity.counts().iter().copied().fold(1.0, f32::max);
        let popularity = popularity.counts().iter().map(|count| 1e-6 * count / most).collect();
        Self { popularity, decay }
    }
}

impl Scorer for PersonalFrequency {
    fn n_items(&self) -> usize {
        self.popularity.len()
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        for ((_, history), row) in users.iter().zip(out.chunks_mut(self.popularity.len().max(1))) {
            row.copy_from_slice(&self.popularity);
            for (item, act) in acts(history, self.decay) {
                if let Some(score) = row.get_mut(item.idx()) {
                    *score += act;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::UserId;

    use super::PersonalFrequency;
    use crate::baselines::testing::{letters, log};
    use crate::baselines::{Scorer as _, top_of};

    #[track_caller]
    fn check(decay: f32, history: &str, expect: &str) {
        let model = PersonalFrequency::new(&log(&["ddd", "dc"]), 4, decay);
        let history = log(&[history]);
        let mut scores = vec![0.0; 4];
        model.scores(&[(UserId(0), &history)], &mut scores);
        assert_eq!(letters(&top_of(&scores, 4, &|_| true)), expect, "{scores:?}");
    }

    #[test]
    fn own_items_come_first_and_popular_ones_after_them() {
        check(1.0, "aab", "abdc");
        check(0.4, "aab", "badc"); // b is newest: 1 against .4 + .16
        check(1.0, "", "dcab");
    }
}
