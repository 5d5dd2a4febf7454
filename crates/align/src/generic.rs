//! Samples that teach the language of shops apart from any user: queries, categories, reasons.

use std::path::Path;

use intent::{Lang, ReasonInput, parse_reason, plain, reason_request};
use lm::PromptStyle;
use serde_json::Value;
use types::{Taxonomy, Timestamp};

use crate::curriculum::is_held_out;
use crate::error::AlignError;
use crate::sample::Sample;

/// Goals with the first of the queries that people typed for each, from a JSON object of goals with lists
/// of queries (`shopping_goals/goal_query_map.json`).
///
/// # Errors
/// [`AlignError::Io`], or [`AlignError::Format`] when the file is not such an object.
pub fn read_goals(path: &Path) -> Result<Vec<(String, String)>, AlignError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| AlignError::Io { path: shown.clone(), source })?;
    let format = |detail: String| AlignError::Format { path: shown.clone(), detail };
    let value: Value = serde_json::from_str(&text).map_err(|error| format(error.to_string()))?;
    let goals = value
        .as_object()
        .ok_or_else(|| format("expected an object of goals with lists of queries".to_owned()))?;
    let mut pairs = Vec::with_capacity(goals.len());
    for (goal, queries) in goals {
        let query = queries.as_array().and_then(|all| all.first()).and_then(Value::as_str);
        let query = query.ok_or_else(|| format(format!("goal {goal:?} has no query")))?;
        pairs.push((goal.clone(), query.to_owned()));
    }
    Ok(pairs)
}

/// Samples `<|query|>{goal}\n<|answer|>{query}`, one per goal of a file that [`read_goals`] reads; goals that
/// the curriculum holds out are left out.
///
/// # Errors
/// As [`read_goals`].
pub fn samples_from_goals(path: &Path) -> Result<Vec<Sample>, AlignError> {
    let pairs = read_goals(path)?.into_iter().map(|(goal, query)| (plain(&goal), plain(&query)));
    let known = pairs.filter(|(goal, _)| !is_held_out(goal));
    Ok(known.map(|(goal, query)| query_sample("query", &goal, &query)).collect())
}

/// Samples `<|query|>category: {leaf}\n<|answer|>{path}` for every leaf of a taxonomy.
#[must_use]
pub fn samples_from_taxonomy(taxonomy: &Taxonomy) -> Vec<Sample> {
    let leaves = taxonomy.leaves();
    leaves
        .map(|leaf| {
            let name = format!("category: {}", plain(taxonomy.name(leaf)));
            query_sample("taxonomy", &name, &plain(taxonomy.path(leaf)))
        })
        .collect()
}

/// One sentence that explains an item, as a teacher wrote it.
#[derive(Debug, Clone)]
pub struct ReasonExample {
    /// Text of the interest.
    pub interest: String,
    /// Why the interest leads to the item.
    pub rationale: String,
    /// Title of the item.
    pub title: String,
    /// The sentence.
    pub sentence: String,
}

/// Samples of the reason task. A sentence that [`parse_reason`] would refuse is not taught; the second
/// value counts those.
#[must_use]
pub fn samples_from_reasons(examples: &[ReasonExample], now: Timestamp) -> (Vec<Sample>, usize) {
    let style = PromptStyle::Terse;
    let samples: Vec<Sample> = examples
        .iter()
        .filter_map(|example| {
            let input = ReasonInput {
                interest: &example.interest,
                rationale: &example.rationale,
                title: &example.title,
                now,
            };
            let sentence = parse_reason(style, &example.sentence, &input).ok()?;
            let prompt = reason_request(style, Lang::En, &input, 0).prompt.user;
            Some(Sample::new("reason", prompt, plain(&sentence)))
        })
        .collect();
    let n_refused = examples.len() - samples.len();
    (samples, n_refused)
}

pub(crate) fn query_sample(task: &str, question: &str, answer: &str) -> Sample {
    Sample::new(task, format!("<|query|>{question}\n<|answer|>"), answer.to_owned())
}
