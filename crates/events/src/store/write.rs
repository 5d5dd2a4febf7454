//! Writes the buckets of a store into a [`Staging`]: merged, freed of repeated event ids, sorted; with
//! the manifest last. A bucket without new rows keeps its file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use types::{Event, EventType, Timestamp};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::read::BucketRows;
use super::{
    BUCKET_RULE, BucketEntry, EventStore, HASH, Manifest, SCHEMA_VERSION, bucket_folder, bucket_of,
    encoding, rows,
};
use crate::sort::{Merge, Sorter};
use crate::tables::columns::{ParquetFile, json, write_text};
use crate::{EventsError, Staging};

const ROWS_PER_BATCH: usize = 8192;
const BYTES_PER_BATCH: usize = 8 << 20;

/// What writing found out beside the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Events that repeat an id of the same user.
    pub(crate) duplicates: u64,
    /// Buckets that were written; the others were kept as they were.
    pub(crate) buckets_written: u64,
}

/// Takes events in any order.
pub(crate) struct StoreWriter {
    store: PathBuf,
    n_buckets: u32,
    sorter: Sorter,
    touched: Vec<bool>,
}

impl StoreWriter {
    /// Will write the store `store` (relative to the staging's folder); holds `memory` bytes of rows.
    pub(crate) fn new(
        staging: &Staging,
        store: &Path,
        n_buckets: u32,
        memory: usize,
    ) -> Result<Self, EventsError> {
        let runs = staging.scratch("runs/x")?.with_file_name("");
        let sorter = Sorter::new(&runs, n_buckets, memory);
        let touched = vec![false; n_buckets as usize];
        Ok(Self { store: store.to_owned(), n_buckets, sorter, touched })
    }

    /// Takes one event.
    pub(crate) fn push(&mut self, event: &Event) -> Result<(), EventsError> {
        let bucket = bucket_of(&event.user_id, self.n_buckets);
        self.touched[bucket as usize] = true;
        self.sorter.push(bucket, |out| encoding::encode(event, out))
    }

    /// Sorts and writes the buckets, onto `base` where there is one, and stages the manifest.
    pub(crate) fn finish(
        mut self,
        staging: &mut Staging,
        base: Option<&EventStore>,
        ordered_only: bool,
    ) -> Result<(Manifest, Counts), EventsError> {
        self.sorter.finish()?;
        let touched = |bucket: u32| self.touched[bucket as usize];
        let plan = plan(staging, (&self.store, self.n_buckets), base, &touched)?;
        let writers = self.sorter.writers();
        let one = |(bucket, path): &(u32, PathBuf)| {
            let mut merge = self.sorter.merge(*bucket, writers)?;
            if let Some(base) = base {
                merge.add(Box::new(BucketRows::new(base.parts(*bucket)?)))?;
            }
            write_bucket(merge, *bucket, path, &|_| true)
        };
        // As many buckets at the same time as the memory has room for their writers.
        let written: Vec<Result<(BucketEntry, u64), EventsError>> = plan
            .par_chunks(plan.len().div_ceil(writers).max(1))
            .flat_map_iter(|chunk| chunk.iter().map(one))
            .collect();
        let mut counts = Counts::default();
        let mut entries = Vec::new();
        for outcome in written {
            let (entry, duplicates) = outcome?;
            counts.duplicates += duplicates;
            counts.buckets_written += 1;
            entries.push(entry);
        }
        let ordered_only = ordered_only || base.is_some_and(|b| b.manifest.ordered_only);
        let manifest = stage(staging, &self.store, base, entries, (self.n_buckets, ordered_only))?;
        Ok((manifest, counts))
    }
}

impl EventStore {
    /// Stages the store without this user; gives the number of their events. `store` is its folder
    /// relative to that of the staging.
    ///
    /// # Errors
    /// As [`EventStore::fold`].
    pub fn stage_without(
        &self,
        user_id: &str,
        store: &Path,
        staging: &mut Staging,
    ) -> Result<u64, EventsError> {
        let Some(history) = self.history(user_id)? else { return Ok(0) };
        let theirs = self.bucket_of(user_id);
        let shape = (store, self.n_buckets());
        let mut entries = Vec::new();
        for (bucket, path) in plan(staging, shape, Some(self), &|bucket| bucket == theirs)? {
            let mut merge = Merge::default();
            merge.add(Box::new(BucketRows::new(self.parts(bucket)?)))?;
            entries.push(write_bucket(merge, bucket, &path, &|user| user != user_id)?.0);
        }
        let shape = (self.n_buckets(), self.manifest.ordered_only);
        stage(staging, store, Some(self), entries, shape)?;
        Ok(history.events.len() as u64)
    }
}

/// The buckets to write, and where: those with a change, and those of which the old manifest says
/// nothing.
fn plan(
    staging: &Staging,
    (store, n_buckets): (&Path, u32),
    base: Option<&EventStore>,
    changed: &dyn Fn(u32) -> bool,
) -> Result<Vec<(u32, PathBuf)>, EventsError> {
    let known = |bucket: u32| base.is_some_and(|b| b.manifest.entry(bucket).is_some());
    let buckets = (0..n_buckets).filter(|&bucket| changed(bucket) || !known(bucket));
    let path = |bucket: u32| {
        let name = bucket_folder(bucket).join("next.parquet");
        staging.scratch(store.join(name)).map(|path| (bucket, path))
    };
    buckets.map(path).collect()
}

/// Gives the new bucket files their names and writes the manifest of them and of the kept ones.
fn stage(
    staging: &mut Staging,
    store: &Path,
    base: Option<&EventStore>,
    written: Vec<BucketEntry>,
    (n_buckets, ordered_only): (u32, bool),
) -> Result<Manifest, EventsError> {
    let old = std::fs::read_dir(staging.root().join(store)).is_ok();
    let mut buckets: Vec<BucketEntry> = Vec::new();
    let mut written = written.into_iter().peekable();
    for bucket in 0..n_buckets {
        match written.next_if(|entry| entry.bucket == bucket) {
            Some(entry) => {
                let folder = store.join(bucket_folder(bucket));
                let from = staging.scratch(folder.join("next.parquet"))?;
                let to = staging.file(folder.join(&entry.files[0]))?;
                std::fs::rename(&from, &to).map_err(EventsError::io("rename", &from))?;
                buckets.push(entry);
            }
            None => buckets.extend(base.and_then(|b| b.manifest.entry(bucket)).cloned()),
        }
    }
    if old {
        remove_others(staging, store, &buckets)?;
    }
    let manifest = manifest_of(buckets, n_buckets, ordered_only);
    let mut text = serde_json::to_string_pretty(&manifest).unwrap_or_else(|_| json(&manifest));
    text.push('\n');
    write_text(&staging.file(store.join("manifest.json"))?, &text)?;
    Ok(manifest)
}

/// Has everything below the old store removed that the new manifest does not name.
fn remove_others(
    staging: &mut Staging,
    store: &Path,
    buckets: &[BucketEntry],
) -> Result<(), EventsError> {
    let root = staging.root().join(store);
    for name in names_in(&root)? {
        let kept = buckets.iter().find(|b| bucket_folder(b.bucket).as_os_str() == name.as_os_str());
        let Some(kept) = kept else {
            if name.as_os_str() != "manifest.json" {
                staging.remove(store.join(name));
            }
            continue;
        };
        for file in names_in(&root.join(&name))? {
            if !kept.files.iter().any(|f| Path::new(f) == file) {
                staging.remove(store.join(&name).join(file));
            }
        }
    }
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<PathBuf>, EventsError> {
    let entries = std::fs::read_dir(folder).map_err(EventsError::io("list", folder))?;
    let name = |e: std::io::Result<std::fs::DirEntry>| e.map(|e| PathBuf::from(e.file_name()));
    let mut names: Vec<PathBuf> =
        entries.map(name).collect::<Result<_, _>>().map_err(EventsError::io("list", folder))?;
    names.sort();
    Ok(names)
}

/// The manifest of these buckets, which are all there are.
fn manifest_of(buckets: Vec<BucketEntry>, n_buckets: u32, ordered_only: bool) -> Manifest {
    let mut hash = Xxh3::new();
    let mut manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        hash: HASH.to_owned(),
        bucket_rule: BUCKET_RULE.to_owned(),
        n_buckets,
        rows: 0,
        users: 0,
        content_hash: String::new(),
        ordered_only,
        first: None,
        last: None,
        event_types: Default::default(),
        buckets: Vec::new(),
    };
    for bucket in &buckets {
        manifest.rows += bucket.rows;
        manifest.users += bucket.users;
        manifest.first = manifest.first.into_iter().chain(bucket.first).min();
        manifest.last = manifest.last.into_iter().chain(bucket.last).max();
        for (kind, n) in &bucket.event_types {
            *manifest.event_types.entry(*kind).or_default() += n;
        }
        hash.update(bucket.content_hash.as_bytes());
    }
    manifest.content_hash = format!("{:016x}", hash.digest());
    manifest.buckets = buckets;
    manifest
}

/// Writes the rows of one bucket whose user `keep` wants; gives its entry and the number of repeats.
fn write_bucket(
    mut merge: Merge<'_>,
    bucket: u32,
    path: &Path,
    keep: &dyn Fn(&str) -> bool,
) -> Result<(BucketEntry, u64), EventsError> {
    let mut writer = BucketWriter {
        file: ParquetFile::create(path, rows::batch_of(&[]).schema())?,
        entry: BucketEntry { bucket, ..BucketEntry::default() },
        hash: Xxh3::new(),
        batch: Vec::new(),
        batch_bytes: 0,
        history: 0,
    };
    let (mut row, mut user, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    let mut duplicates = 0;
    while merge.next(&mut row)? {
        let broken = || EventsError::Table {
            path: path.to_owned(),
            column: String::new(),
            detail: "a row of the sort cannot be read back".to_owned(),
        };
        let (user_key, event_key) = encoding::key(&row).ok_or_else(broken)?;
        let new_user = user != user_key;
        if new_user {
            user.clear();
            user.extend_from_slice(user_key);
            seen = HashSet::new(); // clearing one that was large would cost its size for every user
        }
        if !seen.insert(xxh3_128(event_key)) {
            duplicates += 1;
            continue;
        }
        let event = encoding::decode(&row).ok_or_else(broken)?;
        if keep(&event.user_id) {
            writer.take(event, &row, new_user)?;
        }
    }
    Ok((writer.finish()?, duplicates))
}

/// One bucket being written and counted.
struct BucketWriter {
    file: ParquetFile,
    entry: BucketEntry,
    hash: Xxh3,
    batch: Vec<Event>,
    batch_bytes: usize,
    /// Events of the user under way.
    history: u64,
}

impl BucketWriter {
    fn take(&mut self, event: Event, row: &[u8], new_user: bool) -> Result<(), EventsError> {
        if new_user {
            self.close_user();
            self.entry.users += 1;
        }
        self.history += 1;
        self.count(event.event_type, event.timestamp);
        self.hash.update(row);
        self.batch_bytes += row.len();
        self.batch.push(event);
        if self.batch.len() >= ROWS_PER_BATCH || self.batch_bytes >= BYTES_PER_BATCH {
            self.flush()?;
        }
        Ok(())
    }

    fn count(&mut self, kind: EventType, time: Timestamp) {
        let entry = &mut self.entry;
        entry.rows += 1;
        *entry.event_types.entry(kind).or_default() += 1;
        entry.first = entry.first.into_iter().chain([time]).min();
        entry.last = entry.last.into_iter().chain([time]).max();
    }

    fn close_user(&mut self) {
        self.entry.single_event_users += u64::from(self.history == 1);
        self.entry.longest_history = self.entry.longest_history.max(self.history);
        self.history = 0;
    }

    fn flush(&mut self) -> Result<(), EventsError> {
        self.file.write(&rows::batch_of(&self.batch))?;
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<BucketEntry, EventsError> {
        self.close_user();
        self.flush()?;
        self.file.finish()?;
        self.entry.content_hash = format!("{:016x}", self.hash.digest());
        self.entry.files = vec![format!("part-{}.parquet", self.entry.content_hash)];
        Ok(self.entry)
    }
}
