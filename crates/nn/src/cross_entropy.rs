//! Softmax cross-entropy of rows of logits against one target each.

use crate::simd::{exp_shifted_inline, max_inline, vectorised};

/// What the rows of a call came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// Sum over rows of `weight * -ln p(target)`.
    pub loss: f64,
    /// Rows whose largest logit is the target.
    pub n_correct: u64,
}

/// Turns `logits[rows, n]` into the gradient of the weighted sum of losses, in place.
///
/// Row `r` has the target `targets[r] < n` and becomes `weights[r] * (softmax - onehot)`.
pub fn cross_entropy(logits: &mut [f32], targets: &[u32], weights: &[f32]) -> CrossEntropy {
    assert_eq!(targets.len(), weights.len(), "a weight for each target");
    let mut total = CrossEntropy::default();
    if targets.is_empty() {
        return total;
    }
    let n = logits.len() / targets.len();
    assert_eq!(logits.len(), n * targets.len(), "logits are [rows, n]");
    vectorised(
        #[inline(always)]
        || {
            for ((row, &target), &weight) in logits.chunks_exact_mut(n).zip(targets).zip(weights) {
                let (max, at) = (max_inline(row), row[target as usize]);
                total.n_correct += u64::from(at == max);
                let sum = exp_shifted_inline(row, max);
                total.loss += f64::from(weight) * (f64::from(sum).ln() - f64::from(at - max));
                let scale = weight / sum;
                for x in row.iter_mut() {
                    *x *= scale;
                }
                row[target as usize] -= weight;
            }
        },
    );
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, wave};

    #[test]
    fn equal_logits_lose_the_logarithm_of_the_choices() {
        let mut logits = [1.0; 8];
        let got = cross_entropy(&mut logits, &[1, 3], &[1.0, 0.5]);
        assert!((got.loss - 1.5 * 4f64.ln()).abs() < 1e-6);
        assert_eq!(logits[..4], [0.25, -0.75, 0.25, 0.25]);
        assert_eq!(logits[4..], [0.125, 0.125, 0.125, -0.375]);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (targets, weights) = ([4u32, 0, 18], [1.0, 0.3, 2.0]);
        let logits = wave(3 * 19, 0.8);
        let mut gradient = logits.clone();
        cross_entropy(&mut gradient, &targets, &weights);
        assert_gradient(&logits, &gradient, |logits| {
            cross_entropy(&mut logits.to_vec(), &targets, &weights).loss
        });
    }
}
