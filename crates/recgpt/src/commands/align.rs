//! `recgpt align`: the tokenizer, the data, the training and the scorecard of the built-in model.
//!
//! Writes into one folder: `tokenizer.json`, `model/` (Hugging Face layout), `train.jsonl`,
//! `manifest.json` (what the data were) and `scorecard.json`. A stopped run continues from its last
//! checkpoint when started again with the same arguments.

use std::collections::BTreeMap;
use std::path::Path;

use align::{
    Sample, TokenSample, Trainer, TrainerConfig, encode_samples, samples_from_goals,
    samples_from_taxonomy, train_tokenizer,
};
use anyhow::{Context, Result, anyhow};
use lm::{Decoder, DecoderConfig, Tokenizer, load_decoder, write_whole};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::cli::AlignArgs;
use crate::failure::Usage;
use crate::progress::{Progress, say};
use crate::scorecard::{ScorecardPlan, scorecard};
use crate::steps::worlds::{TRAINING_SEEDS, WorldPlan, world_samples};

/// What the shipped weights are made from; every number is in the manifest.
#[derive(Debug, Clone, Serialize)]
struct Recipe {
    name: &'static str,
    vocab_size: usize,
    window: usize,
    hidden_size: usize,
    layers: usize,
    plan: PlanRecord,
    trainer: TrainerConfig,
    held_out: usize,
    scorecard: ScorecardPlan,
}

/// [`WorldPlan`] as the manifest shows it.
#[derive(Debug, Clone, Copy, Serialize)]
struct PlanRecord {
    worlds: usize,
    users: usize,
    cuts: usize,
    reasons: usize,
    seed: u64,
    digest_budget: usize,
}

/// What the data were.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    recipe: &'a Recipe,
    /// The manifest of the weights that the training continued from.
    continued_from: Option<serde_json::Value>,
    sources: Vec<&'static str>,
    samples_per_task: BTreeMap<String, usize>,
    tokens: usize,
    target_tokens: usize,
    parameters: usize,
    data_hash: String,
    version: &'static str,
}

pub(crate) fn run(args: &AlignArgs) -> Result<()> {
    let mut recipe = recipe(&args.recipe)?;
    if let Some(steps) = args.steps {
        recipe.trainer.steps = steps;
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;
    let tokenizer = tokenizer(&recipe, args)?;
    let samples = all_samples(&recipe, args, &tokenizer)?;
    if let Some(path) = &args.export {
        return export(path, &samples);
    }
    let encoded = encode_samples(&tokenizer, &samples);
    let (train, held_out) = divide(&recipe, &samples, encoded)?;
    let decoder = starting_weights(&recipe, args, &tokenizer)?;
    write_manifest(&recipe, args, &samples, &train, decoder.params().len())?;
    drop(samples);
    train_decoder(&recipe, args, decoder, &train, &held_out)?;
    let card = scorecard(&args.out, &recipe.scorecard)?;
    let json = serde_json::to_vec_pretty(&card)?;
    write_whole(&args.out.join("scorecard.json"), &json)?;
    say(&String::from_utf8_lossy(&json));
    Ok(())
}

/// One pass over the samples of the recipe `refined`.
const REFINED_STEPS: u64 = 1500;

fn recipe(name: &str) -> Result<Recipe> {
    let shipped = Recipe {
        name: "shipped",
        vocab_size: 4096,
        window: 2048,
        hidden_size: 256,
        layers: 4,
        plan: PlanRecord {
            worlds: 32,
            users: 150,
            cuts: 3,
            reasons: 1,
            seed: TRAINING_SEEDS,
            digest_budget: 600,
        },
        trainer: TrainerConfig {
            lr: 1.5e-3,
            row_tokens: 2048,
            rows_per_step: 4,
            checkpoint_every: 100,
            ..TrainerConfig::builtin(2300, 1)
        },
        held_out: 64,
        scorecard: ScorecardPlan {
            worlds: 2,
            users: 80,
            seed: TRAINING_SEEDS * 2,
            digest_budget: 600,
        },
    };
    match name {
        "shipped" => Ok(shipped),
        // A second pass over other worlds, from the weights of `shipped`.
        "refined" => Ok(Recipe {
            name: "refined",
            plan: PlanRecord { worlds: 24, seed: TRAINING_SEEDS + 1000, ..shipped.plan },
            trainer: TrainerConfig {
                lr: 1e-3,
                steps: REFINED_STEPS,
                warmup: 50,
                ..shipped.trainer
            },
            ..shipped
        }),
        "tiny" => Ok(Recipe {
            name: "tiny",
            vocab_size: 1024,
            hidden_size: 32,
            layers: 1,
            plan: PlanRecord { worlds: 1, users: 12, cuts: 1, reasons: 1, ..shipped.plan },
            trainer: TrainerConfig {
                row_tokens: 2048,
                rows_per_step: 2,
                checkpoint_every: 2,
                ..TrainerConfig::builtin(4, 1)
            },
            held_out: 2,
            scorecard: ScorecardPlan { worlds: 1, users: 2, ..shipped.scorecard },
            ..shipped
        }),
        other => {
            Err(anyhow!(Usage(format!("unknown recipe {other:?}; one of: shipped, refined, tiny"))))
        }
    }
}

fn export(path: &Path, samples: &[Sample]) -> Result<()> {
    let mut lines = Vec::new();
    for sample in samples {
        serde_json::to_writer(&mut lines, sample)?;
        lines.push(b'\n');
    }
    write_whole(path, &lines).with_context(|| format!("writing {}", path.display()))?;
    say(&format!("{} samples in {}", samples.len(), path.display()));
    Ok(())
}

fn shape(recipe: &Recipe, tokenizer: &Tokenizer) -> DecoderConfig {
    DecoderConfig {
        hidden_size: recipe.hidden_size,
        intermediate_size: recipe.hidden_size * 2,
        num_hidden_layers: recipe.layers,
        max_position_embeddings: recipe.window,
        eos_token_id: Some(tokenizer.eos()),
        ..DecoderConfig::builtin(tokenizer.vocab_size())
    }
}

/// New weights, or those of the folder that the training continues from, with the recipe's window.
fn starting_weights(recipe: &Recipe, args: &AlignArgs, tokenizer: &Tokenizer) -> Result<Decoder> {
    let Some(dir) = &args.from else {
        return Ok(Decoder::init(shape(recipe, tokenizer), recipe.trainer.seed)?);
    };
    let old = load_decoder(dir)?;
    let config = DecoderConfig { max_position_embeddings: recipe.window, ..old.config().clone() };
    Ok(Decoder::new(config, old.params().to_vec())?)
}

/// The tokenizer of the folder, or a new one from a few worlds and the shared texts.
fn tokenizer(recipe: &Recipe, args: &AlignArgs) -> Result<Tokenizer> {
    let path = args.out.join("tokenizer.json");
    if let (false, Some(dir)) = (path.exists(), &args.from) {
        let json = std::fs::read(dir.join("tokenizer.json"))
            .with_context(|| format!("reading the tokenizer in {}", dir.display()))?;
        write_whole(&path, &json)?;
    }
    if !path.exists() {
        let words = |text: &str| text.split_whitespace().count() * 4 / 3;
        let plan = WorldPlan {
            worlds: recipe.plan.worlds.min(4),
            users: recipe.plan.users,
            cuts: 1,
            reasons: 4,
            seed: recipe.plan.seed,
            digest_budget: recipe.plan.digest_budget,
        };
        let mut samples = world_samples(&plan, &words, &|_, _| {})?;
        samples.extend(shared_samples(args.data.as_deref())?);
        let mut texts: Vec<&str> =
            samples.iter().flat_map(|s| &s.segments).map(|s| s.text.as_str()).collect();
        let uci = uci_titles(args.data.as_deref())?;
        texts.extend(uci.iter().map(String::as_str));
        let json = train_tokenizer(texts, recipe.vocab_size)?;
        write_whole(&path, &json)?;
    }
    Ok(Tokenizer::load(&path)?)
}

/// Titles of the UCI shop (CC BY 4.0), lower case as digests write them; for the tokenizer alone.
fn uci_titles(data: Option<&Path>) -> Result<Vec<String>> {
    let Some(data) = data else { return Ok(Vec::new()) };
    let mut config = events::ImportConfig {
        preset: events::import::Preset::UciOnlineRetail,
        ..events::ImportConfig::default()
    };
    config.events.files = vec![data.join("uci_online_retail/events_until_2011-09.csv")];
    let items = events::import_items(&config, &|_, _| {})?.items;
    Ok(items.into_iter().map(|item| item.title.to_lowercase()).collect())
}

/// Samples from the shared sets that may train what we ship.
fn shared_samples(data: Option<&Path>) -> Result<Vec<Sample>> {
    let Some(data) = data else { return Ok(Vec::new()) };
    let taxonomy =
        events::import_taxonomy(&data.join("product_taxonomy/google_products_categories.json"))?;
    let mut samples = samples_from_goals(&data.join("shopping_goals/goal_query_map.json"))?;
    samples.extend(samples_from_taxonomy(&taxonomy));
    Ok(samples)
}

fn all_samples(recipe: &Recipe, args: &AlignArgs, tokenizer: &Tokenizer) -> Result<Vec<Sample>> {
    let PlanRecord { worlds, users, cuts, reasons, seed, digest_budget } = recipe.plan;
    let plan = WorldPlan { worlds, users, cuts, reasons, seed, digest_budget };
    let bar = Progress::new("samples");
    let count = |text: &str| tokenizer.count(text);
    let mut samples = world_samples(&plan, &count, &|done, total| bar.set(done, total))?;
    bar.finish();
    samples.extend(shared_samples(args.data.as_deref())?);
    Ok(samples)
}

/// Training and held-out samples; those that do not fit the window are left out and counted.
fn divide(
    recipe: &Recipe,
    samples: &[Sample],
    encoded: Vec<TokenSample>,
) -> Result<(Vec<TokenSample>, Vec<TokenSample>)> {
    let n_all = encoded.len();
    let mut kept: Vec<(bool, TokenSample)> = samples
        .iter()
        .map(|s| s.task == "mine_tag")
        .zip(encoded)
        .filter(|(_, s)| s.tokens.len() <= recipe.window)
        .collect();
    say(&format!("{} of {n_all} samples fit {} tokens", kept.len(), recipe.window));
    kept.shuffle(&mut Pcg64Mcg::seed_from_u64(recipe.trainer.seed));
    let mut held_out = Vec::new();
    let mut train = Vec::new();
    for (long, sample) in kept {
        if long && held_out.len() < recipe.held_out {
            held_out.push(sample);
        } else {
            train.push(sample);
        }
    }
    if train.is_empty() {
        return Err(anyhow!("the recipe makes no samples"));
    }
    Ok((train, held_out))
}

fn write_manifest(
    recipe: &Recipe,
    args: &AlignArgs,
    samples: &[Sample],
    train: &[TokenSample],
    parameters: usize,
) -> Result<()> {
    let mut per_task = BTreeMap::new();
    for sample in samples {
        *per_task.entry(sample.task.clone()).or_insert(0) += 1;
    }
    let mut hash = Xxh3::new();
    for sample in train {
        sample.tokens.iter().for_each(|t| hash.update(&t.to_le_bytes()));
    }
    let mut sources = vec!["simulated worlds (this program)"];
    if args.data.is_some() {
        sources.extend([
            "shopping goals (MIT)",
            "product taxonomy (MIT)",
            "UCI Online Retail titles, tokenizer only (CC BY 4.0)",
        ]);
    }
    let manifest = Manifest {
        recipe,
        continued_from: args.from.as_deref().map(manifest_of).transpose()?,
        sources,
        samples_per_task: per_task,
        tokens: train.iter().map(|s| s.tokens.len()).sum(),
        target_tokens: train.iter().map(|s| s.loss.iter().filter(|l| **l).count()).sum(),
        parameters,
        data_hash: format!("{:016x}", hash.digest()),
        version: env!("CARGO_PKG_VERSION"),
    };
    let json = serde_json::to_vec_pretty(&manifest)?;
    say(&String::from_utf8_lossy(&json));
    write_whole(&args.out.join("manifest.json"), &json).context("writing the manifest")
}

fn manifest_of(dir: &Path) -> Result<serde_json::Value> {
    let path = dir.join("manifest.json");
    let json = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("reading {}", path.display()))
}

fn train_decoder(
    recipe: &Recipe,
    args: &AlignArgs,
    decoder: Decoder,
    train: &[TokenSample],
    held_out: &[TokenSample],
) -> Result<()> {
    let mut trainer = match Trainer::resume(&args.out)? {
        Some(trainer) => trainer,
        None => Trainer::new(decoder, recipe.trainer.clone())?,
    };
    if trainer.step() > 0 {
        say(&format!("continuing behind step {}", trainer.step()));
    }
    let bar = Progress::new("train");
    trainer.run(train, held_out, Some(&args.out), &|record| {
        bar.set(record.step, record.steps);
        if record.held_out_loss.is_some() || record.step % 20 == 0 {
            let held_out =
                record.held_out_loss.map_or(String::new(), |l| format!(", held out {l:.4}"));
            say(&format!(
                "step {}: loss {:.4}, accuracy {:.3}, {:.0} tokens/s{held_out}",
                record.step, record.loss, record.accuracy, record.tokens_per_second
            ));
        }
    })?;
    bar.finish();
    Ok(())
}
