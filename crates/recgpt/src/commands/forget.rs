//! `recgpt forget`: takes one person out of a workspace and says what went and what is left.

use anyhow::Result;

use crate::cli::ForgetArgs;
use crate::progress::print;
use crate::steps::{Context, forget};

pub(crate) fn run(args: &ForgetArgs, json: bool) -> Result<()> {
    let ctx = Context::open(&args.workspace)?;
    let removed = forget::run(&ctx, &args.user, args.dry_run)?;
    if json {
        print(&serde_json::to_string_pretty(&removed)?);
        return Ok(());
    }
    if !removed.anything() {
        print("nothing names this user; they are left out of later imports");
    }
    let verb = if args.dry_run { "would be removed" } else { "removed" };
    let rows = [
        ("events", removed.events),
        ("quarantine.parquet", removed.quarantine),
        (crate::steps::train::TOWERS, removed.tower_rows),
    ];
    let tables = removed.tables.iter().map(|(name, n)| (name.as_str(), *n));
    for (name, n) in rows.into_iter().chain(tables).filter(|(_, n)| *n > 0) {
        print(&format!("{verb}: {n} rows of {name}"));
    }
    for file in &removed.files {
        print(&format!("{verb}: {file} (made again by `recgpt run`)"));
    }
    for what in &removed.left {
        print(&format!("left: {what}"));
    }
    Ok(())
}
