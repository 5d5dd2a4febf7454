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
pub(crate) fn run(_: &SqlArgs, _: bool) -> Result<()> {
    let text = "this recgpt was built without its query engine; build it with \
                `cargo build --release --features sql` (some minutes more)";
    Err(anyhow::anyhow!(crate::failure::Usage(text.to_owned())))
}
