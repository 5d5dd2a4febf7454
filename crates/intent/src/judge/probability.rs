//! How sure a judge is: from the likelihood of its answers.

use lm::{LanguageModel, LmError, Prompt, PromptStyle};
use rayon::prelude::*;
use types::{Digest, User};

use super::rubric::Label;
use super::{Rubric, Subjects, judge_questions};
use crate::prompt::{Lang, mine_request};

/// How likely a subject passes.
#[derive(Debug, Clone, PartialEq)]
pub struct PassProbability {
    /// On every criterion at once.
    pub all: f64,
    /// On each criterion alone, in the order of the rubric.
    pub each: Vec<f64>,
}

/// For each subject the probability that the built-in judge's answer passes every criterion.
///
/// # Errors
/// [`LmError`] of the model; one that gives no likelihoods refuses.
pub fn pass_probabilities(
    model: &dyn LanguageModel,
    person: (&User, &Digest),
    subjects: Subjects<'_>,
) -> Result<Vec<f64>, LmError> {
    let mut answers = answers(subjects.rubric());
    answers.retain(|labels| labels.iter().all(|label| label.passes));
    let likelihoods = likelihoods(model, person, subjects, &answers)?;
    Ok(likelihoods.iter().map(|p| p.iter().sum()).collect())
}

/// The same with the probability of each criterion; costs the likelihood of every answer, passing or not.
///
/// # Errors
/// As [`pass_probabilities`].
pub fn criterion_probabilities(
    model: &dyn LanguageModel,
    person: (&User, &Digest),
    subjects: Subjects<'_>,
) -> Result<Vec<PassProbability>, LmError> {
    let rubric = subjects.rubric();
    let answers = answers(rubric);
    let likelihoods = likelihoods(model, person, subjects, &answers)?;
    let of = |likelihoods: &Vec<f64>| {
        let share = |passes: &dyn Fn(&Answer) -> bool| {
            let passing = answers.iter().zip(likelihoods).filter(|(answer, _)| passes(answer));
            passing.map(|(_, p)| p).sum()
        };
        PassProbability {
            all: share(&|labels| labels.iter().all(|label| label.passes)),
            each: (0..rubric.criteria.len()).map(|i| share(&|labels| labels[i].passes)).collect(),
        }
    };
    Ok(likelihoods.iter().map(of).collect())
}

/// A label for every criterion.
type Answer = Vec<&'static Label>;

/// Every answer that the rubric knows.
fn answers(rubric: &'static Rubric) -> Vec<Answer> {
    let mut answers = vec![Answer::new()];
    for criterion in &rubric.criteria {
        let longer = answers.iter().flat_map(|labels| {
            criterion.labels.iter().map(move |label| [&labels[..], &[label]].concat())
        });
        answers = longer.collect();
    }
    answers
}

/// The probability of each answer about each subject.
fn likelihoods(
    model: &dyn LanguageModel,
    (user, digest): (&User, &Digest),
    subjects: Subjects<'_>,
    answers: &[Answer],
) -> Result<Vec<Vec<f64>>, LmError> {
    let written = |labels: &Answer| {
        labels.iter().map(|label| label.code.as_str()).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = answers.iter().map(written).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mine = mine_request(PromptStyle::Terse, Lang::En, user, digest, &[], 0).prompt.user;
    let of = |question: &String| {
        let scores = model.score(&Prompt::user(format!("{mine}{question}")), &texts)?;
        Ok(scores.iter().map(|score| score.exp()).collect())
    };
    judge_questions(subjects).par_iter().map(of).collect()
}
