//! Polars and DuckDB at the same job, and whether they wrote the same lines.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use types::fnv1a64;

use super::measure::{Measured, answer};
use super::work::Work;

pub(super) const ENGINES: [&str; 2] = ["polars", "duckdb"];

/// One round of an engine on two threads.
pub(super) fn run(
    python: &Path,
    scripts: &Path,
    engine: &str,
    work: &Work,
    dir: &Path,
) -> Result<Measured> {
    let out = dir.join(format!("lines-{engine}"));
    std::fs::create_dir_all(&out)?;
    let mut command = Command::new(python);
    command.arg(scripts.join("digest.py")).args(["--engine", engine, "--threads", "2"]);
    command.arg("--store").arg(dir.join("events")).arg("--cores").arg(dir.join("cores.jsonl"));
    command.args(["--now", &work.now.0.to_string()]).arg("--out").arg(out.join("lines.tsv"));
    answer(&mut command)
}

/// Whether the lines of an engine are ours, in any order.
pub(super) fn same_lines(dir: &Path, engine: &str) -> Result<bool> {
    let ours = checksum(&dir.join("lines-recgpt"))?;
    Ok(ours.0 > 0 && ours == checksum(&dir.join(format!("lines-{engine}")))?)
}

/// Number of lines and the sum of their hashes.
fn checksum(dir: &Path) -> Result<(u64, u64)> {
    let (mut n, mut sum) = (0, 0_u64);
    for entry in std::fs::read_dir(dir)? {
        for line in BufReader::with_capacity(1 << 20, File::open(entry?.path())?).split(b'\n') {
            n += 1;
            sum = sum.wrapping_add(fnv1a64(&line?));
        }
    }
    Ok((n, sum))
}
