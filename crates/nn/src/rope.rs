//! Rotary position embedding (Su et al. 2021) in the rotate-half convention of Hugging Face.
//!
//! Entry `i` of the first half of a head turns with entry `i` of the second half by the angle
//! `position * theta^(-2i / head_dim)`.

use crate::simd::vectorised;

/// Cosines and sines for positions `0..n_positions`.
#[derive(Clone, Debug)]
pub struct RopeTable {
    head_dim: usize,
    cos: Vec<f32>, // [n_positions, head_dim / 2]
    sin: Vec<f32>, // [n_positions, head_dim / 2]
}

impl RopeTable {
    /// A table for heads of `head_dim` (even) numbers.
    pub fn new(theta: f64, head_dim: usize, n_positions: usize) -> Self {
        Self::of_frequencies(&Self::frequencies(theta, head_dim), 1.0, n_positions)
    }

    /// `theta^(-2i / head_dim)` for each pair `i` of a head: radians per position.
    pub fn frequencies(theta: f64, head_dim: usize) -> Vec<f64> {
        assert!(head_dim.is_multiple_of(2), "head_dim is even, got {head_dim}");
        (0..head_dim / 2).map(|pair| theta.powf(-2.0 * pair as f64 / head_dim as f64)).collect()
    }

    /// A table of other frequencies (long-context models stretch them), one per pair of a head; the
    /// turned numbers are multiplied by `factor`.
    pub fn of_frequencies(frequencies: &[f64], factor: f64, n_positions: usize) -> Self {
        let half = frequencies.len();
        let angle = |i: usize| (i / half) as f64 * frequencies[i % half];
        let cos = (0..n_positions * half).map(|i| (angle(i).cos() * factor) as f32).collect();
        let sin = (0..n_positions * half).map(|i| (angle(i).sin() * factor) as f32).collect();
        Self { head_dim: 2 * half, cos, sin }
    }

    /// Turns `x[rows, heads * head_dim]` in place; row `r` stands at `positions[r]`.
    pub fn rotate(&self, x: &mut [f32], positions: &[u32]) {
        self.turn(x, positions, 1.0);
    }

    /// Turns back, which is also the backward pass: the rotation is orthogonal.
    pub fn rotate_back(&self, x: &mut [f32], positions: &[u32]) {
        self.turn(x, positions, -1.0);
    }

    fn turn(&self, x: &mut [f32], positions: &[u32], sign: f32) {
        if positions.is_empty() {
            return;
        }
        let width = x.len() / positions.len();
        assert_eq!(x.len(), width * positions.len(), "x is [rows, heads * head_dim]");
        assert!(width.is_multiple_of(self.head_dim), "a row holds whole heads");
        let half = self.head_dim / 2;
        vectorised(
            #[inline(always)]
            || {
                for (row, &position) in x.chunks_exact_mut(width).zip(positions) {
                    let at = position as usize * half;
                    let (cos, sin) = (&self.cos[at..at + half], &self.sin[at..at + half]);
                    for head in row.chunks_exact_mut(self.head_dim) {
                        let (low, high) = head.split_at_mut(half);
                        for i in 0..half {
                            let (a, b, s) = (low[i], high[i], sign * sin[i]);
                            low[i] = a * cos[i] - b * s;
                            high[i] = b * cos[i] + a * s;
                        }
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, wave};

    #[test]
    fn the_first_pair_turns_by_the_position_in_radians() {
        let table = RopeTable::new(10_000.0, 4, 3);
        let mut x = [1.0, 0.0, 0.0, 1.0];
        table.rotate(&mut x, &[2]);
        // Pair (0, 2) by 2 rad, pair (1, 3) by 2 / 100 rad.
        let want = [2f32.cos(), -(0.02f32.sin()), 2f32.sin(), 0.02f32.cos()];
        for (g, w) in x.iter().zip(want) {
            assert!((g - w).abs() < 1e-6, "{g} is not {w}");
        }
    }

    #[test]
    fn the_gradient_is_the_rotation_back() {
        let table = RopeTable::new(100.0, 6, 8);
        let (x, mut d_x) = (wave(24, 0.3), wave(24, 1.1));
        let d_out = d_x.clone();
        let positions = [5, 0];
        table.rotate_back(&mut d_x, &positions);
        assert_gradient(&x, &d_x, |x| {
            let mut out = x.to_vec();
            table.rotate(&mut out, &positions);
            out.iter().zip(&d_out).map(|(o, d)| f64::from(o * d)).sum()
        });
    }
}
