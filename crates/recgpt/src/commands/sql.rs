//! `recgpt sql`: one query over the tables of a workspace, which it leaves as they are.

use anyhow::Result;

use crate::cli::SqlArgs;
#[cfg(feature = "sql")]
use crate::cli::SqlFormat;

#[cfg(feature = "sql")]
pub(crate) fn run(args: &SqlArgs, json: bool) -> Result<()> {
    let ctx = crate::steps::Context::open(&args.workspace)?;
    let format = if json { SqlFormat::Json } else { args.format };
    let query = crate::sql::Query { text: &args.query, memory_mib: args.memory_mib };
    crate::sql::run(&ctx.ws, &query, format)
}

#[cfg(not(feature = "sql"))]
pub(crate) fn run(args: &SqlArgs, json: bool) -> Result<()> {
    let SqlArgs { query, workspace, format, memory_mib } = args;
    let format = if json { "json".to_owned() } else { format!("{format:?}").to_lowercase() };
    let text = format!(
        "this recgpt was built without its query engine; build it with `cargo build --release --features sql` \
         (some minutes more), then ask again: recgpt sql {query:?} --workspace {} --format {format} \
         --memory-mib {memory_mib}",
        workspace.display()
    );
    Err(anyhow::anyhow!(crate::failure::Usage(text)))
}
