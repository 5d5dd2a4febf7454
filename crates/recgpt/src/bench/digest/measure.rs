//! One job on a store, in a process of its own: decode, write lines, or make whole digests.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use events::{DigestConfig, Digester, EventStore, ItemCores, scan_bucket, tables};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::Catalogue;

use super::work::now_of;
use crate::machine::peak_memory_bytes;
use crate::progress::print;
use crate::steps::model::builtin_tokenizer;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Job {
    /// Decode the columns and do nothing.
    Scan,
    /// The job that the peers do, too: filter, bucket, aggregate, invert, names, lines to files.
    Lines,
    /// Whole digests: also tokens of every level, the budget of 128K, evidence.
    Digests,
}

/// What one run of a job took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) threads: usize,
    pub(super) seconds: f64,
    pub(super) events: u64,
    pub(super) peak_bytes: u64,
}

/// Does the job in this process and prints what it took.
pub(super) fn run(job: Job, dir: &Path, lines_out: Option<&Path>) -> Result<()> {
    let store = EventStore::open(&dir.join("events"))?;
    let catalogue = Catalogue::new(tables::read_items(&dir.join("items.parquet"))?)?;
    let taxonomy = tables::read_taxonomy(&dir.join("taxonomy.parquet"))?;
    let cores = ItemCores::new(&catalogue, &taxonomy);
    let tokenizer = builtin_tokenizer()?;
    let count = |text: &str| tokenizer.count(text);
    let now = now_of(&store);
    let config = DigestConfig::new(now, 128 * 1024);
    let digester = Digester::new(&cores, &catalogue, config, &count).counting_parts();
    let cut_of = |_: &str| now;
    let events = AtomicU64::new(0);
    let start = Instant::now();
    (0..store.n_buckets()).into_par_iter().try_for_each(|bucket| -> Result<()> {
        let mut n = 0;
        match job {
            Job::Scan => n = scan_bucket(&store, bucket)?.rows,
            Job::Digests => digester.fold_bucket(&store, bucket, &cut_of, &mut |digest| {
                n += digest.n_events;
                Ok::<(), anyhow::Error>(())
            })?,
            Job::Lines => {
                let path = lines_out.unwrap_or(dir).join(format!("lines-{bucket:04}.tsv"));
                let mut file = BufWriter::with_capacity(1 << 18, std::fs::File::create(&path)?);
                digester.fold_lines(&store, bucket, &cut_of, &mut |user, text, read| {
                    n += read;
                    for line in text.lines() {
                        file.write_all(user.as_bytes())?;
                        file.write_all(b"\t")?;
                        file.write_all(line.as_bytes())?;
                        file.write_all(b"\n")?;
                    }
                    Ok::<(), anyhow::Error>(())
                })?;
                file.flush()?;
            }
        }
        events.fetch_add(n, Ordering::Relaxed);
        Ok(())
    })?;
    let name = format!("{job:?}").to_lowercase();
    let measured = Measured {
        name,
        threads: rayon::current_num_threads(),
        seconds: start.elapsed().as_secs_f64(),
        events: events.into_inner(),
        peak_bytes: peak_memory_bytes().unwrap_or_default(),
    };
    print(&serde_json::to_string(&measured)?);
    Ok(())
}

/// Does the job in a child process.
pub(super) fn child(job: Job, threads: usize, dir: &Path) -> Result<Measured> {
    let name = format!("{job:?}").to_lowercase();
    let lines = dir.join("lines-recgpt");
    std::fs::create_dir_all(&lines)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--threads", &threads.to_string(), "bench", "digest", "--measure", &name]);
    command.arg("--store").arg(dir).arg("--lines-out").arg(&lines);
    answer(&mut command)
}

/// The last line that a program prints, read as JSON.
pub(super) fn answer(command: &mut Command) -> Result<Measured> {
    let done = command.output().with_context(|| format!("starting {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&done.stderr));
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("{command:?} printed {line:?}"))
}
