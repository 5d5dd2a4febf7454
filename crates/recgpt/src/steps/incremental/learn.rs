//! Trains the model that answers a little further on the samples of a window.

use std::fmt;

use align::{Kept, Sample, fit_config};
use anyhow::{Context as _, Result};
use lm::{Tokenizer, save_decoder, write_whole};
use nn::Dtype;
use serde::Serialize;

use super::super::Context;
use super::super::fit::Generic;
use super::super::model::trainable;
use super::super::versions::folder;
use crate::progress::Progress;

/// How the training went.
#[derive(Debug, Serialize)]
pub(super) struct Training {
    samples: usize,
    too_long: usize,
    losses: Vec<f64>,
    kept: Kept,
}

/// Times that the samples are read.
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
    let generic = Generic::new(ctx)?;
    let (decoder, tokenizer, tokenizer_json) = trainable(ctx)?;
    let steps = steps(samples, &tokenizer, ctx.settings.incremental.steps);
    let config = fit_config(steps, ctx.settings.seed);
    let data = generic.beside(samples);
    let bar = Progress::new("learn");
    let fitted = align::fit(decoder, &tokenizer, &data, config, &|record| {
        bar.set(record.step, record.steps);
    });
    bar.finish();
    let fitted = fitted.context("incremental learning")?;
    write_whole(&dir.join("tokenizer.json"), &tokenizer_json)?;
    save_decoder(&fitted.decoder, &dir, Dtype::F16)?;
    let losses = fitted.log.records.iter().map(|r| r.loss).collect();
    let (too_long, kept) = (fitted.too_long, fitted.kept);
    Ok(Training { samples: samples.len(), too_long, losses, kept })
}

/// So many steps that the samples are read twice, at most `most`.
fn steps(samples: &[Sample], tokenizer: &Tokenizer, most: u64) -> u64 {
    let texts = samples.iter().flat_map(|sample| &sample.segments);
    let tokens: usize = texts.map(|segment| tokenizer.count(&segment.text)).sum();
    let of_step = fit_config(1, 0).tokens_per_step();
    let steps = (tokens * PASSES).div_ceil(of_step);
    (steps as u64).clamp(1, most.max(1))
}

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = |loss: Option<&f64>| loss.copied().unwrap_or(f64::NAN);
        let (first, last) = (loss(self.losses.first()), loss(self.losses.last()));
        let (steps, kept) = (self.losses.len(), self.kept.share * 100.0);
        write!(f, "{steps} steps, loss {first:.3} to {last:.3}, {kept:.0}% of the way kept")
    }
}
