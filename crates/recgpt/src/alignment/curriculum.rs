//! Stage 1: sixteen subtasks, level after level.

use std::path::Path;

use align::{
    CurriculumSamples, CurriculumSources, Level, Product, SUBTASKS, Sample, quotas, subtask,
    topological_order,
};
use anyhow::{Context, Result};
use intent::split_tag;
use serde_json::json;
use types::Taxonomy;

use super::Alignment;
use super::folder::{StageEnd, StageRun, Stages, train};
use super::recipe::CurriculumPlan;
use super::samples::{some, world_texts};
use crate::progress::Progress;
use crate::steps::worlds::{TrainingWorld, WorldPlan};

pub(super) const NAME: &str = "curriculum";

/// Questions of each subtask that are only asked.
const ASKED: usize = 40;

/// Samples of the subtasks out of 16,298, in their order. The published proportions give a third of the
/// subtasks a hundred samples or fewer: enough for a large model that knows the words, of which a small one
/// learns nothing. What to buy stays the largest by far.
const SHARES: [usize; 16] =
    [900, 900, 900, 700, 5298, 700, 700, 700, 700, 700, 700, 400, 700, 900, 700, 700];

/// The samples of the curriculum, in the order of the subtasks.
pub(super) fn samples(plan: &CurriculumPlan, data: Option<&Path>) -> Result<CurriculumSamples> {
    let shared = Shared::read(data)?;
    let n_worlds = plan.worlds.worlds.max(1);
    let whole = quotas(plan.samples, &SHARES);
    let mut all = CurriculumSamples::default();
    let bar = Progress::new("curriculum");
    for idx in 0..n_worlds {
        bar.set(idx as u64, n_worlds as u64);
        let seed = plan.worlds.seed + idx as u64;
        let world = TrainingWorld::new(plan.worlds.users, seed)?;
        // Worlds take turns, so that their parts add up to the whole.
        let part: Vec<usize> =
            whole.iter().map(|n| n * (idx + 1) / n_worlds - n * idx / n_worlds).collect();
        let asked = ASKED.div_ceil(n_worlds);
        all.extend(shared.draw(&world, &part, (asked, seed)));
    }
    bar.finish();
    all.trained.sort_by_key(|s| row_of(&s.task)); // stable
    Ok(all)
}

fn row_of(task: &str) -> usize {
    SUBTASKS.iter().position(|s| s.name == task).unwrap_or(SUBTASKS.len())
}

/// Real text.
struct Shared {
    taxonomy: Option<Taxonomy>,
    goals: Vec<(String, String)>,
}

impl Shared {
    fn read(data: Option<&Path>) -> Result<Self> {
        let Some(data) = data else { return Ok(Self { taxonomy: None, goals: Vec::new() }) };
        let tree = data.join("product_taxonomy/google_products_categories.json");
        let goals = data.join("shopping_goals/goal_query_map.json");
        Ok(Self {
            taxonomy: Some(events::import_taxonomy(&tree)?),
            goals: align::read_goals(&goals)?,
        })
    }

    fn draw(
        &self,
        world: &TrainingWorld,
        quotas: &[usize],
        (asked, seed): (usize, u64),
    ) -> CurriculumSamples {
        let products: Vec<Product<'_>> = world
            .catalogue
            .items()
            .iter()
            .map(|item| {
                let core = world.cores.core(&item.item_id);
                let split = split_tag(core, &world.lexicon.cores);
                let modifiers = split.map(|(modifiers, _)| modifiers).unwrap_or_default();
                Product { title: &item.title, core, category: &item.category_path, modifiers }
            })
            .collect();
        let sources = CurriculumSources {
            products: &products,
            truths: world.truths(),
            taxonomy: self.taxonomy.as_ref(),
            goals: &self.goals,
        };
        CurriculumSamples::draw(&sources, quotas, asked, seed)
    }
}

pub(super) fn run(alignment: &Alignment<'_>, stages: &mut Stages) -> Result<()> {
    if stages.has(NAME) {
        return Ok(());
    }
    let (plan, samples) = (&alignment.recipe.curriculum, &alignment.curriculum);
    let order = topological_order(&SUBTASKS)?;
    let names: Vec<&str> = order.iter().map(|s| s.name).collect();
    let replayed = replayed(alignment)?;
    let (mut before, mut steps, mut last) = (None::<String>, 0, None::<StageEnd>);
    for level in Level::ALL {
        let mut known: Vec<Sample> = up_to(&samples.trained, level);
        if known.is_empty() {
            continue;
        }
        known.extend(replayed.iter().cloned());
        let name = format!("{NAME}/{}", level.as_str());
        let mut config = plan.trainer.clone();
        config.steps = config.steps.min(steps_of(&known, plan, alignment));
        config.warmup = config.warmup.min(config.steps.div_ceil(4));
        steps += config.steps;
        let run = StageRun { name: &name, train: &known, held_out: &samples.asked, config };
        let start = || match &before {
            Some(level) => alignment.folder.decoder(level),
            None => alignment.latest(stages),
        };
        let mut end = train(alignment.folder, start, &alignment.tokenizer, &run)?;
        for (sum, of_levels_before) in end.tokens.iter_mut().zip(last.map_or([0; 2], |e| e.tokens))
        {
            *sum += of_levels_before;
        }
        last = Some(end);
        before = Some(name);
    }
    let (Some(end), Some(advanced)) = (last, before) else { return Ok(()) };
    alignment.folder.copy_model(&advanced, NAME).context("the last level's model")?;
    let notes = json!({ "order": names, "asked": samples.asked.len() });
    alignment.finish(stages, (NAME, &end), &samples.trained, steps, notes)
}

/// Samples of mining and tagging as the base has learnt them. Without them the stage unlearns both.
fn replayed(alignment: &Alignment<'_>) -> Result<Vec<Sample>> {
    let (plan, n) = (&alignment.recipe.base.worlds, alignment.recipe.curriculum.replay);
    let plan = WorldPlan { worlds: 1, cuts: 1, ..*plan };
    let mut samples = world_texts(&plan, &alignment.tokenizer, None)?;
    samples.retain(|sample| sample.task == "mine_tag");
    Ok(some(&samples, n, plan.seed))
}

/// The samples of a level, and an eighth of those of the levels below, against forgetting.
fn up_to(samples: &[Sample], level: Level) -> Vec<Sample> {
    let of = |s: &Sample| subtask(&s.task).map(|t| t.level);
    let own = samples.iter().filter(|s| of(s) == Some(level));
    let below = samples.iter().filter(|s| of(s).is_some_and(|l| l < level)).step_by(8);
    own.chain(below).cloned().collect()
}

/// Steps that read these samples as often as the plan says.
fn steps_of(samples: &[Sample], plan: &CurriculumPlan, alignment: &Alignment<'_>) -> u64 {
    let encoded = align::encode_samples(&alignment.tokenizer, samples);
    let n_rows = plan.trainer.pack(&encoded).len() as u64;
    (n_rows * plan.epochs).div_ceil(plan.trainer.rows_per_step as u64)
}
