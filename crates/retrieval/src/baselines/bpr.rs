//! BPR: matrix factorisation by pairs (Rendle et al. 2009, arXiv 1205.2618).

use serde::{Deserialize, Serialize};
use types::{Interaction, UserId};

use super::{Scorer, baskets};
use crate::chance::Chance;

/// Settings of [`Bpr`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BprConfig {
    /// Length of all vectors.
    pub factors: usize,
    /// Passes over the taken pairs.
    pub iterations: usize,
    /// Of stochastic gradient descent.
    pub learning_rate: f32,
    /// Weight of the squared lengths.
    pub regularization: f32,
    /// Of the first vectors and of the draws.
    pub seed: u64,
}

impl Default for BprConfig {
    fn default() -> Self {
        Self { factors: 64, iterations: 100, learning_rate: 0.05, regularization: 0.01, seed: 17 }
    }
}

/// Maximises `sum ln sigmoid(x_u . (y_i - y_j) + b_i - b_j)` over taken `i` and drawn `j` that the user
/// did not take; `j` is drawn from the taken pairs, so popular items are negatives more often, as in
/// `implicit`. Users are those of training.
#[derive(Debug, Clone)]
pub struct Bpr {
    factors: usize,
    users: Vec<f32>, // [users, factors]
    items: Vec<f32>, // [items, factors]
    bias: Vec<f32>,  // [items]
}

impl Bpr {
    /// Runs one thread, so that a seed fixes the result.
    #[must_use]
    pub fn new(
        interactions: &[Interaction],
        (n_users, n_items): (usize, usize),
        config: BprConfig,
    ) -> Self {
        let f = config.factors;
        let baskets = baskets(interactions, n_users);
        let pairs: Vec<(u32, u32)> = (0..)
            .zip(&baskets)
            .flat_map(|(user, items)| items.iter().map(move |&item| (user, item)))
            .collect();
        let mut chance = Chance::new(config.seed, 0xb42, 0);
        let mut start =
            |n: usize| -> Vec<f32> { (0..n).map(|_| (chance.unit() - 0.5) / f as f32).collect() };
        let mut model = Self {
            factors: f,
            users: start(n_users * f),
            items: start(n_items * f),
            bias: vec![0.0; n_items],
        };
        for iteration in 0..config.iterations as u64 {
            let mut chance = Chance::new(config.seed, 0xb43, iteration);
            for _ in 0..pairs.len() {
                let (user, item) = pairs[chance.below(pairs.len())];
                let (_, other) = pairs[chance.below(pairs.len())];
                if baskets[user as usize].binary_search(&other).is_err() {
                    model.step(user as usize, (item as usize, other as usize), &config);
                }
            }
        }
        model
    }

    fn step(&mut self, user: usize, (taken, other): (usize, usize), config: &BprConfig) {
        let f = self.factors;
        let (rate, l2) = (config.learning_rate, config.regularization);
        let x = &mut self.users[user * f..][..f];
        let (y, z) = two_rows(&mut self.items, f, taken, other);
        let margin: f32 = x.iter().zip(&*y).zip(&*z).map(|((x, y), z)| x * (y - z)).sum();
        let pull = 1.0 / (1.0 + (margin + self.bias[taken] - self.bias[other]).exp());
        for ((x, y), z) in x.iter_mut().zip(y).zip(z) {
            let (old_x, old_y, old_z) = (*x, *y, *z);
            *x += rate * (pull * (old_y - old_z) - l2 * old_x);
            *y += rate * (pull * old_x - l2 * old_y);
            *z += rate * (-pull * old_x - l2 * old_z);
        }
        self.bias[taken] += rate * (pull - l2 * self.bias[taken]);
        self.bias[other] += rate * (-pull - l2 * self.bias[other]);
    }
}

impl Scorer for Bpr {
    fn n_items(&self) -> usize {
        self.bias.len()
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        let (f, n) = (self.factors, self.bias.len());
        let mut vectors = vec![0.0; users.len() * f];
        for ((user, _), x) in users.iter().zip(vectors.chunks_mut(f)) {
            if let Some(known) = self.users.get(user.idx() * f..(user.idx() + 1) * f) {
                x.copy_from_slice(known);
            }
        }
        out.chunks_mut(n.max(1)).for_each(|row| row.copy_from_slice(&self.bias));
        nn::gemm_nt(out, &vectors, &self.items, (users.len(), f, n), 1.0);
    }
}

/// Two different rows of a table, both writable.
fn two_rows(table: &mut [f32], dim: usize, a: usize, b: usize) -> (&mut [f32], &mut [f32]) {
    let (low, high) = table.split_at_mut(a.max(b) * dim);
    let (low, high) = (&mut low[a.min(b) * dim..][..dim], &mut high[..dim]);
    if a < b { (low, high) } else { (high, low) }
}

#[cfg(test)]
mod tests {
    use types::UserId;

    use super::{Bpr, BprConfig};
    use crate::baselines::testing::{letters, log};
    use crate::baselines::{Scorer as _, top_of};

    #[test]
    fn groups_of_items_are_found() {
        let log = log(&["ab", "abc", "bc", "ac", "def", "de", "ef", "df"]);
        let model = Bpr::new(&log, (8, 6), BprConfig { factors: 8, ..BprConfig::default() });
        let mut scores = vec![0.0; 6];
        model.scores(&[(UserId(0), &log[..2])], &mut scores);
        let found = letters(&top_of(&scores, 6, &|_| true));
        assert_eq!(found.chars().nth(2), Some('c'), "{found}");
        assert_eq!(model.scores_of_unknown(), model.bias);
    }

    impl Bpr {
        /// A user whom training did not see is served by the biases.
        fn scores_of_unknown(&self) -> Vec<f32> {
            let mut scores = vec![0.0; self.bias.len()];
            self.scores(&[(UserId(1000), &[])], &mut scores);
            scores
        }
    }
}
