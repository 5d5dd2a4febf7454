//! Writes a store with bounded memory: rows go to one spill file per bucket, then each bucket is
//! sorted, freed of repeated event ids, and written; the new store replaces the old one at the end.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use types::{Event, EventType, Timestamp};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{HASH, Manifest, SCHEMA_VERSION, bucket_dir, bucket_of, rows, spill};
use crate::EventsError;
use crate::tables::columns::{ParquetFile, json, sync_folder, write_text};

const SPILL_BYTES: usize = 1 << 16;
const ROWS_PER_BATCH: usize = 8192;

/// What writing found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) users: u64,
    pub(crate) duplicates: u64,
    pub(crate) single_event_users: u64,
    pub(crate) longest_history: u64,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    pub(crate) event_types: BTreeMap<EventType, u64>,
    hashes: Vec<u64>,
}

/// Takes events in any order.
pub(crate) struct StoreWriter {
    dir: PathBuf,
    work: PathBuf,
    n_buckets: u32,
    spills: Vec<Spill>,
}

struct Spill {
    path: PathBuf,
    buffer: Vec<u8>,
    file: Option<File>,
}

impl StoreWriter {
    /// Starts beside `dir`; an old store stays as it is until [`Self::finish`].
    pub(crate) fn create(dir: &Path, n_buckets: u32) -> Result<Self, EventsError> {
        recover(dir)?;
        let work = beside(dir, "partial");
        if work.exists() {
            fs::remove_dir_all(&work).map_err(EventsError::io("remove", &work))?;
        }
        fs::create_dir_all(&work).map_err(EventsError::io("create", &work))?;
        let spills = (0..n_buckets)
            .map(|bucket| Spill {
                path: work.join(format!("spill-{bucket:04}")),
                buffer: Vec::new(),
                file: None,
            })
            .collect();
        Ok(Self { dir: dir.to_owned(), work, n_buckets, spills })
    }

    /// Takes one event.
    pub(crate) fn push(&mut self, event: &Event) -> Result<(), EventsError> {
        let spill = &mut self.spills[bucket_of(&event.user_id, self.n_buckets) as usize];
        spill::encode(event, &mut spill.buffer);
        if spill.buffer.len() >= SPILL_BYTES { spill.flush() } else { Ok(()) }
    }

    /// Sorts and writes every bucket, then replaces the old store.
    pub(crate) fn finish(mut self, ordered_only: bool) -> Result<(Manifest, Counts), EventsError> {
        for spill in &mut self.spills {
            spill.flush()?;
            spill.file = None;
        }
        let buckets: Vec<Result<Counts, EventsError>> = self
            .spills
            .par_iter()
            .enumerate()
            .map(|(idx, spill)| {
                let bucket = u32::try_from(idx).expect("one spill per u32 bucket");
                let counts = write_bucket(&spill.path, &bucket_dir(&self.work, bucket))?;
                if spill.path.exists() {
                    fs::remove_file(&spill.path).map_err(EventsError::io("remove", &spill.path))?;
                }
                Ok(counts)
            })
            .collect();
        let mut all = Counts::default();
        for counts in buckets {
            all.merge(counts?);
        }
        let mut hash = Xxh3::new();
        for bucket in &all.hashes {
            hash.update(&bucket.to_le_bytes());
        }
        let manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            hash: HASH.to_owned(),
            n_buckets: self.n_buckets,
            rows: all.rows,
            users: all.users,
            content_hash: format!("{:016x}", hash.digest()),
            ordered_only,
            first: all.first,
            last: all.last,
            event_types: all.event_types.clone(),
        };
        write_text(&self.work.join("manifest.json"), &pretty(&manifest))?;
        replace(&self.work, &self.dir)?;
        Ok((manifest, all))
    }

    /// Gives up: the old store stays.
    pub(crate) fn abandon(self) -> Result<(), EventsError> {
        fs::remove_dir_all(&self.work).map_err(EventsError::io("remove", &self.work))
    }
}

impl Spill {
    fn flush(&mut self) -> Result<(), EventsError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            let file = File::create(&self.path).map_err(EventsError::io("create", &self.path))?;
            self.file = Some(file);
        }
        let file = self.file.as_mut().expect("just opened");
        spill::flush(&mut self.buffer, file).map_err(EventsError::io("write", &self.path))
    }
}

impl Counts {
    fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.users += other.users;
        self.duplicates += other.duplicates;
        self.single_event_users += other.single_event_users;
        self.longest_history = self.longest_history.max(other.longest_history);
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.into_iter().chain(other.last).max();
        for (kind, n) in other.event_types {
            *self.event_types.entry(kind).or_default() += n;
        }
        self.hashes.extend(other.hashes);
    }
}

/// Puts back the old store where a run was killed between the two renames of [`replace`].
pub(super) fn recover(dir: &Path) -> Result<(), EventsError> {
    let old = beside(dir, "old");
    if !old.exists() {
        return Ok(());
    }
    if dir.exists() {
        return fs::remove_dir_all(&old).map_err(EventsError::io("remove", &old));
    }
    fs::rename(&old, dir).map_err(EventsError::io("rename", &old))
}

fn replace(work: &Path, dir: &Path) -> Result<(), EventsError> {
    let old = beside(dir, "old");
    let had_store = dir.exists();
    if had_store {
        fs::rename(dir, &old).map_err(EventsError::io("rename", dir))?;
    }
    fs::rename(work, dir).map_err(EventsError::io("rename", work))?;
    sync_folder(dir)?;
    if had_store {
        fs::remove_dir_all(&old).map_err(EventsError::io("remove", &old))?;
    }
    Ok(())
}

fn beside(dir: &Path, what: &str) -> PathBuf {
    let name = dir.file_name().map_or("events".into(), |n| n.to_string_lossy());
    dir.with_file_name(format!(".{name}.{what}"))
}

fn pretty(manifest: &Manifest) -> String {
    let mut text = serde_json::to_string_pretty(manifest).unwrap_or_else(|_| json(manifest));
    text.push('\n');
    text
}

fn write_bucket(spill_path: &Path, dir: &Path) -> Result<Counts, EventsError> {
    let mut events = Vec::new();
    if spill_path.exists() {
        let file = File::open(spill_path).map_err(EventsError::io("open", spill_path))?;
        let mut input = BufReader::with_capacity(1 << 20, file);
        while let Some(event) =
            spill::decode(&mut input).map_err(EventsError::io("read", spill_path))?
        {
            events.push(event);
        }
    }
    let mut counts = Counts::default();
    let read = events.len();
    drop_repeated(&mut events);
    counts.duplicates = (read - events.len()) as u64;
    events.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));

    let mut file = ParquetFile::create(&dir.join("part-0.parquet"), rows::batch_of(&[]).schema())?;
    for chunk in events.chunks(ROWS_PER_BATCH) {
        file.write(&rows::batch_of(chunk))?;
    }
    file.finish()?;
    counts.take(&events);
    Ok(counts)
}

impl Counts {
    fn take(&mut self, events: &[Event]) {
        let (mut hash, mut buffer) = (Xxh3::new(), Vec::new());
        for history in events.chunk_by(|a, b| a.user_id == b.user_id) {
            self.users += 1;
            self.single_event_users += u64::from(history.len() == 1);
            self.longest_history = self.longest_history.max(history.len() as u64);
        }
        for event in events {
            self.rows += 1;
            *self.event_types.entry(event.event_type).or_default() += 1;
            self.first = self.first.into_iter().chain([event.timestamp]).min();
            self.last = self.last.into_iter().chain([event.timestamp]).max();
            spill::encode(event, &mut buffer);
            hash.update(&buffer);
            buffer.clear();
        }
        self.hashes.push(hash.digest());
    }
}

/// Keeps the first of all events of one user with the same id, in the order of the log.
fn drop_repeated(events: &mut Vec<Event>) {
    let mut seen: HashSet<(u64, u64)> = HashSet::with_capacity(events.len());
    events.retain(|e| seen.insert((xxh3_64(e.user_id.as_bytes()), xxh3_64(e.event_id.as_bytes()))));
}
