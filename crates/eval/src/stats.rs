//! Intervals: the bootstrap over users, for one mean and for the difference of two systems.
//!
//! Resample `r` draws from its own generator, seeded by (seed, r), so the result does not depend on the
//! number of threads.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// How often to resample, and what to report.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BootstrapConfig {
    /// Resamples.
    pub resamples: usize,
    /// Share of the resampled means inside the interval.
    pub confidence: f64,
    /// Seed of the resamples.
    pub seed: u64,
}

impl BootstrapConfig {
    /// 1,000 resamples and 95% intervals.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { resamples: 1000, confidence: 0.95, seed }
    }
}

/// A mean with its percentile interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean over the users.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Users behind it.
    pub n: usize,
}

/// Mean difference of two systems on the same users.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Mean of `a - b`.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Share of resamples in which `a` is above `b` (a tie counts half).
    pub share_above: f64,
    /// Users behind it.
    pub n: usize,
}

impl PairedDifference {
    /// Whether the interval leaves out zero.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Mean of `values` with the percentile bootstrap interval (Efron 1979); `None` for no value.
#[must_use]
pub fn bootstrap_mean(values: &[f64], cfg: &BootstrapConfig) -> Option<Estimate> {
    let means = resampled_means(values, cfg)?;
    let (low, high) = interval(&means, cfg.confidence);
    Some(Estimate { mean: mean(values), low, high, n: values.len() })
}

/// Mean of `a[i] - b[i]` with its percentile bootstrap interval, users resampled in pairs; `None` for no
/// value, or when the lengths differ.
#[must_use]
pub fn paired_bootstrap(a: &[f64], b: &[f64], cfg: &BootstrapConfig) -> Option<PairedDifference> {
    if a.len() != b.len() {
        return None;
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let means = resampled_means(&differences, cfg)?;
    let (low, high) = interval(&means, cfg.confidence);
    let above: f64 = means
        .iter()
        .map(|&m| {
            if m > 0.0 {
                1.0
            } else if m == 0.0 {
                0.5
            } else {
                0.0
            }
        })
        .sum();
    Some(PairedDifference {
        mean: mean(&differences),
        low,
        high,
        share_above: above / means.len() as f64,
        n: differences.len(),
    })
}

/// Mean of a few repetitions, such as seeds, with its 95% interval by Student's t; the interval of a single
/// value is that value. `None` for no value.
#[must_use]
pub fn mean_of_runs(values: &[f64]) -> Option<Estimate> {
    let (mean, error) = mean_and_se(values)?;
    let n = values.len();
    let half = match StudentsT::new(0.0, 1.0, n as f64 - 1.0) {
        Ok(t) => t.inverse_cdf(0.975) * error,
        // No degree of freedom: nothing is known of the spread.
        Err(_) => 0.0,
    };
    Some(Estimate { mean, low: mean - half, high: mean + half, n })
}

/// Ratio of the means of `a` and `b` with its percentile bootstrap interval, users resampled in pairs;
/// `None` for no value, when the lengths differ, or where `b` has the mean 0.
#[must_use]
pub fn paired_ratio(a: &[f64], b: &[f64], cfg: &BootstrapConfig) -> Option<Estimate> {
    if a.len() != b.len() || a.is_empty() || cfg.resamples == 0 || mean(b) == 0.0 {
        return None;
    }
    let resample = |idx: usize| {
        let mut rng = resample_rng(cfg, idx);
        let mut sums = (0.0, 0.0);
        for _ in 0..a.len() {
            let user = rng.random_range(0..a.len());
            sums = (sums.0 + a[user], sums.1 + b[user]);
        }
        if sums.1 == 0.0 { f64::INFINITY } else { sums.0 / sums.1 }
    };
    let mut ratios: Vec<f64> = (0..cfg.resamples).into_par_iter().map(resample).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let (low, high) = interval(&ratios, cfg.confidence);
    Some(Estimate { mean: mean(a) / mean(b), low, high, n: a.len() })
}

/// Mean, and its standard error `s / sqrt(n)` with `s^2 = sum (x - mean)^2 / (n - 1)`; the error is 0 for
/// one value, `None` for no value.
#[must_use]
pub fn mean_and_se(values: &[f64]) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let mean = mean(values);
    if values.len() == 1 {
        return Some((mean, 0.0));
    }
    let n = values.len() as f64;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((mean, (variance / n).sqrt()))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Means of the resamples, ascending; `None` for no value or no resample.
fn resampled_means(values: &[f64], cfg: &BootstrapConfig) -> Option<Vec<f64>> {
    if values.is_empty() || cfg.resamples == 0 {
        return None;
    }
    let resample = |idx: usize| {
        let mut rng = resample_rng(cfg, idx);
        let drawn = (0..values.len()).map(|_| values[rng.random_range(0..values.len())]);
        drawn.sum::<f64>() / values.len() as f64
    };
    let mut means: Vec<f64> = (0..cfg.resamples).into_par_iter().map(resample).collect();
    means.sort_unstable_by(f64::total_cmp);
    Some(means)
}

fn resample_rng(cfg: &BootstrapConfig, idx: usize) -> Pcg64Mcg {
    let stream = (idx as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Pcg64Mcg::seed_from_u64(cfg.seed ^ stream)
}

/// The central `confidence` of ascending values, nearest rank.
fn interval(sorted: &[f64], confidence: f64) -> (f64, f64) {
    let cut = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    let last = sorted.len() - 1;
    let low = ((cut * sorted.len() as f64).floor() as usize).min(last);
    (sorted[low], sorted[last - low])
}

#[cfg(test)]
mod tests {
    use super::{BootstrapConfig, bootstrap_mean, mean_and_se, mean_of_runs, paired_bootstrap};

    #[test]
    fn a_few_runs_have_the_interval_of_students_t() {
        let check = |values: &[f64], mean: f64, half: f64| {
            let got = mean_of_runs(values).unwrap();
            assert_eq!(got.n, values.len());
            for (got, want) in [(got.mean, mean), (got.low, mean - half), (got.high, mean + half)] {
                assert!((got - want).abs() < 1e-3, "{got} is not {want} of {values:?}");
            }
        };
        // s = 1; quantiles 12.706 of one degree of freedom and 4.303 of two.
        check(&[1.0, 2.0, 3.0], 2.0, 4.303 / 3f64.sqrt());
        check(&[1.0, 2.0], 1.5, 12.706 / 2.0);
        check(&[0.5], 0.5, 0.0);
        assert_eq!(mean_of_runs(&[]), None);
    }

    #[test]
    fn the_interval_agrees_with_the_normal_one_on_a_large_sample() {
        // 400 users, half hit: mean 0.5, standard error sqrt(0.25 / 399) = 0.0250
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let (mean, se) = mean_and_se(&values).unwrap();
        assert!((mean - 0.5).abs() < 1e-12 && (se - 0.025_03).abs() < 1e-4);
        let got = bootstrap_mean(&values, &BootstrapConfig::new(7)).unwrap();
        assert!((got.low - (mean - 1.96 * se)).abs() < 0.01, "{got:?}");
        assert!((got.high - (mean + 1.96 * se)).abs() < 0.01, "{got:?}");
        assert_eq!(got.n, 400);
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_on_any_number_of_threads() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i * i % 17)).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bootstrap_mean(&values, &BootstrapConfig::new(3)).unwrap())
        };
        assert_eq!(run(1), run(3));
        let other = bootstrap_mean(&values, &BootstrapConfig::new(4)).unwrap();
        assert!(other.low != run(1).low || other.high != run(1).high);
    }

    #[test]
    fn pairing_sees_a_small_steady_difference() {
        // b varies a lot, a is always 0.01 above: only the pairs show it
        let b: Vec<f64> = (0..50).map(|i| f64::from(i % 5)).collect();
        let a: Vec<f64> = b.iter().map(|x| x + 0.01).collect();
        let got = paired_bootstrap(&a, &b, &BootstrapConfig::new(1)).unwrap();
        assert!(got.is_clear() && (got.mean - 0.01).abs() < 1e-9);
        assert!((got.share_above - 1.0).abs() < 1e-12);
        let same = paired_bootstrap(&b, &b, &BootstrapConfig::new(1)).unwrap();
        assert!(!same.is_clear() && (same.share_above - 0.5).abs() < 1e-12);
    }

    #[test]
    fn nothing_gives_nothing() {
        let cfg = BootstrapConfig::new(1);
        assert!(bootstrap_mean(&[], &cfg).is_none() && mean_and_se(&[]).is_none());
        assert!(paired_bootstrap(&[1.0], &[], &cfg).is_none());
        assert_eq!(mean_and_se(&[3.0]), Some((3.0, 0.0)));
        let one = bootstrap_mean(&[3.0], &cfg).unwrap();
        assert_eq!((one.mean, one.low, one.high), (3.0, 3.0, 3.0));
    }
}
