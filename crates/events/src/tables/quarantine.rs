//! `quarantine.parquet`: rows that were refused, with their place and reason.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::columns::{Columns, ParquetFile, read_table};
use crate::EventsError;

const ROWS_PER_BATCH: usize = 4096;

/// Why a row was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Fewer cells than the header, or than the mapping needs.
    ShortRow,
    /// More cells than the header.
    LongRow,
    /// Bytes that are no UTF-8.
    InvalidUtf8,
    /// A quote opens and never closes.
    UnclosedQuote,
    /// A line that is no JSON object.
    BadJson,
    /// A required value is empty.
    MissingValue,
    /// A time that does not parse.
    BadTime,
    /// A time that parses but cannot be.
    ImplausibleTime,
    /// Text where a number belongs.
    BadNumber,
    /// An id with a slash, a control character, or more than 256 bytes.
    BadId,
    /// An event type that no mapping knows.
    UnknownEventType,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::ShortRow,
        Self::LongRow,
        Self::InvalidUtf8,
        Self::UnclosedQuote,
        Self::BadJson,
        Self::MissingValue,
        Self::BadTime,
        Self::ImplausibleTime,
        Self::BadNumber,
        Self::BadId,
        Self::UnknownEventType,
    ];

    /// The code in reports and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ShortRow => "short_row",
            Self::LongRow => "long_row",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::UnclosedQuote => "unclosed_quote",
            Self::BadJson => "bad_json",
            Self::MissingValue => "missing_value",
            Self::BadTime => "bad_time",
            Self::ImplausibleTime => "implausible_time",
            Self::BadNumber => "bad_number",
            Self::BadId => "bad_id",
            Self::UnknownEventType => "unknown_event_type",
        }
    }

    /// What the owner of the data can do about it.
    #[must_use]
    pub fn mend(self) -> &'static str {
        match self {
            Self::ShortRow | Self::LongRow => "Check `delimiter` and the quoting of the export",
            Self::InvalidUtf8 => "Export as UTF-8, or set encoding = \"latin1\"",
            Self::UnclosedQuote => "Close or double the quotes in the export",
            Self::BadJson => "Write one JSON object per line",
            Self::MissingValue => "Fill the column, map another one, or give a constant",
            Self::BadTime => "Set `time_format` to the format of the column",
            Self::ImplausibleTime => {
                "Check the unit in `time_format`, or widen min_time and max_time"
            }
            Self::BadNumber => "Map a numeric column, or take it out of `columns`",
            Self::BadId => "Give ids without slashes and control characters",
            Self::UnknownEventType => "Map the name in [import.events.event_types]",
        }
    }
}

/// One refused row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Which file.
    pub file: String,
    /// Line of a text file from 1 (the header counts), or row of a Parquet file from 1.
    pub line: u64,
    /// Which column; empty when the whole row is bad.
    pub column: String,
    /// Code of the reason.
    pub reason: RejectReason,
    /// What was expected and found.
    pub message: String,
    /// The row as read, at most 1,000 characters.
    pub raw: String,
}

/// Writes refused rows as they come.
pub(crate) struct QuarantineWriter {
    file: ParquetFile,
    pending: Vec<RejectedRow>,
}

impl QuarantineWriter {
    pub(crate) fn create(path: &Path) -> Result<Self, EventsError> {
        let file = ParquetFile::create(path, batch_of(&[]).schema())?;
        Ok(Self { file, pending: Vec::new() })
    }

    pub(crate) fn push(&mut self, row: RejectedRow) -> Result<(), EventsError> {
        self.pending.push(row);
        if self.pending.len() >= ROWS_PER_BATCH {
            self.file.write(&batch_of(&self.pending))?;
            self.pending.clear();
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), EventsError> {
        if !self.pending.is_empty() {
            self.file.write(&batch_of(&self.pending))?;
        }
        self.file.finish()
    }
}

/// Reads all refused rows.
///
/// # Errors
/// [`EventsError`] when the file is missing, truncated, or lacks a column.
pub fn read_quarantine(path: &Path) -> Result<Vec<RejectedRow>, EventsError> {
    let mut rows = Vec::new();
    read_table(path, &mut |batch| {
        let (file, line, column) =
            (batch.text("file")?, batch.count("line")?, batch.text("column")?);
        let (reason, message, raw) =
            (batch.text("reason")?, batch.text("message")?, batch.text("raw")?);
        for row in 0..batch.len() {
            let code = reason.get(row)?;
            let reason = RejectReason::ALL.into_iter().find(|r| r.as_str() == code);
            rows.push(RejectedRow {
                file: file.get(row)?.to_owned(),
                line: line.get(row)?,
                column: column.get(row)?.to_owned(),
                reason: reason.ok_or_else(|| EventsError::Table {
                    path: path.to_owned(),
                    column: "reason".to_owned(),
                    detail: format!("unknown code {code:?}"),
                })?,
                message: message.get(row)?.to_owned(),
                raw: raw.get(row)?.to_owned(),
            });
        }
        Ok(())
    })?;
    Ok(rows)
}

fn batch_of(rows: &[RejectedRow]) -> arrow_array::RecordBatch {
    Columns::default()
        .text("file", rows.iter().map(|r| &r.file))
        .count("line", rows.iter().map(|r| r.line))
        .text("column", rows.iter().map(|r| &r.column))
        .text("reason", rows.iter().map(|r| r.reason.as_str()))
        .text("message", rows.iter().map(|r| &r.message))
        .text("raw", rows.iter().map(|r| &r.raw))
        .batch()
}

#[cfg(test)]
mod tests {
    use super::{QuarantineWriter, RejectReason, RejectedRow, read_quarantine};

    #[test]
    fn every_reason_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quarantine.parquet");
        let mut writer = QuarantineWriter::create(&path).unwrap();
        let rows: Vec<RejectedRow> = (0..5000)
            .map(|n| RejectedRow {
                file: "a.csv".to_owned(),
                line: n,
                column: "user_id".to_owned(),
                reason: RejectReason::ALL[n as usize % RejectReason::ALL.len()],
                message: "m".to_owned(),
                raw: "r".to_owned(),
            })
            .collect();
        for row in &rows {
            writer.push(row.clone()).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(read_quarantine(&path).unwrap(), rows);
    }
}
