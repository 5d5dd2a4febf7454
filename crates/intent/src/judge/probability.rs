//! How sure a judge is: from the likelihoods of its possible answers.

use lm::{LanguageModel, LmError, Prompt, PromptStyle};
use types::{Digest, User};

use super::{Rubric, Subjects, judge_request};
use crate::prompt::Lang;

/// For each subject the probability that it passes every criterion: that of its groups of codes whose
/// labels all pass, over that of all groups, given the likeliest groups of the subjects before it.
///
/// # Errors
/// [`LmError`] of the model; one that gives no likelihoods, or is not the built-in one, refuses.
pub fn pass_probabilities(
    model: &dyn LanguageModel,
    (user, digest): (&User, &Digest),
    subjects: Subjects<'_>,
) -> Result<Vec<f64>, LmError> {
    let groups = groups(subjects.rubric());
    let request = judge_request(PromptStyle::Terse, Lang::En, (user, digest), subjects);
    let mut text = request.prompt.user;
    let mut probabilities = Vec::new();
    for row in 0..subjects.len() {
        let divider = if row > 0 { ";" } else { "" };
        let answers: Vec<String> =
            groups.iter().map(|(codes, _)| format!("{divider}{codes}")).collect();
        let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
        let scores = model.score(&Prompt::user(text.as_str()), &answers)?;
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let Some(best) = best else { return Ok(probabilities) };
        let weight = |i: usize| (scores[i] - scores[best]).exp();
        let all: f64 = (0..scores.len()).map(weight).sum();
        let passing = groups.iter().enumerate().filter(|(_, (_, passes))| *passes);
        probabilities.push(passing.map(|(i, _)| weight(i)).sum::<f64>() / all);
        text.push_str(answers[best]);
    }
    Ok(probabilities)
}

/// Every combination of codes, and whether all its labels pass.
fn groups(rubric: &Rubric) -> Vec<(String, bool)> {
    let mut groups = vec![(String::new(), true)];
    for criterion in &rubric.criteria {
        let longer = groups.iter().flat_map(|(codes, passes)| {
            criterion.labels.iter().map(move |label| {
                let space = if codes.is_empty() { "" } else { " " };
                (format!("{codes}{space}{}", label.code), *passes && label.passes)
            })
        });
        groups = longer.collect();
    }
    groups
}
