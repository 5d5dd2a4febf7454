//! Seeded chance: every draw of the world comes from a [`Dice`] or from [`mix`].

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A hash of two numbers (the finaliser of SplitMix64): fixed traits that need no stored state.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = (a ^ b.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(b);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// [`mix`] as a number in `[0, 1)`.
pub(crate) fn unit(a: u64, b: u64) -> f32 {
    (mix(a, b) >> 40) as f32 / (1u64 << 24) as f32
}

/// A stream of random draws.
pub(crate) struct Dice(Pcg64Mcg);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.0.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = usize::try_from(high.saturating_sub(low)).unwrap_or(0).saturating_add(1);
        low + self.below(span) as i64
    }

    pub(crate) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// One of `all`, which must not be empty.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// An index drawn in proportion to `weights`; `None` when none is positive.
    pub(crate) fn weighted(&mut self, weights: impl Iterator<Item = f32> + Clone) -> Option<usize> {
        let sum: f32 = weights.clone().filter(|w| *w > 0.0).sum();
        let mut left = self.unit() * sum;
        let mut last = None;
        for (idx, weight) in weights.enumerate().filter(|(_, w)| *w > 0.0) {
            last = Some(idx);
            if left < weight {
                break;
            }
            left -= weight;
        }
        last
    }

    /// Standard normal (Box and Muller).
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.unit()).cos()
    }

    /// Standard Gumbel: the largest of `score + gumbel` is a draw from the softmax of the scores.
    pub(crate) fn gumbel(&mut self) -> f32 {
        -(-(self.unit().max(1e-7)).ln()).max(1e-7).ln()
    }

    /// Puts `all` into random order.
    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for idx in (1..all.len()).rev() {
            all.swap(idx, self.below(idx + 1));
        }
    }
}
