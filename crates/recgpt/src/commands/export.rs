//! `recgpt export`: training samples in the formats of other engines.

use std::path::Path;

use align::export::{ExportRecord, read_records, records_from_samples, write_export};
use align::{Sample, Segment, encode_samples};
use anyhow::{Context, Result, anyhow};
use lm::{Tokenizer, write_whole};
use serde_json::json;

use crate::cli::ExportArgs;
use crate::failure::Usage;
use crate::progress::{print, say};

/// Samples that `tokens.jsonl` holds.
const CHECKED_SAMPLES: usize = 100;

pub(crate) fn run(args: &ExportArgs, json: bool) -> Result<()> {
    let mut records = Vec::new();
    if let Some(path) = &args.samples {
        records.extend(records_from_samples(path, args.test_percent)?);
    }
    let n_samples = records.len();
    if let Some(path) = &args.records {
        records.extend(read_records(path)?);
    }
    check_ids(&records)?;
    let summary = write_export(args.format, &records, &args.out)?;
    if let Some(tokenizer) = &args.tokenizer {
        let checked = &records[..n_samples.min(CHECKED_SAMPLES)];
        write_tokens(&Tokenizer::load(tokenizer)?, checked, &args.out)?;
    }
    if json {
        print(&serde_json::to_string(&summary)?);
        return Ok(());
    }
    for file in &summary.files {
        say(&format!("{} rows in {}", file.n_rows, args.out.join(&file.name).display()));
    }
    for left_out in &summary.left_out {
        say(&format!("{} left out, {}", left_out.n_records, left_out.reason));
    }
    Ok(())
}

/// Ids of a file are unique when it is read; two files can still share one.
fn check_ids(records: &[ExportRecord]) -> Result<()> {
    let mut ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(anyhow!(Usage(format!(
            "id {:?} stands in --samples and in --records: give the records ids of their own",
            pair[0]
        )))),
        None => Ok(()),
    }
}

/// What our trainer makes of records that came from samples: `{id, tokens, loss}` per line.
fn write_tokens(tokenizer: &Tokenizer, records: &[ExportRecord], out: &Path) -> Result<()> {
    let samples: Vec<Sample> = records.iter().map(sample_of).collect();
    let mut lines = String::new();
    for (record, encoded) in records.iter().zip(encode_samples(tokenizer, &samples)) {
        let line = json!({ "id": record.id, "tokens": encoded.tokens, "loss": encoded.loss });
        lines.push_str(&format!("{line}\n"));
    }
    write_whole(&out.join("tokens.jsonl"), lines.as_bytes()).context("writing tokens.jsonl")
}

/// The sample that a record was made from.
fn sample_of(record: &ExportRecord) -> Sample {
    let segments = record
        .messages
        .iter()
        .map(|m| Segment { text: m.content.clone(), loss: m.role == "assistant" });
    Sample::of_segments(&record.task, segments.collect())
}
