//! Judging the interests and tags of many users at once.

use lm::{LanguageModel, LmError, PromptStyle, Request};
use types::{Digest, Interest, Judge, Judgement, Tag, User};

use super::{Subjects, judge_request, parse_verdicts, subjects_per_request};
use crate::issue::ParseIssue;
use crate::prompt::Lang;

/// What a judge reads of a user.
#[derive(Debug, Clone, Copy)]
pub struct JudgeInput<'a> {
    /// Who.
    pub user: &'a User,
    /// What they did.
    pub digest: &'a Digest,
    /// What was mined.
    pub interests: &'a [Interest],
    /// What was predicted.
    pub tags: &'a [Tag],
}

/// How a batch is judged.
#[derive(Debug, Clone)]
pub struct JudgeOptions {
    /// Language of prompts in prose.
    pub lang: Lang,
    /// Users per call of the model.
    pub chunk: usize,
}

/// The verdicts on one user's outputs.
#[derive(Debug, Default)]
pub struct JudgedUser {
    /// For each interest its judgements; empty where the judge's answer could not be read.
    pub interests: Vec<Vec<Judgement>>,
    /// The same for each tag.
    pub tags: Vec<Vec<Judgement>>,
    /// What was wrong with the answers.
    pub issues: Vec<ParseIssue>,
    /// Why the model did not answer; the last failure where there were several.
    pub error: Option<LmError>,
}

/// Judges everything of many users; outcome `i` belongs to input `i`.
#[must_use]
pub fn judge_batch(
    model: &dyn LanguageModel,
    inputs: &[JudgeInput<'_>],
    options: &JudgeOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Vec<JudgedUser> {
    let (judge, style) = (Judge::Model(model.name().to_owned()), model.style());
    let mut judged: Vec<JudgedUser> = inputs.iter().map(|_| JudgedUser::default()).collect();
    let mut done = 0;
    for (inputs, judged) in inputs.chunks(options.chunk).zip(judged.chunks_mut(options.chunk)) {
        let asked: Vec<(usize, Subjects<'_>)> = inputs
            .iter()
            .enumerate()
            .flat_map(|(row, input)| parts(input, style).into_iter().map(move |part| (row, part)))
            .collect();
        let requests: Vec<Request> = asked
            .iter()
            .map(|(row, part)| {
                let JudgeInput { user, digest, .. } = inputs[*row];
                judge_request(style, options.lang, (user, digest), *part)
            })
            .collect();
        for ((row, part), reply) in asked.iter().zip(model.generate(&requests)) {
            let user = &mut judged[*row];
            let text = reply.map(|completion| completion.text).unwrap_or_else(|error| {
                user.error = Some(error);
                String::new()
            });
            let digest = inputs[*row].digest;
            let read = parse_verdicts(style, &text, digest, *part, &judge);
            user.take(*part, read);
        }
        done += inputs.len() as u64;
        progress(done, judged.len().max(1) as u64);
    }
    judged
}

/// The subjects of a user in requests of a size that a model answers whole.
fn parts<'a>(input: &JudgeInput<'a>, style: PromptStyle) -> Vec<Subjects<'a>> {
    let most = subjects_per_request(style);
    let interests = input.interests.chunks(most).map(Subjects::Interests);
    let tags = input.tags.chunks(most).map(Subjects::Tags);
    interests.chain(tags).collect()
}

impl JudgedUser {
    /// Adds the verdicts on one part, one group per subject in their order.
    fn take(&mut self, part: Subjects<'_>, read: (Vec<Judgement>, Vec<ParseIssue>)) {
        let (judgements, issues) = read;
        let mut left = judgements.into_iter().peekable();
        let n_criteria = part.rubric().criteria.len();
        let missing: Vec<usize> = issues.iter().map(|issue| issue.line).collect();
        for row in 0..part.len() {
            let group = match missing.contains(&(row + 1)) {
                true => Vec::new(),
                false => left.by_ref().take(n_criteria).collect(),
            };
            match part {
                Subjects::Interests(_) => self.interests.push(group),
                Subjects::Tags(_) => self.tags.push(group),
            }
        }
        self.issues.extend(issues);
    }
}
