//! The judge: the model as reasoning left it, tuned to judge alone, on generated defects and on its own
//! outputs, both labelled by the truth of worlds that nothing else is made of.

use align::{Labelled, Sample, interest_judge_sample, rebalanced, tag_judge_sample};
use anyhow::{Result, anyhow};
use intent::{MineOutcome, Rubric, TagOutcome};
use lm::Engine;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use serde_json::json;
use types::{Digest, Interest, Tag, User};

use super::answers::{Life, ask, lives};
use super::folder::{Made, StageRun, Stages, train};
use super::{Alignment, reasoning, scorecard};
use crate::progress::{Progress, say};
use crate::steps::worlds::{TrainingWorld, WorldPlan};

pub(super) const NAME: &str = "judge";

/// Most questions about one user and kind of output.
const MOST_CASES: usize = 24;

/// How much less is kept of the common labels of generated cases than of own outputs, which come later.
const DECAY: f64 = 0.7;

pub(super) fn run(alignment: &Alignment<'_>, stages: &mut Stages) -> Result<()> {
    if stages.has(NAME) {
        return Ok(());
    }
    let Some(answering) = stages.get(reasoning::NAME).cloned() else {
        return Err(anyhow!("the judge goes on from `{}`, which is not done", reasoning::NAME));
    };
    let plan = &alignment.recipe.judge;
    let (model, tokenizer) = alignment.model_of(reasoning::NAME);
    let made = alignment.folder.samples(NAME, || {
        let engine = scorecard::open(&model, &tokenizer)?;
        let defects = |world: &TrainingWorld, lives: &[Life<'_>]| Ok(generated_cases(world, lives));
        let generated = cases(&engine, &plan.generated, &defects)?;
        let answers = |world: &TrainingWorld, lives: &[Life<'_>]| own_cases(&engine, world, lives);
        let own = cases(&engine, &plan.own, &answers)?;
        let notes = json!({
            "generated_interests": tally(&generated.interests, Rubric::interests()),
            "generated_tags": tally(&generated.tags, Rubric::tags()),
            "own_interests": tally(&own.interests, Rubric::interests()),
            "own_tags": tally(&own.tags, Rubric::tags()),
        });
        Ok(Made { samples: samples(generated, own, plan.trainer.seed), notes })
    })?;
    let Made { samples, notes } = made;
    say(&format!("{NAME}: {notes}"));
    let run = StageRun { name: NAME, train: &samples, held_out: &[], config: plan.trainer.clone() };
    let start = || alignment.folder.decoder(reasoning::NAME);
    let end = train(alignment.folder, start, &alignment.tokenizer, &run)?;
    let judging = alignment.model_of(NAME).0;
    let card = scorecard::judge_card((&model, &judging), &tokenizer, &alignment.recipe.scorecard)?;
    // It answers nothing itself: what is judged are the answers of reasoning, whose scorecard this is.
    let card = scorecard::Scorecard { judge: Some(card), ..answering.scorecard };
    alignment.record(stages, (NAME, &end), &samples, (plan.trainer.steps, notes), card)
}

/// Outputs with their labels, and whose they are.
#[derive(Default)]
struct Cases {
    people: Vec<(User, Digest)>,
    interests: Vec<(usize, Labelled<Interest>)>,
    tags: Vec<(usize, Labelled<Tag>)>,
}

/// Labelled interests and tags of one user.
type Outputs = (Vec<Labelled<Interest>>, Vec<Labelled<Tag>>);
/// The outputs of some users of a world.
type Source<'a> = &'a dyn Fn(&TrainingWorld, &[Life<'_>]) -> Result<Vec<Outputs>>;

fn cases(engine: &Engine, plan: &WorldPlan, source: Source<'_>) -> Result<Cases> {
    let (mut cases, bar) = (Cases::default(), Progress::new("judge's cases"));
    for idx in 0..plan.worlds {
        bar.set(idx as u64, plan.worlds as u64);
        let world = plan.world(idx)?.0;
        let lives = lives(&world, plan.digest_budget, engine)?;
        let outputs = source(&world, &lives)?;
        for (life, (interests, tags)) in lives.into_iter().zip(outputs) {
            let person = cases.people.len();
            cases.people.push((life.user.clone(), life.digest));
            cases.interests.extend(interests.into_iter().map(|case| (person, case)));
            cases.tags.extend(tags.into_iter().map(|case| (person, case)));
        }
    }
    bar.finish();
    Ok(cases)
}

fn generated_cases(world: &TrainingWorld, lives: &[Life<'_>]) -> Vec<Outputs> {
    let category_of = |text: &str| world.category_of_text(text);
    let judge = world.judge_world(world.truth_shop(&category_of));
    let of = |life: &Life<'_>| {
        let mut rng = Pcg64Mcg::seed_from_u64(life.row as u64);
        let interests = judge.interest_cases(&life.digest, &life.truth, &mut rng);
        (interests, judge.tag_cases(&life.digest, &life.truth, &mut rng))
    };
    lives.iter().map(of).collect()
}

fn own_cases(engine: &Engine, world: &TrainingWorld, lives: &[Life<'_>]) -> Result<Vec<Outputs>> {
    let category_of = |text: &str| world.category_of_text(text);
    let judge = world.judge_world(world.truth_shop(&category_of));
    let answers = ask(engine, world, lives, (1, 3))?;
    let of = |(life, (mined, tagged)): (&Life<'_>, &(MineOutcome, TagOutcome))| {
        let interests = judge.label_interests(&life.digest, &life.truth, &mined.profile.interests);
        (interests, judge.label_tags(&life.digest, &life.truth, &tagged.tags))
    };
    Ok(lives.iter().zip(&answers).map(of).collect())
}

/// How many there are, and how many of them pass.
fn tally<T>(cases: &[(usize, Labelled<T>)], rubric: &Rubric) -> serde_json::Value {
    let passing = cases.iter().filter(|(_, case)| case.passes(rubric)).count();
    json!({ "cases": cases.len(), "passing": passing })
}

/// Common labels thinned, more so among the generated cases, rare ones all kept (RECGPT.md 1.5); the questions
/// about one user side by side.
fn samples(generated: Cases, own: Cases, seed: u64) -> Vec<Sample> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let first = generated.people.len();
    let interests =
        balanced([generated.interests, own.interests], first, Rubric::interests(), &mut rng);
    let tags = balanced([generated.tags, own.tags], first, Rubric::tags(), &mut rng);
    let people: Vec<(User, Digest)> = generated.people.into_iter().chain(own.people).collect();
    let (mut interests, mut tags) =
        (by_person(interests, people.len()), by_person(tags, people.len()));
    let mut samples = Vec::new();
    for (idx, (user, digest)) in people.iter().enumerate() {
        interests[idx].shuffle(&mut rng);
        let asked = interests[idx].chunks(MOST_CASES);
        samples.extend(asked.filter_map(|cases| interest_judge_sample(user, digest, cases)));
        tags[idx].shuffle(&mut rng);
        let asked = tags[idx].chunks(MOST_CASES);
        samples.extend(asked.filter_map(|cases| tag_judge_sample(user, digest, cases)));
    }
    samples
}

/// Generated cases and own outputs together, the people of the second numbered behind those of the first.
fn balanced<T: Clone>(
    [generated, mut own]: [Vec<(usize, Labelled<T>)>; 2],
    first: usize,
    rubric: &Rubric,
    rng: &mut Pcg64Mcg,
) -> Vec<(usize, Labelled<T>)> {
    own.iter_mut().for_each(|(person, _)| *person += first);
    let passes = |(_, case): &(usize, Labelled<T>)| case.passes(rubric);
    let all = generated.iter().chain(&own);
    let passing_is_rare = 2 * all.clone().filter(|case| passes(case)).count() < all.count();
    rebalanced(&[generated, own], &|case| passes(case) == passing_is_rare, DECAY, rng)
}

fn by_person<T>(cases: Vec<(usize, Labelled<T>)>, people: usize) -> Vec<Vec<Labelled<T>>> {
    let mut of: Vec<Vec<Labelled<T>>> = (0..people).map(|_| Vec::new()).collect();
    cases.into_iter().for_each(|(person, case)| of[person].push(case));
    of
}
