//! What can go wrong between a raw file and a digest; every message names the place and the mend.

use std::io;
use std::path::{Path, PathBuf};

use types::Timestamp;

use crate::tables::RejectReason;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `write`, ...
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another program is changing the same folder.
    #[error("{}: another program is writing here; wait until it has ended", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A Parquet file cannot be read or written.
    #[error("{}: not readable as Parquet: {detail}; the file may be truncated: write it again", path.display())]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// What the Parquet reader says.
        detail: String,
    },
    /// A JSON document that must parse as a whole does not.
    #[error("{}: not the JSON that was expected: {detail}", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Line, column and what was expected.
        detail: String,
    },
    /// A column that the mapping names is not in the file.
    #[error("{}: no column {column:?} for {canonical}; the file has {available:?}: set `{canonical}` in [import.{section}.columns]", path.display())]
    UnknownColumn {
        /// Which file.
        path: PathBuf,
        /// `events`, `items` or `users`.
        section: &'static str,
        /// The canonical field that needs it.
        canonical: String,
        /// What the mapping asks for.
        column: String,
        /// What the file has.
        available: Vec<String>,
    },
    /// The configuration contradicts itself or the program.
    #[error("configuration, {field}: {detail}")]
    Config {
        /// Path of the key, such as `import.events.min_time`.
        field: String,
        /// What is wrong and what is allowed.
        detail: String,
    },
    /// A file without a row.
    #[error("{}: the file holds no rows; check the export, or take it out of `files`", path.display())]
    EmptyFile {
        /// Which file.
        path: PathBuf,
    },
    /// More rows were refused than the configuration allows.
    #[error(
        "{rejected} of {rows} rows refused ({:.1}%, limit {:.1}%); most frequent reason: {}, first at {}:{line}: {message}. {}; or raise max_reject_rate; {}",
        100.0 * *rejected as f64 / (*rows).max(1) as f64, 100.0 * limit, reason.as_str(), path.display(), reason.mend(), where_rows_are(quarantine.as_deref())
    )]
    TooManyRejects {
        /// File of the first row with the most frequent reason.
        path: PathBuf,
        /// Rows refused.
        rejected: u64,
        /// Rows read.
        rows: u64,
        /// Share that is allowed.
        limit: f64,
        /// The most frequent reason; it knows the mend.
        reason: RejectReason,
        /// Its first line, from 1.
        line: u64,
        /// What was wrong there.
        message: String,
        /// Where the refused rows lie; none where they were not kept.
        quarantine: Option<PathBuf>,
    },
    /// The store is not sorted, or a user lies in the wrong bucket: whoever wrote it broke the contract.
    #[error(
        "event store, bucket {bucket}, row {row}, user {user:?}: {detail}; import the events again"
    )]
    WrongOrder {
        /// Bucket.
        bucket: u32,
        /// Row within the bucket, from 0.
        row: u64,
        /// User of that row.
        user: String,
        /// Which rule is broken.
        detail: String,
    },
    /// The store's manifest does not fit this program.
    #[error("{}: {detail}; import the events again", path.display())]
    Manifest {
        /// The manifest file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// A table of the workspace lacks a column, or a value does not fit.
    #[error("{}: column {column:?}: {detail}; write the table again", path.display())]
    Table {
        /// Which file.
        path: PathBuf,
        /// Which column.
        column: String,
        /// What is wrong.
        detail: String,
    },
    /// The tree of categories is broken.
    #[error("{}: {detail}", path.display())]
    Taxonomy {
        /// Which file.
        path: PathBuf,
        /// Which node and what is wrong.
        detail: String,
    },
    /// Events were handed to a digest state out of time order.
    #[error("user {user:?}: event {event_id:?} comes before the last one read; sort by time")]
    OutOfOrder {
        /// Whose state.
        user: String,
        /// The early event.
        event_id: String,
    },
    /// A digest state holds events at or after the moment that was asked for.
    #[error("user {user:?}: the state has read up to {}, so it cannot give a digest at {}; use a later moment", last.rfc3339(), now.rfc3339())]
    StateAhead {
        /// Whose state.
        user: String,
        /// The moment asked for.
        now: Timestamp,
        /// The newest event in the state.
        last: Timestamp,
    },
}

impl EventsError {
    /// Whether the configuration is at fault: it contradicts itself or names what is not there.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Config { .. } | Self::UnknownColumn { .. })
    }

    /// Whether the data were refused, rather than a file, a setting or the machine.
    #[must_use]
    pub fn is_data_rejected(&self) -> bool {
        matches!(self, Self::TooManyRejects { .. } | Self::EmptyFile { .. })
    }

    /// Wraps an I/O error with the file and what was tried.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Wraps what the Parquet or Arrow crate says about a file.
    pub(crate) fn parquet<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> Self {
        let path = path.to_owned();
        move |e| Self::Parquet { path: path.clone(), detail: e.to_string() }
    }
}

fn where_rows_are(quarantine: Option<&Path>) -> String {
    quarantine.map_or_else(
        || "the refused rows were not kept".to_owned(),
        |path| format!("the rows are in {}", path.display()),
    )
}
