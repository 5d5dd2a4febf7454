//! Muon (Jordan et al. 2024): momentum whose matrix is made orthogonal before it is applied.

use crate::matmul::{gemm_nn, gemm_nt, transpose};
use crate::simd::{scale, square_norm};

/// The constants of one step over one matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonStep {
    /// Learning rate, on the scale of AdamW's: the update has the same root mean square as one of AdamW's
    /// (Liu et al. 2025, "Muon is scalable for LLM training", equation 4).
    pub lr: f32,
    /// Factor of the gradients, for clipping and means.
    pub grad_scale: f32,
    /// Decay of the momentum.
    pub momentum: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
}

/// Coefficients of the iteration `X <- aX + bXX'X + c(XX')^2 X`: five rounds bring singular values of
/// [0.01, 1] to about [0.7, 1.2].
const ITERATION: (f32, f32, f32) = (3.4445, -4.775, 2.0315);
const ROUNDS: usize = 5;

/// Root mean square of an update of AdamW, to which that of an orthogonal matrix is brought.
const ADAM_RMS: f32 = 0.2;

/// One step of the matrix `params[rows, cols]` with its `momentum` of the same shape:
/// `m = mu m + g; params = (1 - lr wd) params - lr 0.2 sqrt(max(rows, cols)) orthogonal(g + mu m)`.
///
/// # Panics
/// When the slices are not `rows * cols` long.
pub fn muon_update(
    params: &mut [f32],
    momentum: &mut [f32],
    grads: &[f32],
    (rows, cols): (usize, usize),
    step: MuonStep,
) {
    assert!(params.len() == rows * cols && grads.len() == params.len(), "matrices of one shape");
    assert_eq!(momentum.len(), params.len(), "a momentum for each parameter");
    let mut ahead = vec![0.0; grads.len()];
    for ((m, &g), ahead) in momentum.iter_mut().zip(grads).zip(&mut ahead) {
        let g = g * step.grad_scale;
        *m = step.momentum * *m + g;
        *ahead = g + step.momentum * *m;
    }
    let direction = orthogonalised(ahead, rows, cols);
    let keep = 1.0 - step.lr * step.weight_decay;
    let rate = step.lr * ADAM_RMS * (rows.max(cols) as f32).sqrt();
    for (p, d) in params.iter_mut().zip(&direction) {
        *p = *p * keep - rate * d;
    }
}

/// About `U V'` of the singular value decomposition `U S V'` of a matrix; zeros stay zeros.
fn orthogonalised(mut x: Vec<f32>, rows: usize, cols: usize) -> Vec<f32> {
    let norm = square_norm(&x).sqrt() as f32;
    if norm <= f32::MIN_POSITIVE {
        return x;
    }
    scale(&mut x, 1.0 / norm);
    if rows <= cols {
        return iterate(x, rows, cols);
    }
    let mut turned = vec![0.0; x.len()];
    transpose(&x, rows, cols, &mut turned);
    let turned = iterate(turned, cols, rows);
    transpose(&turned, cols, rows, &mut x);
    x
}

/// The rounds on a matrix with no more rows than columns.
fn iterate(mut x: Vec<f32>, rows: usize, cols: usize) -> Vec<f32> {
    let (a, b, c) = ITERATION;
    let (mut square, mut fourth) = (vec![0.0; rows * rows], vec![0.0; rows * rows]);
    let mut next = vec![0.0; x.len()];
    for _ in 0..ROUNDS {
        gemm_nt(&mut square, &x, &x, (rows, cols, rows), 0.0);
        gemm_nn(&mut fourth, &square, &square, (rows, rows, rows), 0.0);
        for (s, f) in square.iter_mut().zip(&fourth) {
            *s = b * *s + c * f;
        }
        gemm_nn(&mut next, &square, &x, (rows, rows, cols), 0.0);
        for (x, n) in x.iter_mut().zip(&next) {
            *x = a * *x + n;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(n: usize, seed: u32) -> Vec<f32> {
        let at = |i: usize| ((i as u32 * 2_654_435_761 + seed) >> 8) as f32 / 16_777_216.0 - 0.5;
        (0..n).map(at).collect()
    }

    #[test]
    fn rows_or_columns_become_about_orthonormal() {
        for (rows, cols) in [(4, 9), (9, 4), (6, 6), (1, 5)] {
            let x = orthogonalised(matrix(rows * cols, 7), rows, cols);
            let (n, inner) = (rows.min(cols), rows.max(cols));
            let mut gram = vec![0.0; n * n];
            let mut turned = x.clone();
            if rows > cols {
                transpose(&x, rows, cols, &mut turned);
            }
            gemm_nt(&mut gram, &turned, &turned, (n, inner, n), 0.0);
            for (i, g) in gram.iter().enumerate() {
                let want = if i / n == i % n { 1.0 } else { 0.0 };
                assert!((g - want).abs() < 0.55, "{rows} x {cols}: {gram:?}");
            }
        }
    }

    #[test]
    fn a_matrix_without_gradient_only_decays() {
        let (mut params, mut momentum) = (vec![2.0; 6], vec![0.0; 6]);
        let step = MuonStep { lr: 0.1, grad_scale: 1.0, momentum: 0.9, weight_decay: 0.5 };
        muon_update(&mut params, &mut momentum, &[0.0; 6], (2, 3), step);
        assert_eq!(params, [1.9; 6]);
    }

    #[test]
    fn an_update_has_the_root_mean_square_of_one_of_adamw() {
        let (mut params, mut momentum) = (vec![0.0; 32 * 64], vec![0.0; 32 * 64]);
        let step = MuonStep { lr: 1.0, grad_scale: 1.0, momentum: 0.9, weight_decay: 0.0 };
        muon_update(&mut params, &mut momentum, &matrix(32 * 64, 3), (32, 64), step);
        let rms = (square_norm(&params) / params.len() as f64).sqrt();
        assert!((rms - 0.2).abs() < 0.06, "{rms}");
    }

    #[test]
    fn a_linear_map_is_learnt() {
        let (n, target) = (8, matrix(64, 5));
        let (mut params, mut momentum) = (vec![0.0; 64], vec![0.0; 64]);
        for i in 0..300 {
            let grads: Vec<f32> = params.iter().zip(&target).map(|(p, t)| p - t).collect();
            let lr = 0.1 * (1.0 - i as f32 / 300.0);
            let step = MuonStep { lr, grad_scale: 1.0, momentum: 0.9, weight_decay: 0.0 };
            muon_update(&mut params, &mut momentum, &grads, (n, n), step);
        }
        let left: Vec<f32> = params.iter().zip(&target).map(|(p, t)| p - t).collect();
        assert!(square_norm(&left) < 1e-3 * square_norm(&target), "{left:?}");
    }
}
