//! `recgpt evaluate --suite`: every model on every shared set, each tuned on validation, in one table.
//!
//! A part is one model on one set with one seed. It is written when it is finished and not done again;
//! the table is made of whatever parts there are, and says what is missing.

mod made;
mod measure;
mod models;
mod results;
mod sets;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

pub(crate) use models::ModelName;
pub(crate) use sets::SetName;

use self::measure::{Columns, columns, mean_recall, thinned};
use self::models::{Recipe, fit};
use self::sets::Set;
use crate::cli::EvaluateArgs;
use crate::failure::Usage;
use crate::progress::{Progress, say};
use crate::workspace::{Workspace, hash_inputs};

/// Raised when a part would come out otherwise than before.
const PARTS_VERSION: u32 = 2;
/// Users of validation by whom settings are chosen.
const TUNING_USERS: usize = 3000;

/// One model on one set with one seed.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    set: SetName,
    model: ModelName,
    seed: u64,
    /// Of the grid and of [`PARTS_VERSION`].
    inputs: u64,
    /// What was checked out; empty where nothing was, or before this was noted.
    #[serde(default)]
    commit: String,
    seconds: f64,
    views: BTreeMap<String, ViewPart>,
}

/// A part's answer to one view.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ViewPart {
    chosen: Recipe,
    /// Recall on validation of everything that was tried; empty for later seeds, which take what the
    /// first one chose.
    tried: Vec<(Recipe, f64)>,
    columns: Columns,
}

pub(crate) fn run(args: &EvaluateArgs, json: bool) -> Result<()> {
    let data = args.data.as_deref().ok_or_else(|| anyhow!(Usage("--suite needs --data".into())))?;
    let ws = Workspace::new(&args.out);
    let chosen = |set: &SetName| args.only.is_empty() || args.only.contains(set);
    let sets: Vec<SetName> = SetName::ALL.into_iter().filter(chosen).collect();
    let asked = |model: &ModelName| args.models.is_empty() || args.models.contains(model);
    for &name in &sets {
        let set = Set::load(name, data, &args.out, &args.workspace.workspace)?;
        let sizes: Vec<String> =
            set.views.iter().map(|v| format!("{} {} users", v.name, v.test.len())).collect();
        say(&format!("{}: {} items, {}", name.as_str(), set.catalogue.len(), sizes.join(", ")));
        for model in ModelName::ALL.into_iter().filter(asked).filter(|m| m.fits(&set)) {
            for seed in 1..=if model.is_random() { args.seeds } else { 1 } {
                perform(&ws, &set, model, seed)
                    .with_context(|| format!("{} on {}", model.as_str(), name.as_str()))?;
            }
        }
        results::write(&ws, args, json && Some(&name) == sets.last())?;
    }
    Ok(())
}

fn path_of(set: SetName, model: ModelName, seed: u64) -> String {
    format!("parts/{}.{}.{seed}.json", set.as_str(), model.as_str())
}

/// Does a part, unless it was done.
fn perform(ws: &Workspace, set: &Set, model: ModelName, seed: u64) -> Result<()> {
    let path = path_of(set.name, model, seed);
    let grid = model.grid(set);
    let inputs = hash_inputs(&(PARTS_VERSION, &grid), &[])?;
    if ws.read_json::<Part>(&path).is_ok_and(|part| part.inputs == inputs) {
        return Ok(());
    }
    let start = Instant::now();
    let bar = Progress::new(&format!("{} {}", set.name.as_str(), model.as_str()));
    let views = match seed {
        1 => tuned(set, &grid, &bar)?,
        _ => {
            let first: Part = ws.read_json(&path_of(set.name, model, 1))?;
            first
                .views
                .into_iter()
                .map(|(view, part)| {
                    let columns = tested(set, &view, &part.chosen, seed, &bar)?;
                    Ok((view, ViewPart { chosen: part.chosen, tried: Vec::new(), columns }))
                })
                .collect::<Result<_>>()?
        }
    };
    bar.finish();
    let seconds = start.elapsed().as_secs_f64();
    let figures: Vec<String> = views
        .iter()
        .map(|(view, part)| {
            let recall = part.columns.iter().find(|(name, _)| name.starts_with("recall@"));
            let mean = recall.map_or(f64::NAN, |(_, values)| results::mean(values));
            format!("{view} {mean:.4}")
        })
        .collect();
    let (name, figures) = (model.as_str(), figures.join(", "));
    say(&format!("  {name:18} seed {seed} {seconds:7.1} s  {figures}"));
    let commit = results::commit();
    ws.write_json(&path, &Part { set: set.name, model, seed, inputs, commit, seconds, views })?;
    Ok(())
}

/// Tries the grid on validation and tests the best recipe of each view.
fn tuned(set: &Set, grid: &[Recipe], bar: &Progress) -> Result<BTreeMap<String, ViewPart>> {
    let mut best: BTreeMap<String, (f64, Recipe, Option<Columns>)> = BTreeMap::new();
    let mut tried: BTreeMap<String, Vec<(Recipe, f64)>> = BTreeMap::new();
    for (number, recipe) in grid.iter().enumerate() {
        // The first view's validation chooses the epoch of a baseline, and other views choose among the
        // results. recgpt blends for each view by itself; its grid may hold a recipe for each.
        let own = matches!(recipe, Recipe::Recgpt { .. });
        let of_view = own && grid.len() == set.views.len();
        for (place, view) in set.views.iter().enumerate() {
            if (place > 0 && !own) || (of_view && place != number) {
                continue;
            }
            let (model, made) = fit(recipe, set, &set.fit, (1, &view.validation, view.k), bar)?;
            let asked = if own { &set.views[place..=place] } else { &set.views[..] };
            for view in asked {
                let value = mean_recall(&*model, &thinned(&view.validation, TUNING_USERS), view.k);
                let name = view.name.to_owned();
                tried.entry(name.clone()).or_default().push((made.clone(), value));
                if best.get(&name).is_none_or(|(most, _, _)| value > *most) {
                    let columns = set.refit.is_none().then(|| columns(&*model, set, view));
                    best.insert(name, (value, made.clone(), columns));
                }
            }
        }
    }
    best.into_iter()
        .map(|(view, (_, chosen, columns))| {
            let columns = match columns {
                Some(columns) => columns,
                None => tested(set, &view, &chosen, 1, bar)?,
            };
            let tried = tried.remove(&view).unwrap_or_default();
            Ok((view, ViewPart { chosen, tried, columns }))
        })
        .collect()
}

/// What a recipe is worth on the test of a view.
fn tested(set: &Set, view: &str, recipe: &Recipe, seed: u64, bar: &Progress) -> Result<Columns> {
    let log = set.refit.as_deref().unwrap_or(&set.fit);
    let view = set
        .views
        .iter()
        .find(|v| v.name == view)
        .ok_or_else(|| anyhow!("no view {view} of {}", set.name.as_str()))?;
    let (model, _) = fit(recipe, set, log, (seed, &[], view.k), bar)?;
    Ok(columns(&*model, set, view))
}
