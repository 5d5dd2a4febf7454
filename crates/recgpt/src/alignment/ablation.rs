//! What each stage of a recipe is worth: the recipe with all of them and with each left out, over several seeds.
//!
//! Stages go on from each other, so that leaving out the last ones costs no run: reasoning's scorecard is that
//! without self-training, the curriculum's that without reasoning and what needs it.

use std::path::Path;

use anyhow::Result;
use comfy_table::Table;
use eval::{Estimate, mean_of_runs};
use serde::Serialize;

use super::folder::{Folder, StageRecord, Stages};
use super::{Recipe, Scorecard, Sources, Stage, align, curriculum, reasoning, self_training};
use crate::progress::say;

/// The table, `ablation.json` in the folder of all runs.
#[derive(Debug, Serialize)]
pub(crate) struct Ablation {
    recipe: Recipe,
    seeds: u64,
    rows: Vec<Row>,
}

/// One way to leave stages out.
#[derive(Debug, Serialize)]
struct Row {
    stages: &'static str,
    /// In the order of [`FIGURES`]; means over the seeds in which all is there, with 95% intervals by
    /// Student's t.
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    estimate: Option<Estimate>,
}

/// A figure of a scorecard, where it was measured.
type Read = fn(&Scorecard) -> Option<f64>;

const FIGURES: [(&str, Read); 8] = [
    ("score", |c| Some(c.score)),
    ("interest precision", |c| Some(c.interest_precision)),
    ("interest recall", |c| Some(c.interest_recall)),
    ("valid tags", |c| Some(c.tag_valid_share)),
    ("HR@30", |c| c.hr30.map(|e| e.mean)),
    ("HR@30 new", |c| c.hr30_new_categories.map(|e| e.mean)),
    ("curriculum", |c| c.curriculum.as_ref().map(|c| c.macro_mean)),
    ("intention", |c| c.intention_accuracy),
];

/// The scorecard of a row in the runs with and without the curriculum.
type Pick = fn(&Stages, &Stages) -> Option<Scorecard>;

const ROWS: [(&str, Pick); 5] = [
    ("all", |whole, _| last_round(whole)),
    ("without curriculum", |_, without| last_round(without)),
    ("without reasoning, so without self-training", |whole, _| of(whole, curriculum::NAME)),
    ("without self-training", |whole, _| of(whole, reasoning::NAME)),
    ("without curriculum and self-training", |_, without| of(without, reasoning::NAME)),
];

/// Runs what is not done yet, a folder per seed and variant below `out`.
pub(crate) fn ablate(
    recipe: &Recipe,
    out: &Path,
    sources: Sources<'_>,
    seeds: u64,
) -> Result<Ablation> {
    let mut runs = Vec::new();
    for seed in 1..=seeds {
        let run = |name: &str, without: &[Stage]| {
            say(&format!("ablation: seed {seed} of {seeds}, {name}"));
            let folder = Folder::create(&out.join(format!("seed_{seed}/{name}")))?;
            align(&recipe.clone().with_seed(seed), &folder, sources, without)?;
            folder.stages()
        };
        runs.push((run("all", &[])?, run("without_curriculum", &[Stage::Curriculum])?));
    }
    let rows = ROWS.map(|(stages, pick)| {
        let cards: Vec<Scorecard> =
            runs.iter().filter_map(|(whole, without)| pick(whole, without)).collect();
        let figure = |(name, read): (&'static str, Read)| {
            let values: Vec<f64> = cards.iter().filter_map(read).collect();
            Figure { name, estimate: mean_of_runs(&values) }
        };
        Row { stages, figures: FIGURES.map(figure).into() }
    });
    let ablation = Ablation { recipe: recipe.clone(), seeds, rows: rows.into() };
    Folder::create(out)?.write_json("ablation.json", &ablation)?;
    Ok(ablation)
}

fn of(stages: &Stages, name: &str) -> Option<Scorecard> {
    stages.get(name).map(|s| s.scorecard.clone())
}

fn last_round(stages: &Stages) -> Option<Scorecard> {
    let is_round = |s: &&StageRecord| s.stage.starts_with(self_training::NAME);
    stages.done.iter().rev().find(is_round).map(|s| s.scorecard.clone())
}

impl std::fmt::Display for Ablation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new();
        let names = FIGURES.iter().map(|(name, _)| (*name).to_owned());
        table.set_header(std::iter::once("stages".to_owned()).chain(names));
        for row in &self.rows {
            let cell = |figure: &Figure| match figure.estimate {
                Some(e) => format!("{:.3} [{:.3}, {:.3}]", e.mean, e.low, e.high),
                None => "-".to_owned(),
            };
            let cells = row.figures.iter().map(cell);
            table.add_row(std::iter::once(row.stages.to_owned()).chain(cells));
        }
        write!(f, "{table}\nmeans over {} seeds, 95% intervals by Student's t", self.seeds)
    }
}
