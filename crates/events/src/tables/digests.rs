//! `intent/digests.parquet`: a digest per row, in order of user id.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use arrow_array::RecordBatch;
use types::{Digest, DigestTokens, Timestamp};

use super::columns::{Batch, Columns, ParquetFile, json, read_columns, read_table};
use crate::EventsError;
use crate::sort::Sorter;
use crate::store::encoding::{end_of_text, key_text};

/// Raised when a reader of older tables would go wrong, so that they are made again.
pub const DIGESTS_VERSION: u32 = 2;

/// Digests are written together until their texts have so many bytes.
const BYTES_PER_BATCH: usize = 4 << 20;
const ROWS_PER_BATCH: usize = 256;

/// The numbers of a digest, without its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestCounts {
    /// Whose.
    pub user_id: String,
    /// Tokens per level.
    pub tokens: DigestTokens,
    /// Events read.
    pub n_events: u64,
    /// Events that the behaviour level dropped.
    pub n_dropped_behaviour: u64,
    /// Events whose lines the budget left out.
    pub n_dropped_budget: u64,
    /// Lines of the sequence level, before the budget.
    pub n_lines_sequence: u64,
    /// Lines of the digest.
    pub n_lines: u64,
}

/// Takes digests from many threads, in any order, and holds so many bytes of them at a time; what is more
/// waits in files beside the table.
pub struct DigestWriter {
    path: PathBuf,
    runs: PathBuf,
    sorter: Mutex<Sorter>,
}

impl DigestWriter {
    /// Will write `path`; what an earlier writer left behind is removed.
    ///
    /// # Errors
    /// [`EventsError::Io`] when the folder of the runs cannot be made.
    pub fn create(path: &Path, memory: usize) -> Result<Self, EventsError> {
        let runs = path.with_extension("runs");
        remove(&runs)?;
        fs::create_dir_all(&runs).map_err(EventsError::io("create", &runs))?;
        let sorter = Mutex::new(Sorter::new(&runs, 1, memory));
        Ok(Self { path: path.to_owned(), runs, sorter })
    }

    /// Takes a digest.
    ///
    /// # Errors
    /// [`EventsError::Io`] when a run cannot be written.
    pub fn push(&self, digest: &Digest) -> Result<(), EventsError> {
        let text = json(digest);
        let mut sorter = self.sorter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sorter.push(0, |row| {
            key_text(&digest.user_id, row);
            row.extend_from_slice(text.as_bytes());
        })
    }

    /// Writes the table, whole or not at all.
    ///
    /// # Errors
    /// [`EventsError`] when a file cannot be read or written.
    pub fn finish(self) -> Result<(), EventsError> {
        let mut sorter =
            self.sorter.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        sorter.finish()?;
        let mut file = ParquetFile::create(&self.path, batch_of(&[]).schema())?;
        let mut rows = sorter.merge(0, 1)?;
        let (mut row, mut held, mut bytes) = (Vec::new(), Vec::new(), 0);
        while rows.next(&mut row)? {
            held.push(decode(&row).map_err(EventsError::io("read", &self.runs))?);
            bytes += row.len();
            if bytes >= BYTES_PER_BATCH || held.len() == ROWS_PER_BATCH {
                file.write(&batch_of(&held))?;
                held.clear();
                bytes = 0;
            }
        }
        file.write(&batch_of(&held))?;
        file.finish()?;
        remove(&self.runs)
    }
}

fn remove(folder: &Path) -> Result<(), EventsError> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(EventsError::io("remove", folder)(e))
        }
        _ => Ok(()),
    }
}

fn decode(row: &[u8]) -> std::io::Result<Digest> {
    let text = end_of_text(row).map_or(row, |end| &row[end..]);
    Ok(serde_json::from_slice(text)?)
}

/// Writes digests as they are ordered: the text as the model reads it, and lines and recent words as
/// JSON.
///
/// # Errors
/// [`EventsError`] when the file cannot be written.
pub fn write_digests(path: &Path, digests: &[Digest]) -> Result<(), EventsError> {
    super::columns::write_table(path, digests, batch_of)
}

fn batch_of(rows: &[Digest]) -> RecordBatch {
    let of = |field: fn(&Digest) -> u64| move |d: &Digest| field(d);
    Columns::default()
        .text("user_id", rows.iter().map(|d| &d.user_id))
        .time("now", rows.iter().map(|d| d.now))
        .text("text", rows.iter().map(Digest::text))
        .text("lines", rows.iter().map(|d| json(&d.lines)))
        .text("recent", rows.iter().map(|d| json(&d.recent)))
        .count("tokens_raw", rows.iter().map(of(|d| d.tokens.raw as u64)))
        .count("tokens_item", rows.iter().map(of(|d| d.tokens.item as u64)))
        .count("tokens_behaviour", rows.iter().map(of(|d| d.tokens.behaviour as u64)))
        .count("tokens_sequence", rows.iter().map(of(|d| d.tokens.sequence as u64)))
        .count("tokens_budget", rows.iter().map(of(|d| d.tokens.budget as u64)))
        .count("n_events", rows.iter().map(of(|d| d.n_events)))
        .count("n_dropped_behaviour", rows.iter().map(of(|d| d.n_dropped_behaviour)))
        .count("n_dropped_budget", rows.iter().map(of(|d| d.n_dropped_budget)))
        .count("n_lines_sequence", rows.iter().map(of(|d| d.n_lines_sequence)))
        .count("n_lines", rows.iter().map(of(|d| d.lines.len() as u64)))
        .batch()
}

/// Reads what [`write_digests`] or a [`DigestWriter`] wrote.
///
/// # Errors
/// [`EventsError`] when the file is missing, truncated, or lacks a column.
pub fn read_digests(path: &Path) -> Result<Vec<Digest>, EventsError> {
    let mut digests = Vec::new();
    read_table(path, &mut |batch| {
        each_digest(batch, &mut |_| true, &mut |digest| {
            digests.push(digest);
        })
    })?;
    Ok(digests)
}

/// The digest of one user, where the table has it.
///
/// # Errors
/// As [`read_digests`].
pub fn find_digest(path: &Path, user_id: &str) -> Result<Option<Digest>, EventsError> {
    let mut found = None;
    read_table(path, &mut |batch| {
        each_digest(batch, &mut |user| user == user_id, &mut |digest| found = Some(digest))
    })?;
    Ok(found)
}

/// The numbers of all digests; their texts are not read.
///
/// # Errors
/// As [`read_digests`].
pub fn read_digest_counts(path: &Path) -> Result<Vec<DigestCounts>, EventsError> {
    const COLUMNS: [&str; 11] = [
        "user_id",
        "tokens_raw",
        "tokens_item",
        "tokens_behaviour",
        "tokens_sequence",
        "tokens_budget",
        "n_events",
        "n_dropped_behaviour",
        "n_dropped_budget",
        "n_lines_sequence",
        "n_lines",
    ];
    let mut all = Vec::new();
    read_columns(path, &COLUMNS, &mut |batch| counts(batch, &mut |_, counts| all.push(counts)))?;
    Ok(all)
}

fn counts(batch: &Batch<'_>, each: &mut dyn FnMut(usize, DigestCounts)) -> Result<(), EventsError> {
    let user = batch.text("user_id")?;
    let (raw, item) = (batch.count("tokens_raw")?, batch.count("tokens_item")?);
    let (behaviour, sequence) = (batch.count("tokens_behaviour")?, batch.count("tokens_sequence")?);
    let (budget, n_events) = (batch.count("tokens_budget")?, batch.count("n_events")?);
    let dropped_behaviour = batch.count("n_dropped_behaviour")?;
    let dropped_budget = batch.count("n_dropped_budget")?;
    let (lines_sequence, lines) = (batch.count("n_lines_sequence")?, batch.count("n_lines")?);
    for row in 0..batch.len() {
        let counts = DigestCounts {
            user_id: user.get(row)?.to_owned(),
            tokens: DigestTokens {
                raw: raw.get(row)? as usize,
                item: item.get(row)? as usize,
                behaviour: behaviour.get(row)? as usize,
                sequence: sequence.get(row)? as usize,
                budget: budget.get(row)? as usize,
            },
            n_events: n_events.get(row)?,
            n_dropped_behaviour: dropped_behaviour.get(row)?,
            n_dropped_budget: dropped_budget.get(row)?,
            n_lines_sequence: lines_sequence.get(row)?,
            n_lines: lines.get(row)?,
        };
        each(row, counts);
    }
    Ok(())
}

/// Hands over the digests of the users that `wanted` names.
fn each_digest(
    batch: &Batch<'_>,
    wanted: &mut dyn FnMut(&str) -> bool,
    each: &mut dyn FnMut(Digest),
) -> Result<(), EventsError> {
    let (now, lines) = (batch.time("now")?, batch.text("lines")?);
    let recent = batch.text("recent")?;
    let mut rows = Vec::new();
    counts(batch, &mut |row, counts| {
        if wanted(&counts.user_id) {
            rows.push((row, counts));
        }
    })?;
    for (row, counts) in rows {
        each(Digest {
            user_id: counts.user_id,
            now: Timestamp(now.get(row)?),
            lines: lines.json(row)?,
            recent: recent.json(row)?,
            tokens: counts.tokens,
            n_events: counts.n_events,
            n_dropped_behaviour: counts.n_dropped_behaviour,
            n_dropped_budget: counts.n_dropped_budget,
            n_lines_sequence: counts.n_lines_sequence,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use types::{
        Digest, DigestContext, DigestLine, DigestTokens, EventType, TimeBucket, Timestamp,
    };

    use super::{DigestWriter, find_digest, read_digest_counts, read_digests, write_digests};

    fn digest(user_id: &str, n_lines: usize) -> Digest {
        let context = DigestContext {
            bucket: TimeBucket::Month(2),
            behaviours: vec![(EventType::Cart, None), (EventType::Search, Some("鞋".to_owned()))],
        };
        let line = DigestLine {
            contexts: vec![context],
            items: vec!["a".to_owned()],
            evidence: vec!["e1".to_owned()],
            n_events: 3,
        };
        Digest {
            user_id: user_id.to_owned(),
            now: Timestamp(7),
            lines: vec![line; n_lines],
            recent: vec!["a".to_owned()],
            tokens: DigestTokens { raw: 5, item: 4, behaviour: 3, sequence: 2, budget: 1 },
            n_events: 9,
            n_dropped_behaviour: 6,
            n_dropped_budget: 0,
            n_lines_sequence: 4,
        }
    }

    #[test]
    fn digests_come_back_and_so_do_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("intent/digests.parquet");
        let digests = [digest("a", 1), digest("b", 2)];
        write_digests(&path, &digests).unwrap();
        assert_eq!(read_digests(&path).unwrap(), digests);
        assert_eq!(find_digest(&path, "b").unwrap().as_ref(), Some(&digests[1]));
        assert_eq!(find_digest(&path, "c").unwrap(), None);
        let counts = read_digest_counts(&path).unwrap();
        assert_eq!((counts[1].user_id.as_str(), counts[1].n_lines), ("b", 2));
        assert_eq!((counts[0].n_lines_sequence, counts[0].tokens), (4, digests[0].tokens));
    }

    #[test]
    fn whatever_the_order_and_the_memory_the_table_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let users: Vec<String> = (0..400).map(|n| format!("u{}", n * 7919 % 1000)).collect();
        let want: Vec<Digest> = {
            let mut sorted = users.clone();
            sorted.sort();
            sorted.iter().map(|user| digest(user, user.len())).collect()
        };
        let plain = dir.path().join("plain.parquet");
        write_digests(&plain, &want).unwrap();
        for memory in [1 << 30, 20_000, 500] {
            let path = dir.path().join("digests.parquet");
            let writer = DigestWriter::create(&path, memory).unwrap();
            for user in &users {
                writer.push(&digest(user, user.len())).unwrap();
            }
            writer.finish().unwrap();
            assert_eq!(read_digests(&path).unwrap(), want);
            assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&plain).unwrap());
            assert!(!path.with_extension("runs").exists());
        }
    }
}
