//! `recgpt bench lm`: the language model's engine on the work of mining, beside llama.cpp and
//! transformers in the same run.
//!
//! Prompts are those of interest mining in prose, an instruction that all share and a digest of a user
//! of an unseen world; every answer has 300 tokens. All engines read the same tokens and answer greedily.

mod bandwidth;
mod ours;
mod peers;
mod quality;
mod soak;
mod work;

use std::path::PathBuf;

use ::lm::{Engine, EngineConfig, KvFormat, WeightFormat};
use anyhow::Result;
use comfy_table::Table;
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::ours::Setting;
use self::work::Work;
use crate::cli::BenchLmArgs;
use crate::progress::{print, say};
use crate::steps::model::{builtin, builtin_folder};

/// New tokens of every answer.
const NEW_TOKENS: usize = 300;

/// Requests of the large batch.
const BATCH: usize = 16;

/// What one engine needed for one job.
#[derive(Debug, Clone, Copy, Serialize, serde::Deserialize)]
pub(crate) struct Timing {
    /// Until every prompt has its first new token.
    prefill_seconds: f64,
    prefill_tokens: usize,
    /// For all further tokens.
    decode_seconds: f64,
    decode_tokens: usize,
    /// Median over single requests.
    first_token_seconds: f64,
}

/// A line of the table: an engine and the medians of its rounds.
#[derive(Debug, Serialize)]
struct Row {
    engine: String,
    batch: usize,
    prefill_per_second: f64,
    decode_per_second: f64,
    first_token_ms: f64,
}

/// Which model is measured.
pub(crate) struct Model {
    folder: PathBuf,
    builtin: bool,
    /// Kept until the end: where the built-in model was written for the peers.
    _scratch: Option<tempfile::TempDir>,
}

impl Model {
    fn new(args: &BenchLmArgs) -> Result<Self> {
        match &args.model {
            Some(folder) => Ok(Self { folder: folder.clone(), builtin: false, _scratch: None }),
            None => {
                let scratch = tempfile::tempdir()?;
                builtin_folder(scratch.path())?;
                let folder = scratch.path().to_owned();
                Ok(Self { folder, builtin: true, _scratch: Some(scratch) })
            }
        }
    }

    fn open(&self, config: EngineConfig) -> Result<Engine> {
        if self.builtin { builtin(config) } else { Ok(Engine::load(&self.folder, config)?) }
    }
}

pub(crate) fn run(args: &BenchLmArgs, json: bool) -> Result<()> {
    let model = Model::new(args)?;
    if let Some(seconds) = args.soak {
        return soak::run(&model, seconds, json);
    }
    let plain = model.open(EngineConfig::STANDARD)?;
    let work = Work::new(plain.tokenizer(), plain.window() - NEW_TOKENS)?;
    say(&format!(
        "{BATCH} prompts of {} tokens, {} of them shared; {NEW_TOKENS} new tokens each",
        work.prompt_tokens(),
        work.shared
    ));
    let mut figures = Map::new();
    let mut set = |name: &str, value: f64| figures.insert(name.to_owned(), json!(value));
    set("lm.params", plain.decoder().n_params() as f64);
    set("lm.bytes", plain.decoder().n_bytes() as f64);
    let quality = quality::measure(&model)?;
    set("lm.perplexity_fp8_ratio", quality.ratio());
    let rows = rows(args, &model, &work)?;
    for (name, ours, peer) in [
        ("bench.lm.decode_vs_llamacpp_b1", ("recgpt fp8", 1), ("llama.cpp q8_0", 1)),
        ("bench.lm.decode_vs_llamacpp_b16", ("recgpt fp8", BATCH), ("llama.cpp q8_0", BATCH)),
    ] {
        if let (Some(ours), Some(peer)) = (find(&rows, ours), find(&rows, peer)) {
            set(name, ours.decode_per_second / peer.decode_per_second);
        }
    }
    let (ours, peer) = (find(&rows, ("recgpt fp8", BATCH)), find(&rows, ("llama.cpp q8_0", BATCH)));
    if let (Some(ours), Some(peer)) = (ours, peer) {
        set("bench.lm.prefill_vs_llamacpp", ours.prefill_per_second / peer.prefill_per_second);
    }
    let ablation = ours::ablation(&model, &work, args.rounds)?;
    set("bench.lm.fp8_kv_prefix_speedup", ablation.speedup());
    set("bench.lm.prefix_hit_rate", ablation.hit_rate());
    let floor = bandwidth::floor(&plain, &work, find(&rows, ("recgpt fp8", 1)));
    set("bench.lm.bandwidth_share", floor.share());
    if json {
        let report = json!({ "rows": rows, "ablation": ablation, "floor": floor,
            "quality": quality, "figures": figures });
        print(&format!("{report:#}"));
        return Ok(());
    }
    print(&table(&rows));
    print(&ablation.to_string());
    print(&floor.to_string());
    print(&quality.to_string());
    print(&format!("{:#}", Value::Object(figures)));
    Ok(())
}

/// All engines in turn, `rounds` times, for both batch sizes.
fn rows(args: &BenchLmArgs, model: &Model, work: &Work) -> Result<Vec<Row>> {
    let peers =
        args.python.as_ref().map(|python| peers::Peers::new(python, &args.peers, &model.folder));
    let peers = peers.transpose()?;
    if peers.is_none() {
        say("no --python: the peers are left out");
    }
    let mut rows = Vec::new();
    for batch in [1, BATCH] {
        let mut timings: Vec<(String, Vec<Timing>)> = Vec::new();
        let mut note = |name: &str, timing: Timing| match timings
            .iter_mut()
            .find(|(known, _)| known == name)
        {
            Some((_, timings)) => timings.push(timing),
            None => timings.push((name.to_owned(), vec![timing])),
        };
        for round in 0..args.rounds {
            say(&format!("batch {batch}, round {} of {}", round + 1, args.rounds));
            for setting in Setting::FORMATS {
                note(setting.name, ours::time(model, work, batch, setting)?);
            }
            if let Some(peers) = &peers {
                for job in peers::JOBS {
                    note(job.name, peers.time(job, work, batch)?);
                }
            }
        }
        rows.extend(timings.into_iter().map(|(engine, timings)| row(engine, batch, &timings)));
    }
    Ok(rows)
}

fn row(engine: String, batch: usize, timings: &[Timing]) -> Row {
    Row {
        engine,
        batch,
        prefill_per_second: median(timings, |t| t.prefill_tokens as f64 / t.prefill_seconds),
        decode_per_second: median(timings, |t| t.decode_tokens as f64 / t.decode_seconds),
        first_token_ms: median(timings, |t| t.first_token_seconds * 1e3),
    }
}

/// The median of a figure.
fn median<T>(all: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = all.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn find<'a>(rows: &'a [Row], (engine, batch): (&str, usize)) -> Option<&'a Row> {
    rows.iter().find(|row| row.engine == engine && row.batch == batch)
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.set_header(["engine", "batch", "prefill tokens/s", "decode tokens/s", "first token ms"]);
    for row in rows {
        table.add_row([
            row.engine.clone(),
            row.batch.to_string(),
            format!("{:.0}", row.prefill_per_second),
            format!("{:.0}", row.decode_per_second),
            format!("{:.1}", row.first_token_ms),
        ]);
    }
    table.to_string()
}

/// The standard engine with other formats; nothing is kept between requests.
fn formats(weights: WeightFormat, kv_format: KvFormat) -> EngineConfig {
    EngineConfig { weights, kv_format, prefix_cache: false, ..EngineConfig::STANDARD }
}
