//! `recgpt run` and `recgpt import`: a user's own files, as a configuration names them.

use anyhow::Result;

use crate::cli::RunArgs;
use crate::commands::summary;
use crate::settings::Settings;
use crate::steps::{Context, Step, perform, perform_all};

pub(crate) fn run(args: &RunArgs, json: bool) -> Result<()> {
    let ctx = Context::create(settings(args)?)?;
    perform_all(&ctx)?;
    summary::print(&ctx, json)
}

pub(crate) fn import(args: &RunArgs, json: bool) -> Result<()> {
    let ctx = Context::create(settings(args)?)?;
    perform(&ctx, Step::Import, true)?;
    summary::print_part(&ctx, crate::steps::import::PART, json)
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
