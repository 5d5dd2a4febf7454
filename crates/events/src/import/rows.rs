//! One row of any format as named text cells, and the dispatch over formats.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::config::{ColumnRef, Encoding, Format, Source};
use super::files::compression;
use super::{csv, input, jsonl, parquet};
use crate::EventsError;
use crate::tables::{RejectReason, RejectedRow};

const LONGEST_LINE: usize = 4 << 20;
const RAW_CHARS: usize = 1000;

/// The columns of one file; a JSONL file grows them as keys appear.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) list: Vec<String>,
    exact: HashMap<String, usize>,
    loose: HashMap<String, usize>,
    /// All columns are known (a header was read), so a missing one is an error of the file.
    pub(super) complete: bool,
}

impl Names {
    /// The place of a name; a new one is added.
    pub(super) fn intern(&mut self, name: &str) -> usize {
        if let Some(&idx) = self.exact.get(name) {
            return idx;
        }
        let idx = self.list.len();
        self.list.push(name.to_owned());
        self.exact.insert(name.to_owned(), idx);
        self.loose.entry(loosen(name)).or_insert(idx);
        idx
    }

    /// The place of the column, where the file has it.
    pub(super) fn find(&self, column: &ColumnRef) -> Option<usize> {
        match column {
            ColumnRef::Index(idx) => Some(*idx),
            ColumnRef::Name(name) => self.find_name(name),
            ColumnRef::Names(names) => names.iter().find_map(|n| self.find_name(n)),
        }
    }

    pub(super) fn find_name(&self, name: &str) -> Option<usize> {
        self.exact.get(name).or_else(|| self.loose.get(&loosen(name))).copied()
    }
}

/// Lower case without `_`, `-`, spaces: `FeedbackType` finds `feedback_type`.
pub(super) fn loosen(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// One row; its buffers are reused.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) line: u64,
    /// The row as read.
    pub(super) raw: String,
    text: String,
    cells: Vec<Option<Range<usize>>>,
    /// Places of the cells that are set, in the order of the row.
    pub(super) order: Vec<usize>,
}

impl Row {
    pub(super) fn clear(&mut self, line: u64) {
        self.line = line;
        self.raw.clear();
        self.text.clear();
        self.cells.clear();
        self.order.clear();
    }

    /// Sets a cell; a second value for it is ignored.
    pub(super) fn set(&mut self, idx: usize, value: &str) {
        if self.cells.len() <= idx {
            self.cells.resize(idx + 1, None);
        }
        if self.cells[idx].is_none() {
            let start = self.text.len();
            self.text.push_str(value);
            self.cells[idx] = Some(start..self.text.len());
            self.order.push(idx);
        }
    }

    /// The trimmed value; `None` where there is none or it is blank.
    pub(super) fn get(&self, idx: usize) -> Option<&str> {
        let range = self.cells.get(idx)?.clone()?;
        let value = self.text[range].trim();
        (!value.is_empty()).then_some(value)
    }

    /// Number of cells, set or not.
    pub(super) fn width(&self) -> usize {
        self.cells.len()
    }

    /// A refusal of this row.
    pub(super) fn bad(&self, column: &str, reason: RejectReason, message: String) -> BadRow {
        BadRow::new(self.line, column, reason, message, &self.raw)
    }
}

/// A refusal; the file is added by whoever knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BadRow {
    pub(super) line: u64,
    pub(super) column: String,
    pub(super) reason: RejectReason,
    pub(super) message: String,
    pub(super) raw: String,
}

impl BadRow {
    pub(super) fn new(
        line: u64,
        column: &str,
        reason: RejectReason,
        message: String,
        raw: &str,
    ) -> Self {
        let raw = raw.chars().take(RAW_CHARS).collect();
        let message = message.chars().take(RAW_CHARS).collect(); // it may quote a long value
        Self { line, column: column.to_owned(), reason, message, raw }
    }

    pub(super) fn at(self, path: &Path) -> RejectedRow {
        RejectedRow {
            file: path.display().to_string(),
            line: self.line,
            column: self.column,
            reason: self.reason,
            message: self.message,
            raw: self.raw,
        }
    }
}

/// Takes rows and refusals as they are read.
pub(super) type Sink<'a> = dyn FnMut(&Names, Result<&Row, BadRow>) -> Result<(), EventsError> + 'a;

/// Reads one file of any format; gives the number of rows.
pub(super) fn read_file(
    path: &Path,
    source: &Source,
    bytes_read: &Arc<AtomicU64>,
    sink: &mut Sink<'_>,
) -> Result<u64, EventsError> {
    let mut n_rows = 0;
    let mut counted = |names: &Names, row: Result<&Row, BadRow>| {
        n_rows += 1;
        sink(names, row)
    };
    let format = source.format_of(path)?;
    if format == Format::Parquet {
        parquet::read(path, bytes_read, None, &mut counted)?;
    } else {
        read_text(open(path, bytes_read)?, path, source, format, &mut counted)?;
    }
    if n_rows == 0 { Err(EventsError::EmptyFile { path: path.to_owned() }) } else { Ok(n_rows) }
}

/// Reads the text of a file that is CSV or JSONL.
pub(super) fn read_text(
    reader: impl BufRead,
    path: &Path,
    source: &Source,
    format: Format,
    sink: &mut Sink<'_>,
) -> Result<(), EventsError> {
    let encoding = source.config.encoding.unwrap_or(Encoding::Utf8);
    match format {
        Format::Csv => {
            let spec = csv::CsvSpec {
                delimiter: source.delimiter_of(path)?,
                has_header: source.config.has_header.unwrap_or(true),
                typed_header: source.config.typed_header == Some(true),
                encoding,
            };
            csv::read(reader, path, &spec, sink)
        }
        Format::Jsonl => jsonl::read(reader, path, encoding, sink),
        Format::Parquet | Format::Sequences => Err(super::config::fault(
            &format!("import.{}.format", source.section),
            "sequences are read by the preset amazon_sequences only",
        )),
    }
}

/// Reads files one after the other. A file without a row is no fault beside others, as engines that write
/// in parts leave such; gives a warning that names them.
///
/// # Errors
/// Those of `read`; [`EventsError::EmptyFile`] where no file has a row.
pub(super) fn each_file(
    paths: &[PathBuf],
    read: &mut dyn FnMut(usize, &Path) -> Result<(), EventsError>,
) -> Result<Option<String>, EventsError> {
    let mut empty = Vec::new();
    for (idx, path) in paths.iter().enumerate() {
        match read(idx, path) {
            Err(EventsError::EmptyFile { path }) => empty.push(path),
            other => other?,
        }
    }
    if !paths.is_empty() && empty.len() == paths.len() {
        return Err(EventsError::EmptyFile { path: empty.swap_remove(0) });
    }
    let named: Vec<String> = empty.iter().take(3).map(|path| path.display().to_string()).collect();
    let more = if empty.len() > named.len() { ", ..." } else { "" };
    let n_files = paths.len();
    Ok((!empty.is_empty()).then(|| {
        format!("{} of {n_files} files hold no rows: {}{more}", empty.len(), named.join(", "))
    }))
}

/// Sum of the file sizes; a missing file is an error that names the key to mend.
pub(super) fn total_bytes(source: &Source) -> Result<u64, EventsError> {
    let mut total = 0;
    for path in &source.config.files {
        total += input::stat(path)?.bytes;
    }
    Ok(total)
}

/// Opens a text file, unpacking `.gz` and `.zst`; counts the bytes as they come.
pub(super) fn open(
    path: &Path,
    bytes_read: &Arc<AtomicU64>,
) -> Result<Box<dyn BufRead>, EventsError> {
    let counting = Counting { inner: input::reader(path)?, bytes_read: Arc::clone(bytes_read) };
    Ok(match compression(path) {
        Some("gz") => Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(counting))),
        Some(_) => {
            let unpacked = zstd::Decoder::new(counting).map_err(EventsError::io("open", path))?;
            Box::new(BufReader::with_capacity(1 << 18, unpacked))
        }
        None => Box::new(BufReader::with_capacity(1 << 18, counting)),
    })
}

struct Counting<R> {
    inner: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes_read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Lines of a file as bytes without their ending; a byte order mark is dropped.
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
}

/// One line.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    /// The line went on beyond the limit of 4 MiB; the rest was skipped.
    pub(super) too_long: bool,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, number: 0 }
    }

    pub(super) fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let limit = LONGEST_LINE as u64 + 1;
        if self.reader.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let too_long = bytes.len() as u64 == limit && bytes.last() != Some(&b'\n');
        if too_long {
            self.reader.skip_until(b'\n')?;
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if self.number == 1 && bytes.starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(..3);
        }
        Ok(Some(Line { number: self.number, bytes, too_long }))
    }
}

/// Bytes as text by the encoding; the refusal says where the first bad byte stands.
pub(super) fn decode(line: u64, bytes: Vec<u8>, encoding: Encoding) -> Result<String, BadRow> {
    String::from_utf8(bytes).or_else(|e| match encoding {
        Encoding::Latin1 => Ok(e.as_bytes().iter().map(|&b| char::from(b)).collect()),
        Encoding::Utf8 => {
            let at = e.utf8_error().valid_up_to();
            let message = format!("byte {:#04x} at place {at} is no UTF-8", e.as_bytes()[at]);
            let raw = String::from_utf8_lossy(e.as_bytes());
            Err(BadRow::new(line, "", RejectReason::InvalidUtf8, message, &raw))
        }
    })
}
