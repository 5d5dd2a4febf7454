//! `recgpt rollback`: the release before answers again.

use anyhow::Result;
use serde_json::json;

use crate::cli::RollbackArgs;
use crate::progress::{print, say};
use crate::steps::Context;
use crate::steps::releases::{current_name, kept, roll_back};

pub(crate) fn run(args: &RollbackArgs, json: bool) -> Result<()> {
    let ctx = Context::open(&args.workspace)?;
    let before = current_name(&ctx)?;
    if !args.list {
        let name = roll_back(&ctx, args.to.as_deref())?;
        let before = before.as_deref().unwrap_or("none");
        say(&format!("release {name} answers instead of {before}; a running server takes it over"));
    }
    let (current, names) = (current_name(&ctx)?, kept(&ctx)?);
    if json {
        print(&serde_json::to_string_pretty(&json!({ "current": current, "kept": names }))?);
    } else if args.list {
        for name in names {
            let mark = if Some(&name) == current.as_ref() { "  answers" } else { "" };
            print(&format!("{name}{mark}"));
        }
    }
    Ok(())
}
