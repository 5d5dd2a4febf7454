//! `recgpt bench lm --soak`: mixed lengths, cancellations and refusals for a while; at the end all pages
//! must be back and memory as it was.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lm::{Constraint, EngineConfig, Event, LmError, Prompt, Request, Sampling};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::json;

use super::work::Work;
use super::{BATCH, Model};
use crate::machine::memory_bytes;
use crate::progress::{Progress, print};

/// Requests under way or waiting at a time.
const OPEN: usize = 48;

/// What became of the requests.
#[derive(Debug, Default, serde::Serialize)]
struct Ends {
    whole: u64,
    cancelled: u64,
    refused_before: u64,
    overloaded: u64,
    failed: u64,
}

pub(super) fn run(model: &Model, seconds: u64, json: bool) -> Result<()> {
    // So little room that sequences wait for pages, prefixes are forgotten and requests refused all the
    // time.
    let config = EngineConfig {
        kv_bytes: 24 << 20,
        batch_size: 8,
        max_waiting: OPEN / 2,
        step_tokens: 128,
        ..EngineConfig::STANDARD
    };
    let engine = model.open(config)?;
    let work = Work::new(engine.tokenizer(), engine.window() / 2)?;
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let (sender, receiver) = mpsc::channel();
    let (start, whole) = (Instant::now(), Duration::from_secs(seconds));
    let (mut ends, mut open, mut tickets) = (Ends::default(), 0usize, Vec::new());
    let bar = Progress::new("soak");
    let mut early = None;
    while start.elapsed() < whole {
        bar.set(start.elapsed().as_secs(), seconds);
        if early.is_none() && start.elapsed() > whole / 10 {
            early = memory_bytes();
        }
        let (request, tokens) = draw(&mut rng, &work, engine.window());
        let sender = sender.clone();
        let sink = move |event| {
            if let Event::Done(done) = event {
                drop(sender.send(done));
            }
        };
        match engine.submit(request, tokens, sink) {
            Ok(ticket) => {
                open += 1;
                tickets.push(ticket);
            }
            Err(LmError::Overloaded { .. }) => {
                ends.overloaded += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(_) => ends.refused_before += 1,
        }
        if rng.random_bool(0.1) && !tickets.is_empty() {
            let at = rng.random_range(0..tickets.len());
            tickets.swap_remove(at).cancel();
        }
        if tickets.len() > OPEN {
            tickets.drain(..OPEN / 2);
        }
        while let Some(done) = next(&receiver, open >= OPEN)? {
            count(done, &mut ends);
            open -= 1;
        }
    }
    for _ in 0..open {
        count(receiver.recv()?, &mut ends);
    }
    bar.finish();
    engine.clear_prefixes();
    let (stats, late) = (engine.stats(), memory_bytes());
    let report = json!({ "seconds": seconds, "ends": ends, "stats": {
        "steps": stats.steps, "tokens_read": stats.tokens_read, "prefix_hits": stats.prefix_hits,
        "pages_left": stats.kv_pages, "running": stats.running, "waiting": stats.waiting },
        "memory_bytes_at_a_tenth": early, "memory_bytes_at_the_end": late });
    print(&if json { report.to_string() } else { format!("{report:#}") });
    ensure!(stats.kv_pages == 0, "{} pages did not come back", stats.kv_pages);
    ensure!(ends.failed == 0, "{} requests failed", ends.failed);
    if let (Some(early), Some(late)) = (early, late) {
        ensure!(late as f64 <= 1.1 * early as f64, "memory grew from {early} to {late} bytes");
    }
    Ok(())
}

/// The next end, waited for if need be.
fn next<T>(receiver: &mpsc::Receiver<T>, wait: bool) -> Result<Option<T>> {
    Ok(if wait { Some(receiver.recv()?) } else { receiver.try_recv().ok() })
}

/// A request of a kind and length drawn at random, now and then one that must be refused.
fn draw(rng: &mut Pcg64Mcg, work: &Work, window: usize) -> (Request, Vec<u32>) {
    let prompt = &work.prompts[rng.random_range(0..BATCH)];
    let tokens = match rng.random_range(0..20) {
        0 => Vec::new(),
        1 => prompt.iter().cycle().take(window + 1).copied().collect(),
        _ => prompt[..rng.random_range(1..=prompt.len())].to_vec(),
    };
    let max_tokens = rng.random_range(1..200);
    let mut request = Request::greedy(Prompt::default(), max_tokens);
    request.ignore_eos = rng.random_bool(0.5);
    if rng.random_bool(0.3) {
        request.sampling = Sampling { temperature: 1.0, top_p: 0.9, seed: rng.random() };
    }
    if rng.random_bool(0.1) {
        request.ignore_eos = false;
        request.constraint = Some(Constraint::Lark("start: /[a-z ]{1,60}/".to_owned()));
    }
    (request, tokens)
}

fn count(done: Result<lm::Completion, LmError>, ends: &mut Ends) {
    match done {
        Ok(_) => ends.whole += 1,
        Err(LmError::Cancelled) => ends.cancelled += 1,
        Err(_) => ends.failed += 1,
    }
}
