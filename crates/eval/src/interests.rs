//! Mined interests against true ones: free text matched to free text, with the level of chance.
//!
//! A text agrees with another when both are equal after normalisation, or when their content words
//! overlap by a Jaccard index of at least one half. Chance is the same measure against the truths of
//! other users, so that "far above chance" is a figure.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::normalise_text;

/// Words that carry no content.
const STOP_WORDS: [&str; 26] = [
    "a", "about", "all", "an", "and", "at", "by", "for", "from", "her", "his", "in", "into", "is",
    "of", "on", "or", "other", "that", "the", "their", "this", "to", "under", "with", "your",
];

/// Overlap of content words from which two texts agree.
const JACCARD: f64 = 0.5;

/// Precision and recall of mined interests, means over users.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct InterestMatch {
    /// Of a user's mined interests, the share that agrees with a true one; over users with a mined one.
    pub precision: f64,
    /// Of a user's true interests, the share that a mined one agrees with; over users with a true one.
    pub recall: f64,
    /// The same precision against the truths of other users.
    pub chance_precision: Option<f64>,
    /// The same recall against the truths of other users.
    pub chance_recall: Option<f64>,
    /// Users with a true interest.
    pub n_users: usize,
}

/// The words of a text that carry content, normalised; every Han, Hiragana, Katakana or Hangul character
/// is a word of its own.
#[must_use]
pub fn content_words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for part in normalise_text(text).split(|c: char| !c.is_alphanumeric()) {
        let (ideographs, letters): (String, String) = part.chars().partition(|&c| is_ideograph(c));
        words.extend(ideographs.chars().map(String::from));
        if !letters.is_empty() && !STOP_WORDS.contains(&letters.as_str()) {
            words.insert(letters);
        }
    }
    words
}

/// Whether two texts name one interest.
#[must_use]
pub fn interests_agree(a: &str, b: &str) -> bool {
    Prepared::new(a).agrees(&Prepared::new(b))
}

/// Measures `mined[u]` against `truth[u]`; chance is the mean over the shifts `s` in `1 ..= n_shifts` (at
/// most users - 1) of `mined[u]` against `truth[(u + s) mod users]`, `None` for a single user.
#[must_use]
pub fn interest_match(
    mined: &[Vec<String>],
    truth: &[Vec<String>],
    n_shifts: usize,
) -> InterestMatch {
    let n = mined.len().min(truth.len());
    let prepare = |texts: &Vec<String>| texts.iter().map(|t| Prepared::new(t)).collect::<Vec<_>>();
    let mined: Vec<Vec<Prepared>> = mined[..n].iter().map(prepare).collect();
    let truth: Vec<Vec<Prepared>> = truth[..n].iter().map(prepare).collect();
    let (precision, recall) = at_shift(&mined, &truth, 0);
    let shifts: Vec<(f64, f64)> = (1..=n_shifts.min(n.saturating_sub(1)))
        .into_par_iter()
        .map(|shift| at_shift(&mined, &truth, shift))
        .collect();
    let chance = |side: fn(&(f64, f64)) -> f64| {
        (!shifts.is_empty()).then(|| shifts.iter().map(side).sum::<f64>() / shifts.len() as f64)
    };
    InterestMatch {
        precision,
        recall,
        chance_precision: chance(|s| s.0),
        chance_recall: chance(|s| s.1),
        n_users: truth.iter().filter(|t| !t.is_empty()).count(),
    }
}

/// A text, ready to be compared often.
struct Prepared {
    normal: String,
    words: BTreeSet<String>,
}

impl Prepared {
    fn new(text: &str) -> Self {
        Self { normal: normalise_text(text), words: content_words(text) }
    }

    fn agrees(&self, other: &Self) -> bool {
        if self.normal == other.normal {
            return !self.normal.is_empty();
        }
        let common = self.words.intersection(&other.words).count();
        let union = self.words.len() + other.words.len() - common;
        union > 0 && common as f64 / union as f64 >= JACCARD
    }
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

/// Mean precision and recall of every user against the truth `shift` users further.
fn at_shift(mined: &[Vec<Prepared>], truth: &[Vec<Prepared>], shift: usize) -> (f64, f64) {
    let found = |needles: &[Prepared], hay: &[Prepared]| {
        (!needles.is_empty()).then(|| {
            let hits = needles.iter().filter(|n| hay.iter().any(|h| n.agrees(h))).count();
            hits as f64 / needles.len() as f64
        })
    };
    let pairs = || {
        mined.iter().enumerate().map(|(idx, mined)| (mined, &truth[(idx + shift) % truth.len()]))
    };
    let precision = pairs().filter_map(|(m, t)| found(m, t)).collect::<Vec<f64>>();
    let recall = pairs().filter_map(|(m, t)| found(t, m)).collect::<Vec<f64>>();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    (mean(&precision), mean(&recall))
}

#[cfg(test)]
mod tests {
    use super::{content_words, interest_match, interests_agree};

    #[test]
    fn texts_agree_by_equality_or_half_of_their_content_words() {
        for (a, b, expect) in [
            ("Hiking and trekking", "hiking and trekking!", true),
            ("hiking and trekking", "hiking", true), // 1 of 2
            ("hiking gear for winter", "hiking", false), // 1 of 3
            ("the art of coffee", "coffee art", true),
            ("home coffee", "home baking", false), // 1 of 3
            ("and", "and", true),
            ("and", "or", false),
            ("", "", false),
            ("户外徒步", "徒步户外", true),
            ("户外徒步", "户外摄影", false), // 2 of 6
        ] {
            assert_eq!(interests_agree(a, b), expect, "{a:?} {b:?}");
            assert_eq!(interests_agree(b, a), expect, "{b:?} {a:?}");
        }
    }

    #[test]
    fn content_words_leave_out_small_words() {
        let words: Vec<String> =
            content_words("The Art of home-brewed coffee").into_iter().collect();
        assert_eq!(words, ["art", "brewed", "coffee", "home"]);
    }

    #[test]
    fn precision_recall_and_chance_by_hand() {
        let texts = |t: &[&str]| t.iter().map(|s| (*s).to_owned()).collect::<Vec<String>>();
        let mined = [texts(&["hiking", "coffee"]), texts(&["chess"]), texts(&[])];
        let truth = [texts(&["hiking"]), texts(&["chess", "coffee"]), texts(&["sewing"])];
        let got = interest_match(&mined, &truth, 5);
        // precision 1/2 and 1; recall 1, 1/2, 0
        assert!((got.precision - 0.75).abs() < 1e-12, "{got:?}");
        assert!((got.recall - 0.5).abs() < 1e-12, "{got:?}");
        // shift 1: user 0 against {chess, coffee}: precision 1/2, recall 1/2; others 0
        // shift 2: user 0 against {sewing}, user 1 against {hiking}: all 0
        assert!((got.chance_precision.unwrap() - (0.25 + 0.0) / 2.0).abs() < 1e-12, "{got:?}");
        assert!((got.chance_recall.unwrap() - (1.0 / 6.0) / 2.0).abs() < 1e-12, "{got:?}");
        assert_eq!(got.n_users, 3);
        let one = interest_match(&mined[..1], &truth[..1], 5);
        assert_eq!((one.chance_precision, one.chance_recall), (None, None));
        assert_eq!(interest_match(&[], &[], 5).n_users, 0);
    }
}
