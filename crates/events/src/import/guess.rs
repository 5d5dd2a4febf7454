//! Guesses how a file of events is written: its format, the preset, or else which column is what.
//!
//! A guess is judged by reading: of all candidates the one under which most of the first rows become
//! events. Nothing is decided by a name alone.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use types::{Event, EventType};

use super::config::{ColumnRef, Format, ImportConfig, Preset, Source, SourceConfig};
use super::mapper::{EventMapper, Mapped};
use super::rows::{BadRow, Names, Row, Sink, open, read_text};
use super::synonyms::{COLUMNS, TIME_PATTERNS, event_type_of};
use super::time_format::TimeFormat;
use super::{files, parquet, sequences};
use crate::EventsError;
use crate::tables::RejectedRow;

const HEAD_BYTES: u64 = 1 << 20;
const HEAD_ROWS: usize = 1000;

/// How a file can be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Guess {
    /// A configuration whose only file of events is this one.
    pub config: ImportConfig,
    /// What speaks for it, and what its reader should look at.
    pub notes: Vec<String>,
    /// What becomes of the first rows.
    pub preview: Preview,
}

/// What becomes of the first rows of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Preview {
    /// Rows read.
    pub rows: u64,
    /// Rows that became events.
    pub accepted: u64,
    /// Rows left out on purpose.
    pub skipped: u64,
    /// The first events.
    pub events: Vec<Event>,
    /// Refused rows.
    pub rejected: Vec<RejectedRow>,
}

/// Guesses how `path` is written.
///
/// # Errors
/// [`EventsError`] when the file cannot be opened or is empty; [`EventsError::Config`] where no
/// candidate makes an event of any row.
pub fn guess(path: &Path) -> Result<Guess, EventsError> {
    let head = Head::read(path)?;
    let mut best: Option<(u64, Guess)> = None;
    let candidates = [
        Preset::AmazonSequences,
        Preset::UciOnlineRetail,
        Preset::TaobaoBehavior,
        Preset::Tianchi,
        Preset::Gorse,
        Preset::Algolia,
        Preset::Metarank,
        Preset::Recbole,
        Preset::Recombee,
        Preset::Recgpt,
    ];
    for preset in candidates {
        if preset == Preset::AmazonSequences && !head.is_sequences()
            || preset == Preset::Recbole && !head.is_typed()
        {
            continue;
        }
        let config = head.config(preset);
        let Ok(preview) = preview(&config, path) else { continue };
        let score = preview.score();
        let notes = vec![format!("preset {}", preset.as_str())];
        if score > 0 && best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, Guess { config, notes, preview }));
        }
    }
    if let Some((950.., guess)) = best {
        return Ok(guess);
    }
    let by_columns = by_columns(&head, path)?;
    let score = by_columns.preview.score();
    match best {
        Some((most, guess)) if most >= score => Ok(guess),
        _ if score > 0 => Ok(by_columns),
        _ => Err(super::config::fault(
            "import.events.columns",
            format!(
                "{}: no row could be read as an event; {}; columns: {:?}. Write a configuration that \
                 names user_id, item_id, event_type and timestamp",
                path.display(),
                by_columns.preview.rejected.first().map_or("no rows", |r| r.message.as_str()),
                head.names
            ),
        )),
    }
}

/// Reads the first rows of the only file of `config` as events, without writing anything.
///
/// # Errors
/// [`EventsError`] for an unreadable file, an unknown column, or a wrong configuration.
pub fn preview(config: &ImportConfig, path: &Path) -> Result<Preview, EventsError> {
    let source = config.events_source()?;
    let mut preview = Preview::default();
    if source.format_of(path)? == Format::Sequences {
        sequences::read_users(path, &mut |outcome| {
            preview.take(path, outcome.map(|event| (Mapped::Events, vec![event])));
            Ok(())
        })?;
        return Ok(preview);
    }
    let mut mapper = EventMapper::new(&source)?;
    read_head(path, &source, &mut |names, row| preview.row(&mut mapper, path, (names, row)))?;
    Ok(preview)
}

/// As [`preview`], of bytes in memory: `path` tells the format only.
///
/// # Errors
/// As [`preview`].
pub fn preview_bytes(
    config: &ImportConfig,
    path: &Path,
    bytes: &[u8],
) -> Result<Preview, EventsError> {
    let source = config.events_source()?;
    let mut preview = Preview::default();
    let mut mapper = EventMapper::new(&source)?;
    let format = source.format_of(path)?;
    read_text(bytes, path, &source, format, &mut |names, row| {
        preview.row(&mut mapper, path, (names, row))
    })?;
    Ok(preview)
}

impl Preview {
    /// Maps one row of a file with named columns, and takes what came of it.
    fn row(
        &mut self,
        mapper: &mut EventMapper<'_>,
        path: &Path,
        (names, row): (&Names, Result<&Row, BadRow>),
    ) -> Result<(), EventsError> {
        mapper.bind(names, path)?;
        let outcome = row.and_then(|row| {
            let mut events = Vec::new();
            mapper.map(row, &mut events).map(|mapped| (mapped, events))
        });
        self.take(path, outcome);
        Ok(())
    }

    /// Rows of a thousand that were understood; 0 where none became an event.
    fn score(&self) -> u64 {
        let understood = if self.accepted == 0 { 0 } else { self.accepted + self.skipped };
        understood * 1000 / self.rows.max(1)
    }

    fn take(&mut self, path: &Path, outcome: Result<(Mapped, Vec<Event>), BadRow>) {
        self.rows += 1;
        match outcome {
            Ok((Mapped::Events, events)) => {
                self.accepted += 1;
                self.events.extend(events.into_iter().take(10 - self.events.len().min(10)));
            }
            Ok((Mapped::Skipped(_), _)) => self.skipped += 1,
            Err(bad) => self.rejected.push(bad.at(path)),
        }
    }
}

/// The first rows.
fn read_head(path: &Path, source: &Source, sink: &mut Sink<'_>) -> Result<(), EventsError> {
    let mut left = HEAD_ROWS;
    let mut few = |names: &Names, row: Result<&Row, BadRow>| {
        if left == 0 {
            return Ok(());
        }
        left -= 1;
        sink(names, row)
    };
    match source.format_of(path)? {
        Format::Parquet => {
            parquet::read(path, &Arc::new(AtomicU64::new(0)), Some(HEAD_ROWS), &mut few)
        }
        format @ (Format::Csv | Format::Jsonl | Format::Sequences) => {
            let bytes = head_bytes(path)?;
            read_text(bytes.as_slice(), path, source, format, &mut few)
        }
    }
}

/// The beginning of a file, unpacked, up to the end of a line.
fn head_bytes(path: &Path) -> Result<Vec<u8>, EventsError> {
    let mut bytes = Vec::new();
    let reader = open(path, &Arc::new(AtomicU64::new(0)))?;
    reader.take(HEAD_BYTES).read_to_end(&mut bytes).map_err(EventsError::io("read", path))?;
    if bytes.len() as u64 == HEAD_BYTES
        && let Some(end) = bytes.iter().rposition(|&b| b == b'\n')
    {
        bytes.truncate(end + 1);
    }
    Ok(bytes)
}

/// What the beginning of a file tells before anything is known of its columns.
struct Head<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    /// Where the name does not tell it, or tells a CSV with another delimiter.
    format: Option<Format>,
    delimiter: Option<char>,
    names: Vec<String>,
}

impl<'a> Head<'a> {
    fn read(path: &'a Path) -> Result<Self, EventsError> {
        let bytes = head_bytes(path)?;
        if bytes.is_empty() {
            return Err(EventsError::EmptyFile { path: path.to_owned() });
        }
        let known = files::extension(path);
        let by_content = if bytes.starts_with(b"PAR1") {
            Format::Parquet
        } else if bytes.trim_ascii_start().starts_with(b"{") {
            Format::Jsonl
        } else {
            Format::Csv
        };
        let named = match known.as_deref() {
            Some("csv" | "tsv") => Some(Format::Csv),
            Some("jsonl" | "ndjson" | "json") => Some(Format::Jsonl),
            Some("parquet" | "pq") => Some(Format::Parquet),
            _ => None,
        };
        let format = (named != Some(by_content)).then_some(by_content);
        let mut head = Self { path, bytes, format, delimiter: None, names: Vec::new() };
        if by_content == Format::Csv {
            let found = head.delimiter();
            let usual = if known.as_deref() == Some("tsv") { '\t' } else { ',' };
            head.delimiter = (found != usual).then_some(found);
        }
        head.names = head.columns();
        Ok(head)
    }

    /// The delimiter that the first lines have most often and equally often.
    fn delimiter(&self) -> char {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).take(20).collect();
        let score = |c: char| {
            let counts: Vec<usize> = lines.iter().map(|line| line.matches(c).count()).collect();
            let first = counts.first().copied().unwrap_or(0);
            let same = counts.iter().filter(|n| **n == first).count();
            if first == 0 { 0 } else { same * 1000 + first }
        };
        [',', '\t', ';', '|'].into_iter().rev().max_by_key(|c| score(*c)).unwrap_or(',')
    }

    fn config(&self, preset: Preset) -> ImportConfig {
        let fixed = matches!(preset, Preset::AmazonSequences | Preset::Recbole);
        let events = SourceConfig {
            files: vec![self.path.to_owned()],
            format: self.format.filter(|_| !fixed),
            delimiter: self.delimiter.filter(|_| !fixed),
            ..SourceConfig::default()
        };
        ImportConfig { preset, events, ..ImportConfig::default() }
    }

    /// The names in the header, or the keys of the first objects.
    fn columns(&self) -> Vec<String> {
        let Ok(source) = self.config(Preset::Recgpt).events_source() else { return Vec::new() };
        let mut list = Vec::new();
        let read = read_head(self.path, &source, &mut |names, _| {
            list.clone_from(&names.list);
            Ok(())
        });
        if read.is_err() { Vec::new() } else { list }
    }

    /// Header cells with the types of RecBole.
    fn is_typed(&self) -> bool {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines().next().is_some_and(|header| header.contains(":token"))
    }

    /// One object from users to lists, or lines of words in a text without a delimiter.
    fn is_sequences(&self) -> bool {
        let text = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(4096)]);
        if let Some(rest) = text.trim_start().strip_prefix('{') {
            let value = rest.trim_start().split_once("\":").map(|(_, value)| value.trim_start());
            let line: Option<serde_json::Value> =
                text.lines().next().and_then(|line| serde_json::from_str(line).ok());
            let lists = |line: &serde_json::Value| {
                line.as_object().is_some_and(|o| o.values().all(serde_json::Value::is_array))
            };
            return value.is_some_and(|v| v.starts_with('[')) && line.as_ref().is_none_or(lists);
        }
        let several = |line: &str| line.split_whitespace().count() > 1;
        self.path.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt"))
            && !text.contains([',', '\t', ';', '|'])
            && text.lines().take(5).all(several)
    }
}

/// Columns by the names that shops give them, time and types by their values.
fn by_columns(head: &Head<'_>, path: &Path) -> Result<Guess, EventsError> {
    let mut config = head.config(Preset::Recgpt);
    let mut notes = vec!["columns by their names".to_owned()];
    for (field, synonyms) in COLUMNS {
        let column = head.names.iter().find(|name| {
            let last = name.rsplit('.').next().unwrap_or(name);
            let loose = |s: &str| super::rows::loosen(s);
            synonyms.contains(&loose(name).as_str()) || synonyms.contains(&loose(last).as_str())
        });
        if let Some(column) = column
            && super::rows::loosen(column) != super::rows::loosen(field)
        {
            config.events.columns.insert((*field).to_owned(), ColumnRef::Name(column.clone()));
        }
    }
    let values = |config: &ImportConfig, field: &str| values(config, path, field);
    let times = values(&config, "timestamp")?;
    config.events.time_format = time_format(&config, &times)?;
    if let Some(format) = &config.events.time_format {
        notes.push(format!("times as {}: check day and month", String::from(format.clone())));
    }
    let types: BTreeSet<String> = values(&config, "event_type")?.into_iter().collect();
    if types.is_empty() {
        let kind = event_type_of(&path.to_string_lossy()).unwrap_or(EventType::Click);
        let kind = kind.as_str().to_owned();
        notes.push(format!("no column of types: every row is read as {kind:?}; change it if not"));
        config.events.constants.insert("event_type".to_owned(), kind);
    }
    for name in types.iter().filter(|name| name.parse::<EventType>().is_err()).take(50) {
        if let Some(kind) = event_type_of(name) {
            notes.push(format!("type {name:?} read as {:?}", kind.as_str()));
            config.events.event_types.insert(name.clone(), kind.as_str().to_owned());
        }
    }
    let preview = preview(&config, path)?;
    Ok(Guess { config, notes, preview })
}

/// The first values of a canonical field, as the configuration maps it.
fn values(config: &ImportConfig, path: &Path, field: &str) -> Result<Vec<String>, EventsError> {
    let source = config.events_source()?;
    let default = ColumnRef::Name(field.to_owned());
    let column = source.config.columns.get(field).unwrap_or(&default).clone();
    let mut values = Vec::new();
    read_head(path, &source, &mut |names, row| {
        let value = row.ok().zip(names.find(&column)).and_then(|(row, idx)| row.get(idx));
        values.extend(value.map(str::to_owned));
        Ok(())
    })?;
    Ok(values)
}

/// The first way to write time in which nearly every value is a time that can be; none for the usual.
fn time_format(
    config: &ImportConfig,
    values: &[String],
) -> Result<Option<TimeFormat>, EventsError> {
    let source = config.events_source()?;
    let fits = |format: &TimeFormat| {
        let plausible = |text: &&String| {
            format.parse(text).is_ok_and(|t| (source.min_time..source.max_time).contains(&t))
        };
        values.iter().filter(plausible).count() * 20 >= values.len() * 19
    };
    if values.is_empty() || fits(&TimeFormat::Auto) {
        return Ok(None);
    }
    let patterns = TIME_PATTERNS.iter().map(|p| TimeFormat::Pattern((*p).to_owned()));
    Ok(patterns.into_iter().find(|format| fits(format)))
}
