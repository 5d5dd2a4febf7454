//! verl: Parquet with a column of `messages` for its multi-turn SFT, and Parquet with `data_source`,
//! `prompt`, `ability`, `reward_model` and `extra_info` for its `compute_score`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{Field, Schema};
use lm::Message;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::folder::{Folder, demonstrations, problems};
use super::record::{ExportRecord, Split};
use crate::error::AlignError;

/// Rows of a batch: texts of one batch stay far below the 2 GiB that a column of text holds.
const ROWS_PER_BATCH: usize = 1024;

pub(super) fn write(records: &[ExportRecord], folder: &mut Folder) -> Result<(), AlignError> {
    for split in Split::ALL {
        let name = format!("sft_{}.parquet", split.name());
        let rows: Vec<&ExportRecord> = demonstrations(records, split).collect();
        let bytes = parquet(&rows, sft_batch).map_err(|e| unfit(&name, &e))?;
        folder.write(&name, rows.len(), &bytes)?;
        let name = format!("rl_{}.parquet", split.name());
        let rows: Vec<Problem<'_>> = problems(records, split)
            .enumerate()
            .map(|(index, (record, truth))| Problem { index, record, truth })
            .collect();
        let bytes = parquet(&rows, rl_batch).map_err(|e| unfit(&name, &e))?;
        folder.write(&name, rows.len(), &bytes)?;
    }
    let pairs = records.iter().filter(|r| r.preference().is_some());
    folder.leave_out("a preference: verl trains on none", pairs.count());
    Ok(())
}

/// A row of problems.
struct Problem<'a> {
    /// Its place in the file.
    index: usize,
    record: &'a ExportRecord,
    truth: &'a str,
}

fn sft_batch(rows: &[&ExportRecord]) -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("messages", messages(rows.iter().map(|r| r.messages.as_slice()))),
        ("id", text(rows.iter().map(|r| &r.id))),
        ("task", text(rows.iter().map(|r| &r.task))),
    ]
}

fn rl_batch(rows: &[Problem<'_>]) -> Vec<(&'static str, ArrayRef)> {
    let reward_model = [
        ("style", text(rows.iter().map(|_| "rule"))),
        ("ground_truth", text(rows.iter().map(|r| r.truth))),
    ];
    let extra_info = [
        ("split", text(rows.iter().map(|r| r.record.split.name()))),
        ("index", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.index as i64))) as _),
        ("id", text(rows.iter().map(|r| &r.record.id))),
        ("provenance", text(rows.iter().map(|r| &r.record.provenance))),
    ];
    vec![
        ("data_source", text(rows.iter().map(|r| format!("recgpt/{}", r.record.task)))),
        ("prompt", messages(rows.iter().map(|r| r.record.prompt()))),
        ("ability", text(rows.iter().map(|r| &r.record.task))),
        ("reward_model", Arc::new(group(reward_model))),
        ("extra_info", Arc::new(group(extra_info))),
    ]
}

fn text<T: AsRef<str>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn group<const N: usize>(columns: [(&str, ArrayRef); N]) -> StructArray {
    let columns = columns.map(|(name, array)| (Arc::new(field(name, &array)), array));
    StructArray::from(columns.to_vec())
}

/// A list of `{role, content}` for each conversation.
fn messages<'a>(conversations: impl Iterator<Item = &'a [Message]> + Clone) -> ArrayRef {
    let all: Vec<&Message> = conversations.clone().flatten().collect();
    let values = group([
        ("role", text(all.iter().map(|m| &m.role))),
        ("content", text(all.iter().map(|m| &m.content))),
    ]);
    let offsets = OffsetBuffer::from_lengths(conversations.map(<[Message]>::len));
    let element = Arc::new(Field::new("element", values.data_type().clone(), false));
    Arc::new(ListArray::new(element, offsets, Arc::new(values), None))
}

fn field(name: &str, array: &ArrayRef) -> Field {
    Field::new(name, array.data_type().clone(), false)
}

fn parquet<T>(
    rows: &[T],
    columns_of: impl Fn(&[T]) -> Vec<(&'static str, ArrayRef)>,
) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by("recgpt".to_owned())
        .build();
    let fields: Vec<Field> =
        columns_of(&[]).iter().map(|(name, array)| field(name, array)).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
    for rows in rows.chunks(ROWS_PER_BATCH) {
        let columns = columns_of(rows).into_iter().map(|(_, array)| array).collect();
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.into_inner()
}

fn unfit(name: &str, error: &ParquetError) -> AlignError {
    AlignError::Format { path: name.to_owned(), detail: format!("cannot be encoded: {error}") }
}
