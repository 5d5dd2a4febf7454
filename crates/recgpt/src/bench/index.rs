//! `recgpt bench index`: our index beside faiss, hnswlib and usearch, on the same vectors and queries, with
//! the same number of threads, in one run.
//!
//! Every engine is tried with all its efforts. For recall@100 of .95 and .99 its fastest setting that gets
//! there goes into the rounds, in which all engines take turns; figures are medians over the rounds.

mod ours;
mod peers;
mod vectors;

use anyhow::{Context as _, Result};
use comfy_table::Table;
use retrieval::{IndexKind, ItemIndex};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::peers::Peers;
use self::vectors::Vectors;
use crate::cli::BenchIndexArgs;
use crate::progress::{print, say};

/// Items that are asked for.
pub(super) const K: usize = 100;

/// Shares of recall that engines are compared at; 1 for scans.
const TARGETS: [f64; 2] = [0.95, 0.99];

/// Queries that are timed one at a time, and vectors that are inserted.
const SINGLES: usize = 200;

/// What building took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Build {
    seconds: f64,
    /// Growth of the resident size.
    bytes: u64,
}

/// One search for all queries.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Search {
    seconds: f64,
    #[serde(default)]
    recall: f64,
}

/// Queries one at a time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Latency {
    p50_ms: f64,
    p99_ms: f64,
}

/// A line of the table.
#[derive(Debug, Clone, Serialize)]
struct Row {
    vectors: String,
    engine: String,
    /// What the setting was chosen for; `None` for a scan.
    target: Option<f64>,
    effort: f32,
    recall: f64,
    queries_per_second: f64,
    #[serde(flatten)]
    latency: Latency,
    build_seconds: f64,
    mib: f64,
    insert_ms: Option<f64>,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Engine {
    Scan,
    Lists,
    Peer(&'static str),
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Scan => "recgpt scan",
            Self::Lists => "recgpt lists",
            Self::Peer(name) => name,
        }
    }
}

/// An engine with the effort that reaches a share of recall.
struct Setting {
    engine: Engine,
    target: Option<f64>,
    effort: f32,
    recall: f64,
    seconds: Vec<f64>,
}

pub(crate) fn run(args: &BenchIndexArgs, json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for &size in &args.sizes {
        say(&format!("drawing {size} vectors of {} numbers", args.dim));
        let vectors = Vectors::clustered(size, args.dim, args.queries);
        rows.extend(Contest::new(args, vectors)?.rows(args.rounds)?);
    }
    if let Some(workspace) = &args.workspace {
        let vectors = Vectors::of_workspace(workspace, args.queries)?;
        rows.extend(Contest::new(args, vectors)?.rows(args.rounds)?);
    }
    let figures = figures(&rows);
    if json {
        print(&format!("{:#}", json!({ "rows": rows, "figures": figures })));
        return Ok(());
    }
    print(&table(&rows));
    print(&format!("{:#}", Value::Object(figures)));
    Ok(())
}

/// All engines over the same vectors.
struct Contest {
    vectors: Vectors,
    truth: Vec<u32>,
    scan: (ItemIndex, Build),
    lists: (ItemIndex, Build),
    peers: Option<(Peers, Vec<Build>)>,
}

impl Contest {
    fn new(args: &BenchIndexArgs, vectors: Vectors) -> Result<Self> {
        let scan = ours::build(&vectors, IndexKind::Exact)?;
        let found = scan.0.search_many(&vectors.queries, K, &|_, _| true);
        let truth: Vec<u32> = found.iter().flatten().map(|(item, _)| item.0).collect();
        anyhow::ensure!(truth.len() == K * found.len(), "fewer than {K} vectors");
        let lists = ours::build(&vectors, IndexKind::Lists(0))?;
        say(&format!("{}: {} lists in {:.1} s", vectors.name, lists.0.n_lists(), lists.1.seconds));
        let peers = match &args.python {
            None => {
                say("no --python: the peers are left out");
                None
            }
            Some(python) => {
                let mut peers = Peers::start(python, &args.peers, &vectors, &truth)?;
                let mut builds = Vec::new();
                for (engine, _) in peers::ENGINES {
                    let build = peers.build(engine)?;
                    say(&format!("  {engine} built in {:.1} s", build.seconds));
                    builds.push(build);
                }
                Some((peers, builds))
            }
        };
        Ok(Self { vectors, truth, scan, lists, peers })
    }

    /// Chooses the settings, lets them take turns, and takes the medians.
    fn rows(mut self, rounds: usize) -> Result<Vec<Row>> {
        let mut settings = self.settings()?;
        for round in 0..rounds {
            say(&format!("{}: round {} of {rounds}", self.vectors.name, round + 1));
            for setting in &mut settings {
                let took = self.search(setting.engine, setting.effort)?.seconds;
                setting.seconds.push(took);
            }
        }
        settings.iter().map(|setting| self.row(setting)).collect()
    }

    fn settings(&mut self) -> Result<Vec<Setting>> {
        let mut settings = Vec::new();
        let mut engines: Vec<(Engine, &[f32])> =
            vec![(Engine::Scan, &[0.0][..]), (Engine::Lists, &ours::EFFORTS[..])];
        if self.peers.is_some() {
            engines.extend(peers::ENGINES.map(|(name, efforts)| (Engine::Peer(name), efforts)));
        }
        for (engine, efforts) in engines {
            let mut tried = Vec::new();
            for &effort in efforts {
                let search = self.search(engine, effort)?;
                say(&format!(
                    "  {} at {effort}: recall {:.4}, {:.0} queries/s",
                    engine.name(),
                    search.recall,
                    self.per_second(search.seconds)
                ));
                tried.push((effort, search));
                if search.recall >= 0.998 {
                    break;
                }
            }
            let targets = if efforts.len() == 1 { vec![None] } else { TARGETS.map(Some).to_vec() };
            for target in targets {
                let enough = tried.iter().filter(|t| t.1.recall >= target.unwrap_or(0.0));
                // efforts ascend, and so does the time
                let Some(&(effort, search)) = enough.min_by(|a, b| a.0.total_cmp(&b.0)) else {
                    say(&format!("  {} does not reach {target:?}", engine.name()));
                    continue;
                };
                let recall = search.recall;
                settings.push(Setting { engine, target, effort, recall, seconds: Vec::new() });
            }
        }
        Ok(settings)
    }

    fn search(&mut self, engine: Engine, effort: f32) -> Result<Search> {
        match engine {
            Engine::Scan => Ok(ours::search(&self.scan.0, &self.vectors, &self.truth)),
            Engine::Lists => {
                self.lists.0.set_effort(effort);
                Ok(ours::search(&self.lists.0, &self.vectors, &self.truth))
            }
            Engine::Peer(name) => self.peers()?.0.search(name, effort),
        }
    }

    fn row(&mut self, setting: &Setting) -> Result<Row> {
        let effort = setting.effort;
        // insertions would change what the next setting of the engine searches
        let last = setting.target != Some(TARGETS[0]);
        let (latency, insert, build) = match setting.engine {
            Engine::Scan => {
                let latency = ours::single(&self.scan.0, &self.vectors, SINGLES)?;
                let insert = ours::insert(&mut self.scan.0, &self.vectors, SINGLES)?;
                (latency, Some(insert), self.scan.1)
            }
            Engine::Lists => {
                self.lists.0.set_effort(effort);
                let latency = ours::single(&self.lists.0, &self.vectors, SINGLES)?;
                let insert = last.then(|| ours::insert(&mut self.lists.0, &self.vectors, SINGLES));
                (latency, insert.transpose()?, self.lists.1)
            }
            Engine::Peer(name) => {
                let (peers, builds) = self.peers()?;
                let place = peers::ENGINES.iter().position(|e| e.0 == name).unwrap_or(0);
                let build = builds[place];
                let latency = peers.single(name, effort, SINGLES)?;
                let insert = last.then(|| peers.insert(name, effort, SINGLES));
                (latency, insert.transpose()?, build)
            }
        };
        let mut seconds = setting.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
        Ok(Row {
            vectors: self.vectors.name.clone(),
            engine: setting.engine.name().to_owned(),
            target: setting.target,
            effort,
            recall: setting.recall,
            queries_per_second: self.per_second(median),
            latency,
            build_seconds: build.seconds,
            mib: build.bytes as f64 / f64::from(1 << 20),
            insert_ms: insert.map(|insert| insert.p99_ms),
        })
    }

    fn peers(&mut self) -> Result<&mut (Peers, Vec<Build>)> {
        self.peers.as_mut().context("the peers were not asked for")
    }

    fn per_second(&self, seconds: f64) -> f64 {
        (self.vectors.queries.len() / self.vectors.dim) as f64 / seconds
    }
}

/// Ratios for every set of vectors, and the worst of them under the plain name.
fn figures(rows: &[Row]) -> Map<String, Value> {
    let mut figures = Map::new();
    let mut worst = |name: &str, vectors: &str, value: f64, is_worse: fn(f64, f64) -> bool| {
        figures.insert(format!("{name}.{}", vectors.replace(' ', "_")), json!(value));
        let so_far = figures.get(name).and_then(Value::as_f64);
        if so_far.is_none_or(|so_far| is_worse(value, so_far)) {
            figures.insert(name.to_owned(), json!(value));
        }
    };
    let speed = |row: &&Row| row.queries_per_second;
    for group in rows.chunk_by(|a, b| a.vectors == b.vectors) {
        let name = &group[0].vectors;
        let fastest = |ours: bool, target: f64| {
            let able = group.iter().filter(|r| r.engine.starts_with("recgpt") == ours);
            able.filter(|r| r.recall >= target).map(|r| speed(&r)).max_by(f64::total_cmp)
        };
        let one = |engine: &str| group.iter().find(|r| r.engine == engine).as_ref().map(speed);
        if let Some((ours, faiss)) = one("recgpt scan").zip(one("faiss Flat")) {
            worst("bench.index.flat_vs_faiss", name, ours / faiss, |a, b| a < b);
        }
        for target in TARGETS {
            if let Some((ours, peer)) = fastest(true, target).zip(fastest(false, target)) {
                let name = format!("{name} at {target}");
                worst("bench.index.ann_vs_best", &name, ours / peer, |a, b| a < b);
            }
        }
        let ours = group.iter().filter(|r| r.engine.starts_with("recgpt"));
        if let Some(slowest) = ours.filter_map(|r| r.insert_ms).max_by(f64::total_cmp) {
            worst("bench.index.insert_ms", name, slowest, |a, b| a > b);
        }
    }
    figures
}

/// The 50th and 99th percentile.
fn percentiles(seconds: impl Iterator<Item = f64>) -> Latency {
    let mut sorted: Vec<f64> = seconds.collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(place).map_or(f64::NAN, |s| 1e3 * s)
    };
    Latency { p50_ms: at(0.5), p99_ms: at(0.99) }
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.set_header([
        "vectors",
        "engine",
        "effort",
        "recall@100",
        "queries/s",
        "p50 ms",
        "p99 ms",
        "build s",
        "MiB",
        "insert ms",
    ]);
    for row in rows {
        table.add_row([
            row.vectors.clone(),
            row.engine.clone(),
            format!("{}", row.effort),
            format!("{:.4}", row.recall),
            format!("{:.0}", row.queries_per_second),
            format!("{:.2}", row.latency.p50_ms),
            format!("{:.2}", row.latency.p99_ms),
            format!("{:.1}", row.build_seconds),
            format!("{:.0}", row.mib),
            row.insert_ms.map_or_else(String::new, |ms| format!("{ms:.2}")),
        ]);
    }
    table.to_string()
}
