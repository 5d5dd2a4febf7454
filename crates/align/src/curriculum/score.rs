//! How well a model answers the held-out questions.

use std::collections::BTreeMap;

use lm::{LanguageModel, Prompt, Request};
use serde::{Deserialize, Serialize};
use types::normalise_text;

use super::{Metric, SUBTASKS, subtask};
use crate::error::AlignError;
use crate::sample::Sample;

/// One subtask's figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SubtaskScore {
    /// Questions asked.
    pub n: usize,
    /// Mean of its metric, 0 to 1.
    pub score: f64,
}

/// All subtasks that were asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CurriculumScore {
    /// By name.
    pub subtasks: BTreeMap<String, SubtaskScore>,
    /// Mean over the subtasks, each counting the same.
    pub macro_mean: f64,
}

/// Asks every question greedily, for at most `max_tokens` each, and measures the answers.
///
/// # Errors
/// The first failure of the model.
pub fn evaluate(
    model: &dyn LanguageModel,
    asked: &[Sample],
    max_tokens: usize,
) -> Result<CurriculumScore, AlignError> {
    let known: Vec<&Sample> = asked.iter().filter(|s| subtask(&s.task).is_some()).collect();
    let requests: Vec<Request> = known
        .iter()
        .map(|s| Request {
            stop: vec!["\n".to_owned()],
            ..Request::greedy(Prompt::user(&s.segments[0].text), max_tokens)
        })
        .collect();
    let mut sums: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for (sample, reply) in known.iter().zip(model.generate(&requests)) {
        let metric = subtask(&sample.task).map_or(Metric::ExactMatch, |s| s.metric);
        let sum = sums.entry(&sample.task).or_default();
        sum.0 += 1;
        sum.1 += measure(metric, &reply?.text, &sample.segments[1].text);
    }
    let scores = SUBTASKS.iter().filter_map(|s| {
        let &(n, sum) = sums.get(s.name)?;
        Some((s.name.to_owned(), SubtaskScore { n, score: sum / n as f64 }))
    });
    let subtasks: BTreeMap<String, SubtaskScore> = scores.collect();
    let sum: f64 = subtasks.values().map(|s| s.score).sum();
    let macro_mean = sum / subtasks.len().max(1) as f64;
    Ok(CurriculumScore { subtasks, macro_mean })
}

fn measure(metric: Metric, got: &str, expected: &str) -> f64 {
    match metric {
        Metric::ExactMatch => f64::from(u8::from(normalise_text(got) == normalise_text(expected))),
        Metric::TokenF1 => token_f1(got, expected),
    }
}

/// Harmonic mean of the shares of words that both texts have (a word counts as often as it stands).
fn token_f1(got: &str, expected: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let spaced = text.replace([';', ','], " ");
        normalise_text(&spaced).split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect()
    };
    let (got, mut left) = (words(got), words(expected));
    let (n_got, n_expected) = (got.len(), left.len());
    let mut shared = 0;
    for word in got {
        if let Some(at) = left.iter().position(|w| *w == word) {
            left.swap_remove(at);
            shared += 1;
        }
    }
    if shared == 0 {
        return 0.0;
    }
    2.0 * f64::from(shared) / (n_got + n_expected) as f64
}

#[cfg(test)]
mod tests {
    use super::{Metric, measure};

    #[test]
    fn answers_are_measured_by_words() {
        let check = |metric, got, expected, want: f64| {
            let score = measure(metric, got, expected);
            assert!((score - want).abs() < 1e-9, "{got:?}, {expected:?}: {score}");
        };
        check(Metric::ExactMatch, "Hiking. ", "hiking", 1.0);
        check(Metric::ExactMatch, "hiking boots", "hiking", 0.0);
        check(Metric::TokenF1, "wool socks;boots", "boots;wool socks", 1.0);
        check(Metric::TokenF1, "wool socks", "wool hat", 0.5);
        check(Metric::TokenF1, "wool wool", "wool hat", 0.5);
        check(Metric::TokenF1, "", "wool", 0.0);
    }
}
