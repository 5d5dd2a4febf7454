//! The command line of RecGPT: a recommender that starts from what a person wants.

mod alignment;
mod bench;
mod cli;
mod commands;
mod engine;
mod failure;
mod keeper;
mod machine;
mod online;
mod progress;
mod settings;
#[cfg(feature = "sql")]
mod sql;
mod steps;
mod suite;
mod terminal;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::{BenchCommand, Cli, Command, ItemsCommand, LmCommand};
use crate::steps::Step;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::say(&format!("error: {error:#}"));
            failure::exit_code(&error)
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    if let Some(threads) = cli.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let json = cli.json;
    match &cli.command {
        Command::Demo(args) => commands::demo::run(args, json),
        Command::Run(args) => commands::run::run(args, json),
        Command::Import(args) => commands::run::import(args, json),
        Command::Forget(args) => commands::forget::run(args, json),
        Command::Validate(args) => commands::validate::run(args, json),
        Command::Digest(args) => commands::digest::run(args, json),
        Command::Sql(args) => commands::sql::run(args, json),
        Command::Fit(args) => commands::step::run(args, Step::Fit, json),
        Command::Mine(args) => commands::step::run(args, Step::Mine, json),
        Command::Tag(args) => commands::step::run(args, Step::Tag, json),
        Command::Train(args) => commands::step::run(args, Step::Train, json),
        Command::Index(args) => commands::step::run(args, Step::Index, json),
        Command::Evaluate(args) if args.suite => suite::run(args, json),
        Command::Evaluate(args) => commands::step::run(&args.workspace, Step::Evaluate, json),
        Command::Report(args) => commands::step::run(args, Step::Report, json),
        Command::Recommend(args) => commands::recommend::run(args, json),
        Command::Items(args) => match &args.command {
            ItemsCommand::Add(args) => commands::items::add(args, json),
        },
        Command::Rollback(args) => commands::rollback::run(args, json),
        Command::Serve(args) => commands::serve::run(args),
        Command::Align(args) => commands::align::run(args, json),
        Command::Export(args) => commands::export::run(args, json),
        Command::Lm(args) => match &args.command {
            LmCommand::Serve(args) => commands::lm::serve(args),
            LmCommand::Quantize(args) => commands::lm::quantize(args),
        },
        Command::Bench(args) => match &args.command {
            BenchCommand::Lm(args) => bench::lm::run(args, json),
            BenchCommand::Align(args) => bench::align::run(args, json),
            BenchCommand::Digest(args) => bench::digest::run(args, json),
            BenchCommand::Index(args) => bench::index::run(args, json),
            BenchCommand::Towers(args) => bench::towers::run(args, json),
            BenchCommand::Cold(args) => bench::cold::run(args, json),
        },
    }
}
