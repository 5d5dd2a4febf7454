//! Stage 2: chains of reasons from behaviour to interests to tags, and the judge's criteria.

use align::Sample;
use anyhow::Result;
use serde_json::{Value, json};

use super::Alignment;
use super::folder::{StageRun, Stages, train};
use super::samples::{cleaned_texts, hold_out, shared_samples, some};
use super::teacher::name_of;
use crate::progress::say;

pub(super) const NAME: &str = "reasoning";

/// Seed of what is read again of the curriculum.
const REPLAY: u64 = 0x72_65_70;

pub(super) fn run(alignment: &Alignment<'_>, stages: &mut Stages) -> Result<()> {
    if stages.has(NAME) {
        return Ok(());
    }
    let plan = &alignment.recipe.reasoning;
    let (samples, notes) = samples(alignment)?;
    let (mut samples, held_out) = hold_out(samples, plan.held_out, plan.trainer.seed);
    let trained = &alignment.curriculum.trained;
    samples.extend(some(trained, (trained.len() as f64 * plan.replay) as usize, REPLAY));
    let run =
        StageRun { name: NAME, train: &samples, held_out: &held_out, config: plan.trainer.clone() };
    let end = train(alignment.folder, || alignment.latest(stages), &alignment.tokenizer, &run)?;
    alignment.finish(stages, (NAME, &end), &samples, plan.trainer.steps, notes)
}

/// Samples of the teacher and of what needs none, with who taught and what cleaning rejected.
fn samples(alignment: &Alignment<'_>) -> Result<(Vec<Sample>, Value)> {
    if let Some(taught) = alignment.taught()? {
        let mut samples = taught.samples.clone();
        samples.extend(shared_samples(alignment.data)?);
        return Ok((samples, json!({ "cleaning": taught.report, "teacher": taught.notes })));
    }
    let plan = &alignment.recipe.reasoning.worlds;
    let (samples, report) = cleaned_texts(plan, &alignment.tokenizer, alignment.data)?;
    say(&report.to_string());
    Ok((samples, json!({ "cleaning": report, "teacher": name_of(None) })))
}
