//! How far a judge can be trusted: its verdicts against the truth.

use serde::{Deserialize, Serialize};

/// A verdict and the truth about one subject.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The judge's probability that the subject passes; 0 or 1 of a judge that gives none.
    pub p: f64,
    /// Whether it does.
    pub passes: bool,
}

/// One bin of the calibration curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Subjects whose `p` lies in the bin.
    pub n: usize,
    /// Their mean `p`.
    pub predicted: f64,
    /// The share of them that passes.
    pub observed: f64,
}

/// A judge on some subjects, "passes" being the positive class.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JudgeReport {
    /// Subjects.
    pub n: usize,
    /// The probability from which on a subject passes.
    #[serde(default = "even")]
    pub threshold: f64,
    /// How likely a subject that passes has a larger probability than one that fails: .5 by chance.
    #[serde(default = "even")]
    pub auc: f64,
    /// Share of subjects that truly pass: what a judge that passes everything has as precision.
    pub base_rate: f64,
    /// Share of right verdicts.
    pub accuracy: f64,
    /// Of those passed, the share that passes.
    pub precision: f64,
    /// Of those that pass, the share passed.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// F1 of a judge that passes everything.
    pub f1_pass_all: f64,
    /// Share of all subjects rejected.
    pub reject_rate: f64,
    /// Share of bad subjects rejected.
    pub reject_rate_bad: f64,
    /// Share of good subjects rejected.
    pub reject_rate_good: f64,
    /// Agreement beyond chance (Cohen 1960).
    pub kappa: f64,
    /// Mean of `|predicted - observed|` over bins, weighed by their subjects.
    pub calibration_error: f64,
    /// Ten bins of `p`, those without subjects left out.
    pub calibration: Vec<CalibrationBin>,
}

const BINS: usize = 10;

/// Least agreement beyond chance of a judge that is used.
pub const MIN_KAPPA: f64 = 0.1;

impl JudgeReport {
    /// Measures verdicts; one with `p >= threshold` passes.
    #[must_use]
    pub fn new(verdicts: &[Verdict], threshold: f64) -> Self {
        let is = |v: &&Verdict, passed, passes| (v.p >= threshold) == passed && v.passes == passes;
        let count = |passed: bool, passes: bool| {
            verdicts.iter().filter(|v| is(v, passed, passes)).count() as f64
        };
        let (tp, fp) = (count(true, true), count(true, false));
        let (missed, tn) = (count(false, true), count(false, false));
        let n = verdicts.len() as f64;
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let f1 = |tp: f64, fp: f64, missed: f64| share(2.0 * tp, 2.0 * tp + fp + missed);
        let (good, bad) = (tp + missed, fp + tn);
        let accuracy = share(tp + tn, n);
        let by_chance = share((tp + fp) * good + (missed + tn) * bad, n * n);
        let calibration = calibration(verdicts);
        let error = |b: &CalibrationBin| b.n as f64 * (b.predicted - b.observed).abs();
        Self {
            n: verdicts.len(),
            threshold,
            auc: auc(verdicts),
            base_rate: share(good, n),
            accuracy,
            precision: share(tp, tp + fp),
            recall: share(tp, good),
            f1: f1(tp, fp, missed),
            f1_pass_all: f1(good, bad, 0.0),
            reject_rate: share(missed + tn, n),
            reject_rate_bad: share(tn, bad),
            reject_rate_good: share(missed, good),
            kappa: if by_chance < 1.0 { (accuracy - by_chance) / (1.0 - by_chance) } else { 0.0 },
            calibration_error: share(calibration.iter().map(error).sum(), n),
            calibration,
        }
    }

    /// Whether the judge is good enough to be used: right in at least `min_accuracy` of cases, and in agreement
    /// with the truth beyond chance ([`MIN_KAPPA`]). Accuracy alone would admit one that rejects everything where
    /// most is bad, and one that passes everything where most is good; both have a kappa of 0.
    #[must_use]
    pub fn is_usable(&self, min_accuracy: f64) -> bool {
        self.n > 0 && self.accuracy >= min_accuracy && self.kappa >= MIN_KAPPA
    }
}

/// The threshold with the largest F1 among those that are right in at least `min_accuracy` of these verdicts,
/// two standard errors above it, so that others are likely to say so, too; where none is, the largest F1 of
/// all. To be chosen on other verdicts than those that are reported. One half without verdicts.
#[must_use]
pub fn best_threshold(verdicts: &[Verdict], min_accuracy: f64) -> f64 {
    let n = verdicts.len() as f64;
    let margin = 2.0 * (min_accuracy * (1.0 - min_accuracy) / n).sqrt();
    let largest = |points: &mut dyn Iterator<Item = OperatingPoint>| {
        points.reduce(|best, point| if point.f1 > best.f1 { point } else { best })
    };
    let points = operating_points(verdicts);
    let mut accurate = points.iter().copied().filter(|p| p.accuracy >= min_accuracy + margin);
    let best = largest(&mut accurate).or_else(|| largest(&mut points.iter().copied()));
    best.filter(|point| point.f1 > 0.0).map_or(even(), |point| point.threshold)
}

/// A threshold and what it gives.
#[derive(Debug, Clone, Copy)]
struct OperatingPoint {
    threshold: f64,
    f1: f64,
    accuracy: f64,
}

/// One for every different probability, the largest first.
fn operating_points(verdicts: &[Verdict]) -> Vec<OperatingPoint> {
    let mut ranked: Vec<&Verdict> = verdicts.iter().collect();
    ranked.sort_by(|a, b| b.p.total_cmp(&a.p));
    let (n, good) = (ranked.len() as f64, ranked.iter().filter(|v| v.passes).count() as f64);
    let (mut points, mut passed, mut passed_good) = (Vec::new(), 0.0, 0.0);
    for equals in ranked.chunk_by(|a, b| a.p == b.p) {
        passed += equals.len() as f64;
        passed_good += equals.iter().filter(|v| v.passes).count() as f64;
        let rejected_bad = n - good - (passed - passed_good);
        points.push(OperatingPoint {
            threshold: equals[0].p,
            f1: 2.0 * passed_good / (passed + good),
            accuracy: (passed_good + rejected_bad) / n,
        });
    }
    points
}

/// The area under the ROC curve (Mann and Whitney 1947), equal probabilities counting half.
fn auc(verdicts: &[Verdict]) -> f64 {
    let mut ranked: Vec<&Verdict> = verdicts.iter().collect();
    ranked.sort_by(|a, b| a.p.total_cmp(&b.p));
    let (mut below, mut wins, mut good) = (0.0, 0.0, 0.0);
    for equals in ranked.chunk_by(|a, b| a.p == b.p) {
        let n_good = equals.iter().filter(|v| v.passes).count() as f64;
        let n_bad = equals.len() as f64 - n_good;
        wins += n_good * (below + n_bad / 2.0);
        below += n_bad;
        good += n_good;
    }
    if good * below > 0.0 { wins / (good * below) } else { even() }
}

fn even() -> f64 {
    0.5
}

fn calibration(verdicts: &[Verdict]) -> Vec<CalibrationBin> {
    let bin_of = |p: f64| ((p * BINS as f64) as usize).min(BINS - 1);
    (0..BINS)
        .filter_map(|bin| {
            let own: Vec<&Verdict> = verdicts.iter().filter(|v| bin_of(v.p) == bin).collect();
            let n = own.len();
            let mean = |sum: f64| sum / n as f64;
            (n > 0).then(|| CalibrationBin {
                n,
                predicted: mean(own.iter().map(|v| v.p).sum()),
                observed: mean(own.iter().filter(|v| v.passes).count() as f64),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{JudgeReport, Verdict, best_threshold};

    fn report(verdicts: &[(f64, bool)]) -> JudgeReport {
        JudgeReport::new(&all(verdicts), 0.5)
    }

    fn all(verdicts: &[(f64, bool)]) -> Vec<Verdict> {
        verdicts.iter().map(|&(p, passes)| Verdict { p, passes }).collect()
    }

    #[test]
    fn a_threshold_is_where_f1_is_largest() {
        let check = |verdicts: &[(f64, bool)], threshold: f64, auc: f64| {
            let verdicts = all(verdicts);
            assert_eq!(best_threshold(&verdicts, 0.0), threshold, "{verdicts:?}");
            assert_eq!(JudgeReport::new(&verdicts, threshold).auc, auc, "{verdicts:?}");
        };
        check(&[(0.4, true), (0.3, true), (0.2, false), (0.1, false)], 0.3, 1.0);
        check(&[(0.4, true), (0.3, false), (0.2, true), (0.1, false)], 0.2, 0.75);
        check(&[(0.3, true), (0.3, false), (0.3, false)], 0.3, 0.5);
        check(&[(0.1, false), (0.9, false)], 0.5, 0.5);
        check(&[], 0.5, 0.5);
    }

    #[test]
    fn a_threshold_is_as_accurate_as_is_asked_where_one_is() {
        // From .5 on F1 is .83 and accuracy .91; from .9 on .81 and .93; no other threshold is more accurate.
        let mut verdicts = vec![(0.9, true); 30];
        verdicts.extend([(0.8, false); 10]);
        verdicts.extend([(0.7, true); 6]);
        verdicts.extend([(0.6, false); 8]);
        verdicts.extend([(0.5, true); 8]);
        verdicts.extend([(0.1, false); 138]);
        let check = |min_accuracy: f64, threshold: f64| {
            assert_eq!(best_threshold(&all(&verdicts), min_accuracy), threshold, "{min_accuracy}");
        };
        check(0.0, 0.5);
        check(0.85, 0.5);
        check(0.88, 0.9);
        check(0.99, 0.5);
    }

    #[test]
    fn figures_are_those_of_the_table() {
        // 3 true positives, 1 false positive, 2 missed, 4 true negatives
        let mut verdicts = vec![(0.9, true); 3];
        verdicts.extend([(0.8, false), (0.2, true), (0.2, true)]);
        verdicts.extend([(0.1, false); 4]);
        let r = report(&verdicts);
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-9, "{got} is not {want}");
        near(r.accuracy, 0.7);
        near(r.precision, 0.75);
        near(r.recall, 0.6);
        near(r.f1, 2.0 / 3.0);
        near(r.f1_pass_all, 2.0 / 3.0);
        near(r.reject_rate, 0.6);
        near(r.reject_rate_bad, 0.8);
        near(r.reject_rate_good, 0.4);
        near(r.kappa, 0.4);
        near(r.base_rate, 0.5);
        assert!(r.is_usable(0.7) && !r.is_usable(0.71));
    }

    #[test]
    fn a_calibrated_judge_has_no_error() {
        let mut verdicts = vec![(0.75, true); 3];
        verdicts.extend([(0.75, false), (0.0, false), (1.0, true)]);
        let r = report(&verdicts);
        assert!(r.calibration_error < 1e-9);
        assert_eq!(r.calibration.iter().map(|b| b.n).collect::<Vec<_>>(), [1, 4, 1]);
    }

    #[test]
    fn neither_nothing_nor_rejecting_everything_is_usable() {
        assert!(!report(&[]).is_usable(0.0));
        let mut verdicts = vec![(0.1, false); 9];
        verdicts.push((0.1, true));
        assert!(report(&verdicts).accuracy > 0.8 && !report(&verdicts).is_usable(0.5));
    }
}
