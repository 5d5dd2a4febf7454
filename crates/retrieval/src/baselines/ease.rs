//! EASE: a linear autoencoder over items in closed form (Steck 2019, arXiv 1905.03375).

use rayon::prelude::*;
use types::{Interaction, UserId};

use super::{Scorer, baskets, distinct};

/// Rows that one step of the inversion takes together.
const BLOCK: usize = 128;

/// With `X[users, items]` in `{0, 1}` and `P = (X^T X + l2 I)^-1`: `B_ij = -P_ij / P_jj`, `B_jj = 0`; an
/// item scores the sum of its column over the items of the history. Memory: `items^2` numbers.
#[derive(Debug, Clone)]
pub struct Ease {
    n: usize,
    weights: Vec<f32>, // [items, items]
}

impl Ease {
    /// Solves for all items; `l2` is above 0.
    #[must_use]
    pub fn new(interactions: &[Interaction], (n_users, n): (usize, usize), l2: f32) -> Self {
        let mut weights = vec![0.0; n * n];
        for basket in baskets(interactions, n_users) {
            for (place, &a) in basket.iter().enumerate() {
                // items ascend, so this is the lower triangle
                basket[..=place].iter().for_each(|&b| weights[a as usize * n + b as usize] += 1.0);
            }
        }
        (0..n).for_each(|i| weights[i * n + i] += l2);
        invert_symmetric(&mut weights, n);
        let diagonal: Vec<f32> = (0..n).map(|i| weights[i * n + i]).collect();
        weights.par_chunks_mut(n.max(1)).enumerate().for_each(|(i, row)| {
            row.iter_mut().zip(&diagonal).for_each(|(w, d)| *w = -*w / d);
            row[i] = 0.0;
        });
        Self { n, weights }
    }
}

impl Scorer for Ease {
    fn n_items(&self) -> usize {
        self.n
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        out.fill(0.0);
        for ((_, history), out) in users.iter().zip(out.chunks_mut(self.n.max(1))) {
            for item in distinct(history) {
                nn::axpy(out, 1.0, &self.weights[item as usize * self.n..][..self.n]);
            }
        }
    }
}

/// Inverts a symmetric positive definite matrix `[n, n]`, of which only the lower triangle is read.
///
/// Sweeps blocks of columns (Goodnight 1979): with the pivot block `K`, `A_KK <- -A_KK^-1`,
/// `A_iK <- A_iK A_KK^-1`, `A_ij <- A_ij - A_iK A_KK^-1 A_Kj`; after all blocks `A` is minus its inverse.
/// The matrix stays symmetric, so `n^3 / 2` multiply-adds are enough.
fn invert_symmetric(a: &mut [f32], n: usize) {
    for from in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - from);
        let column = column(a, n, from..from + width); // [n, width]
        let mut pivot = column[from * width..(from + width) * width].to_vec();
        invert_small(&mut pivot, width);
        let mut scaled = vec![0.0; n * width];
        nn::par_gemm_nn(&mut scaled, &column, &pivot, (n, width, width), 0.0);
        a.par_chunks_mut(n * BLOCK).zip(scaled.par_chunks(BLOCK * width)).enumerate().for_each(
            |(block, (rows, scaled))| {
                let first = block * BLOCK;
                let n_rows = rows.len() / n;
                if first == from {
                    sweep_pivot_rows(rows, (n, from, width), (&column, &pivot));
                    return;
                }
                let until = first + n_rows; // up to the diagonal
                let minus: Vec<f32> = scaled.iter().map(|x| -x).collect();
                nn::gemm(
                    nn::MatMut::strided(rows, n_rows, until, n),
                    nn::Mat::new(&minus, n_rows, width),
                    nn::Mat::new(&column[..until * width], until, width).t(),
                    1.0,
                );
                if from < first {
                    for (row, scaled) in rows.chunks_mut(n).zip(scaled.chunks(width)) {
                        row[from..from + width].copy_from_slice(scaled);
                    }
                }
            },
        );
    }
    mirror_negated(a, n);
}

/// Columns `range` of the symmetric matrix, as `[n, width]`.
fn column(a: &[f32], n: usize, range: std::ops::Range<usize>) -> Vec<f32> {
    let width = range.len();
    let mut column = vec![0.0; n * width];
    column.par_chunks_mut(width).enumerate().for_each(|(i, out)| {
        for (out, j) in out.iter_mut().zip(range.clone()) {
            *out = a[i.max(j) * n + i.min(j)];
        }
    });
    column
}

/// The rows of the pivot block: `A_Kj <- A_KK^-1 A_Kj` left of the diagonal, `-A_KK^-1` on it.
fn sweep_pivot_rows(
    rows: &mut [f32],
    (n, from, width): (usize, usize, usize),
    (column, pivot): (&[f32], &[f32]),
) {
    nn::gemm(
        nn::MatMut::strided(rows, width, from, n),
        nn::Mat::new(pivot, width, width),
        nn::Mat::new(&column[..from * width], from, width).t(),
        0.0,
    );
    for (row, pivot) in rows.chunks_mut(n).zip(pivot.chunks(width)) {
        row[from..from + width].iter_mut().zip(pivot).for_each(|(x, p)| *x = -p);
    }
}

/// Gauss and Jordan in double precision; the diagonal of a positive definite matrix needs no pivoting.
fn invert_small(a: &mut [f32], n: usize) {
    let mut m: Vec<f64> = a.iter().map(|&x| f64::from(x)).collect();
    for k in 0..n {
        let pivot = 1.0 / m[k * n + k];
        m[k * n + k] = 1.0;
        m[k * n..(k + 1) * n].iter_mut().for_each(|x| *x *= pivot);
        let row = m[k * n..(k + 1) * n].to_vec();
        for i in (0..n).filter(|&i| i != k) {
            let factor = std::mem::take(&mut m[i * n + k]);
            m[i * n..(i + 1) * n].iter_mut().zip(&row).for_each(|(x, r)| *x -= factor * r);
        }
    }
    a.iter_mut().zip(m).for_each(|(a, m)| *a = m as f32);
}

fn mirror_negated(a: &mut [f32], n: usize) {
    for i in 0..n {
        for j in 0..=i {
            let value = -a[i * n + j];
            a[i * n + j] = value;
            a[j * n + i] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ease, invert_symmetric};
    use crate::baselines::testing::log;
    use crate::chance::Chance;

    #[test]
    fn the_inverse_times_the_matrix_is_the_identity() {
        for n in [1, 5, 128, 300] {
            let mut chance = Chance::new(1, 2, n as u64);
            let x: Vec<f32> = (0..n * n).map(|_| chance.normal()).collect();
            let mut a = vec![0.0; n * n];
            nn::gemm_tn(&mut a, &x, &x, (n, n, n), 0.0);
            (0..n).for_each(|i| a[i * n + i] += 0.5 * n as f32);
            let mut inverse = a.clone();
            for i in 0..n {
                inverse[i * n + i + 1..(i + 1) * n].fill(f32::NAN); // is not read
            }
            invert_symmetric(&mut inverse, n);
            let mut product = vec![0.0; n * n];
            nn::gemm_nn(&mut product, &a, &inverse, (n, n, n), 0.0);
            for (idx, &value) in product.iter().enumerate() {
                let want = if idx / n == idx % n { 1.0 } else { 0.0 };
                assert!((value - want).abs() < 2e-3, "{n}: {idx} is {value}");
            }
        }
    }

    #[test]
    fn two_items_by_hand() {
        // X^T X = [[2, 1], [1, 1]], l2 = 1: P = [[2, -1], [-1, 3]] / 5, B_ab = 1/3, B_ba = 1/2
        let ease = Ease::new(&log(&["ab", "a"]), (2, 2), 1.0);
        for (got, want) in ease.weights.iter().zip([0.0, 1.0 / 3.0, 0.5, 0.0]) {
            assert!((got - want).abs() < 1e-6, "{:?}", ease.weights);
        }
    }
}
