//! `recgpt bench digest`: a log of any size through import and digest, beside Polars and DuckDB at the
//! same job, and how much of a prompt stays the same from day to day.
//!
//! Every measured run is a process of its own, so that its largest memory is its own; rounds take turns.

mod measure;
mod peers;
mod work;
mod worlds;

use anyhow::{Context as _, Result};
use comfy_table::Table;
use serde_json::{Map, Value, json};

pub(crate) use self::measure::Job;
use self::measure::Measured;
use self::work::Work;
use crate::cli::BenchDigestArgs;
use crate::progress::{print, say};

/// Medians of all rounds of one job.
struct Line {
    name: String,
    threads: usize,
    seconds: f64,
    peak_bytes: u64,
}

pub(crate) fn run(args: &BenchDigestArgs, json: bool) -> Result<()> {
    if let Some(job) = args.measure {
        let store = args.store.as_deref().context("--measure needs --store")?;
        return measure::run(job, store, args.lines_out.as_deref());
    }
    let scratch = tempfile::tempdir()?;
    let dir = args.store.clone().unwrap_or_else(|| scratch.path().to_owned());
    let work = Work::make(args, &dir)?;
    let rounds = args.rounds.max(1);
    let mut lines = Vec::new();
    let mut equal = Map::new();
    let mut measured: Vec<Measured> = Vec::new();
    for round in 0..rounds {
        say(&format!("round {} of {rounds}", round + 1));
        for threads in [1, 2] {
            for job in [Job::Scan, Job::Lines, Job::Digests] {
                measured.push(measure::child(job, threads, &dir)?);
            }
        }
        if let Some(python) = &args.python {
            for engine in peers::ENGINES {
                measured.push(peers::run(python, &args.peers, engine, &work, &dir)?);
            }
        }
    }
    if args.python.is_none() {
        say("no --python: the peers are left out");
    }
    for name in names(&measured) {
        lines.push(median(&name.0, name.1, &measured));
    }
    for engine in peers::ENGINES.into_iter().filter(|_| args.python.is_some()) {
        equal.insert(engine.to_owned(), json!(peers::same_lines(&dir, engine)?));
    }
    let mut figures = figures(&work, &lines);
    let stable = worlds::measure(args)?;
    figures.insert("digest.prefix_stable_share".to_owned(), json!(stable.stable_share));
    let result = json!({
        "figures": figures, "events": work.events, "users": work.users, "seed": args.seed,
        "import_seconds": work.import_seconds, "equal_to_peers": equal, "worlds": stable,
        "jobs": lines.iter().map(|l| json!({
            "job": l.name, "threads": l.threads, "seconds": l.seconds, "peak_bytes": l.peak_bytes,
        })).collect::<Vec<_>>(),
    });
    if json {
        print(&serde_json::to_string_pretty(&result)?);
        return Ok(());
    }
    print(&table(&work, &lines));
    for (engine, same) in &equal {
        print(&format!("lines equal to {engine}'s: {same}"));
    }
    for (name, value) in &figures {
        print(&format!("{name:40} {value}"));
    }
    print(&stable.to_string());
    Ok(())
}

fn names(measured: &[Measured]) -> Vec<(String, usize)> {
    let mut names: Vec<(String, usize)> = Vec::new();
    for m in measured {
        if !names.iter().any(|(name, threads)| *name == m.name && *threads == m.threads) {
            names.push((m.name.clone(), m.threads));
        }
    }
    names
}

fn median(name: &str, threads: usize, measured: &[Measured]) -> Line {
    let of: Vec<&Measured> =
        measured.iter().filter(|m| m.name == name && m.threads == threads).collect();
    let mut seconds: Vec<f64> = of.iter().map(|m| m.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let peak_bytes = of.iter().map(|m| m.peak_bytes).max().unwrap_or_default();
    Line { name: name.to_owned(), threads, seconds: seconds[seconds.len() / 2], peak_bytes }
}

fn figures(work: &Work, lines: &[Line]) -> Map<String, Value> {
    let find = |name: &str| lines.iter().find(|l| l.name == name && l.threads == 2);
    let mut figures = Map::new();
    let mut put = |name: &str, value: Option<f64>| {
        figures.insert(name.to_owned(), json!(value));
    };
    let (ours, scan) = (find("lines"), find("scan"));
    let per_second = |line: Option<&Line>| line.map(|l| work.events as f64 / l.seconds);
    let against = |name: &str| Some(find(name)?.seconds / ours?.seconds);
    put("bench.digest.events_per_second", per_second(ours));
    put("bench.digest.full_events_per_second", per_second(find("digests")));
    put("bench.digest.vs_polars", against("polars"));
    put("bench.digest.vs_duckdb", against("duckdb"));
    let least = ["polars", "duckdb"].into_iter().filter_map(&find).map(|l| l.peak_bytes).min();
    let memory = || Some(ours?.peak_bytes as f64 / least? as f64);
    put("bench.digest.memory_vs_best_peer", memory());
    put("bench.digest.scan_ratio", ours.zip(scan).map(|(o, s)| o.seconds / s.seconds));
    put(
        "bench.import.events_per_second",
        work.import_seconds.map(|seconds| work.events as f64 / seconds),
    );
    figures
}

fn table(work: &Work, lines: &[Line]) -> String {
    let mut table = Table::new();
    table.set_header(["job", "threads", "seconds", "events/s", "MB/s read", "peak MB"]);
    let mib = |bytes: f64| format!("{:.0}", bytes / 1e6);
    if let Some(seconds) = work.import_seconds {
        let speed = format!("{:.0}", work.events as f64 / seconds);
        let all = rayon::current_num_threads().to_string();
        table.add_row(["import and sort", &all, &format!("{seconds:.2}"), &speed, "", ""]);
    }
    for line in lines {
        table.add_row([
            line.name.clone(),
            line.threads.to_string(),
            format!("{:.2}", line.seconds),
            format!("{:.0}", work.events as f64 / line.seconds),
            mib(work.bytes as f64 / line.seconds),
            mib(line.peak_bytes as f64),
        ]);
    }
    table.to_string()
}
