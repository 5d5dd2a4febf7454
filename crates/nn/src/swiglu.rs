//! SwiGLU (Shazeer 2020): `out = silu(gate) * up`, with `silu(x) = x / (1 + e^-x)`.

use crate::simd::{exp, vectorised};

/// Writes `out`; the three slices have one shape.
pub fn swiglu_forward(gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && up.len() == out.len(), "one shape");
    vectorised(
        #[inline(always)]
        || {
            for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
                *o = g / (1.0 + exp(-g)) * u;
            }
        },
    );
}

/// Writes `d_gate` and `d_up` from `d_out`; nothing is added to what stood there.
pub fn swiglu_backward(
    gate: &[f32],
    up: &[f32],
    d_out: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    assert!(gate.len() == up.len() && up.len() == d_out.len(), "one shape");
    assert!(d_gate.len() == gate.len() && d_up.len() == up.len(), "one shape");
    vectorised(
        #[inline(always)]
        || {
            let inputs = gate.iter().zip(up).zip(d_out);
            for (((&g, &u), &d), (d_g, d_u)) in inputs.zip(d_gate.iter_mut().zip(d_up)) {
                let sigmoid = 1.0 / (1.0 + exp(-g));
                *d_g = d * u * sigmoid * (1.0 + g * (1.0 - sigmoid));
                *d_u = d * g * sigmoid;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, wave};

    #[test]
    fn values_by_hand() {
        let mut out = [0.0; 3];
        swiglu_forward(&[0.0, 1.0, -50.0], &[5.0, 2.0, 1.0], &mut out);
        assert_eq!(out[0], 0.0);
        assert!((out[1] - 2.0 * 0.731_058_6).abs() < 1e-6 && out[2].abs() < 1e-6);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let n = 37;
        let (gate, up, d_out) = (wave(n, 0.9), wave(n, 0.5), wave(n, 1.7));
        let (mut d_gate, mut d_up) = (vec![0.0; n], vec![0.0; n]);
        swiglu_backward(&gate, &up, &d_out, &mut d_gate, &mut d_up);
        let loss = |gate: &[f32], up: &[f32]| -> f64 {
            let mut out = vec![0.0; n];
            swiglu_forward(gate, up, &mut out);
            out.iter().zip(&d_out).map(|(o, d)| f64::from(o * d)).sum()
        };
        assert_gradient(&gate, &d_gate, |g| loss(g, &up));
        assert_gradient(&up, &d_up, |u| loss(&gate, u));
    }
}
