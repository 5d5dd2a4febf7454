//! Stage 3: rounds in which the model answers about users whose truth nobody reads, its judge filters the
//! answers, and what passes is learnt.

use std::collections::BTreeSet;

use align::{Sample, mine_tag_sample};
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

/// An answer is learnt when so many interests and tags of it are left.
const MIN_INTERESTS: usize = 3;
const MIN_TAGS: usize = 12;

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

/// Samples of stage 2 beside `n` of the model's own.
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
    Ok(some(&known, n.max(1), seed))
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
        for (life, profile, own_tags) in passing(model, judge, &world, plan, &mut yielded)? {
            let n_kept = yielded.interests_kept + yielded.tags_kept;
            if profile.interests.len() < MIN_INTERESTS || own_tags.len() < MIN_TAGS || n_kept > most
            {
                continue;
            }
            yielded.interests_kept += profile.interests.len();
            yielded.tags_kept += own_tags.len();
            yielded.answers_kept += 1;
            interests.extend(profile.interests.iter().map(|i| i.text.clone()));
            tags.extend(own_tags.iter().map(|t| t.text.clone()));
            samples.push(mine_tag_sample("own", life.user, &life.digest, &profile, &own_tags));
        }
    }
    (yielded.distinct_interests, yielded.distinct_tags) = (interests.len(), tags.len());
    Ok((samples, yielded))
}

type Kept<'a> = (Life<'a>, InterestProfile, Vec<Tag>);

/// Asks about every user of a world, and keeps what passes every criterion.
fn passing<'a>(
    model: &Engine,
    judge: &Filter,
    world: &'a TrainingWorld,
    plan: WorldPlan,
    yielded: &mut Yield,
) -> Result<Vec<Kept<'a>>> {
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
        let interests = judge.interests(&life, mined.profile.interests)?;
        let mut tags = judge.tags(&life, tagged.tags)?;
        tags.retain(|tag| interests.iter().any(|i: &Interest| i.text == tag.interest));
        let profile = InterestProfile { interests, ..mined.profile };
        kept.push((life, profile, tags));
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
    /// The interests that pass every criterion likely enough.
    fn interests(&self, life: &Life<'_>, mined: Vec<Interest>) -> Result<Vec<Interest>> {
        let p = self.probabilities(life, Subjects::Interests(&mined))?;
        Ok(from(mined, &p, self.interests))
    }

    /// The same of tags.
    fn tags(&self, life: &Life<'_>, predicted: Vec<Tag>) -> Result<Vec<Tag>> {
        let p = self.probabilities(life, Subjects::Tags(&predicted))?;
        Ok(from(predicted, &p, self.tags))
    }

    fn probabilities(&self, life: &Life<'_>, subjects: Subjects<'_>) -> Result<Vec<f64>> {
        Ok(pass_probabilities(&self.model, (life.user, &life.digest), subjects)?)
    }
}

/// Those whose probability reaches the threshold.
fn from<T>(outputs: Vec<T>, p: &[f64], threshold: f64) -> Vec<T> {
    let kept = outputs.into_iter().zip(p).filter(|(_, p)| **p >= threshold);
    kept.map(|(output, _)| output).collect()
}
