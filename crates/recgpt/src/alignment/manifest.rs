//! What an alignment was made from: recipe, data, seed, and the manifest of the weights before it.

use anyhow::{Context, Result};
use serde::Serialize;

use super::folder::{MANIFEST, Stages};
use super::teacher::{TeacherName, name_of};
use super::{Alignment, Recipe};

#[derive(Debug, Serialize)]
struct Manifest<'a> {
    recipe: &'a Recipe,
    /// The manifest of the weights that the training went on from.
    continued_from: Option<serde_json::Value>,
    sources: Vec<&'static str>,
    /// Who wrote the samples of mining and tagging of `reasoning`.
    teacher: TeacherName,
    /// The stage that `model/` is.
    chosen: Option<&'a str>,
    stages: Vec<StageLine<'a>>,
    version: &'static str,
}

/// A stage without its scorecard.
#[derive(Debug, Serialize)]
struct StageLine<'a> {
    stage: &'a str,
    samples: &'a std::collections::BTreeMap<String, usize>,
    tokens: usize,
    target_tokens: usize,
    data_hash: &'a str,
    steps: u64,
    held_out_loss: Option<f64>,
    notes: &'a serde_json::Value,
    score: f64,
}

pub(super) fn write(alignment: &Alignment<'_>, stages: &Stages) -> Result<()> {
    let mut sources = vec!["simulated worlds (this program)"];
    if alignment.data.is_some() {
        sources.extend([
            "shopping goals (MIT)",
            "product taxonomy (MIT)",
            "UCI Online Retail titles (CC BY 4.0)",
        ]);
    }
    let continued_from = alignment.from.map(|dir| {
        let path = dir.join("manifest.json");
        let json = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&json).with_context(|| format!("reading {}", path.display()))
    });
    let lines = stages.done.iter().map(|record| StageLine {
        stage: &record.stage,
        samples: &record.samples,
        tokens: record.tokens[0],
        target_tokens: record.tokens[1],
        data_hash: &record.data_hash,
        steps: record.steps,
        held_out_loss: record.held_out_loss,
        notes: &record.notes,
        score: record.scorecard.score,
    });
    let manifest = Manifest {
        recipe: alignment.recipe,
        continued_from: continued_from.transpose()?,
        sources,
        teacher: name_of(alignment.teacher),
        chosen: stages.chosen.as_deref(),
        stages: lines.collect(),
        version: env!("CARGO_PKG_VERSION"),
    };
    alignment.folder.write_json(MANIFEST, &manifest)
}
