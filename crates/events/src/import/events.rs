//! The import of a log: files to rows to events to the store, with a report.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use types::{Event, EventType, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::config::{Format, ImportConfig, Source, fault};
use super::forgotten::Forgotten;
use super::mapper::{EventMapper, Mapped};
use super::rows::{BadRow, each_file, read_file, total_bytes};
use super::sequences;
use crate::store::{Counts, Manifest, StoreWriter};
use crate::tables::{QuarantineWriter, RejectReason};
use crate::{EventStore, EventsError, Progress, Staging};

const ROWS_PER_PROGRESS: u64 = 1 << 14;
const HOPELESS_ROWS: u64 = 100_000; // after so many, a majority of refusals stops at once

/// What an import found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ImportReport {
    /// Rows read from the files.
    pub rows: u64,
    /// Events in the store.
    pub accepted: u64,
    /// Events in the store that it did not have before.
    #[serde(default)]
    pub added: u64,
    /// Buckets that were written; the others stayed as they were.
    #[serde(default)]
    pub buckets_written: u64,
    /// Rows refused; they are in the quarantine.
    pub rejected: u64,
    /// Refused rows per reason code.
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// Events whose id the same user already had.
    pub duplicates: u64,
    /// Rows left out on purpose, per reason.
    pub skipped: BTreeMap<String, u64>,
    /// Users in the store.
    pub users: u64,
    /// Distinct items in the rows read.
    pub items: u64,
    /// Events of the longest history.
    pub longest_history: u64,
    /// The first event.
    pub first: Option<Timestamp>,
    /// The last event.
    pub last: Option<Timestamp>,
    /// Events per type.
    pub event_types: BTreeMap<EventType, u64>,
    /// The log has an order but no clock.
    pub ordered_only: bool,
    /// Hash of the store's events, as its manifest states it.
    #[serde(default)]
    pub content_hash: String,
    /// What the owner of the data should know.
    pub warnings: Vec<String>,
}

/// How the warning ends that counts refused rows.
pub const SEE_QUARANTINE: &str = "rows were refused; see quarantine.parquet";

/// Where an import writes, relative to the folder of its [`Staging`].
#[derive(Debug, Clone, Copy)]
pub struct ImportTarget<'a> {
    /// The event store.
    pub store: &'a Path,
    /// The refused rows of this import.
    pub quarantine: &'a Path,
}

/// What an import does with the store that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMode {
    /// The files are the whole log.
    Replace,
    /// The files are added; buckets without a new row stay as they are.
    Append,
}

/// Reads the log of `config` into a store at `store_dir` (`<workspace>/events`) and the refused rows
/// into `quarantine_path`, which lies in the same folder (`<workspace>/quarantine.parquet`). `progress`
/// counts bytes.
///
/// The old store stays until the new one is whole.
///
/// # Errors
/// As [`stage_events`].
pub fn import_events(
    config: &ImportConfig,
    store_dir: &Path,
    quarantine_path: &Path,
    progress: &Progress<'_>,
) -> Result<ImportReport, EventsError> {
    let root = store_dir.parent().unwrap_or(Path::new("."));
    let beside = |path: &Path| {
        let name = path.strip_prefix(root).map(Path::to_owned);
        name.map_err(|_| fault("store", format!("{} lies elsewhere", path.display())))
    };
    let (store, quarantine) = (beside(store_dir)?, beside(quarantine_path)?);
    let target = ImportTarget { store: &store, quarantine: &quarantine };
    let mut staging = Staging::begin(root)?;
    let none = Forgotten::default();
    let how = (ImportMode::Replace, &none);
    let report = stage_events(config, target, how, &mut staging, progress)?;
    staging.commit()?;
    Ok(report)
}

/// Reads the log of `config` and stages the store, without those who were forgotten, and the
/// quarantine. `progress` counts bytes.
///
/// # Errors
/// [`EventsError::TooManyRejects`] above `max_reject_rate`, and then the quarantine is written at its
/// final place; [`EventsError`] for a missing, empty or unreadable file, an unknown column, or a wrong
/// configuration.
pub fn stage_events(
    config: &ImportConfig,
    target: ImportTarget<'_>,
    (mode, forgotten): (ImportMode, &Forgotten),
    staging: &mut Staging,
    progress: &Progress<'_>,
) -> Result<ImportReport, EventsError> {
    let source = config.events_source()?;
    if source.config.files.is_empty() {
        return Err(fault("import.events.files", "names no file"));
    }
    let base = match mode {
        ImportMode::Replace => None,
        ImportMode::Append => base_store(&staging.root().join(target.store))?,
    };
    let n_buckets = match (&base, config.n_buckets) {
        (Some(base), None) => base.n_buckets(),
        (Some(base), Some(n)) if n != base.n_buckets() => {
            let detail = format!("{n}, but the store has {}; import it whole", base.n_buckets());
            return Err(fault("import.n_buckets", detail));
        }
        _ => config.buckets()?,
    };
    let memory = config.memory_bytes()? / 2; // the other half is for what merges and writes
    let quarantine = staging.file(target.quarantine)?;
    let mut intake = Intake {
        store: StoreWriter::new(staging, target.store, n_buckets, memory)?,
        tally: Tally::new(&quarantine, &staging.root().join(target.quarantine))?,
        items: HashSet::new(),
        forgotten,
    };
    let read = read_files(&source, &mut intake, progress);
    let Intake { store, tally, items, .. } = intake;
    let counted = tally.close(source.max_reject_rate);
    let ((ordered_only, empty), tally) = match (read, counted) {
        (Ok(read), Ok(tally)) => (read, tally),
        (Err(e), _) | (_, Err(e)) => {
            if matches!(e, EventsError::TooManyRejects { .. }) {
                let place = staging.root().join(target.quarantine);
                std::fs::rename(&quarantine, &place)
                    .map_err(EventsError::io("rename", &quarantine))?;
            }
            return Err(e);
        }
    };
    let (manifest, counts) = store.finish(staging, base.as_ref(), ordered_only)?;
    let before = base.map_or(0, |base| base.manifest().rows);
    let mut report = report(tally, &manifest, &counts, items.len() as u64);
    report.added = report.accepted.saturating_sub(before);
    report.warnings.extend(empty);
    Ok(report)
}

/// The store to append to; none where there is none yet.
fn base_store(dir: &Path) -> Result<Option<EventStore>, EventsError> {
    if dir.join("manifest.json").exists() { EventStore::open(dir).map(Some) } else { Ok(None) }
}

/// Reads every file; whether one of them has an order but no clock, and the warning of [`each_file`].
fn read_files(
    source: &Source,
    intake: &mut Intake<'_>,
    progress: &Progress<'_>,
) -> Result<(bool, Option<String>), EventsError> {
    let total = total_bytes(source)?;
    let bytes_read = Arc::new(AtomicU64::new(0));
    let mut ordered_only = false;
    let empty = each_file(&source.config.files, &mut |_, path| {
        let report = |rows: u64| {
            if rows.is_multiple_of(ROWS_PER_PROGRESS) {
                progress(bytes_read.load(Ordering::Relaxed).min(total), total);
            }
        };
        if source.format_of(path)? == Format::Sequences {
            ordered_only = true;
            read_sequences(path, source, intake, &report)
        } else {
            read_rows(path, source, &bytes_read, intake, &report)
        }
    })?;
    progress(total, total);
    Ok((ordered_only, empty))
}

/// Where rows go while they are read.
struct Intake<'a> {
    store: StoreWriter,
    tally: Tally,
    items: HashSet<u64>,
    forgotten: &'a Forgotten,
}

impl Intake<'_> {
    fn keep(&mut self, event: &Event) -> Result<(), EventsError> {
        if self.forgotten.contains(&event.user_id) {
            self.tally.skip("user was forgotten");
            return Ok(());
        }
        if let Some(item) = &event.item_id {
            self.items.insert(xxh3_64(item.as_bytes()));
        }
        self.store.push(event)
    }
}

fn read_rows(
    path: &Path,
    source: &Source,
    bytes_read: &Arc<AtomicU64>,
    intake: &mut Intake<'_>,
    report: &dyn Fn(u64),
) -> Result<(), EventsError> {
    let mut mapper = EventMapper::new(source)?;
    let mut events = Vec::new();
    read_file(path, source, bytes_read, &mut |names, row| {
        intake.tally.rows += 1;
        report(intake.tally.rows);
        let outcome = match row {
            Ok(row) => {
                mapper.bind(names, path)?;
                events.clear();
                mapper.map(row, &mut events)
            }
            Err(bad) => Err(bad),
        };
        match outcome {
            Ok(Mapped::Events) => events.iter().try_for_each(|e| intake.keep(e)),
            Ok(Mapped::Skipped(why)) => {
                intake.tally.skip(why);
                Ok(())
            }
            Err(mut bad) => {
                intake.forgotten.redact(&mut bad);
                intake.tally.reject(bad, path, source.max_reject_rate)
            }
        }
    })?;
    Ok(())
}

fn read_sequences(
    path: &Path,
    source: &Source,
    intake: &mut Intake<'_>,
    report: &dyn Fn(u64),
) -> Result<(), EventsError> {
    let rows = intake.tally.rows;
    sequences::read_users(path, &mut |outcome| {
        intake.tally.rows += 1;
        report(intake.tally.rows);
        match outcome {
            Ok(event) => intake.keep(&event),
            Err(mut bad) => {
                intake.forgotten.redact(&mut bad);
                intake.tally.reject(bad, path, source.max_reject_rate)
            }
        }
    })?;
    if intake.tally.rows == rows {
        return Err(EventsError::EmptyFile { path: path.to_owned() });
    }
    Ok(())
}

fn report(tally: Counted, manifest: &Manifest, counts: &Counts, items: u64) -> ImportReport {
    let mut warnings = Vec::new();
    let mut warn = |n: u64, text: &str| {
        if n > 0 {
            warnings.push(format!("{n} {text}"));
        }
    };
    let single = manifest.buckets.iter().map(|b| b.single_event_users).sum();
    warn(single, "users have one event only");
    warn(counts.duplicates, "events repeat an id and were kept once");
    warn(tally.rejected(), SEE_QUARANTINE);
    warn(u64::from(manifest.rows == 0), "store without any event");
    if manifest.ordered_only {
        warnings.push("the log has no clock: times are made up, one day apart".to_owned());
    }
    ImportReport {
        rows: tally.rows,
        accepted: manifest.rows,
        rejected: tally.rejected(),
        rejected_by_reason: tally
            .reasons
            .iter()
            .map(|(reason, first)| (reason.as_str().to_owned(), first.n))
            .collect(),
        duplicates: counts.duplicates,
        skipped: tally.skipped,
        users: manifest.users,
        items,
        longest_history: manifest.longest_history(),
        added: manifest.rows,
        buckets_written: counts.buckets_written,
        first: manifest.first,
        last: manifest.last,
        event_types: manifest.event_types.clone(),
        ordered_only: manifest.ordered_only,
        content_hash: manifest.content_hash.clone(),
        warnings,
    }
}

/// Counts rows and writes the quarantine.
pub(super) struct Tally {
    pub(super) rows: u64,
    skipped: BTreeMap<String, u64>,
    reasons: BTreeMap<RejectReason, FirstOf>,
    quarantine: QuarantineWriter,
    path: std::path::PathBuf,
}

/// The first row of a reason, and how many followed.
struct FirstOf {
    n: u64,
    path: std::path::PathBuf,
    line: u64,
    message: String,
}

/// A [`Tally`] whose quarantine is written.
pub(super) struct Counted {
    rows: u64,
    skipped: BTreeMap<String, u64>,
    reasons: BTreeMap<RejectReason, FirstOf>,
}

impl Counted {
    fn rejected(&self) -> u64 {
        self.reasons.values().map(|first| first.n).sum()
    }
}

impl Tally {
    /// Writes to `quarantine`, which will be found at `path`.
    fn new(quarantine: &Path, path: &Path) -> Result<Self, EventsError> {
        Ok(Self {
            rows: 0,
            skipped: BTreeMap::new(),
            reasons: BTreeMap::new(),
            quarantine: QuarantineWriter::create(quarantine)?,
            path: path.to_owned(),
        })
    }

    fn skip(&mut self, why: &str) {
        *self.skipped.entry(why.to_owned()).or_default() += 1;
    }

    fn reject(&mut self, bad: BadRow, path: &Path, limit: f64) -> Result<(), EventsError> {
        let first = self.reasons.entry(bad.reason).or_insert_with(|| FirstOf {
            n: 0,
            path: path.to_owned(),
            line: bad.line,
            message: bad.message.clone(),
        });
        first.n += 1;
        self.quarantine.push(bad.at(path))?;
        let rejected: u64 = self.reasons.values().map(|first| first.n).sum();
        let hopeless = self.rows >= HOPELESS_ROWS && rejected * 2 > self.rows && limit < 0.5;
        if hopeless { Err(too_many(&self.reasons, self.rows, limit, &self.path)) } else { Ok(()) }
    }

    /// Writes the quarantine; fails above the limit.
    fn close(self, limit: f64) -> Result<Counted, EventsError> {
        self.quarantine.finish()?;
        let counted = Counted { rows: self.rows, skipped: self.skipped, reasons: self.reasons };
        if counted.rejected() as f64 > limit * counted.rows as f64 {
            return Err(too_many(&counted.reasons, counted.rows, limit, &self.path));
        }
        Ok(counted)
    }
}

fn too_many(
    reasons: &BTreeMap<RejectReason, FirstOf>,
    rows: u64,
    limit: f64,
    quarantine: &Path,
) -> EventsError {
    let (reason, first) = reasons
        .iter()
        .rev()
        .max_by_key(|(_, first)| first.n)
        .expect("asked only after a refusal was counted");
    EventsError::TooManyRejects {
        path: first.path.clone(),
        rejected: reasons.values().map(|first| first.n).sum(),
        rows,
        limit,
        reason: *reason,
        line: first.line,
        message: first.message.clone(),
        quarantine: Some(quarantine.to_owned()),
    }
}
