//! `report.html` of an alignment: what each stage was trained on, how it went, and all scorecards side by side.
//!
//! Reads the alignment's folder and measures nothing; what a stage did not measure is a dash.

mod calibration;
mod curves;
mod scorecards;
mod yields;

use anyhow::{Context, Result};
use eval::Series;
use serde::Serialize;
use serde_json::Value;

use self::scorecards::Group;
use self::yields::{CleanedLevel, Rounds};
use super::folder::{Folder, MANIFEST, StageRecord, Stages};

const TEMPLATE: &str = include_str!("../../templates/alignment.html.j2");

/// Everything on the page.
#[derive(Debug, Serialize)]
struct Page<'a> {
    /// Name and value of what the manifest says of the whole.
    about: Vec<(&'static str, String)>,
    chosen: Option<&'a str>,
    stages: Vec<StageView<'a>>,
    scorecards: Vec<Group>,
    calibration: Vec<Chart>,
    rounds: Option<Rounds>,
}

/// One stage.
#[derive(Debug, Serialize)]
struct StageView<'a> {
    name: &'a str,
    chosen: bool,
    score: f64,
    steps: u64,
    tokens: usize,
    target_tokens: usize,
    held_out_loss: Option<f64>,
    samples: Vec<(&'a str, usize)>,
    curves: Vec<Chart>,
    /// Of the teacher's answers; empty where nothing was cleaned.
    cleaning: Vec<CleanedLevel>,
    /// What else the stage noted of its teacher.
    teacher: Vec<(String, String)>,
}

/// Lines over common axes.
#[derive(Debug, Serialize)]
struct Chart {
    title: String,
    x: &'static str,
    y: &'static str,
    series: Vec<Series>,
}

/// Writes `report.html` into the alignment's folder.
pub(crate) fn write_report(folder: &Folder, stages: &Stages) -> Result<()> {
    let records = &stages.done;
    let page = Page {
        about: about(folder)?,
        chosen: stages.chosen.as_deref(),
        stages: records.iter().map(|r| stage(folder, stages, r)).collect::<Result<_>>()?,
        scorecards: scorecards::groups(records),
        calibration: calibration::charts(records),
        rounds: yields::rounds(records),
    };
    let html = eval::render_page(TEMPLATE, &page)?;
    let path = folder.path("report.html");
    lm::write_whole(&path, html.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

fn stage<'a>(folder: &Folder, stages: &Stages, record: &'a StageRecord) -> Result<StageView<'a>> {
    Ok(StageView {
        name: &record.stage,
        chosen: stages.chosen.as_ref() == Some(&record.stage),
        score: record.scorecard.score,
        steps: record.steps,
        tokens: record.tokens[0],
        target_tokens: record.tokens[1],
        held_out_loss: record.held_out_loss,
        samples: record.samples.iter().map(|(task, n)| (task.as_str(), *n)).collect(),
        curves: curves::charts(folder, &record.stage)?,
        cleaning: yields::cleaning(&record.notes["cleaning"]),
        teacher: yields::flat(&record.notes["teacher"]),
    })
}

/// Recipe, seed and teacher; nothing where there is no manifest yet.
fn about(folder: &Folder) -> Result<Vec<(&'static str, String)>> {
    if !folder.path(MANIFEST).exists() {
        return Ok(Vec::new());
    }
    let manifest: Value = folder.read_json(MANIFEST)?;
    let recipe = &manifest["recipe"];
    let (model, kind) = (&manifest["teacher"]["model"], &manifest["teacher"]["kind"]);
    let teacher = if model.is_null() { kind } else { model };
    let named = [
        ("recipe", &recipe["name"]),
        ("seed", &recipe["reasoning"]["trainer"]["seed"]),
        ("teacher", teacher),
        ("recgpt", &manifest["version"]),
    ];
    let named = named.into_iter().filter(|(_, value)| !value.is_null());
    Ok(named.map(|(name, value)| (name, yields::shown(value))).collect())
}
