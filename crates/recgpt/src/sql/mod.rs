//! One query over the tables of a workspace, by DataFusion. Only reads: statements that write are refused
//! before they are planned. Rows are handed on batch by batch.

mod output;
mod refusal;
mod tables;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use self::refusal::explained;
use self::tables::Table;
use crate::cli::SqlFormat;
use crate::progress::say;
use crate::workspace::Workspace;

/// What is asked, and under which limit.
pub(crate) struct Query<'a> {
    pub(crate) text: &'a str,
    /// What its operators share.
    pub(crate) memory_mib: NonZeroU32,
}

/// Answers a query on standard output.
///
/// # Errors
/// A usage error where the query is at fault; else what the tables or the machine lack.
pub(crate) fn run(ws: &Workspace, query: &Query<'_>, format: SqlFormat) -> Result<()> {
    let threads = rayon::current_num_threads();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).build()?;
    let written = runtime.block_on(async {
        let rows = Box::pin(answer(ws, query)).await?;
        output::write(rows, format, query).await
    })?;
    if format == SqlFormat::Table {
        say(&written.to_string());
    }
    Ok(())
}

async fn answer(ws: &Workspace, query: &Query<'_>) -> Result<SendableRecordBatchStream> {
    let fault = |e| explained(&e, query);
    let statement = refusal::parse(query.text)?;
    let tables = tables::named_in(&statement, ws)?;
    let session = session(&tables, query.memory_mib)?;
    for table in tables {
        table.register(&session).await?;
    }
    let plan = session.state().statement_to_plan(statement).await.map_err(fault)?;
    // What the statement itself does not show: a write inside EXPLAIN, or inside a query.
    let only_reads =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    only_reads.verify_plan(&plan).map_err(fault)?;
    let frame = session.execute_logical_plan(plan).await.map_err(fault)?;
    frame.execute_stream().await.map_err(fault)
}

/// A session whose operators share memory and spill to files beyond.
fn session(tables: &[Table], memory_mib: NonZeroU32) -> Result<SessionContext> {
    const NAMED_IN_ERRORS: NonZeroUsize = NonZeroUsize::new(3).expect("not 0");
    let rows = tables.iter().map(|t| t.rows_per_batch).min();
    let mut config = SessionConfig::new()
        .with_target_partitions(rayon::current_num_threads())
        .with_information_schema(true);
    if let Some(rows) = rows {
        config = config.with_batch_size(rows);
    }
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    let pool = TrackConsumersPool::new(
        FairSpillPool::new((memory_mib.get() as usize) << 20),
        NAMED_IN_ERRORS,
    );
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc();
    let runtime = runtime.map_err(|e| anyhow!("starting the query engine: {e}"))?;
    Ok(SessionContext::new_with_config_rt(config, runtime))
}
