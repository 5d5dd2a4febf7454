//! Adam for embedding tables: rows that a batch does not touch cost nothing and do not move.
//!
//! Every row is its own Adam over the steps that touched it: moments decay, and the bias correction
//! counts, only then. A table of which every row is touched in every step moves exactly as under
//! dense Adam (Kingma and Ba, arXiv 1412.6980).

use crate::embedding_bag::SparseGrad;
use crate::vectorised;

/// Settings of [`SparseAdam`]; the learning rate is an argument of every step, for schedules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamSettings {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay per step and learning rate (AdamW), on touched rows.
    pub weight_decay: f32,
}

impl Default for AdamSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// Moments of one table `[rows, dim]`.
#[derive(Debug, Clone)]
pub struct SparseAdam {
    settings: AdamSettings,
    dim: usize,
    first: Vec<f32>,
    second: Vec<f32>,
    touches: Vec<u32>, // per row
}

impl SparseAdam {
    /// Zero moments for a table `[rows, dim]`.
    #[must_use]
    pub fn new(rows: usize, dim: usize, settings: AdamSettings) -> Self {
        Self {
            settings,
            dim,
            first: vec![0.0; rows * dim],
            second: vec![0.0; rows * dim],
            touches: vec![0; rows],
        }
    }

    /// One step on the rows of `grad`; threads by rows, the result does not depend on their number.
    ///
    /// # Panics
    /// When the rows are not ascending, or shapes disagree with those of [`SparseAdam::new`].
    pub fn step(&mut self, table: &mut [f32], grad: &SparseGrad, learning_rate: f32) {
        assert_eq!(table.len(), self.first.len(), "the table is [rows, dim]");
        assert_eq!(grad.grads.len(), grad.rows.len() * self.dim, "grads are [rows.len(), dim]");
        assert!(grad.rows.windows(2).all(|w| w[0] < w[1]), "rows ascend, none twice");
        let state = RowSpan {
            first_row: 0,
            table,
            first: &mut self.first,
            second: &mut self.second,
            touches: &mut self.touches,
        };
        let step = Step { settings: self.settings, dim: self.dim, learning_rate };
        step.apply(state, &grad.rows, &grad.grads);
    }
}

/// A run of neighbouring rows of the table and of its moments.
struct RowSpan<'a> {
    first_row: usize,
    table: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    touches: &'a mut [u32],
}

/// What is the same for all rows of a step.
#[derive(Clone, Copy)]
struct Step {
    settings: AdamSettings,
    dim: usize,
    learning_rate: f32,
}

impl Step {
    /// Halves the touched rows until few are left, so that tasks own disjoint spans.
    fn apply(self, span: RowSpan<'_>, rows: &[u32], grads: &[f32]) {
        if rows.len() > 64 {
            let half = rows.len() / 2;
            let (left, right) = span.split(rows[half] as usize, self.dim);
            rayon::join(
                || self.apply(left, &rows[..half], &grads[..half * self.dim]),
                || self.apply(right, &rows[half..], &grads[half * self.dim..]),
            );
            return;
        }
        for (&row, grad) in rows.iter().zip(grads.chunks_exact(self.dim)) {
            let idx = row as usize - span.first_row;
            let range = idx * self.dim..(idx + 1) * self.dim;
            span.touches[idx] += 1;
            self.row(
                &mut span.table[range.clone()],
                (&mut span.first[range.clone()], &mut span.second[range]),
                grad,
                span.touches[idx],
            );
        }
    }

    fn row(self, weights: &mut [f32], moments: (&mut [f32], &mut [f32]), grad: &[f32], t: u32) {
        let AdamSettings { beta1, beta2, epsilon, weight_decay } = self.settings;
        let power = i32::try_from(t).unwrap_or(i32::MAX);
        let rate = self.learning_rate / (1.0 - beta1.powi(power));
        let unbias = 1.0 / (1.0 - beta2.powi(power));
        let keep = 1.0 - self.learning_rate * weight_decay;
        vectorised(
            #[inline(always)]
            || {
                let state = moments.0.iter_mut().zip(moments.1.iter_mut());
                for ((weight, (first, second)), g) in weights.iter_mut().zip(state).zip(grad) {
                    *first = beta1 * *first + (1.0 - beta1) * g;
                    *second = beta2 * *second + (1.0 - beta2) * g * g;
                    *weight =
                        keep * *weight - rate * *first / ((*second * unbias).sqrt() + epsilon);
                }
            },
        );
    }
}

impl<'a> RowSpan<'a> {
    /// The rows before `row`, and those from it on.
    fn split(self, row: usize, dim: usize) -> (Self, Self) {
        let at = row - self.first_row;
        let (t0, t1) = self.table.split_at_mut(at * dim);
        let (f0, f1) = self.first.split_at_mut(at * dim);
        let (s0, s1) = self.second.split_at_mut(at * dim);
        let (n0, n1) = self.touches.split_at_mut(at);
        let span = |first_row, table: &'a mut [f32], first, second, touches| Self {
            first_row,
            table,
            first,
            second,
            touches,
        };
        (span(self.first_row, t0, f0, s0, n0), span(row, t1, f1, s1, n1))
    }
}

#[cfg(test)]
mod tests {
    use super::{AdamSettings, SparseAdam};
    use crate::embedding_bag::SparseGrad;

    /// Textbook Adam on one number.
    fn adam(mut x: f32, grads: &[f32], lr: f32) -> f32 {
        let (mut m, mut v) = (0.0f32, 0.0f32);
        for (t, g) in (1..).zip(grads) {
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            x -= lr * (m / (1.0 - 0.9f32.powi(t))) / ((v / (1.0 - 0.999f32.powi(t))).sqrt() + 1e-8);
        }
        x
    }

    #[test]
    fn every_row_is_adam_over_its_own_touches() {
        let mut table = vec![1.0f32; 200 * 3];
        let mut optimiser = SparseAdam::new(200, 3, AdamSettings::default());
        let all: Vec<u32> = (0..200).collect();
        let even: Vec<u32> = (0..200).step_by(2).collect();
        for (rows, g) in [(&all, 0.5f32), (&even, -2.0), (&all, 1.0)] {
            let grad = SparseGrad { rows: rows.clone(), grads: vec![g; rows.len() * 3] };
            optimiser.step(&mut table, &grad, 0.1);
        }
        let (want_even, want_odd) =
            (adam(1.0, &[0.5, -2.0, 1.0], 0.1), adam(1.0, &[0.5, 1.0], 0.1));
        for (row, weights) in table.chunks(3).enumerate() {
            let want = if row % 2 == 0 { want_even } else { want_odd };
            assert!((weights[1] - want).abs() < 1e-5, "row {row}: {} is not {want}", weights[1]);
        }
    }

    #[test]
    fn untouched_rows_keep_their_bytes_and_weight_decay_shrinks_touched_ones() {
        let mut table = vec![1.0f32; 4];
        let settings = AdamSettings { weight_decay: 0.5, ..AdamSettings::default() };
        let mut optimiser = SparseAdam::new(4, 1, settings);
        let grad = SparseGrad { rows: vec![1, 3], grads: vec![0.0, 0.0] };
        optimiser.step(&mut table, &grad, 0.1);
        assert_eq!(table, [1.0, 0.95, 1.0, 0.95]);
    }
}
