//! Before the stages: mining and tagging learnt from nothing, as a large model has been pre-trained.

use anyhow::Result;
use serde_json::json;

use super::Alignment;
use super::folder::{StageRun, Stages, train};
use super::samples::{hold_out, world_texts};

pub(super) const NAME: &str = "base";

pub(super) fn run(alignment: &Alignment<'_>, stages: &mut Stages) -> Result<()> {
    if alignment.from.is_some() || stages.has(NAME) {
        return Ok(());
    }
    let plan = &alignment.recipe.base;
    let samples = world_texts(&plan.worlds, &alignment.tokenizer, alignment.data)?;
    let (samples, held_out) = hold_out(samples, plan.held_out, plan.trainer.seed);
    let config = plan.trainer.clone();
    let steps = config.steps;
    let run = StageRun { name: NAME, train: &samples, held_out: &held_out, config };
    let end = train(alignment.folder, || alignment.first(), &alignment.tokenizer, &run)?;
    alignment.finish(stages, (NAME, &end), &samples, steps, json!({}))
}
