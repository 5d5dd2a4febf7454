//! `recgpt items add`: items that come between two imports.

use anyhow::{Result, anyhow};
use events::import::expand_files;
use events::{ImportConfig, import_items};
use serde_json::json;
use serve::check_item;

use crate::cli::ItemsAddArgs;
use crate::failure::Usage;
use crate::progress::{Progress, print, say};
use crate::steps::{Context, added};

pub(crate) fn add(args: &ItemsAddArgs, json: bool) -> Result<()> {
    let ctx = Context::open(&args.workspace)?;
    let mut config: ImportConfig = ctx.settings.import.clone();
    config.items.files = expand_files("items", &args.files)?;
    let bar = Progress::new("items");
    let read = import_items(&config, &|done, total| bar.set(done, total))?;
    bar.finish();
    for item in &read.items {
        check_item(item).map_err(|e| anyhow!(Usage(e.to_string())))?;
    }
    for row in read.rejected.iter().take(SHOWN) {
        say(&format!("refused: {}:{} {}: {}", row.file, row.line, row.column, row.message));
    }
    if !read.items.is_empty() {
        added::append(&ctx.ws, &read.items)?;
    }
    let (kept, refused) = (read.items.len(), read.rejected.len());
    if json {
        print(&serde_json::to_string_pretty(&json!({ "kept": kept, "refused": refused }))?);
    }
    say(&format!(
        "{kept} items kept, {refused} refused; a running server has them within a second, the catalogue \
         from the next import on"
    ));
    Ok(())
}

/// Refused rows that are shown.
const SHOWN: usize = 10;
