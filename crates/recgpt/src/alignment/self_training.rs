//! Stage 3: rounds in which the model answers about users whose truth nobody reads, its judge filters the
//! answers, and what passes is learnt.

use std::collections::BTreeSet;

use align::{Sample, mine_tag_sample};
use anyhow::{Result, anyhow};
use intent::{
    BatchOptions, MineInput, Subjects, TagInput, mine_batch, pass_probabilities, tag_batch,
};
use lm::{Engine, LanguageModel};
use serde::Serialize;
use serde_json::json;
use types::{Digest, Interest, InterestProfile, Tag, User};

use super::folder::{StageRun, Stages, train};
use super::reasoning;
use super::samples::{some, world_texts};
use super::scorecard::JudgeCard;
use super::{Alignment, scorecard};
use crate::progress::{Progress, say};
use crate::settings::IntentSettings;
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

/// One user of a round.
struct Asked<'a> {
    user: &'a User,
    digest: Digest,
}

pub(super) fn run(alignment: &Alignment<'_>, stages: &mut Stages) -> Result<()> {
    let plan = &alignment.recipe.self_training;
    let Some(judged) = stages.done.iter().find(|s| s.stage == reasoning::NAME) else {
        return Err(anyhow!("self-training needs the judge that `{}` trains", reasoning::NAME));
    };
    let judge = judged.scorecard.judge.clone().unwrap_or_default();
    let wanted = plan.min_accuracy;
    let usable = judge.interests.is_usable(wanted) && judge.tags.is_usable(wanted);
    if wanted > 0.0 && !usable {
        say(&format!(
            "{NAME}: left out, the judge is right in {:.2} of interests (F1 {:.2}) and {:.2} of tags (F1 {:.2}); {wanted} wanted, and a better F1 than passing everything",
            judge.interests.accuracy, judge.interests.f1, judge.tags.accuracy, judge.tags.f1
        ));
        return Ok(());
    }
    for round in 1..=plan.rounds {
        let name = format!("{NAME}/round_{round}");
        let before = stages.done.last().map(|s| s.scorecard.clone()).unwrap_or_default();
        if !stages.has(&name) {
            one_round(alignment, stages, &judge, (round, &name))?;
        }
        let after = stages.done.last().map(|s| s.scorecard.clone()).unwrap_or_default();
        if let Some(why) = worse(&before, &after) {
            say(&format!("{NAME}: ends after round {round}: {why}"));
            break;
        }
    }
    Ok(())
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
    let last = stages.done.last().map_or(reasoning::NAME, |s| s.stage.as_str());
    // The judge stays the one that reasoning trained: it never judges with what it has learnt from itself.
    let model = engine(alignment, last)?;
    let judge = Filter {
        model: engine(alignment, reasoning::NAME)?,
        interests: card.interests.threshold,
        tags: card.tags.threshold,
    };
    let (own, yielded) = answers(&model, &judge, plan.worlds, (round, plan.outputs))?;
    let shown = serde_json::to_value(&yielded)?;
    say(&format!("{name}: {shown}"));
    let seed = plan.worlds.seed + 500 * round as u64;
    let replay = WorldPlan { cuts: 3, judged: 1, cleaned: true, seed, ..plan.worlds };
    let known = match alignment.taught()? {
        Some(taught) => taught.samples.clone(),
        None => world_texts(&replay, &alignment.tokenizer, None)?,
    };
    let n = (own.len() as f64 * plan.replay) as usize;
    let mut samples = some(&known, n.max(1), seed);
    samples.extend(own);
    let run = StageRun { name, train: &samples, held_out: &[], config: plan.trainer.clone() };
    let start = || alignment.latest(stages);
    let end = train(alignment.folder, start, &alignment.tokenizer, &run)?;
    let notes = json!({ "yield": yielded });
    alignment.finish(stages, (name, &end), &samples, plan.trainer.steps, notes)
}

fn engine(alignment: &Alignment<'_>, stage: &str) -> Result<Engine> {
    let folder = alignment.folder;
    scorecard::open(&folder.path(stage).join("model"), &folder.path("tokenizer.json"))
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
        for (asked, profile, own_tags) in ask(model, judge, &world, plan, &mut yielded)? {
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
            samples.push(mine_tag_sample("own", asked.user, &asked.digest, &profile, &own_tags));
        }
    }
    (yielded.distinct_interests, yielded.distinct_tags) = (interests.len(), tags.len());
    Ok((samples, yielded))
}

type Kept<'a> = (Asked<'a>, InterestProfile, Vec<Tag>);

/// Asks about every user of a world, and keeps what passes every criterion.
fn ask<'a>(
    model: &Engine,
    judge: &Filter,
    world: &'a TrainingWorld,
    plan: WorldPlan,
    yielded: &mut Yield,
) -> Result<Vec<Kept<'a>>> {
    let bar = Progress::new("answers");
    let show = |done, total| bar.set(done, total);
    let asked = users(model, world, plan)?;
    let inputs: Vec<MineInput<'_>> =
        asked.iter().map(|a| MineInput { user: a.user, digest: &a.digest }).collect();
    let mining = BatchOptions::voting(IntentSettings::default().min_interests, 7);
    let mined = mine_batch(model, &inputs, world.world.interest_pool(), &mining, &show);
    let to_category = world.to_category();
    let inputs: Vec<TagInput<'_>> = asked
        .iter()
        .zip(&mined)
        .map(|(a, m)| TagInput { user: a.user, digest: &a.digest, profile: &m.profile })
        .collect();
    // One answer: what is learnt is written in one.
    let tagging = BatchOptions { rounds: 1, ..BatchOptions::tagging(560, 7) };
    let tagged = tag_batch(model, &inputs, (&world.lexicon, Some(&to_category)), &tagging, &show);
    bar.finish();
    let bar = Progress::new("judge");
    let total = asked.len() as u64;
    let mut kept = Vec::new();
    for ((asked, mined), tagged) in asked.into_iter().zip(mined).zip(tagged) {
        if let Some(error) = mined.error.or(tagged.error) {
            return Err(anyhow!("{error}"));
        }
        bar.set(yielded.users as u64, total);
        yielded.users += 1;
        yielded.interests += mined.profile.interests.len();
        yielded.tags += tagged.tags.len();
        let interests = judge.interests(&asked, mined.profile.interests)?;
        let mut tags = judge.tags(&asked, tagged.tags)?;
        tags.retain(|tag| interests.iter().any(|i: &Interest| i.text == tag.interest));
        let profile = InterestProfile { interests, ..mined.profile };
        kept.push((asked, profile, tags));
    }
    bar.finish();
    Ok(kept)
}

/// The judge of stage 2 and from which probability on it passes interests and tags.
struct Filter {
    model: Engine,
    interests: f64,
    tags: f64,
}

impl Filter {
    /// The interests that pass every criterion likely enough.
    fn interests(&self, asked: &Asked<'_>, mined: Vec<Interest>) -> Result<Vec<Interest>> {
        let p = self.probabilities(asked, Subjects::Interests(&mined))?;
        Ok(from(mined, &p, self.interests))
    }

    /// The same of tags.
    fn tags(&self, asked: &Asked<'_>, predicted: Vec<Tag>) -> Result<Vec<Tag>> {
        let p = self.probabilities(asked, Subjects::Tags(&predicted))?;
        Ok(from(predicted, &p, self.tags))
    }

    fn probabilities(&self, asked: &Asked<'_>, subjects: Subjects<'_>) -> Result<Vec<f64>> {
        Ok(pass_probabilities(&self.model, (asked.user, &asked.digest), subjects)?)
    }
}

/// Those whose probability reaches the threshold.
fn from<T>(outputs: Vec<T>, p: &[f64], threshold: f64) -> Vec<T> {
    let kept = outputs.into_iter().zip(p).filter(|(_, p)| **p >= threshold);
    kept.map(|(output, _)| output).collect()
}

fn users<'a>(model: &Engine, world: &'a TrainingWorld, plan: WorldPlan) -> Result<Vec<Asked<'a>>> {
    let count = |text: &str| model.count_tokens(text);
    let mut asked = Vec::new();
    for (row, user) in world.world.users().iter().enumerate() {
        let (digest, _) = world.digest(row, world.world.cut(), plan.digest_budget, &count)?;
        if digest.lines.len() >= 8 {
            asked.push(Asked { user, digest });
        }
    }
    Ok(asked)
}
