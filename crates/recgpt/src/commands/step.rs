//! One step on a workspace that exists.

use anyhow::Result;

use crate::cli::WorkspaceArgs;
use crate::commands::summary;
use crate::steps::{Context, Step, perform};

pub(crate) fn run(args: &WorkspaceArgs, step: Step, json: bool) -> Result<()> {
    let ctx = Context::open(&args.workspace)?;
    perform(&ctx, step, args.force)?;
    match step {
        Step::Report => summary::print(&ctx, json),
        Step::Import
        | Step::Digest
        | Step::Fit
        | Step::Mine
        | Step::Tag
        | Step::Train
        | Step::Index
        | Step::Evaluate => {
            summary::print_part(&ctx, &format!("reports/parts/{}.json", step.name()), json)
        }
    }
}
