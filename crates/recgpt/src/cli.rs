//! The command line as typed: commands and flags, nothing of what they mean.

mod serving;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use align::export::ExportFormat;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::serving::{
    ItemsAddArgs, ItemsArgs, ItemsCommand, RecommendArgs, RollbackArgs, ServeArgs,
};
use crate::alignment::Stage;
use crate::bench::digest::Job;
use crate::engine::EngineSettings;

/// A recommender that starts from what a person wants.
#[derive(Debug, Parser)]
#[command(name = "recgpt", version, about, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print results as JSON on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Threads to use; all cores by default.
    #[arg(long, global = true, env = "RECGPT_THREADS")]
    pub(crate) threads: Option<usize>,
}

/// One file of `commands/` each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a marketplace and run the whole path on it, ending with a report.
    Demo(DemoArgs),
    /// Run the whole path on your own files.
    Run(RunArgs),
    /// Read events, items and users into the workspace.
    Import(ImportArgs),
    /// Take one person out of the workspace and out of later imports.
    Forget(ForgetArgs),
    /// Say how a file would be read and what is wrong with it, and write a configuration to start from;
    /// or check the files of a configuration.
    Validate(ValidateArgs),
    /// Compress every user's history.
    Digest(DigestArgs),
    /// Answer a query over the workspace's tables: events, items, users, digests, interests, tags.
    Sql(SqlArgs),
    /// Fit the built-in model to the shop's own words.
    Fit(WorkspaceArgs),
    /// Mine interests with the language model.
    Mine(WorkspaceArgs),
    /// Predict tags with the language model.
    Tag(WorkspaceArgs),
    /// Train the user, item and tag towers.
    Train(WorkspaceArgs),
    /// Build the index of item vectors.
    Index(WorkspaceArgs),
    /// Measure against the baselines on what was held out; with `--suite` on the shared sets.
    Evaluate(EvaluateArgs),
    /// Write report.json and report.html.
    Report(WorkspaceArgs),
    /// Print a slate for one user.
    Recommend(RecommendArgs),
    /// Put items on sale between two imports.
    Items(ItemsArgs),
    /// Let the release before answer again: its towers, index and tags.
    Rollback(RollbackArgs),
    /// Answer over HTTP.
    Serve(ServeArgs),
    /// Train the built-in language model from nothing.
    Align(AlignArgs),
    /// Write training samples for TRL, LLaMA-Factory, verl or ROLL.
    Export(ExportArgs),
    /// Offer a language model over HTTP, or write one in eight bits.
    Lm(LmArgs),
    /// Measure, beside the peers where they are installed.
    Bench(BenchArgs),
}

/// `demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Users of the marketplace.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) users: usize,
    /// Items of the marketplace.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) items: usize,
    /// Seed of everything.
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Events of a user, in the mean; a few have twelve times as many.
    #[arg(long, default_value_t = 250)]
    pub(crate) events_per_user: usize,
    /// Events of the one user with a very long life; 0 for none.
    #[arg(long, default_value_t = 37_000)]
    pub(crate) heavy_user_events: usize,
    /// Users who get interests and tags; the others are served by the user tower.
    #[arg(long, default_value_t = 310)]
    pub(crate) intent_users: usize,
    /// Only write the raw files of the marketplace and the configuration; the steps can be run on them
    /// one by one.
    #[arg(long)]
    pub(crate) world_only: bool,
    /// The workspace folder.
    #[arg(long, default_value = "workspaces/demo")]
    pub(crate) out: PathBuf,
}

/// `import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Add to what was imported, and touch only the buckets concerned: the FILES, or those of the
    /// configuration that are new or have changed. An event that is there already is there once.
    #[arg(long)]
    pub(crate) append: bool,
    /// The configuration's files are everything: drop what was appended beside them.
    #[arg(long, conflicts_with = "append")]
    pub(crate) replace: bool,
    /// With `--append`: raw files, folders or patterns.
    #[arg(requires = "append")]
    pub(crate) files: Vec<PathBuf>,
}

/// `forget`
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The workspace folder.
    #[arg(long, default_value = "workspaces/demo", env = "RECGPT_WORKSPACE")]
    pub(crate) workspace: PathBuf,
    /// Whom; the id as the log has it.
    #[arg(long)]
    pub(crate) user: String,
    /// Say what would go, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `validate`
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// A raw file of events: its preset and mapping are guessed.
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    pub(crate) file: Option<PathBuf>,
    /// A configuration whose files are checked.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// With FILE: where the configuration to start from goes; its name with `.toml` by default.
    #[arg(long, requires = "file")]
    pub(crate) out: Option<PathBuf>,
}

/// `run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The configuration; see `configs/`.
    #[arg(long)]
    pub(crate) config: PathBuf,
    /// The workspace folder, instead of the one in the configuration.
    #[arg(long)]
    pub(crate) workspace: Option<PathBuf>,
}

/// A command on a workspace that `demo`, `run` or `import` made.
#[derive(Debug, Args)]
pub(crate) struct WorkspaceArgs {
    /// The workspace folder.
    #[arg(long, default_value = "workspaces/demo", env = "RECGPT_WORKSPACE")]
    pub(crate) workspace: PathBuf,
    /// Do the step even where it was done with the same inputs.
    #[arg(long)]
    pub(crate) force: bool,
}

/// `digest`
#[derive(Debug, Args)]
pub(crate) struct DigestArgs {
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Instead of all users: print the digest of this one.
    #[arg(long, conflicts_with_all = ["report", "force"])]
    pub(crate) user: Option<String>,
    /// With `--user`: say per level and per line what is kept and dropped.
    #[arg(long, requires = "user")]
    pub(crate) explain: bool,
    /// With `--user`: tokens that the digest may have; the settings' by default.
    #[arg(long, requires = "user")]
    pub(crate) budget: Option<usize>,
    /// Print how far histories were compressed: tokens and rows per level, longest users, time.
    #[arg(long)]
    pub(crate) report: bool,
}

/// `sql`
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// One query that reads: SELECT, EXPLAIN, DESCRIBE or SHOW TABLES.
    pub(crate) query: String,
    /// The workspace folder.
    #[arg(long, default_value = "workspaces/demo", env = "RECGPT_WORKSPACE")]
    pub(crate) workspace: PathBuf,
    /// How the rows are printed; `--json` is the same as `--format json`.
    #[arg(long, value_enum, default_value_t = SqlFormat::Table)]
    pub(crate) format: SqlFormat,
    /// Memory that sorts, joins and groups of the query share; beyond it they use files.
    #[arg(long, default_value = "1024")]
    pub(crate) memory_mib: NonZeroU32,
}

/// How rows of a query are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlFormat {
    /// For people: aligned, long values cut.
    Table,
    /// RFC 4180 with a header; nothing for null.
    Csv,
    /// An array with an object per row.
    Json,
}

/// `evaluate`
#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) workspace: WorkspaceArgs,
    /// Measures all models on all shared sets instead, each tuned on validation; what was done before is
    /// not done again. The set `world` is the workspace.
    #[arg(long, requires = "data")]
    pub(crate) suite: bool,
    /// Folder of the shared sets.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Sets to measure; all by default.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<crate::suite::SetName>,
    /// Models to measure; all by default.
    #[arg(long, value_delimiter = ',')]
    pub(crate) models: Vec<crate::suite::ModelName>,
    /// Seeds of the models that have one.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=20))]
    pub(crate) seeds: u64,
    /// Where imports and finished parts are kept.
    #[arg(long, default_value = "workspaces/suite")]
    pub(crate) out: PathBuf,
    /// Where `suite.json`, `suite.md`, `suite.svg` and `suite.html` go.
    #[arg(long, default_value = "docs/results")]
    pub(crate) results: PathBuf,
    /// A README that gets the table and the picture of the suite between `<!-- suite -->` and `<!-- /suite -->`.
    #[arg(long, requires = "suite")]
    pub(crate) readme: Option<PathBuf>,
}

/// `align`
#[derive(Debug, Args)]
pub(crate) struct AlignArgs {
    /// Fits the built-in model to the shop of this workspace, in place of a recipe.
    #[arg(long, conflicts_with_all = ["recipe", "out", "from", "steps", "seed", "without", "export", "teacher"])]
    pub(crate) workspace: Option<PathBuf>,
    /// With `--workspace`: measures the model on simulated worlds and on the shared sets before and
    /// after; with `--incremental` the hit rate of its tags on what was held out.
    #[arg(long, requires = "workspace")]
    pub(crate) measure: bool,
    /// With `--workspace`: trains the model that answers a little further on what users turned to in the
    /// last days before the cut, and keeps the one before it as a version.
    #[arg(long, requires = "workspace")]
    pub(crate) incremental: bool,
    /// With `--incremental`: so many days; the settings' (14) by default.
    #[arg(long, requires = "incremental", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: Option<u32>,
    /// `shipped`: the weights of the repository; `small`: the same with few steps and few questions, for ablations;
    /// `tiny`: in miniature.
    #[arg(long, default_value = "shipped")]
    pub(crate) recipe: String,
    /// Where the stages and their checkpoints go; an interrupted run continues from there.
    #[arg(long, required_unless_present_any = ["workspace", "export"])]
    pub(crate) out: Option<PathBuf>,
    /// Folder with `shopping_goals`, `product_taxonomy` and `purchase_intention`; without it what
    /// needs them is left out.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// At most so many optimiser steps in every stage.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
    /// Seed of worlds, samples and their order.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seed: u64,
    /// Stages to leave out.
    #[arg(long, value_delimiter = ',')]
    pub(crate) without: Vec<Stage>,
    /// Runs the recipe with all stages and with each left out, over so many seeds; `--out` gets a folder for
    /// each run, and `ablation.json`.
    #[arg(long, value_name = "SEEDS", requires = "out", conflicts_with_all = ["seed", "without", "export", "rollback", "workspace"],
        value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) ablate: Option<u64>,
    /// Model folder (config.json, tokenizer.json, model.safetensors) that the training goes on from;
    /// without it a base is trained first.
    #[arg(long)]
    pub(crate) from: Option<PathBuf>,
    /// TOML with the keys of an `[lm]` section of kind `openai`: the model that writes the samples of mining and
    /// tagging of `reasoning`, in place of the embedded teacher. Its answers are kept in `--out`.
    #[arg(long, value_name = "FILE", requires = "out")]
    pub(crate) teacher: Option<PathBuf>,
    /// Makes an earlier stage (`reasoning`, `self_training/round_1`) the chosen one again, or with
    /// `--workspace` an earlier version (`builtin_1`, `fit_1`, `incremental_1`), and stops.
    #[arg(long, conflicts_with_all = ["export", "incremental", "measure"])]
    pub(crate) rollback: Option<String>,
    /// Writes the samples of curriculum and reasoning to this file, one JSON object per line, and stops.
    #[arg(long)]
    pub(crate) export: Option<PathBuf>,
}

/// `export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// `trl`, `llamafactory`, `verl` or `roll`.
    #[arg(long)]
    pub(crate) format: ExportFormat,
    /// Samples, one per line, as `recgpt align --export` writes them.
    #[arg(long, required_unless_present = "records")]
    pub(crate) samples: Option<PathBuf>,
    /// Records, one per line: id, messages, task, provenance, split, and chosen with rejected for a
    /// preference or ground_truth for a problem.
    #[arg(long)]
    pub(crate) records: Option<PathBuf>,
    /// The folder to write; files of an earlier export of this format are replaced.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Percent of the inputs that are held out, by their hash; records bring their own split.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=50))]
    pub(crate) test_percent: u32,
    /// A `tokenizer.json`: writes `tokens.jsonl` beside, the first samples as our trainer would see
    /// them, for `scripts/train_trl.py --check`.
    #[arg(long, requires = "samples")]
    pub(crate) tokenizer: Option<PathBuf>,
}

/// `lm`
#[derive(Debug, Args)]
pub(crate) struct LmArgs {
    #[command(subcommand)]
    pub(crate) command: LmCommand,
}

/// What to do with a language model.
#[derive(Debug, Subcommand)]
pub(crate) enum LmCommand {
    /// Answer `/v1/chat/completions`, `/v1/completions` and `/v1/models` over HTTP.
    Serve(LmServeArgs),
    /// Write a folder of Qwen3 or Llama with its matrices in FP8, a scale per output channel.
    Quantize(QuantizeArgs),
}

/// `lm serve`
#[derive(Debug, Args)]
pub(crate) struct LmServeArgs {
    /// A Hugging Face folder of Qwen3 or Llama; the built-in model by default.
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// The name that clients ask for; the folder's own, or `builtin`.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Address to listen on; anything but loopback needs a key.
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub(crate) listen: SocketAddr,
    /// Environment variable that holds the key which clients must bring.
    #[arg(long)]
    pub(crate) api_key_env: Option<String>,
    /// Requests that may wait; more are answered with status 429.
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_waiting: usize,
    #[command(flatten)]
    pub(crate) engine: EngineSettings,
}

/// `lm quantize`
#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// The folder to read.
    pub(crate) from: PathBuf,
    /// The folder to write.
    pub(crate) to: PathBuf,
}

/// `bench`
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// The language model's engine on the work of mining.
    Lm(BenchLmArgs),
    /// The trainer beside PyTorch, and the figures of the built-in model.
    Align(BenchAlignArgs),
    /// Import and digest of a log of any size, beside Polars and DuckDB.
    Digest(BenchDigestArgs),
    /// The index beside faiss, hnswlib and usearch.
    Index(BenchIndexArgs),
    /// Training of the towers beside PyTorch.
    Towers(BenchTowersArgs),
    /// What is found of items that no training has seen, beside popularity and content-kNN.
    Cold(BenchColdArgs),
}

/// `bench cold`
#[derive(Debug, Args)]
pub(crate) struct BenchColdArgs {
    /// A workspace that was imported; nothing in it changes.
    #[arg(long, default_value = "workspaces/demo", env = "RECGPT_WORKSPACE")]
    pub(crate) workspace: PathBuf,
    /// Percent of the items, by their ids, that the training does not see.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=90))]
    pub(crate) percent: u64,
}

/// `bench digest`
#[derive(Debug, Args)]
pub(crate) struct BenchDigestArgs {
    /// Events of the log.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub(crate) events: u64,
    /// Events of a user, in the mean.
    #[arg(long, default_value_t = 37_000)]
    pub(crate) mean_history: u64,
    /// Items of the catalogue.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) items: usize,
    /// Seed of the log and the worlds.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Python with the peers (`pip install polars duckdb`); without it only ours is measured.
    #[arg(long)]
    pub(crate) python: Option<PathBuf>,
    /// Folder of the peers' scripts.
    #[arg(long, default_value = "benches/peers")]
    pub(crate) peers: PathBuf,
    /// Rounds of all in turn; figures are medians.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Folder of the log as imported; made where it holds none, and kept.
    #[arg(long)]
    pub(crate) store: Option<PathBuf>,
    /// Users of the world on which policies and prefixes are compared, their mean number of events, and the
    /// tokens of a digest whose prefix is followed from day to day.
    #[arg(long, default_value_t = 16)]
    pub(crate) world_users: usize,
    /// See `--world-users`.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) world_events: usize,
    /// See `--world-users`.
    #[arg(long, default_value_t = 32_000)]
    pub(crate) world_budget: usize,
    /// One job on `--store` in this process, as JSON.
    #[arg(long, requires = "store")]
    pub(crate) measure: Option<Job>,
    /// With `--measure lines`: the folder that gets the lines.
    #[arg(long, requires = "measure")]
    pub(crate) lines_out: Option<PathBuf>,
}

/// `bench towers`
#[derive(Debug, Args)]
pub(crate) struct BenchTowersArgs {
    /// Items of the catalogue.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1000..))]
    pub(crate) items: u32,
    /// Examples of a step.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) batch: u32,
    /// Python with PyTorch (`pip install torch numpy`); without it only our trainer is measured.
    #[arg(long)]
    pub(crate) python: Option<PathBuf>,
    /// Folder of the peers' scripts.
    #[arg(long, default_value = "benches/peers")]
    pub(crate) peers: PathBuf,
    /// Rounds of all trainers in turn; figures are medians.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Steps of a round: many, because the first ones are slower, and a training has thousands.
    #[arg(long, default_value_t = 60)]
    pub(crate) steps: usize,
}

/// `bench index`
#[derive(Debug, Args)]
pub(crate) struct BenchIndexArgs {
    /// Vectors to draw; several sizes go through one after the other.
    #[arg(long, value_delimiter = ',', default_value = "20000,200000,1000000")]
    pub(crate) sizes: Vec<usize>,
    /// Numbers of a vector.
    #[arg(long, default_value_t = 256)]
    pub(crate) dim: usize,
    /// Queries.
    #[arg(long, default_value_t = 1000)]
    pub(crate) queries: usize,
    /// A workspace whose item vectors go through too.
    #[arg(long)]
    pub(crate) workspace: Option<PathBuf>,
    /// Python with the peers (`pip install numpy faiss-cpu hnswlib usearch`); without it only our index is
    /// measured.
    #[arg(long)]
    pub(crate) python: Option<PathBuf>,
    /// Folder of the peers' scripts.
    #[arg(long, default_value = "benches/peers")]
    pub(crate) peers: PathBuf,
    /// Rounds of all engines in turn; figures are medians.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
}

/// `bench align`
#[derive(Debug, Args)]
pub(crate) struct BenchAlignArgs {
    /// Python with PyTorch (`pip install torch transformers safetensors numpy`); without it only our
    /// trainer is measured.
    #[arg(long)]
    pub(crate) python: Option<PathBuf>,
    /// Folder of the peers' scripts.
    #[arg(long, default_value = "benches/peers")]
    pub(crate) peers: PathBuf,
    /// Folder of shared data; without it what needs it is left out.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Model folder (config.json, tokenizer.json, model.safetensors) to measure; the built-in model by default.
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// Measure the trainers alone, not the model.
    #[arg(long)]
    pub(crate) trainers_only: bool,
    /// Rounds of both in turn; figures are medians; 0 leaves the trainers out.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Steps of a round.
    #[arg(long, default_value_t = 6)]
    pub(crate) steps: usize,
}

/// `bench lm`
#[derive(Debug, Args)]
pub(crate) struct BenchLmArgs {
    /// A Hugging Face folder of Qwen3 or Llama; the built-in model by default.
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// Python with the peers installed (`pip install numpy torch transformers gguf llama-cpp-python`);
    /// without it only our engine is measured.
    #[arg(long)]
    pub(crate) python: Option<PathBuf>,
    /// Folder of the peers' scripts.
    #[arg(long, default_value = "benches/peers")]
    pub(crate) peers: PathBuf,
    /// Rounds of all engines in turn; figures are medians.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Instead of the bench: seconds of mixed requests, cancellations and refusals.
    #[arg(long)]
    pub(crate) soak: Option<u64>,
}
