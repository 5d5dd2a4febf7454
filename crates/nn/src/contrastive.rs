//! Softmax over sampled candidates with the logQ correction, and its gradient.
//!
//! For a query row with logits `s_j` over candidate columns `j`, of which `t` is the positive and
//! `q_j` is the expected number of times that column `j` was drawn,
//! `loss = -log( e^(s_t - log q_t) / sum_j e^(s_j - log q_j) )`: an estimate of the full softmax
//! (Bengio and Senecal 2008; Yi et al., RecSys 2019, for in-batch negatives). `log_q = 0` on all
//! columns of a whole catalogue gives the full softmax itself. Products with the vectors are the
//! caller's.

use rayon::prelude::*;

use crate::vectorised;

/// One query: which column is its positive, which columns it must not see, and its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContrastiveRow {
    /// Column of the positive.
    pub target: usize,
    /// Columns of this group (see `groups` of [`sampled_softmax`]) are left out, except the target:
    /// accidental hits, or items of the query's own category.
    pub excluded_group: Option<u32>,
    /// Weight in the loss.
    pub weight: f32,
}

/// Sum of weighted losses of `rows` over `logits[rows.len(), n]`; adds the gradient with respect to
/// the logits, `weight * (p_j - 1[j = target])`, to `grads` of the same shape.
///
/// `log_q[n]` corrects for the sampling, `groups[n]` names the group of every column.
///
/// # Panics
/// When shapes disagree or a target lies outside the columns.
#[must_use]
pub fn sampled_softmax(
    grads: &mut [f32],
    logits: &[f32],
    rows: &[ContrastiveRow],
    log_q: &[f32],
    groups: &[u32],
) -> f64 {
    let n = log_q.len();
    assert_eq!(groups.len(), n, "one group per column");
    assert_eq!((logits.len(), grads.len()), (rows.len() * n, rows.len() * n), "[rows, columns]");
    if rows.is_empty() {
        return 0.0;
    }
    let losses: Vec<f64> = grads
        .par_chunks_mut(n)
        .zip(logits.par_chunks(n))
        .zip(rows)
        .map_init(
            || vec![0.0; n],
            |scratch, ((grad, logits), row)| {
                vectorised(
                    #[inline(always)]
                    || row_loss(grad, logits, *row, (log_q, groups, scratch)),
                )
            },
        )
        .collect();
    losses.iter().sum()
}

#[inline(always)]
fn row_loss(
    grad: &mut [f32],
    logits: &[f32],
    row: ContrastiveRow,
    (log_q, groups, p): (&[f32], &[u32], &mut [f32]),
) -> f64 {
    assert!(row.target < logits.len(), "the target is a column");
    for ((p, s), q) in p.iter_mut().zip(logits).zip(log_q) {
        *p = s - q;
    }
    let target = p[row.target];
    if let Some(excluded) = row.excluded_group {
        for (p, &group) in p.iter_mut().zip(groups) {
            *p = if group == excluded { f32::NEG_INFINITY } else { *p };
        }
        p[row.target] = target;
    }
    let largest = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    p.iter_mut().for_each(|p| *p = exp_negative(*p - largest));
    let total: f32 = p.iter().sum();
    let scale = row.weight / total;
    for (grad, p) in grad.iter_mut().zip(p.iter()) {
        *grad += scale * p;
    }
    grad[row.target] -= row.weight;
    f64::from(row.weight) * (f64::from(total).ln() - f64::from(target - largest))
}

/// `e^x` for `x <= 0` to a relative error of 2e-7, in a form that the compiler vectorises (Cody and
/// Waite reduction, Taylor polynomial of degree 6); 0 below -87.
#[inline(always)]
fn exp_negative(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let clamped = x.max(-87.0);
    let n = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (clamped - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let poly = 1.0
        + r * (1.0
            + r * (0.5
                + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let power = f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < -87.0 { 0.0 } else { poly * power }
}

#[cfg(test)]
mod tests {
    use super::{ContrastiveRow, exp_negative, sampled_softmax};

    #[test]
    fn fast_exponential_agrees_with_the_exact_one() {
        for i in 0..=8_700 {
            let x = -(i as f32) / 100.0;
            let (got, want) = (exp_negative(x), f64::from(x).exp());
            assert!((f64::from(got) / want - 1.0).abs() < 4e-7, "e^{x} = {want}, got {got}");
        }
        assert_eq!(exp_negative(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_negative(0.0), 1.0);
    }

    #[test]
    fn loss_by_hand_with_correction_and_exclusion() {
        // columns 0 and 2 share a group; column 2 is the target and stays although excluded
        let row = ContrastiveRow { target: 2, excluded_group: Some(7), weight: 2.0 };
        let logits = [5.0, 1.0, 2.0, 0.0];
        let log_q = [0.0, 0.5, 1.0, 0.0];
        let mut grads = [0.0; 4];
        let loss = sampled_softmax(&mut grads, &logits, &[row], &log_q, &[7, 1, 7, 2]);
        let weights = [0.0, 0.5f64.exp(), 1.0f64.exp(), 1.0];
        let total: f64 = weights.iter().sum();
        assert!((loss - 2.0 * (total.ln() - 1.0)).abs() < 1e-6);
        for (idx, grad) in grads.iter().enumerate() {
            let want = 2.0 * (weights[idx] / total - if idx == 2 { 1.0 } else { 0.0 });
            assert!((f64::from(*grad) - want).abs() < 1e-6, "column {idx}: {grad} is not {want}");
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let rows = [
            ContrastiveRow { target: 0, excluded_group: None, weight: 1.0 },
            ContrastiveRow { target: 3, excluded_group: Some(1), weight: 0.5 },
        ];
        let logits: Vec<f32> = (0..10).map(|i| (i as f32 * 1.3).sin() * 3.0).collect();
        let (log_q, groups) = ([0.1, -0.4, 0.0, 0.9, 0.2], [0, 1, 1, 1, 2]);
        let loss = |logits: &[f32]| sampled_softmax(&mut [0.0; 10], logits, &rows, &log_q, &groups);
        let mut grads = [0.0; 10];
        let _ = sampled_softmax(&mut grads, &logits, &rows, &log_q, &groups);
        for i in 0..10 {
            let at = |step: f32| {
                let mut logits = logits.clone();
                logits[i] += step;
                loss(&logits)
            };
            let want = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((f64::from(grads[i]) - want).abs() < 1e-3, "{i}: {} is not {want}", grads[i]);
        }
    }
}
