//! `recgpt bench towers`: steps of training the towers beside PyTorch, on the same batches from the same
//! weights, with the same number of threads, in one run.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use comfy_table::Table;
use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use retrieval::{SingleSteps, TowerConfig, TowerData, UserEncoder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use types::{Catalogue, EventType, Interaction, Item, ItemId, Taxonomy, Timestamp, UserId};

use crate::cli::BenchTowersArgs;
use crate::progress::{print, say};

/// Steps before the clock starts.
const WARM: usize = 2;

/// Users, and what each of them did.
const USERS: usize = 10_000;
const EVENTS: usize = 60;

/// Words that titles are made of, kinds of product, brands.
const WORDS: u64 = 5_000;
const KINDS: u64 = 500;
const BRANDS: u64 = 2_000;

/// What one trainer gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    #[serde(default)]
    trainer: String,
    samples_per_second: f64,
    losses: Vec<f64>,
}

pub(crate) fn run(args: &BenchTowersArgs, json: bool) -> Result<()> {
    // what the peers' script builds
    let user_encoder = UserEncoder::Pooled;
    let batch = args.batch as usize;
    let config = TowerConfig { batch, user_encoder, ..TowerConfig::default() };
    let n_items = args.items as usize;
    let folder = tempfile::tempdir()?;
    let draw = |items: usize| draw(items, &config, WARM + args.steps);
    let first = draw(n_items)?;
    let (rows, touched, reads) = first.rows();
    say(&format!(
        "{} items, {rows} rows of {} numbers; a batch of {} reads {touched} of them {reads} times",
        n_items, config.dim, config.batch
    ));
    first.write(folder.path())?;
    drop(first);
    let small = n_items / 10;
    let mut lines: Vec<Line> = Vec::new();
    for round in 0..args.rounds {
        say(&format!("round {} of {}", round + 1, args.rounds));
        lines.push(ours("recgpt".to_owned(), draw(n_items)?, &config));
        lines.push(ours(format!("recgpt, {small} items"), draw(small)?, &config));
        let Some(python) = &args.python else { continue };
        for variant in ["sparse", "dense"] {
            lines.push(peer(python, &args.peers, folder.path(), variant)?);
        }
    }
    if args.python.is_none() {
        say("no --python: PyTorch is left out");
    }
    let lines = medians(lines);
    let figures = figures(&lines);
    if json {
        print(&format!("{:#}", json!({ "trainers": lines, "figures": figures })));
        return Ok(());
    }
    print(&table(&lines));
    print(&format!("{:#}", Value::Object(figures)));
    Ok(())
}

fn ours(trainer: String, mut steps: SingleSteps, config: &TowerConfig) -> Line {
    let mut losses: Vec<f64> = (0..WARM).map(|step| steps.step(step)).collect();
    let start = Instant::now();
    losses.extend((WARM..steps.len()).map(|step| steps.step(step)));
    let samples = (steps.len() - WARM) * config.batch;
    let samples_per_second = samples as f64 / start.elapsed().as_secs_f64();
    Line { trainer, samples_per_second, losses }
}

fn peer(python: &Path, scripts: &Path, folder: &Path, variant: &str) -> Result<Line> {
    let mut command = Command::new(python);
    command.arg(scripts.join("towers.py")).arg(folder).args(["--variant", variant]);
    command.args(["--threads", &rayon::current_num_threads().to_string()]);
    command.args(["--warm", &WARM.to_string()]);
    let done = command.output().with_context(|| format!("starting {}", python.display()))?;
    if !done.status.success() {
        bail!("towers.py failed: {}", String::from_utf8_lossy(&done.stderr));
    }
    let line: Line = serde_json::from_slice(&done.stdout).context("reading what towers.py says")?;
    let trainer = match variant {
        "sparse" => "PyTorch, EmbeddingBag and SparseAdam",
        _ => "PyTorch, dense Adam",
    };
    Ok(Line { trainer: trainer.to_owned(), ..line })
}

/// A shop of `n_items` with titles, kinds, brands and prices, and users whose items are drawn so that half
/// of the events go to a quarter of the items.
fn draw(n_items: usize, config: &TowerConfig, n: usize) -> Result<SingleSteps> {
    let mut rng = Pcg64Mcg::seed_from_u64(7);
    let mut below = |n: u64| ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64;
    let kind = |kind: u64| format!("Department {} > Kind {kind}", kind / 20);
    let paths: Vec<String> = (0..KINDS).map(kind).collect();
    let taxonomy = Taxonomy::from_paths(paths.iter().map(String::as_str));
    let items = (0..n_items).map(|row| {
        let words: Vec<String> = (0..6).map(|_| format!("word{}", below(WORDS))).collect();
        Item {
            item_id: row.to_string(),
            title: words.join(" "),
            category_path: kind(below(KINDS)),
            brand: Some(format!("brand{}", below(BRANDS))),
            price: Some(1.0 + below(500) as f64),
            ..Item::default()
        }
    });
    let catalogue = Catalogue::new(items.collect())?;
    let kinds = [EventType::Click, EventType::Click, EventType::Cart, EventType::Purchase];
    let events: Vec<Interaction> = (0..USERS)
        .flat_map(|user| (0..EVENTS).map(move |time| (user, time)))
        .map(|(user, time)| {
            let at = below(1 << 32) as f64 / (1u64 << 32) as f64;
            Interaction {
                user: UserId::from_idx(user),
                timestamp: Timestamp(time as i64),
                item: ItemId::from_idx((at * at * n_items as f64) as usize),
                event_type: kinds[below(4) as usize],
            }
        })
        .collect();
    let data = TowerData {
        catalogue: &catalogue,
        taxonomy: &taxonomy,
        n_users: USERS,
        interactions: &events,
        now: Timestamp(EVENTS as i64),
    };
    Ok(SingleSteps::draw(&data, config, n)?)
}

/// The median round of every trainer.
fn medians(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by(|a, b| {
        a.trainer.cmp(&b.trainer).then(a.samples_per_second.total_cmp(&b.samples_per_second))
    });
    let same = lines.chunk_by(|a, b| a.trainer == b.trainer);
    same.map(|rounds| rounds[rounds.len() / 2].clone()).collect()
}

fn figures(lines: &[Line]) -> Map<String, Value> {
    let speed = |line: &Line| line.samples_per_second;
    let mut figures = Map::new();
    let ours = lines.iter().find(|line| line.trainer == "recgpt");
    let peers = || lines.iter().filter(|line| line.trainer.starts_with("PyTorch"));
    let Some(ours) = ours else { return figures };
    if let Some(fastest) = peers().map(speed).max_by(f64::total_cmp) {
        figures.insert("bench.towers.vs_torch".to_owned(), json!(speed(ours) / fastest));
    }
    if let Some(small) = lines.iter().find(|line| line.trainer.starts_with("recgpt, ")) {
        let name = "bench.towers.vs_a_tenth_of_the_items".to_owned();
        figures.insert(name, json!(speed(ours) / speed(small)));
    }
    // equal steps from equal weights: the losses before the first two steps
    let off = peers().flat_map(|peer| {
        ours.losses.iter().zip(&peer.losses).take(2).map(|(a, b)| (a / b - 1.0).abs())
    });
    if let Some(most) = off.max_by(f64::total_cmp) {
        figures.insert("bench.towers.loss_difference".to_owned(), json!(most));
    }
    figures
}

fn table(lines: &[Line]) -> String {
    let mut table = Table::new();
    table.set_header(["trainer", "samples/s", "first losses"]);
    for line in lines {
        let losses: Vec<String> = line.losses.iter().take(3).map(|l| format!("{l:.5}")).collect();
        let speed = format!("{:.0}", line.samples_per_second);
        table.add_row([line.trainer.clone(), speed, losses.join(" ")]);
    }
    table.to_string()
}
