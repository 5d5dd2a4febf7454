//! Trains the model that answers a little further on the samples of a window.

use std::fmt;

use align::{FitData, Sample, TrainerConfig, fit_config};
use anyhow::{Context as _, Result};
use lm::{Tokenizer, save_decoder, write_whole};
use nn::Dtype;
use serde::Serialize;

use super::super::Context;
use super::super::fit::generic_samples;
use super::super::model::trainable;
use super::super::versions::folder;
use crate::progress::Progress;

/// How the training went.
#[derive(Debug, Serialize)]
pub(super) struct Training {
    samples: usize,
    too_long: usize,
    losses: Vec<f64>,
}

const ROW_TOKENS: usize = 2048;
const ROWS_PER_STEP: usize = 4;
const PASSES: usize = 2;

/// Writes the samples and the trained model into the folder of the version.
pub(super) fn train(ctx: &Context, samples: &[Sample], version: &str) -> Result<Training> {
    let dir = folder(ctx, version)?;
    let mut lines = Vec::new();
    for sample in samples {
        serde_json::to_writer(&mut lines, sample)?;
        lines.push(b'\n');
    }
    write_whole(&dir.join("samples.jsonl"), &lines)?;
    let generic = generic_samples(ctx)?;
    let (decoder, tokenizer, tokenizer_json) = trainable(ctx)?;
    let steps = steps(samples, &tokenizer, ctx.settings.incremental.steps);
    let config = TrainerConfig {
        row_tokens: ROW_TOKENS,
        rows_per_step: ROWS_PER_STEP,
        ..fit_config(steps, ctx.settings.seed)
    };
    let data = FitData { shop: samples, generic: &generic };
    let bar = Progress::new("learn");
    let fitted = align::fit(decoder, &tokenizer, &data, config, &|record| {
        bar.set(record.step, record.steps);
    });
    bar.finish();
    let (decoder, log, too_long) = fitted.context("incremental learning")?;
    write_whole(&dir.join("tokenizer.json"), &tokenizer_json)?;
    save_decoder(&decoder, &dir, Dtype::F16)?;
    let losses = log.records.iter().map(|r| r.loss).collect();
    Ok(Training { samples: samples.len(), too_long, losses })
}

/// So many steps that the samples are read twice, at most `most`.
fn steps(samples: &[Sample], tokenizer: &Tokenizer, most: u64) -> u64 {
    let texts = samples.iter().flat_map(|sample| &sample.segments);
    let tokens: usize = texts.map(|segment| tokenizer.count(&segment.text)).sum();
    let steps = (tokens * PASSES).div_ceil(ROW_TOKENS * ROWS_PER_STEP);
    (steps as u64).clamp(1, most.max(1))
}

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = |loss: Option<&f64>| loss.copied().unwrap_or(f64::NAN);
        let (first, last) = (loss(self.losses.first()), loss(self.losses.last()));
        write!(f, "{} steps, loss {first:.3} to {last:.3}", self.losses.len())
    }
}
