//! iALS: matrix factorisation of implicit feedback (Hu, Koren and Volinsky 2008).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Interaction, UserId};

use super::{Scorer, baskets, distinct};
use crate::chance::Chance;

/// Settings of [`Ials`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IalsConfig {
    /// Length of all vectors.
    pub factors: usize,
    /// Sweeps over users and items.
    pub iterations: usize,
    /// Confidence of what was taken; what was not has 1.
    pub alpha: f32,
    /// Weight of the squared lengths.
    pub regularization: f32,
    /// Of the first vectors.
    pub seed: u64,
}

impl Default for IalsConfig {
    fn default() -> Self {
        Self { factors: 64, iterations: 15, alpha: 10.0, regularization: 1.0, seed: 17 }
    }
}

/// Minimises `sum_ui c_ui (p_ui - x_u . y_i)^2 + regularization (sum |x_u|^2 + sum |y_i|^2)` with `p = 1`,
/// `c = alpha` for what was taken and `p = 0`, `c = 1` for the rest (as `implicit` has it: the confidence
/// is `alpha`, not `1 + alpha`), by alternating least squares. A user is solved anew from the history
/// that is given, so new items count at once.
#[derive(Debug, Clone)]
pub struct Ials {
    config: IalsConfig,
    items: Vec<f32>, // [items, factors]
    gram: Vec<f32>,  // Y^T Y + regularization I
}

impl Ials {
    /// Alternates `iterations` times.
    #[must_use]
    pub fn new(
        interactions: &[Interaction],
        (n_users, n_items): (usize, usize),
        config: IalsConfig,
    ) -> Self {
        let f = config.factors;
        let users_items = baskets(interactions, n_users);
        let mut items_users = vec![Vec::new(); n_items];
        for (user, basket) in (0..).zip(&users_items) {
            basket.iter().for_each(|&item| items_users[item as usize].push(user));
        }
        let mut chance = Chance::new(config.seed, 0x1a15, 0);
        let mut items: Vec<f32> = (0..n_items * f).map(|_| 0.01 * chance.normal()).collect();
        let mut users = vec![0.0; n_users * f];
        for _ in 0..config.iterations {
            solve_all(&mut users, &items, &users_items, &config);
            solve_all(&mut items, &users, &items_users, &config);
        }
        let gram = gram(&items, &config);
        Self { config, items, gram }
    }
}

impl Scorer for Ials {
    fn n_items(&self) -> usize {
        self.items.len() / self.config.factors
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        let (f, n) = (self.config.factors, self.n_items());
        let mut vectors = vec![0.0; users.len() * f];
        for ((_, history), x) in users.iter().zip(vectors.chunks_mut(f)) {
            solve(x, &self.gram, (&self.items, &distinct(history)), self.config.alpha);
        }
        nn::gemm_nt(out, &vectors, &self.items, (users.len(), f, n), 0.0);
    }
}

/// `Y^T Y + regularization I`.
fn gram(vectors: &[f32], config: &IalsConfig) -> Vec<f32> {
    let f = config.factors;
    let mut gram = vec![0.0; f * f];
    nn::gemm_tn(&mut gram, vectors, vectors, (f, vectors.len() / f, f), 0.0);
    (0..f).for_each(|i| gram[i * f + i] += config.regularization);
    gram
}

fn solve_all(out: &mut [f32], others: &[f32], links: &[Vec<u32>], config: &IalsConfig) {
    let gram = gram(others, config);
    out.par_chunks_mut(config.factors)
        .with_min_len(32)
        .zip(links)
        .for_each(|(x, links)| solve(x, &gram, (others, links), config.alpha));
}

/// Solves `(G + (alpha - 1) sum_j y_j y_j^T) x = alpha sum_j y_j` by Cholesky; no link gives zero.
fn solve(x: &mut [f32], gram: &[f32], (vectors, links): (&[f32], &[u32]), alpha: f32) {
    x.fill(0.0);
    if links.is_empty() {
        return;
    }
    let f = x.len();
    let mut a = gram.to_vec();
    for &link in links {
        let y = &vectors[link as usize * f..][..f];
        nn::axpy(x, alpha, y);
        for i in 0..f {
            nn::axpy(&mut a[i * f..=i * f + i], (alpha - 1.0) * y[i], &y[..=i]);
        }
    }
    cholesky_solve(&mut a, x);
}

/// Overwrites the lower triangle of `a` with its factor and `x` with the solution.
fn cholesky_solve(a: &mut [f32], x: &mut [f32]) {
    let n = x.len();
    for i in 0..n {
        let (before, row) = a.split_at_mut(i * n);
        for j in 0..i {
            let other = &before[j * n..j * n + j + 1];
            row[j] = (row[j] - nn::dot(&row[..j], &other[..j])) / other[j];
        }
        row[i] = (row[i] - nn::dot(&row[..i], &row[..i])).max(1e-12).sqrt();
        x[i] = (x[i] - nn::dot(&row[..i], &x[..i])) / row[i];
    }
    for i in (0..n).rev() {
        x[i] /= a[i * n + i];
        let value = x[i];
        nn::axpy(&mut x[..i], -value, &a[i * n..i * n + i]);
    }
}

#[cfg(test)]
mod tests {
    use types::UserId;

    use super::{Ials, IalsConfig, cholesky_solve};
    use crate::baselines::testing::{letters, log};
    use crate::baselines::{Scorer as _, top_of};

    #[test]
    fn cholesky_solves() {
        let mut a = [4.0, 9.0, 2.0, 3.0]; // [[4, 2], [2, 3]]; above the diagonal is not read
        let mut x = [8.0, 8.0];
        cholesky_solve(&mut a, &mut x);
        assert!((x[0] - 1.0).abs() < 1e-5 && (x[1] - 2.0).abs() < 1e-5, "{x:?}");
    }

    #[test]
    fn groups_of_items_are_found_also_from_a_new_history() {
        let log = log(&["abc", "ab", "bc", "ac", "def", "de", "ef", "df"]);
        let model = Ials::new(&log, (8, 6), IalsConfig { factors: 4, ..IalsConfig::default() });
        let mut scores = vec![0.0; 6];
        model.scores(&[(UserId(99), &log[..2])], &mut scores); // a, b
        let found = letters(&top_of(&scores, 6, &|_| true));
        assert_eq!(found.chars().nth(2), Some('c'), "{found}");
    }
}
