//! How well a judge agrees with the truth, per criterion and for the verdict on the whole.
//!
//! "Positive" is "passes". Works on plain pairs of a prediction and the truth; who judged, and how, is
//! not this crate's matter.

use serde::{Deserialize, Serialize};

/// Bins of the calibration curve.
const BINS: usize = 10;

/// Threshold from which a probability means "passes".
const THRESHOLD: f64 = 0.5;

/// What a judge said of one subject under one criterion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prediction {
    /// A label without a probability.
    Passes(bool),
    /// p(passes), 0 to 1; passes from 0.5 on.
    Probability(f64),
}

impl Prediction {
    /// The verdict.
    #[must_use]
    pub fn passes(self) -> bool {
        match self {
            Self::Passes(passes) => passes,
            Self::Probability(p) => p >= THRESHOLD,
        }
    }
}

/// Counts of (predicted, true).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Confusion {
    /// Passed, rightly.
    pub true_pass: usize,
    /// Passed, though bad.
    pub false_pass: usize,
    /// Rejected, though good.
    pub false_reject: usize,
    /// Rejected, rightly.
    pub true_reject: usize,
}

/// One bin of the calibration curve, of probabilities from `low` (with it) to `low + 0.1` (without, but
/// for the last).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Lower end.
    pub low: f64,
    /// Mean predicted probability; `None` for an empty bin.
    pub predicted: Option<f64>,
    /// Share that truly passes; `None` for an empty bin.
    pub observed: Option<f64>,
    /// Predictions in it.
    pub n: usize,
}

/// The curve and its one figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Ten bins of equal width, lowest first.
    pub bins: Vec<CalibrationBin>,
    /// Expected calibration error: `sum over bins of n_b / n * |observed_b - predicted_b|`.
    pub expected_error: f64,
}

/// Agreement under one criterion, or on the whole. Rates without a denominator are `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Subjects.
    pub n: usize,
    /// What was said against what is true.
    pub confusion: Confusion,
    /// `(true_pass + true_reject) / n`.
    pub accuracy: Option<f64>,
    /// `true_pass / (true_pass + false_pass)`.
    pub precision: Option<f64>,
    /// `true_pass / (true_pass + false_reject)`.
    pub recall: Option<f64>,
    /// `2 true_pass / (2 true_pass + false_pass + false_reject)`.
    pub f1: Option<f64>,
    /// Of the truly bad, the share that is rejected.
    pub bad_rejected: Option<f64>,
    /// Of the truly good, the share that is rejected.
    pub good_rejected: Option<f64>,
    /// Cohen's kappa, `(accuracy - chance) / (1 - chance)`, chance from both margins; `None` where
    /// chance is 1.
    pub kappa: Option<f64>,
    /// `None` unless every prediction is a probability.
    pub calibration: Option<Calibration>,
}

/// Agreement of pairs (predicted, truly passes); probabilities outside of 0 to 1 are brought into it.
#[must_use]
pub fn agreement(pairs: &[(Prediction, bool)]) -> Agreement {
    let mut confusion = Confusion::default();
    for (predicted, truth) in pairs {
        let count = match (predicted.passes(), truth) {
            (true, true) => &mut confusion.true_pass,
            (true, false) => &mut confusion.false_pass,
            (false, true) => &mut confusion.false_reject,
            (false, false) => &mut confusion.true_reject,
        };
        *count += 1;
    }
    let Confusion { true_pass, false_pass, false_reject, true_reject } = confusion;
    let accuracy = ratio(true_pass + true_reject, pairs.len());
    Agreement {
        n: pairs.len(),
        confusion,
        accuracy,
        precision: ratio(true_pass, true_pass + false_pass),
        recall: ratio(true_pass, true_pass + false_reject),
        f1: ratio(2 * true_pass, 2 * true_pass + false_pass + false_reject),
        bad_rejected: ratio(true_reject, true_reject + false_pass),
        good_rejected: ratio(false_reject, false_reject + true_pass),
        kappa: accuracy.and_then(|accuracy| kappa(accuracy, confusion)),
        calibration: calibration(pairs),
    }
}

/// What a judge said of one subject: a prediction and the truth by criterion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedCase {
    /// In the order of the criteria given to [`judge_report`]; `None` where the judge gave no verdict.
    pub predicted: Vec<Option<Prediction>>,
    /// In the same order.
    pub truth: Vec<bool>,
}

/// The report of a judge of one kind of subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeReport {
    /// What is judged, `interest` or `tag`.
    pub subject: String,
    /// By criterion, over the subjects with a verdict on it.
    pub criteria: Vec<(String, Agreement)>,
    /// The conjunction: a subject passes when every criterion passes. Of probabilities the product is
    /// calibrated, as if criteria were independent given the subject; the verdict is that of the single
    /// criteria.
    pub whole: Agreement,
    /// Calibration of the product; `None` unless every prediction is a probability.
    pub whole_calibration: Option<Calibration>,
    /// Subjects without any verdict; they count as rejected on the whole.
    pub n_unjudged: usize,
}

/// Reports on cases of one kind. A missing verdict on a criterion counts for nothing there; on the whole
/// a subject passes only when every criterion was judged to pass.
#[must_use]
pub fn judge_report(subject: &str, criteria: &[&str], cases: &[JudgedCase]) -> JudgeReport {
    let of_criterion = |(column, name): (usize, &&str)| {
        let pairs: Vec<(Prediction, bool)> = cases
            .iter()
            .filter_map(|case| Some(((*case.predicted.get(column)?)?, *case.truth.get(column)?)))
            .collect();
        ((*name).to_owned(), agreement(&pairs))
    };
    let truly = |case: &JudgedCase| case.truth.iter().all(|passes| *passes);
    let verdicts: Vec<(Prediction, bool)> = cases
        .iter()
        .map(|case| {
            let mut judged = (0..criteria.len()).map(|column| *case.predicted.get(column)?);
            let passes = judged.all(|p| p.is_some_and(Prediction::passes));
            (Prediction::Passes(passes), truly(case))
        })
        .collect();
    let products: Option<Vec<(Prediction, bool)>> =
        cases.iter().map(|case| Some((product(&case.predicted)?, truly(case)))).collect();
    let is_unjudged = |case: &&JudgedCase| case.predicted.iter().all(Option::is_none);
    JudgeReport {
        subject: subject.to_owned(),
        criteria: criteria.iter().enumerate().map(of_criterion).collect(),
        whole: agreement(&verdicts),
        whole_calibration: products.as_deref().and_then(calibration),
        n_unjudged: cases.iter().filter(is_unjudged).count(),
    }
}

impl JudgeReport {
    /// Whether the judge may be used: on the whole and under every criterion it has been measured, and
    /// its accuracy is at least `min_accuracy`, 0 to 1.
    #[must_use]
    pub fn deployable(&self, min_accuracy: f64) -> bool {
        let all = self.criteria.iter().map(|(_, agreement)| agreement).chain([&self.whole]);
        let mut accuracies = all.map(|agreement| agreement.accuracy);
        accuracies.all(|accuracy| accuracy.is_some_and(|a| a >= min_accuracy))
    }
}

/// `p(all pass)` of independent criteria; `None` unless all are probabilities.
fn product(predicted: &[Option<Prediction>]) -> Option<Prediction> {
    let mut product = 1.0;
    for prediction in predicted {
        match prediction {
            Some(Prediction::Probability(p)) => product *= p.clamp(0.0, 1.0),
            Some(Prediction::Passes(_)) | None => return None,
        }
    }
    Some(Prediction::Probability(product))
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn kappa(accuracy: f64, c: Confusion) -> Option<f64> {
    let n = (c.true_pass + c.false_pass + c.false_reject + c.true_reject) as f64;
    let passed = (c.true_pass + c.false_pass) as f64 / n;
    let good = (c.true_pass + c.false_reject) as f64 / n;
    let chance = passed * good + (1.0 - passed) * (1.0 - good);
    (chance < 1.0).then(|| (accuracy - chance) / (1.0 - chance))
}

/// `None` for no pair, or where one has no probability.
fn calibration(pairs: &[(Prediction, bool)]) -> Option<Calibration> {
    let mut bins = [(0.0, 0_usize, 0_usize); BINS]; // sum of p, truly passing, all
    for (predicted, truth) in pairs {
        let Prediction::Probability(p) = *predicted else { return None };
        if p.is_nan() {
            return None;
        }
        let p = p.clamp(0.0, 1.0);
        let (sum, n_pass, n) = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
        *sum += p;
        *n_pass += usize::from(*truth);
        *n += 1;
    }
    let n_all = ratio(1, pairs.len())?;
    let mut expected_error = 0.0;
    let mut curve = Vec::with_capacity(BINS);
    for (row, (sum, n_pass, n)) in bins.into_iter().enumerate() {
        let predicted = (n > 0).then(|| sum / n as f64);
        let observed = ratio(n_pass, n);
        let gap = predicted.zip(observed).map_or(0.0, |(p, o)| f64::abs(o - p));
        expected_error += n as f64 * n_all * gap;
        curve.push(CalibrationBin { low: row as f64 / BINS as f64, predicted, observed, n });
    }
    Some(Calibration { bins: curve, expected_error })
}

#[cfg(test)]
mod tests {
    use super::Prediction::{Passes, Probability};
    use super::{JudgedCase, Prediction, agreement, judge_report};

    fn close(got: Option<f64>, want: f64) {
        assert!(got.is_some_and(|got| (got - want).abs() < 1e-12), "{got:?}, not {want}");
    }

    fn times(n: usize, predicted: bool, truth: bool) -> Vec<(Prediction, bool)> {
        vec![(Passes(predicted), truth); n]
    }

    #[test]
    fn agreement_by_hand() {
        // 6 passed rightly, 2 passed though bad, 1 rejected though good, 11 rejected rightly
        let pairs = [
            times(6, true, true),
            times(2, true, false),
            times(1, false, true),
            times(11, false, false),
        ];
        let got = agreement(&pairs.concat());
        assert_eq!(got.n, 20);
        close(got.accuracy, 17.0 / 20.0);
        close(got.precision, 6.0 / 8.0);
        close(got.recall, 6.0 / 7.0);
        close(got.f1, 12.0 / 15.0);
        close(got.bad_rejected, 11.0 / 13.0);
        close(got.good_rejected, 1.0 / 7.0);
        // chance: 8/20 * 7/20 + 12/20 * 13/20 = 0.14 + 0.39
        close(got.kappa, (0.85 - 0.53) / 0.47);
        assert_eq!(got.calibration, None);
    }

    #[test]
    fn rates_without_a_denominator_are_absent() {
        let nothing = agreement(&[]);
        assert_eq!((nothing.accuracy, nothing.f1, nothing.kappa), (None, None, None));
        assert_eq!(nothing.calibration, None);
        let good = agreement(&times(3, true, true));
        assert_eq!((good.bad_rejected, good.kappa), (None, None));
        close(good.f1, 1.0);
        let all_rejected = agreement(&times(3, false, true));
        assert_eq!(all_rejected.precision, None);
        close(all_rejected.recall, 0.0);
        close(all_rejected.kappa, 0.0); // chance is 0 as well: margins do not overlap
    }

    #[test]
    fn calibration_by_hand() {
        let pairs: Vec<(Prediction, bool)> =
            [(0.1, false), (0.15, true), (0.5, true), (0.95, true), (1.0, false), (1.0, true)]
                .map(|(p, truth)| (Probability(p), truth))
                .to_vec();
        let got = agreement(&pairs);
        assert_eq!(got.confusion.true_pass, 3);
        let curve = got.calibration.unwrap();
        let shown: Vec<(usize, usize)> =
            curve.bins.iter().enumerate().filter(|(_, b)| b.n > 0).map(|(i, b)| (i, b.n)).collect();
        assert_eq!(shown, [(1, 2), (5, 1), (9, 3)]);
        close(curve.bins[1].predicted, 0.125);
        close(curve.bins[1].observed, 0.5);
        assert_eq!(curve.bins[0].observed, None);
        // 2/6 * 0.375 + 1/6 * 0.5 + 3/6 * |2/3 - 2.95/3|
        let want = 2.0 / 6.0 * 0.375 + 0.5 / 6.0 + 0.5 * (0.95 / 3.0);
        close(Some(curve.expected_error), want);
        let mixed = [(Probability(0.5), true), (Passes(true), true)];
        assert_eq!(agreement(&mixed).calibration, None);
    }

    #[test]
    fn the_whole_is_the_conjunction() {
        let case = |predicted: [Option<f64>; 2], truth: [bool; 2]| JudgedCase {
            predicted: predicted.iter().map(|p| p.map(Probability)).collect(),
            truth: truth.to_vec(),
        };
        let cases = [
            case([Some(0.9), Some(0.8)], [true, true]),
            case([Some(0.9), Some(0.2)], [true, false]),
            case([Some(0.6), Some(0.7)], [true, false]), // passes, though bad
            case([Some(0.3), Some(0.9)], [true, true]),  // rejected, though good
        ];
        let report = judge_report("tag", &["relevance", "validity"], &cases);
        close(report.criteria[0].1.accuracy, 3.0 / 4.0);
        close(report.criteria[1].1.accuracy, 3.0 / 4.0);
        close(report.whole.accuracy, 0.5);
        close(report.whole.precision, 0.5);
        let curve = report.whole_calibration.clone().unwrap();
        close(curve.bins[7].predicted, 0.72);
        assert_eq!(curve.bins.iter().map(|b| b.n).sum::<usize>(), 4);
        assert!(report.deployable(0.5) && !report.deployable(0.51));
        assert!(!judge_report("tag", &["relevance"], &[]).deployable(0.0), "never measured");
    }

    #[test]
    fn what_was_not_judged_does_not_pass() {
        // Evidence found missing by code: one criterion rejected, the other without a verdict.
        let cases = [
            JudgedCase { predicted: vec![None, Some(Passes(false))], truth: vec![true, false] },
            JudgedCase { predicted: vec![None, None], truth: vec![true, true] },
            JudgedCase { predicted: vec![], truth: vec![true, true] },
        ];
        let report = judge_report("interest", &["willingness", "reasonableness"], &cases);
        assert_eq!((report.criteria[0].1.n, report.criteria[1].1.n), (0, 1));
        assert_eq!((report.n_unjudged, report.whole.n), (2, 3));
        assert_eq!(report.whole.confusion.true_pass + report.whole.confusion.false_pass, 0);
        close(report.whole.bad_rejected, 1.0);
        close(report.whole.good_rejected, 1.0);
        assert_eq!(report.whole_calibration, None);
    }
}
