//! Probabilities behind labels, for calibration and for thresholds.

use lm::{LanguageModel, LmError, Prompt};
use types::Judgement;

use crate::judge::parse::write_labels;
use crate::judge::rubric::{CriterionRubric, Rubric};

/// The probability that a subject passes each criterion, for every subject of a terse answer (rows as
/// [`crate::judge::parse_judgements`] gives them, criteria in the rubric's order).
///
/// `p(passes) = sum over passing labels of p(label | prompt, labels before) / the same over all labels`,
/// the labels before being those of the answer. Rows from the first unjudged one on are empty, since
/// nothing is known of what would stand before them.
///
/// # Errors
/// What [`LanguageModel::score`] gives; remote models may not score at all.
pub fn pass_probabilities(
    model: &dyn LanguageModel,
    prompt: &Prompt,
    rubric: &Rubric,
    rows: &[Vec<Judgement>],
) -> Result<Vec<Vec<f64>>, LmError> {
    let written: Vec<String> = rows.iter().map_while(|row| written_row(rubric, row)).collect();
    let mut before = String::new();
    let mut texts = Vec::new();
    for line in &written {
        let fields: Vec<&str> = line.split(rubric.separator.as_str()).collect();
        for (column, criterion) in rubric.criteria.iter().enumerate() {
            let mut start = before.clone();
            for field in &fields[..column] {
                start.push_str(field);
                start.push_str(&rubric.separator);
            }
            texts.extend(criterion.asked().map(|label| format!("{start}{}", label.terse())));
        }
        before.push_str(line);
        before.push('\n');
    }
    let continuations: Vec<&str> = texts.iter().map(String::as_str).collect();
    let scores = match continuations.is_empty() {
        true => Vec::new(),
        false => model.score(prompt, &continuations)?,
    };
    let mut scores = scores.as_slice();
    let mut probabilities: Vec<Vec<f64>> = Vec::with_capacity(rows.len());
    for _ in &written {
        let of_row = rubric.criteria.iter().map(|criterion| {
            let (own, rest) = scores.split_at(criterion.asked().count().min(scores.len()));
            scores = rest;
            share_of_passing(criterion, own)
        });
        probabilities.push(of_row.collect());
    }
    probabilities.resize(rows.len(), Vec::new());
    Ok(probabilities)
}

fn written_row(rubric: &Rubric, row: &[Judgement]) -> Option<String> {
    let labels: Vec<&str> = row.iter().map(|judgement| judgement.label.as_str()).collect();
    write_labels(rubric, &labels)
}

/// Softmax mass of the labels that pass.
fn share_of_passing(criterion: &CriterionRubric, scores: &[f64]) -> f64 {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights = || scores.iter().map(|score| (score - most).exp());
    let passing: f64 =
        weights().zip(criterion.asked()).filter(|(_, l)| l.passes).map(|(w, _)| w).sum();
    passing / weights().sum::<f64>().max(f64::MIN_POSITIVE)
}
