//! Strict parsers of judgements. What is not judged in full stays unjudged and is listed.

use lm::PromptStyle;
use serde_json::Value;
use types::{Judge, Judgement};

use crate::issue::{ParseIssue, ParseIssueKind};
use crate::json::elements;
use crate::judge::rubric::{LabelRubric, Rubric};

/// What an answer was asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Whose interest or tags.
    pub user_id: &'a str,
    /// What was judged, by row.
    pub subjects: &'a [&'a str],
    /// Who answers.
    pub judge: &'a Judge,
}

/// The labels of one subject, one per criterion.
type Labels<'r> = Vec<&'r LabelRubric>;

/// Judgements of an answer, by subject and then in the rubric's order, and all that was wrong with the
/// answer. A subject with a missing or unknown label has no judgement at all, and an issue.
#[must_use]
pub fn parse_judgements(
    style: PromptStyle,
    text: &str,
    rubric: &Rubric,
    asked: &Asked<'_>,
) -> (Vec<Vec<Judgement>>, Vec<ParseIssue>) {
    let (rows, mut issues) = match style {
        PromptStyle::Terse => terse_rows(text, rubric, asked.subjects.len()),
        PromptStyle::Prose => json_rows(text, rubric, asked.subjects.len()),
    };
    for (row, _) in rows.iter().enumerate().filter(|(_, labels)| labels.is_none()) {
        let subject = asked.subjects[row];
        issues.push(ParseIssue::new(row + 1, ParseIssueKind::Unjudged, subject));
    }
    let judgements = rows.into_iter().zip(asked.subjects).map(|(labels, subject)| {
        let labels = labels.unwrap_or_default();
        let judged = rubric.criteria.iter().zip(labels);
        judged
            .map(|(criterion, label)| Judgement {
                user_id: asked.user_id.to_owned(),
                subject: (*subject).to_owned(),
                criterion: criterion.name,
                label: label.name.clone(),
                passes: label.passes,
                judge: asked.judge.clone(),
            })
            .collect()
    });
    (judgements.collect(), issues)
}

/// Whether an output is kept: it was judged, and every judgement passes.
#[must_use]
pub fn passes(judgements: &[Judgement]) -> bool {
    !judgements.is_empty() && judgements.iter().all(|judgement| judgement.passes)
}

/// Labels of a subject as a terse answer writes them: `spontaneity|strong`, `y y n y`.
///
/// `None` when the number of labels is not that of the criteria, or one is not asked of models.
#[must_use]
pub fn write_labels(rubric: &Rubric, labels: &[&str]) -> Option<String> {
    let known = rubric.criteria.iter().zip(labels).map(|(criterion, label)| {
        let label = criterion.label(label).filter(|l| !l.by_code)?;
        Some(label.terse())
    });
    let written: Vec<&str> = known.collect::<Option<_>>()?;
    let is_whole = labels.len() == rubric.criteria.len();
    is_whole.then(|| written.join(&rubric.separator))
}

fn terse_rows<'r>(
    text: &str,
    rubric: &'r Rubric,
    n_rows: usize,
) -> (Vec<Option<Labels<'r>>>, Vec<ParseIssue>) {
    let mut rows = vec![None; n_rows];
    let mut issues = Vec::new();
    if text.trim().is_empty() {
        issues.push(ParseIssue::new(0, ParseIssueKind::Empty, text));
        return (rows, issues);
    }
    // Only breaks at the very end are no rows.
    for (row, line) in text.trim_end_matches(['\n', '\r']).lines().enumerate() {
        let line_no = row + 1;
        let fields: Vec<&str> = line.split(rubric.separator.as_str()).collect();
        if row >= n_rows || fields.len() != rubric.criteria.len() {
            issues.push(ParseIssue::new(line_no, ParseIssueKind::Malformed, line));
            continue;
        }
        let labels = rubric.criteria.iter().zip(fields).map(|(c, field)| c.terse_label(field));
        match labels.collect::<Option<Labels<'r>>>() {
            Some(labels) => rows[row] = Some(labels),
            None => issues.push(ParseIssue::new(line_no, ParseIssueKind::UnknownLabel, line)),
        }
    }
    (rows, issues)
}

fn json_rows<'r>(
    text: &str,
    rubric: &'r Rubric,
    n_rows: usize,
) -> (Vec<Option<Labels<'r>>>, Vec<ParseIssue>) {
    let mut rows = vec![None; n_rows];
    let (elements, mut issues) = elements(text, "judgements");
    for (idx, element) in elements.iter().enumerate() {
        let mut issue = |kind| issues.push(ParseIssue::new(idx + 1, kind, &element.to_string()));
        let row = element.get("row").and_then(Value::as_u64);
        let row = row.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=n_rows).contains(n));
        let Some(row) = row else {
            issue(ParseIssueKind::Malformed);
            continue;
        };
        if rows[row - 1].is_some() {
            issue(ParseIssueKind::Duplicate);
            continue;
        }
        let named = rubric.criteria.iter().map(|criterion| {
            let written = element.get(criterion.name.as_str()).and_then(Value::as_str);
            (written.is_some(), written.and_then(|name| criterion.label(name)))
        });
        let named: Vec<(bool, Option<&LabelRubric>)> = named.collect();
        match named.iter().map(|(_, label)| *label).collect::<Option<Labels<'r>>>() {
            Some(labels) => rows[row - 1] = Some(labels),
            None if named.iter().all(|(is_written, _)| *is_written) => {
                issue(ParseIssueKind::UnknownLabel);
            }
            None => issue(ParseIssueKind::Malformed),
        }
    }
    (rows, issues)
}
