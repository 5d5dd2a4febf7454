//! Draws the next token from logits; a pure function of logits, settings and the request's own seed.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use toktrie::SimpleVob;

use crate::error::LmError;
use crate::model::Sampling;

/// The sampling state of one request.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    rng: Pcg64Mcg,
    /// (weight, token) of the candidates of one step; kept to save allocations.
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// Checks the settings and starts the request's random stream.
    pub(super) fn new(sampling: Sampling) -> Result<Self, LmError> {
        let bad = |name, got: f32, expected| {
            Err(LmError::BadSetting { name, got: got.to_string(), expected })
        };
        if !(sampling.temperature.is_finite() && sampling.temperature >= 0.0) {
            return bad("temperature", sampling.temperature, "a number of at least 0");
        }
        if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            return bad("top_p", sampling.top_p, "more than 0 and at most 1");
        }
        let rng = Pcg64Mcg::seed_from_u64(sampling.seed);
        Ok(Self { sampling, rng, candidates: Vec::new() })
    }

    /// The next token, among those of the mask. `logits` is `[vocab]`; the mask is not empty.
    pub(super) fn pick(&mut self, logits: &[f32], mask: Option<&SimpleVob>) -> u32 {
        let greedy = self.sampling.temperature == 0.0;
        if greedy && mask.is_none() {
            return argmax(logits);
        }
        self.candidates.clear();
        match mask {
            Some(mask) => {
                let candidates = &mut self.candidates;
                mask.iter_set_entries(|id| {
                    if let Some(&logit) = logits.get(id) {
                        candidates.push((logit, id as u32));
                    }
                });
            }
            None => self.candidates.extend(logits.iter().zip(0..).map(|(&logit, id)| (logit, id))),
        }
        if greedy { best(&self.candidates).1 } else { self.draw() }
    }

    /// Turns the candidates' logits into weights `exp((logit - max) / temperature)` and draws one from
    /// the smallest set that holds `top_p` of them.
    fn draw(&mut self) -> u32 {
        let top = best(&self.candidates).0;
        let mut total = 0.0;
        for (weight, _) in &mut self.candidates {
            *weight = ((*weight - top) / self.sampling.temperature).exp();
            total += f64::from(*weight);
        }
        if self.sampling.top_p < 1.0 {
            total = self.keep_nucleus(total);
        }
        let mut left = self.rng.random::<f64>() * total;
        for &(weight, id) in &self.candidates {
            left -= f64::from(weight);
            if left < 0.0 {
                return id;
            }
        }
        best(&self.candidates).1
    }

    /// Keeps the heaviest candidates until they hold `top_p` of the total; returns their sum.
    fn keep_nucleus(&mut self, total: f64) -> f64 {
        let (top_p, n) = (f64::from(self.sampling.top_p), self.candidates.len());
        // All candidates below this together weigh less than 1 - top_p, so none is in the nucleus; what
        // is left to sort is short (llama2.c `sample_topp`).
        let cutoff = ((1.0 - top_p) * total / n as f64) as f32;
        self.candidates.retain(|&(weight, _)| weight >= cutoff);
        self.candidates.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut sum = 0.0;
        let kept = self.candidates.iter().take_while(|&&(weight, _)| {
            let more = sum < top_p * total;
            sum += if more { f64::from(weight) } else { 0.0 };
            more
        });
        let kept = kept.count();
        self.candidates.truncate(kept);
        sum
    }
}

/// The first of the highest logits.
pub(super) fn argmax(logits: &[f32]) -> u32 {
    // Eight running maxima let the compiler use vector instructions; then one search for the place.
    let mut lanes = [f32::NEG_INFINITY; 8];
    let (chunks, rest) = logits.as_chunks::<8>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    let top = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&logit| logit == top).unwrap_or(0) as u32
}

/// The first of the heaviest candidates; token 0 if there is none.
fn best(candidates: &[(f32, u32)]) -> (f32, u32) {
    let heavier = |best: (f32, u32), &next: &(f32, u32)| if next.0 > best.0 { next } else { best };
    candidates.iter().skip(1).fold(candidates.first().copied().unwrap_or((0.0, 0)), heavier)
}

#[cfg(test)]
mod tests {
    use toktrie::SimpleVob;

    use super::{Sampler, argmax};
    use crate::model::Sampling;

    fn sampler(temperature: f32, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(Sampling { temperature, top_p, seed }).unwrap()
    }

    #[test]
    fn argmax_takes_the_first_of_the_highest() {
        let check = |logits: &[f32], want: u32| assert_eq!(argmax(logits), want, "{logits:?}");
        check(&[], 0);
        check(&[1.0], 0);
        check(&[1.0, 3.0, 3.0], 1);
        check(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 9.0], 9);
        check(&[0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 7.0, 1.0], 1);
        check(&[f32::NAN, 2.0], 1);
        check(&[f32::NAN, f32::NAN], 0);
    }

    #[test]
    fn mask_limits_greedy_and_drawn_tokens() {
        let mut mask = SimpleVob::alloc(5);
        mask.allow_token(1);
        mask.allow_token(3);
        let logits = [9.0, 1.0, 9.0, 2.0, 9.0];
        assert_eq!(sampler(0.0, 1.0, 0).pick(&logits, Some(&mask)), 3);
        let mut drawn = sampler(5.0, 1.0, 1);
        assert!((0..50).all(|_| [1, 3].contains(&drawn.pick(&logits, Some(&mask)))));
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        // Weights 1, 2, 5 of 8.
        let logits = [1f32.ln(), 2f32.ln(), 5f32.ln()];
        let check = |temperature: f32, top_p: f32, want: [f64; 3]| {
            let mut drawn = sampler(temperature, top_p, 7);
            let mut counts = [0.0; 3];
            for _ in 0..20_000 {
                counts[drawn.pick(&logits, None) as usize] += 1.0 / 20_000.0;
            }
            for (got, want) in counts.iter().zip(want) {
                assert!((got - want).abs() < 0.02, "{counts:?} at {temperature} {top_p}");
            }
        };
        check(1.0, 1.0, [0.125, 0.25, 0.625]);
        check(1.0, 0.8, [0.0, 2.0 / 7.0, 5.0 / 7.0]);
        check(1.0, 0.5, [0.0, 0.0, 1.0]);
        check(0.5, 1.0, [1.0 / 30.0, 4.0 / 30.0, 25.0 / 30.0]);
    }

    #[test]
    fn seed_decides_and_settings_are_checked() {
        let logits: Vec<f32> = (0..100).map(|i| (i as f32).sin()).collect();
        let run = |seed| {
            let mut drawn = sampler(1.0, 0.9, seed);
            (0..20).map(|_| drawn.pick(&logits, None)).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        for (temperature, top_p) in [(-1.0, 1.0), (f32::NAN, 1.0), (1.0, 0.0), (1.0, 1.5)] {
            assert!(Sampler::new(Sampling { temperature, top_p, seed: 0 }).is_err());
        }
    }
}
