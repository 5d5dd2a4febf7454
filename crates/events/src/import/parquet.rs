//! Rows of a Parquet file as text cells; knows only flat columns (others print as Arrow shows them).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use super::input::is_url;
use super::remote;
use super::rows::{Names, Row, Sink};
use crate::EventsError;
use crate::tables::batches::Batches;
use crate::tables::columns::builder_of;

/// An open file: its columns, and its rows batch by batch.
pub(super) struct Table {
    pub(super) schema: SchemaRef,
    pub(super) n_rows: u64,
    /// Size of the file.
    pub(super) bytes: u64,
    pub(super) batches: Box<dyn Iterator<Item = Result<RecordBatch, EventsError>>>,
}

impl Table {
    /// Rows of a batch.
    pub(super) const BATCH: usize = 4096;
}

/// Opens a local file, for its first `limit` rows.
pub(super) fn open(path: &Path, limit: Option<usize>) -> Result<Table, EventsError> {
    let bytes = std::fs::metadata(path).map_err(EventsError::io("open", path))?.len();
    let builder = builder_of(path)?;
    let n_rows = builder.metadata().file_metadata().num_rows();
    let schema = Arc::clone(builder.schema());
    let builder = builder.with_batch_size(Table::BATCH).with_limit(limit.unwrap_or(usize::MAX));
    Ok(Table {
        schema,
        n_rows: u64::try_from(n_rows).unwrap_or(0),
        bytes,
        batches: Box::new(Batches::new(path, builder)?),
    })
}

/// Reads all rows, or the first `limit`; lines are row numbers from 1.
pub(super) fn read(
    path: &Path,
    bytes_read: &Arc<AtomicU64>,
    limit: Option<usize>,
    sink: &mut Sink<'_>,
) -> Result<(), EventsError> {
    let table = if is_url(path) { remote::table(path, limit)? } else { open(path, limit)? };
    let mut names = Names::default();
    names.complete = true;
    for field in table.schema.fields() {
        names.intern(field.name());
    }
    let options = FormatOptions::default()
        .with_null("")
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.3fZ"));
    let (mut row, mut line) = (Row::default(), 0);
    for batch in table.batches {
        let batch = batch?;
        let arrays = batch.columns().iter().map(in_utc).collect::<Result<Vec<_>, _>>();
        let arrays = arrays.map_err(EventsError::parquet(path))?;
        let columns = arrays
            .iter()
            .map(|array| ArrayFormatter::try_new(array, &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(EventsError::parquet(path))?;
        for idx in 0..batch.num_rows() {
            line += 1;
            row.clear(line);
            for (place, column) in columns.iter().enumerate() {
                let text = column.value(idx).try_to_string().map_err(EventsError::parquet(path))?;
                if place > 0 {
                    row.raw.push('\t');
                }
                row.raw.push_str(&text);
                row.set(place, &text);
            }
            sink(&names, Ok(&row))?;
        }
        let share = table.bytes * batch.num_rows() as u64 / table.n_rows.max(1);
        bytes_read.fetch_add(share, Ordering::Relaxed);
    }
    Ok(())
}

/// A moment without its time zone: the stored number already counts in UTC.
fn in_utc(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if let DataType::Timestamp(unit, Some(_)) = array.data_type() {
        arrow_cast::cast(array, &DataType::Timestamp(*unit, None))
    } else {
        Ok(Arc::clone(array))
    }
}
