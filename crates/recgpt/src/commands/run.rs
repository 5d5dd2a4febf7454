//! `recgpt run` and `recgpt import`: a user's own files, as a configuration names them.

use anyhow::{Context as _, Result};

use crate::cli::{ImportArgs, RunArgs};
use crate::commands::summary;
use crate::progress::{Progress, say};
use crate::settings::Settings;
use crate::steps::import::{self, How};
use crate::steps::{Context, Step, perform, perform_all};

pub(crate) fn run(args: &RunArgs, json: bool) -> Result<()> {
    let ctx = Context::create(settings(args)?)?;
    perform_all(&ctx)?;
    summary::print(&ctx, json)
}

pub(crate) fn import(args: &ImportArgs, json: bool) -> Result<()> {
    let ctx = Context::create(settings(&args.run)?)?;
    if args.append || args.replace {
        let how = if args.append { How::Append(&args.files) } else { How::Replace };
        let bar = Progress::new("import");
        let line = import::run(&ctx, how, &bar);
        bar.finish();
        say(&format!("import       {}", line.context("step import")?));
    } else {
        perform(&ctx, Step::Import, true)?;
    }
    summary::print_part(&ctx, import::PART, json)
}

/// The configuration with its paths relative to its own folder, and the workspace of the flag.
pub(crate) fn settings(args: &RunArgs) -> Result<Settings> {
    let mut settings = Settings::load(&args.config)?;
    if let Some(folder) = args.config.parent() {
        settings.import.rebase(folder);
    }
    if let Some(workspace) = &args.workspace {
        settings.workspace.clone_from(workspace);
    }
    Ok(settings)
}
