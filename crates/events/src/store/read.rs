//! Streams a bucket one user at a time and checks what the layout promises.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use parquet::arrow::ProjectionMask;
use types::Event;

use super::{UserHistory, bucket_of, encoding, rows};
use crate::EventsError;
use crate::sort::Rows;
use crate::tables::batches::Batches;
use crate::tables::columns::{Batch, builder_of, open_table, read_table};

/// Folds the rows of a bucket into histories.
pub(super) fn fold_bucket<E: From<EventsError>>(
    parts: &[PathBuf],
    bucket: u32,
    n_buckets: u32,
    each: &mut dyn FnMut(UserHistory) -> Result<(), E>,
) -> Result<(), E> {
    let mut fold = UserFold { bucket, n_buckets, row: 0, open: None };
    for path in parts {
        read_table(path, &mut |batch| {
            rows::each_event(batch, &mut |event| match fold.push(event)? {
                Some(history) => each(history),
                None => Ok::<(), E>(()),
            })
        })?;
    }
    match fold.open.take() {
        Some(history) => each(history),
        None => Ok(()),
    }
}

/// One user of a bucket.
pub(super) fn find_user(
    parts: &[PathBuf],
    bucket: u32,
    n_buckets: u32,
    user_id: &str,
) -> Result<Option<UserHistory>, EventsError> {
    let mut found = None;
    let outcome = fold_bucket(parts, bucket, n_buckets, &mut |history| {
        if history.user_id.as_str() < user_id {
            return Ok(());
        }
        if history.user_id == user_id {
            found = Some(history);
        }
        Err(Stop::Early)
    });
    match outcome {
        Ok(()) | Err(Stop::Early) => Ok(found),
        Err(Stop::Failed(e)) => Err(e),
    }
}

/// Why a fold ended before its last user.
enum Stop {
    Early,
    Failed(EventsError),
}

impl From<EventsError> for Stop {
    fn from(e: EventsError) -> Self {
        Self::Failed(e)
    }
}

/// User ids of a bucket, reading that column alone.
pub(super) fn users_of_bucket(parts: &[PathBuf]) -> Result<Vec<String>, EventsError> {
    let mut users: Vec<String> = Vec::new();
    for path in parts {
        let builder = builder_of(path)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["user_id"]);
        for batch in Batches::new(path, builder.with_projection(mask))? {
            let batch = batch?;
            let batch = Batch { path, batch: &batch };
            let user = batch.text("user_id")?;
            for row in 0..batch.len() {
                let user = user.get(row)?;
                if users.last().is_none_or(|last| last != user) {
                    users.push(user.to_owned());
                }
            }
        }
    }
    Ok(users)
}

/// Collects rows into users; fails where the order does.
struct UserFold {
    bucket: u32,
    n_buckets: u32,
    row: u64,
    open: Option<UserHistory>,
}

impl UserFold {
    /// Takes one row; gives the user before it when a new one starts.
    fn push(&mut self, event: Event) -> Result<Option<UserHistory>, EventsError> {
        let row = self.row;
        self.row += 1;
        let fault = |user: &str, detail: &str| EventsError::WrongOrder {
            bucket: self.bucket,
            row,
            user: user.to_owned(),
            detail: detail.to_owned(),
        };
        if let Some(open) = &mut self.open
            && open.user_id == event.user_id
        {
            let last = open.events.last().expect("a history opens with its first event");
            if (event.timestamp, &event.event_id) <= (last.timestamp, &last.event_id) {
                return Err(fault(&event.user_id, "events are not in order of (time, event id)"));
            }
            open.events.push(event);
            return Ok(None);
        }
        if self.open.as_ref().is_some_and(|open| open.user_id > event.user_id) {
            return Err(fault(&event.user_id, "users are not in order, or one user is split"));
        }
        if bucket_of(&event.user_id, self.n_buckets) != self.bucket {
            return Err(fault(&event.user_id, "the user belongs to another bucket"));
        }
        let user_id = event.user_id.clone();
        Ok(self.open.replace(UserHistory { user_id, events: vec![event] }))
    }
}

/// Parquet files of a folder in name order; none where there is no folder.
pub(super) fn parquet_files(dir: &Path) -> Result<Vec<PathBuf>, EventsError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(EventsError::io("list", dir)(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(EventsError::io("list", dir))?.path();
        if path.extension().is_some_and(|e| e == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The rows of a bucket as the sort compares them, so that new rows are merged with them.
pub(super) struct BucketRows {
    parts: VecDeque<PathBuf>,
    open: Option<(PathBuf, Batches)>,
    batch: VecDeque<Event>,
}

impl BucketRows {
    pub(super) fn new(parts: Vec<PathBuf>) -> Self {
        Self { parts: parts.into(), open: None, batch: VecDeque::new() }
    }
}

impl Rows for BucketRows {
    fn next(&mut self, row: &mut Vec<u8>) -> Result<bool, EventsError> {
        loop {
            if let Some(event) = self.batch.pop_front() {
                encoding::encode(&event, row);
                return Ok(true);
            }
            let Some((path, reader)) = &mut self.open else {
                let Some(path) = self.parts.pop_front() else { return Ok(false) };
                let reader = open_table(&path)?;
                self.open = Some((path, reader));
                continue;
            };
            let Some(batch) = reader.next() else {
                self.open = None;
                continue;
            };
            let batch = batch?;
            rows::each_event(&Batch { path, batch: &batch }, &mut |event| {
                self.batch.push_back(event);
                Ok::<(), EventsError>(())
            })?;
        }
    }
}
