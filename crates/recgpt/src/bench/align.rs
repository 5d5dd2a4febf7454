//! `recgpt bench align`: steps of our trainer beside PyTorch's on the same samples, and the figures of the
//! built-in model on unseen worlds and test sets.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use align::{Optimizer, Sample, TokenSample, Trainer, TrainerConfig, encode_samples};
use anyhow::{Context, Result, bail};
use comfy_table::Table;
use nn::Precision;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::alignment::model_figures;
use crate::cli::BenchAlignArgs;
use crate::progress::{print, say};
use crate::steps::model::{builtin_decoder, builtin_folder, builtin_tokenizer, recorded_figures};
use crate::steps::worlds::{TRAINING_SEEDS, WorldPlan, world_samples};

/// Packed rows of a step, and tokens of a row.
const ROWS: usize = 4;
const ROW_TOKENS: usize = 2048;

/// The median of one trainer's rounds.
#[derive(Debug, Clone, Serialize)]
struct Line {
    trainer: String,
    precision: String,
    tokens_per_second: f64,
    loss_first: f64,
    loss_last: f64,
}

/// A line of the peers' script.
#[derive(Debug, Deserialize)]
struct PeerLine {
    variant: String,
    precision: String,
    tokens_per_second: f64,
    loss_first: f64,
    loss_last: f64,
}

pub(crate) fn run(args: &BenchAlignArgs, json: bool) -> Result<()> {
    let samples = one_step()?;
    let n_tokens: usize = samples.iter().map(|s| s.tokens.len()).sum();
    say(&format!("{} samples of {n_tokens} tokens, all of them in every step", samples.len()));
    let mut rounds: Vec<Line> = Vec::new();
    for _ in 0..args.rounds {
        let best = Precision::of_machine();
        rounds.push(ours(&samples, Optimizer::AdamW, Precision::F32, args.steps)?);
        if best != Precision::F32 {
            rounds.push(ours(&samples, Optimizer::AdamW, best, args.steps)?);
        }
        rounds.push(ours(&samples, Optimizer::Muon, best, args.steps)?);
        match &args.python {
            Some(python) => rounds.extend(peers(python, &args.peers, &samples, args.steps)?),
            None => say("no --python: the peers are left out"),
        }
    }
    let lines = medians(&rounds);
    say(&table(&lines));
    let mut figures = match args.model {
        Some(_) => serde_json::Map::new(),
        None => recorded_figures()?,
    };
    if !args.trainers_only {
        figures.extend(model_figures(args.model.as_deref(), args.data.as_deref())?);
    }
    if let Some(ratio) = ratio(&lines) {
        figures.insert("bench.align.train_vs_torch".to_owned(), json!(ratio));
    }
    if json {
        print(&format!("{:#}", json!({ "trainers": lines, "figures": figures })));
        return Ok(());
    }
    print(&format!("{:#}", Value::Object(figures)));
    Ok(())
}

/// Samples of mining and tagging that fill the rows of one step.
fn one_step() -> Result<Vec<TokenSample>> {
    let tokenizer = builtin_tokenizer()?;
    let seed = TRAINING_SEEDS + (1 << 22);
    let plan = WorldPlan {
        worlds: 1,
        users: 40,
        cuts: 1,
        reasons: 0,
        counted: 0,
        judged: 0,
        cleaned: false,
        seed,
        digest_budget: 600,
    };
    let mut samples: Vec<Sample> =
        world_samples(&plan, &|text: &str| tokenizer.count(text), &|_, _| {})?;
    samples.retain(|sample| sample.task == "mine_tag");
    let mut chosen = encode_samples(&tokenizer, &samples);
    chosen.retain(|sample| sample.tokens.len() <= ROW_TOKENS);
    let config = config(Optimizer::AdamW, Precision::F32, 1);
    while config.pack(&chosen).len() > ROWS {
        chosen.pop();
    }
    if config.pack(&chosen).len() != ROWS {
        bail!("a world of {} users does not fill {ROWS} rows", plan.users);
    }
    Ok(chosen)
}

fn config(optimizer: Optimizer, precision: Precision, steps: usize) -> TrainerConfig {
    TrainerConfig {
        lr: 1e-4,
        lr_floor: 1.0,
        warmup: 0,
        row_tokens: ROW_TOKENS,
        rows_per_step: ROWS,
        optimizer,
        precision,
        checkpoint_every: 0,
        evaluate_every: 0,
        ..TrainerConfig::builtin(steps as u64, 1)
    }
}

/// The first step is not counted, as it is not for the peers.
fn ours(
    samples: &[TokenSample],
    optimizer: Optimizer,
    precision: Precision,
    steps: usize,
) -> Result<Line> {
    let mut trainer = Trainer::new(builtin_decoder()?, config(optimizer, precision, steps))?;
    let begun = std::sync::Mutex::new(None);
    let log = trainer.run(samples, &[], None, &|_| {
        if let Ok(mut begun) = begun.lock() {
            begun.get_or_insert_with(Instant::now);
        }
    })?;
    let begun = begun.into_inner().ok().flatten().context("no step was taken")?;
    let seconds = begun.elapsed().as_secs_f64();
    let counted: u64 = log.records.iter().skip(1).map(|r| r.n_tokens).sum();
    let loss = |record: Option<&align::TrainRecord>| record.map_or(f64::NAN, |r| r.loss);
    Ok(Line {
        trainer: format!("recgpt {}", if optimizer == Optimizer::Muon { "muon" } else { "adamw" }),
        precision: if precision == Precision::Bf16 { "bfloat16" } else { "float32" }.to_owned(),
        tokens_per_second: counted as f64 / seconds,
        loss_first: loss(log.records.first()),
        loss_last: loss(log.records.last()),
    })
}

/// All variants of the script, each on as many threads as ours.
fn peers(
    python: &Path,
    scripts: &Path,
    samples: &[TokenSample],
    steps: usize,
) -> Result<Vec<Line>> {
    let scratch = tempfile::tempdir()?;
    builtin_folder(scratch.path())?;
    let batch = scratch.path().join("batch.json");
    std::fs::write(&batch, serde_json::to_vec(&batch_json(samples))?)?;
    let mut command = Command::new(python);
    command.arg(scripts.join("train.py")).arg("--batch").arg(&batch);
    command.arg("--model").arg(scratch.path());
    command.args(["--steps", &steps.to_string()]);
    command.args(["--threads", &rayon::current_num_threads().to_string()]);
    let done = command.output().with_context(|| format!("starting {}", python.display()))?;
    if !done.status.success() {
        bail!("train.py failed: {}", String::from_utf8_lossy(&done.stderr));
    }
    let text = String::from_utf8_lossy(&done.stdout);
    text.lines()
        .map(|line| {
            let peer: PeerLine =
                serde_json::from_str(line).with_context(|| format!("train.py wrote {line:?}"))?;
            Ok(Line {
                trainer: format!("torch {}", peer.variant),
                precision: peer.precision,
                tokens_per_second: peer.tokens_per_second,
                loss_first: peer.loss_first,
                loss_last: peer.loss_last,
            })
        })
        .collect()
}

/// The rows as `train.py` reads them.
fn batch_json(samples: &[TokenSample]) -> Value {
    let config = config(Optimizer::AdamW, Precision::F32, 1);
    let row = |row: &Vec<usize>| {
        let of = |f: fn(&TokenSample) -> Value| -> Vec<Value> {
            row.iter()
                .flat_map(|&i| f(&samples[i]).as_array().cloned().unwrap_or_default())
                .collect()
        };
        let lens: Vec<usize> = row.iter().map(|&i| samples[i].tokens.len()).collect();
        json!({ "tokens": of(|s| json!(s.tokens)), "loss": of(|s| json!(s.loss)), "lens": lens })
    };
    json!({
        "rows": config.pack(samples).iter().map(row).collect::<Vec<_>>(),
        "rows_per_step": ROWS, "lr": config.lr, "beta1": config.beta1, "beta2": config.beta2,
        "eps": 1e-8, "weight_decay": config.weight_decay, "clip": config.clip,
    })
}

/// The median of every trainer, in the order of first appearance.
fn medians(rounds: &[Line]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in rounds {
        let same = |l: &&Line| l.trainer == line.trainer && l.precision == line.precision;
        if lines.iter().any(|known| same(&known)) {
            continue;
        }
        let mut speeds: Vec<f64> =
            rounds.iter().filter(same).map(|l| l.tokens_per_second).collect();
        speeds.sort_by(f64::total_cmp);
        let tokens_per_second = speeds[speeds.len() / 2];
        lines.push(Line { tokens_per_second, ..line.clone() });
    }
    lines
}

/// Our AdamW over the fastest of PyTorch, each in its better precision.
fn ratio(lines: &[Line]) -> Option<f64> {
    let best = |prefix: &str| {
        let of = lines.iter().filter(|l| l.trainer.starts_with(prefix));
        of.map(|l| l.tokens_per_second).max_by(f64::total_cmp)
    };
    Some(best("recgpt adamw")? / best("torch")?)
}

fn table(lines: &[Line]) -> String {
    let mut table = Table::new();
    table.set_header(["trainer", "precision", "tokens/s", "first loss", "last loss"]);
    for line in lines {
        table.add_row([
            line.trainer.clone(),
            line.precision.clone(),
            format!("{:.0}", line.tokens_per_second),
            format!("{:.4}", line.loss_first),
            format!("{:.4}", line.loss_last),
        ]);
    }
    table.to_string()
}
