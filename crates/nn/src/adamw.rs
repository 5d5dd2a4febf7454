//! AdamW (Loshchilov & Hutter 2019) on one flat vector, and clipping by the global norm.

use std::ops::Range;

use rayon::prelude::*;

use crate::simd::{square_norm, vectorised};

/// Numbers that one task updates; fixed, so that results do not depend on the thread count.
const CHUNK: usize = 1 << 16;

/// The constants of the optimiser; the learning rate comes with each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay, applied where the span says so.
    pub weight_decay: f32,
}

/// The state of the optimiser; public so that a checkpoint can hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// The constants.
    pub config: AdamWConfig,
    /// Steps done.
    pub step: u64,
    /// First moments, as long as the parameters.
    pub first: Vec<f32>,
    /// Second moments, as long as the parameters.
    pub second: Vec<f32>,
}

/// A range of the parameters and whether weight decay applies to it.
pub type Span = (Range<usize>, bool);

impl AdamW {
    /// A fresh state for `n_params` parameters.
    pub fn new(config: AdamWConfig, n_params: usize) -> Self {
        Self { config, step: 0, first: vec![0.0; n_params], second: vec![0.0; n_params] }
    }

    /// One step at learning rate `lr` with `grads` times `grad_scale` (for clipping and means).
    ///
    /// Only parameters inside `spans` change; the spans must not overlap.
    pub fn update(
        &mut self,
        params: &mut [f32],
        grads: &[f32],
        grad_scale: f32,
        lr: f32,
        spans: &[Span],
    ) {
        assert_eq!(params.len(), self.first.len(), "the state fits the parameters");
        assert_eq!(params.len(), grads.len(), "a gradient for each parameter");
        self.step += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let unbias1 = 1.0 / (1.0 - f64::from(beta1).powf(self.step as f64)) as f32;
        let unbias2 = 1.0 / (1.0 - f64::from(beta2).powf(self.step as f64)) as f32;
        for (range, decays) in spans {
            let keep = if *decays { 1.0 - lr * weight_decay } else { 1.0 };
            let moments = self.first[range.clone()]
                .par_chunks_mut(CHUNK)
                .zip(self.second[range.clone()].par_chunks_mut(CHUNK));
            params[range.clone()]
                .par_chunks_mut(CHUNK)
                .zip(grads[range.clone()].par_chunks(CHUNK))
                .zip(moments)
                .for_each(|((p, g), (m, v))| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                                let g = g * grad_scale;
                                *m = beta1 * *m + (1.0 - beta1) * g;
                                *v = beta2 * *v + (1.0 - beta2) * g * g;
                                let root = (*v * unbias2).sqrt() + eps;
                                *p = *p * keep - lr * (*m * unbias1) / root;
                            }
                        },
                    );
                });
        }
    }
}

/// The factor that brings `grads * scale` to a norm of at most `max_norm`, and the norm before.
pub fn clip_factor(grads: &[f32], scale: f32, max_norm: f32) -> (f32, f32) {
    let sums: Vec<f64> = grads.par_chunks(CHUNK).map(square_norm).collect();
    let norm = sums.iter().sum::<f64>().sqrt() as f32 * scale;
    let factor = if norm > max_norm { scale * max_norm / norm } else { scale };
    (factor, norm)
}

/// Cosine schedule: rises linearly over `warmup` steps, then falls to `floor * lr` at `steps`.
pub fn cosine_lr(lr: f32, step: u64, warmup: u64, steps: u64, floor: f32) -> f32 {
    if step < warmup {
        return lr * (step + 1) as f32 / warmup as f32;
    }
    let done = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
    lr * (floor + (1.0 - floor) * cosine as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: AdamWConfig =
        AdamWConfig { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.5 };

    #[test]
    fn the_first_step_moves_by_the_learning_rate() {
        let mut adam = AdamW::new(CONFIG, 3);
        let mut params = [1.0, 1.0, 1.0];
        adam.update(&mut params, &[4.0, -4.0, 4.0], 0.5, 0.1, &[(0..1, true), (1..2, false)]);
        // Decayed 1 * (1 - 0.1 * 0.5), then -0.1; not decayed +0.1; outside the spans unmoved.
        assert!((params[0] - 0.85).abs() < 1e-6 && (params[1] - 1.1).abs() < 1e-6);
        assert_eq!(params[2], 1.0);
    }

    #[test]
    fn a_bowl_is_descended_to_its_bottom() {
        let mut adam = AdamW::new(AdamWConfig { weight_decay: 0.0, ..CONFIG }, 2);
        let mut params = [3.0f32, -2.0];
        for step in 0..500 {
            let grads = [2.0 * (params[0] - 1.0), 8.0 * (params[1] - 0.5)];
            let lr = cosine_lr(0.1, step, 10, 500, 0.0);
            adam.update(&mut params, &grads, 1.0, lr, &[(0..2, false)]);
        }
        assert!((params[0] - 1.0).abs() < 1e-3 && (params[1] - 0.5).abs() < 1e-3, "{params:?}");
    }

    #[test]
    fn a_long_gradient_is_clipped_and_a_short_one_kept() {
        assert_eq!(clip_factor(&[3.0, 4.0], 1.0, 1.0), (0.2, 5.0));
        assert_eq!(clip_factor(&[3.0, 4.0], 0.1, 1.0), (0.1, 0.5));
    }

    #[test]
    fn the_schedule_rises_and_falls() {
        let at = |step| cosine_lr(1.0, step, 10, 110, 0.1);
        assert!((at(0) - 0.1).abs() < 1e-6 && (at(10) - 1.0).abs() < 1e-6);
        assert!((at(60) - 0.55).abs() < 1e-6 && (at(110) - 0.1).abs() < 1e-6);
    }
}
