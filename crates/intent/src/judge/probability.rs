//! How sure a judge is: from the likelihood of the answers that pass.

use lm::{LanguageModel, LmError, Prompt, PromptStyle};
use rayon::prelude::*;
use types::{Digest, User};

use super::{Rubric, Subjects, judge_questions};
use crate::prompt::{Lang, mine_request};

/// For each subject the probability that the built-in judge's answer passes every criterion.
///
/// # Errors
/// [`LmError`] of the model; one that gives no likelihoods refuses.
pub fn pass_probabilities(
    model: &dyn LanguageModel,
    (user, digest): (&User, &Digest),
    subjects: Subjects<'_>,
) -> Result<Vec<f64>, LmError> {
    let passing = passing(subjects.rubric());
    let passing: Vec<&str> = passing.iter().map(String::as_str).collect();
    let mine = mine_request(PromptStyle::Terse, Lang::En, user, digest, &[], 0).prompt.user;
    let probability = |question: &String| {
        let scores = model.score(&Prompt::user(format!("{mine}{question}")), &passing)?;
        Ok(scores.iter().map(|score| score.exp()).sum())
    };
    judge_questions(subjects).par_iter().map(probability).collect()
}

/// Every answer whose labels all pass.
fn passing(rubric: &Rubric) -> Vec<String> {
    let mut answers = vec![String::new()];
    for criterion in &rubric.criteria {
        let longer = answers.iter().flat_map(|codes| {
            let passing = criterion.labels.iter().filter(|label| label.passes);
            passing.map(move |label| format!("{codes} {}", label.code).trim_start().to_owned())
        });
        answers = longer.collect();
    }
    answers
}
