//! Some users of a world through mining, tagging and judging by one model, and what cleaning leaves.

use align::{Cleaned, CleaningRules, Taught, TeacherAnswer, clean};
use anyhow::Result;
use intent::{
    BatchOptions, JudgeInput, JudgeOptions, Lang, MineInput, MineOutcome, TagInput, TagOutcome,
    TagToCategory, judge_batch, mine_batch, tag_batch,
};
use lm::{LanguageModel, LmError, PromptStyle};
use serde::Serialize;
use types::{Digest, Judgement, User};

use crate::steps::worlds::{Moment, TrainingWorld};

/// Seed of the rounds that are sampled.
const SEED: u64 = 0x74_65_61;

/// Interests that are kept of a terse model's votes.
const INTERESTS: usize = 16;

/// Who judges the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JudgedBy {
    Itself,
    Nobody,
}

/// How a teacher is asked.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) model: &'a dyn LanguageModel,
    pub(super) lang: Lang,
    pub(super) judged_by: JudgedBy,
}

/// What asking came to, besides what cleaning counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Asked {
    /// Users at a moment.
    pub(super) moments: usize,
    /// Those about whom the model would not answer: it refused the prompt.
    pub(super) refused: usize,
    /// Interests and tags with a verdict, and those whose verdict could not be read.
    pub(super) judged: usize,
    pub(super) unread: usize,
    /// Tokens of mining and tagging.
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
}

impl Asked {
    fn count(&mut self, mined: &MineOutcome, tagged: &TagOutcome) {
        self.moments += 1;
        self.refused += usize::from(mined.error.is_some() || tagged.error.is_some());
        self.prompt_tokens += mined.tokens.0 + tagged.tokens.0;
        self.completion_tokens += mined.tokens.1 + tagged.tokens.1;
    }

    /// Whether the model has answered about anybody yet.
    fn any_answer(&self) -> bool {
        self.moments > self.refused
    }
}

type Person<'a> = (&'a User, &'a Digest);

impl Asker<'_> {
    /// Asks about all of these moments.
    ///
    /// # Errors
    /// The first failure of the model that is not its refusal of one prompt.
    pub(super) fn teach(
        &self,
        (world, to_category): (&TrainingWorld, &TagToCategory),
        moments: &[Moment],
        rules: &CleaningRules<'_>,
        asked: &mut Asked,
    ) -> Result<Cleaned, LmError> {
        let user = |m: &Moment| &world.world.users()[m.user_idx];
        let people: Vec<Person<'_>> = moments.iter().map(|m| (user(m), &m.digest)).collect();
        let answers = self.answers((world, to_category), &people, asked)?;
        let judgements = self.judge(&people, &answers, rules, asked)?;
        Ok(clean(&taught(&people, &answers, &judgements), rules))
    }

    fn answers(
        &self,
        (world, to_category): (&TrainingWorld, &TagToCategory),
        people: &[Person<'_>],
        asked: &mut Asked,
    ) -> Result<Vec<TeacherAnswer>, LmError> {
        let inputs: Vec<MineInput<'_>> =
            people.iter().map(|&(user, digest)| MineInput { user, digest }).collect();
        let pool = world.world.interest_pool();
        let mined = mine_batch(self.model, &inputs, pool, &self.mining(), &|_, _| {});
        refusals(mined.iter().map(|m| m.error.as_ref()), asked)?;
        let inputs: Vec<TagInput<'_>> = people
            .iter()
            .zip(&mined)
            .map(|(&(user, digest), mined)| TagInput { user, digest, profile: &mined.profile })
            .collect();
        let shop = (&world.lexicon, Some(to_category));
        let tagged = tag_batch(self.model, &inputs, shop, &self.tagging(), &|_, _| {});
        refusals(tagged.iter().map(|t| t.error.as_ref()), asked)?;
        let mut answers = Vec::new();
        for ((&(_, digest), mined), tagged) in people.iter().zip(mined).zip(tagged) {
            asked.count(&mined, &tagged);
            answers.push(TeacherAnswer::from_batches(mined, tagged).grounded(digest));
        }
        Ok(answers)
    }

    /// Verdicts on the answers that are kept without them, one list for each answer; the others are
    /// rejected anyway.
    fn judge(
        &self,
        people: &[Person<'_>],
        answers: &[TeacherAnswer],
        rules: &CleaningRules<'_>,
        asked: &mut Asked,
    ) -> Result<Vec<Vec<Judgement>>, LmError> {
        let mut judgements = vec![Vec::new(); answers.len()];
        if self.judged_by == JudgedBy::Nobody {
            return Ok(judgements);
        }
        let kept = clean(&taught(people, answers, &judgements), rules).kept;
        let inputs: Vec<JudgeInput<'_>> = kept
            .iter()
            .map(|answer| {
                let (user, digest) = people[answer.row];
                let (interests, tags) = (&answer.profile.interests, &answer.tags);
                JudgeInput { user, digest, interests, tags }
            })
            .collect();
        let options = JudgeOptions { lang: self.lang, chunk: inputs.len().max(1) };
        let judged = judge_batch(self.model, &inputs, &options, &|_, _| {});
        refusals(judged.iter().map(|j| j.error.as_ref()), asked)?;
        for (answer, judged) in kept.iter().zip(judged) {
            let verdicts: Vec<Vec<Judgement>> =
                judged.interests.into_iter().chain(judged.tags).collect();
            let read = verdicts.iter().filter(|verdict| !verdict.is_empty()).count();
            asked.judged += read;
            asked.unread += verdicts.len() - read;
            judgements[answer.row] = verdicts.concat();
        }
        Ok(judgements)
    }

    /// A terse model is asked as `recgpt run` asks it; a large one again only where its first answer has
    /// fewer interests than cleaning wants.
    fn mining(&self) -> BatchOptions {
        let options = match self.model.style() {
            PromptStyle::Terse => BatchOptions::voting(INTERESTS, SEED),
            PromptStyle::Prose => {
                BatchOptions { rounds: 2, enough: 3, ..BatchOptions::mining(2048, SEED) }
            }
        };
        BatchOptions { lang: self.lang, ..options }
    }

    fn tagging(&self) -> BatchOptions {
        let max_tokens = match self.model.style() {
            PromptStyle::Terse => 560,
            PromptStyle::Prose => 4096,
        };
        BatchOptions { lang: self.lang, ..BatchOptions::tagging(max_tokens, SEED) }
    }
}

fn taught<'a>(
    people: &'a [Person<'a>],
    answers: &'a [TeacherAnswer],
    judgements: &'a [Vec<Judgement>],
) -> Vec<Taught<'a>> {
    let rows = people.iter().zip(answers).zip(judgements);
    rows.map(|((&(user, digest), answer), judgements)| Taught { user, digest, answer, judgements })
        .collect()
}

/// Passes over refusals of single prompts, which leave no answer; an error where every prompt has been
/// refused, or anything else went wrong.
fn refusals<'e>(
    errors: impl Iterator<Item = Option<&'e LmError>>,
    asked: &Asked,
) -> Result<(), LmError> {
    let (mut refusal, mut answered) = (None, asked.any_answer());
    for error in errors {
        match error {
            Some(error) if !is_refusal(error) => return Err(error.clone()),
            Some(error) => refusal = refusal.or(Some(error)),
            None => answered = true,
        }
    }
    match refusal {
        Some(error) if !answered => Err(error.clone()),
        Some(_) | None => Ok(()),
    }
}

/// Whether the model refuses this one prompt: too long, or not to its liking.
fn is_refusal(error: &LmError) -> bool {
    matches!(
        error,
        LmError::HttpStatus { status: 400 | 413 | 422, .. } | LmError::ContextTooLong { .. }
    )
}

#[cfg(test)]
mod tests;
