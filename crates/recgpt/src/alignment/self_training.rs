//! Stage 3: rounds in which the model answers about users whose truth nobody reads, its judge filters the
//! answers, and what passes is learnt.

use std::collections::BTreeSet;

use align::{Sample, own_sample};
use anyhow::{Result, anyhow};
use intent::{Subjects, pass_probabilities};
use lm::Engine;
use serde::Serialize;
use serde_json::json;
use types::{Interest, InterestProfile, Tag};

use super::answers::{Life, ask, lives};
use super::folder::{Made, StageRun, Stages, train};
use super::samples::{some, world_texts};
use super::scorecard::JudgeCard;
use super::{Alignment, judge, reasoning, scorecard};
use crate::progress::{Progress, say};
use crate::steps::worlds::{TrainingWorld, WorldPlan};

pub(super) const NAME: &str = "self_training";

/// An answer is learnt from when so many interests and tags of it pass.
const MIN_INTERESTS: usize = 1;
const MIN_TAGS: usize = 3;

/// A round whose model names fewer different tags than this part of those before is not gone on from.
const MIN_VARIETY: f64 = 0.6;

/// What a round asked and kept.
#[derive(Debug, Default, Serialize)]
struct Yield {
    users: usize,
    interests: usize,
    interests_kept: usize,
    tags: usize,
    tags_kept: usize,
    answers_kept: usize,
    /// Different texts among those kept: a round that repeats itself shows here.
    distinct_interests: usize,
    distinct_tags: usize,
}

pub(super) fn run(alignment: &Alignment<'_>, stages: &mut Stages) -> Result<()> {
    let plan = &alignment.recipe.self_training;
    let Some(card) = judge_card(stages) else {
        return Err(anyhow!("self-training needs the judge that `{}` trains", reasoning::NAME));
    };
    let wanted = alignment.recipe.scorecard.judge_accuracy;
    let usable = card.interests.is_usable(wanted) && card.tags.is_usable(wanted);
    if wanted > 0.0 && !usable {
        say(&format!(
            "{NAME}: left out, the judge is right in {:.2} of interests (kappa {:.2}) and {:.2} of tags (kappa {:.2}); {wanted} wanted, and a kappa of {}",
            card.interests.accuracy,
            card.interests.kappa,
            card.tags.accuracy,
            card.tags.kappa,
            eval::MIN_KAPPA
        ));
        return Ok(());
    }
    for round in 1..=plan.rounds {
        let name = format!("{NAME}/round_{round}");
        let before = before(stages, &name);
        if !stages.has(&name) {
            one_round(alignment, stages, &card, (round, &name))?;
        }
        let after = stages.get(&name);
        let after = after.map(|s| s.scorecard.clone()).unwrap_or_default();
        if let Some(why) = worse(&before, &after) {
            say(&format!("{NAME}: ends after round {round}: {why}"));
            break;
        }
    }
    Ok(())
}

/// What the judge was measured to be: the one that judges alone, or reasoning as its own.
fn judge_card(stages: &Stages) -> Option<JudgeCard> {
    let judged = stages.get(judge::NAME).or_else(|| stages.get(reasoning::NAME))?;
    Some(judged.scorecard.judge.clone().unwrap_or_default())
}

/// The scorecard of the stage that a round goes on from.
fn before(stages: &Stages, round: &str) -> scorecard::Scorecard {
    let earlier = stages.done.iter().take_while(|s| s.stage != round);
    let answering = earlier.filter(|s| s.stage != judge::NAME).last();
    answering.map(|s| s.scorecard.clone()).unwrap_or_default()
}

/// Why a round is the last one; none when it is not.
fn worse(before: &scorecard::Scorecard, after: &scorecard::Scorecard) -> Option<String> {
    if (after.distinct_tags as f64) < MIN_VARIETY * before.distinct_tags as f64 {
        let (was, is) = (before.distinct_tags, after.distinct_tags);
        return Some(format!("{is} different tags where there were {was}"));
    }
    (after.score <= before.score)
        .then(|| format!("score {:.4} after {:.4}", after.score, before.score))
}

fn one_round(
    alignment: &Alignment<'_>,
    stages: &mut Stages,
    card: &JudgeCard,
    (round, name): (usize, &str),
) -> Result<()> {
    let plan = &alignment.recipe.self_training;
    let last = stages.answering().map_or(reasoning::NAME, |s| s.stage.as_str());
    // The judge stays the same in all rounds: it never judges with what it has learnt from itself.
    let judge = stages.judge_of(name).unwrap_or(reasoning::NAME);
    let Made { samples, notes } = alignment.folder.samples(name, || {
        let model = engine(alignment, last)?;
        let judge = Filter {
            model: engine(alignment, judge)?,
            interests: card.interests.threshold,
            tags: card.tags.threshold,
        };
        let (own, yielded) = answers(&model, &judge, plan.worlds, (round, plan.outputs))?;
        let mut samples = replayed(alignment, own.len(), round)?;
        samples.extend(own);
        Ok(Made { samples, notes: json!({ "yield": yielded }) })
    })?;
    say(&format!("{name}: {notes}"));
    let run = StageRun { name, train: &samples, held_out: &[], config: plan.trainer.clone() };
    let start = || alignment.latest(stages);
    let end = train(alignment.folder, start, &alignment.tokenizer, &run)?;
    alignment.finish(stages, (name, &end), &samples, plan.trainer.steps, notes)
}

/// Samples of stages 1 and 2 beside `n` of the model's own.
fn replayed(alignment: &Alignment<'_>, n: usize, round: usize) -> Result<Vec<Sample>> {
    let plan = &alignment.recipe.self_training;
    let seed = plan.worlds.seed + 500 * round as u64;
    let known = match alignment.taught()? {
        Some(taught) => taught.samples.clone(),
        None => {
            let worlds = WorldPlan { cuts: 3, judged: 1, cleaned: true, seed, ..plan.worlds };
            world_texts(&worlds, &alignment.tokenizer, None)?
        }
    };
    let n = (n as f64 * plan.replay) as usize;
    let mut replayed = some(&known, n.max(1), seed);
    replayed.extend(some(&alignment.curriculum.trained, 3 * n, seed));
    Ok(replayed)
}

fn engine(alignment: &Alignment<'_>, stage: &str) -> Result<Engine> {
    let (model, tokenizer) = alignment.model_of(stage);
    scorecard::open(&model, &tokenizer)
}

/// The answers of a round that pass, as samples; worlds of each round are others.
fn answers(
    model: &Engine,
    judge: &Filter,
    plan: WorldPlan,
    (round, most): (usize, usize),
) -> Result<(Vec<Sample>, Yield)> {
    let (mut samples, mut yielded) = (Vec::new(), Yield::default());
    let (mut interests, mut tags) = (BTreeSet::new(), BTreeSet::new());
    for idx in 0..plan.worlds {
        let seed = plan.seed + 100 * round as u64 + idx as u64;
        let world = TrainingWorld::new(plan.users, seed)?;
        for judged in passing(model, judge, &world, plan, &mut yielded)? {
            let Judged { life, profile, tags: own_tags, interests_pass, tags_pass } = judged;
            let n_kept = yielded.interests_kept + yielded.tags_kept;
            let [n_interests, n_tags] =
                [&interests_pass, &tags_pass].map(|pass| pass.iter().filter(|p| **p).count());
            if n_interests < MIN_INTERESTS || n_tags < MIN_TAGS || n_kept > most {
                continue;
            }
            yielded.interests_kept += n_interests;
            yielded.tags_kept += n_tags;
            yielded.answers_kept += 1;
            let of_interests = profile.interests.iter().zip(&interests_pass);
            interests.extend(of_interests.filter(|(_, p)| **p).map(|(i, _)| i.text.clone()));
            let of_tags = own_tags.iter().zip(&tags_pass);
            tags.extend(of_tags.filter(|(_, p)| **p).map(|(t, _)| t.text.clone()));
            let person = (life.user, &life.digest);
            samples.push(own_sample(person, (&profile, &own_tags), (&interests_pass, &tags_pass)));
        }
    }
    (yielded.distinct_interests, yielded.distinct_tags) = (interests.len(), tags.len());
    Ok((samples, yielded))
}

/// An answer, and what of it passes every criterion.
struct Judged<'a> {
    life: Life<'a>,
    profile: InterestProfile,
    tags: Vec<Tag>,
    interests_pass: Vec<bool>,
    /// A tag passes with its interest only.
    tags_pass: Vec<bool>,
}

/// Asks about every user of a world, and judges the answers.
fn passing<'a>(
    model: &Engine,
    judge: &Filter,
    world: &'a TrainingWorld,
    plan: WorldPlan,
    yielded: &mut Yield,
) -> Result<Vec<Judged<'a>>> {
    let lives = lives(world, plan.digest_budget, model)?;
    // One answer with tags: what is learnt is written in one.
    let answers = ask(model, world, &lives, (1, 7))?;
    let (bar, total) = (Progress::new("judge"), lives.len() as u64);
    let mut kept = Vec::new();
    for (life, (mined, tagged)) in lives.into_iter().zip(answers) {
        bar.set(kept.len() as u64, total);
        yielded.users += 1;
        yielded.interests += mined.profile.interests.len();
        yielded.tags += tagged.tags.len();
        let (profile, tags) = (mined.profile, tagged.tags);
        let interests_pass = judge.interests(&life, &profile.interests)?;
        let passing: BTreeSet<&str> = profile
            .interests
            .iter()
            .zip(&interests_pass)
            .filter(|(_, pass)| **pass)
            .map(|(interest, _)| interest.text.as_str())
            .collect();
        let mut tags_pass = judge.tags(&life, &tags)?;
        for (pass, tag) in tags_pass.iter_mut().zip(&tags) {
            *pass &= passing.contains(tag.interest.as_str());
        }
        kept.push(Judged { life, profile, tags, interests_pass, tags_pass });
    }
    bar.finish();
    Ok(kept)
}

/// The judge and from which probability on it passes interests and tags.
struct Filter {
    model: Engine,
    interests: f64,
    tags: f64,
}

impl Filter {
    /// Which interests pass every criterion likely enough.
    fn interests(&self, life: &Life<'_>, mined: &[Interest]) -> Result<Vec<bool>> {
        let p = self.probabilities(life, Subjects::Interests(mined))?;
        Ok(p.iter().map(|p| *p >= self.interests).collect())
    }

    /// The same of tags.
    fn tags(&self, life: &Life<'_>, predicted: &[Tag]) -> Result<Vec<bool>> {
        let p = self.probabilities(life, Subjects::Tags(predicted))?;
        Ok(p.iter().map(|p| *p >= self.tags).collect())
    }

    fn probabilities(&self, life: &Life<'_>, subjects: Subjects<'_>) -> Result<Vec<f64>> {
        Ok(pass_probabilities(&self.model, (life.user, &life.digest), subjects)?)
    }
}
