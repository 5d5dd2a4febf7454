//! RMSNorm (Zhang & Sennrich 2019): `y = x / sqrt(mean(x^2) + eps) * weight`, row by row.
//!
//! Also the per-head norm of queries and keys: a `[rows, heads * head_dim]` slice is
//! `[rows * heads, head_dim]` for this code.

use crate::simd::{dot_inline, vectorised};

/// Writes `out[rows, n]` and `inv_rms[rows]` (kept for the backward pass); `n` is `weight.len()`.
pub fn rms_norm_forward(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32], inv_rms: &mut [f32]) {
    let n = weight.len();
    assert_eq!(x.len(), out.len(), "out has the shape of x");
    assert_eq!(x.len(), inv_rms.len() * n, "x is [rows, n]");
    vectorised(
        #[inline(always)]
        || {
            for ((x, out), inv) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)).zip(inv_rms) {
                *inv = 1.0 / (dot_inline(x, x) / n as f32 + eps).sqrt();
                for ((o, &x), &w) in out.iter_mut().zip(x).zip(weight) {
                    *o = x * *inv * w;
                }
            }
        },
    );
}

/// Inputs of [`rms_norm_backward`], as the forward pass saw and made them.
pub struct RmsNormSaved<'a> {
    /// `[rows, n]`.
    pub x: &'a [f32],
    /// `[n]`.
    pub weight: &'a [f32],
    /// `[rows]`.
    pub inv_rms: &'a [f32],
}

/// Adds to `d_x[rows, n]` and `d_weight[n]` the gradient through the norm of `d_out[rows, n]`.
///
/// With `h = x * inv`: `d_x = inv * (d_out * w - h * mean(d_out * w * h))`.
pub fn rms_norm_backward(
    saved: &RmsNormSaved<'_>,
    d_out: &[f32],
    d_x: &mut [f32],
    d_weight: &mut [f32],
) {
    let n = saved.weight.len();
    assert_eq!(saved.x.len(), d_out.len(), "d_out has the shape of x");
    assert_eq!(saved.x.len(), d_x.len(), "d_x has the shape of x");
    assert_eq!(d_weight.len(), n, "d_weight has the shape of weight");
    let mut product = vec![0.0; n];
    vectorised(
        #[inline(always)]
        || {
            let rows =
                saved.x.chunks_exact(n).zip(d_out.chunks_exact(n)).zip(d_x.chunks_exact_mut(n));
            for (((x, d_out), d_x), &inv) in rows.zip(saved.inv_rms) {
                for i in 0..n {
                    product[i] = d_out[i] * x[i];
                    d_weight[i] += product[i] * inv;
                }
                let c = dot_inline(&product, saved.weight) * inv * inv * inv / n as f32;
                for i in 0..n {
                    d_x[i] += inv * d_out[i] * saved.weight[i] - c * x[i];
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, wave};

    #[test]
    fn a_row_by_hand() {
        // mean(9, 16) = 12.5, so 1/rms = 0.28284; times the weights 1 and 2.
        let (mut out, mut inv) = ([0.0; 2], [0.0; 1]);
        rms_norm_forward(&[3.0, 4.0], &[1.0, 2.0], 0.0, &mut out, &mut inv);
        assert!((out[0] - 0.848_528).abs() < 1e-5 && (out[1] - 2.262_742).abs() < 1e-5);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (rows, n, eps) = (3, 21, 1e-2);
        let (x, w, d_out) = (wave(rows * n, 0.7), wave(n, 0.4), wave(rows * n, 1.3));
        let forward = |x: &[f32], w: &[f32]| {
            let (mut out, mut inv) = (vec![0.0; rows * n], vec![0.0; rows]);
            rms_norm_forward(x, w, eps, &mut out, &mut inv);
            (out, inv)
        };
        let loss = |x: &[f32], w: &[f32]| -> f64 {
            forward(x, w).0.iter().zip(&d_out).map(|(o, d)| f64::from(o * d)).sum()
        };
        let (_, inv) = forward(&x, &w);
        let (mut d_x, mut d_w) = (vec![0.0; rows * n], vec![0.0; n]);
        let saved = RmsNormSaved { x: &x, weight: &w, inv_rms: &inv };
        rms_norm_backward(&saved, &d_out, &mut d_x, &mut d_w);
        assert_gradient(&x, &d_x, |x| loss(x, &w));
        assert_gradient(&w, &d_w, |w| loss(&x, w));
    }
}
