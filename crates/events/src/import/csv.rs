//! CSV by RFC 4180, forgiving where that loses nothing: any line ending, stray quotes within a cell.
//!
//! Written here rather than taken from a library because a quote that never closes must cost one
//! row, not the rest of the file, and every refusal must know its line.

use std::collections::VecDeque;
use std::io::BufRead;
use std::path::Path;

use super::config::Encoding;
use super::rows::{BadRow, Line, Lines, Names, Row, Sink, decode};
use crate::EventsError;
use crate::tables::RejectReason;

const LONGEST_RECORD: usize = 1 << 20; // bytes that one quoted cell may take with its line breaks
const MOST_LINES: usize = 1000;

/// How the file is written.
pub(super) struct CsvSpec {
    pub(super) delimiter: u8,
    pub(super) has_header: bool,
    /// Header cells are `name:type`.
    pub(super) typed_header: bool,
    pub(super) encoding: Encoding,
}

/// Reads all records.
pub(super) fn read(
    reader: impl BufRead,
    path: &Path,
    spec: &CsvSpec,
    sink: &mut Sink<'_>,
) -> Result<(), EventsError> {
    let mut records =
        Records { lines: Lines::new(reader), pending: VecDeque::new(), delimiter: spec.delimiter };
    let (mut names, mut row) = (Names::default(), Row::default());
    let mut want_header = spec.has_header;
    while let Some(record) = records.next().map_err(EventsError::io("read", path))? {
        let text = record.and_then(|r| Ok((r.number, decode(r.number, r.bytes, spec.encoding)?)));
        let (number, text) = match text {
            Ok(text) => text,
            Err(bad) if want_header => {
                let detail =
                    format!("the header (line {}) is unreadable: {}", bad.line, bad.message);
                return Err(EventsError::Table {
                    path: path.to_owned(),
                    column: String::new(),
                    detail,
                });
            }
            Err(bad) => {
                sink(&names, Err(bad))?;
                continue;
            }
        };
        split(&text, spec.delimiter, number, &mut row);
        if want_header {
            want_header = false;
            names.complete = true;
            for idx in 0..row.width() {
                let cell = row.get(idx).unwrap_or_default();
                let name = match cell.rsplit_once(':') {
                    Some((name, _)) if spec.typed_header => name,
                    _ => cell,
                };
                if names.intern(name) != idx {
                    names.intern(&format!("{name}#{idx}")); // a repeated name keeps its place
                }
            }
            continue;
        }
        let width = names.list.len();
        if names.complete && row.width() != width {
            let reason =
                if row.width() < width { RejectReason::ShortRow } else { RejectReason::LongRow };
            let message = format!("{} cells where the header has {width}", row.width());
            sink(&names, Err(row.bad("", reason, message)))?;
        } else {
            sink(&names, Ok(&row))?;
        }
    }
    Ok(())
}

/// Joins lines to records.
struct Records<R> {
    lines: Lines<R>,
    pending: VecDeque<Line>,
    delimiter: u8,
}

impl<R: BufRead> Records<R> {
    fn line(&mut self) -> std::io::Result<Option<Line>> {
        match self.pending.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.lines.next(),
        }
    }

    /// The next record that is not blank; a quote left open costs its first line only.
    fn next(&mut self) -> std::io::Result<Option<Result<Line, BadRow>>> {
        loop {
            let Some(first) = self.line()? else { return Ok(None) };
            if first.bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if first.too_long {
                let raw = String::from_utf8_lossy(&first.bytes[..4000]);
                let message = "the line is longer than 4 MiB".to_owned();
                let bad = BadRow::new(first.number, "", RejectReason::LongRow, message, &raw);
                return Ok(Some(Err(bad)));
            }
            let mut state = scan(State::Start, &first.bytes, self.delimiter);
            if !matches!(state, State::Quoted) {
                return Ok(Some(Ok(first)));
            }
            let mut record = first.bytes.clone();
            let mut taken = Vec::new();
            while matches!(state, State::Quoted) {
                let next = if record.len() < LONGEST_RECORD && taken.len() < MOST_LINES {
                    self.line()?
                } else {
                    None
                };
                let Some(next) = next else {
                    for line in taken.into_iter().rev() {
                        self.pending.push_front(line);
                    }
                    let raw = String::from_utf8_lossy(&first.bytes);
                    let message = "a quote opens here and never closes".to_owned();
                    let reason = RejectReason::UnclosedQuote;
                    return Ok(Some(Err(BadRow::new(first.number, "", reason, message, &raw))));
                };
                record.push(b'\n');
                record.extend_from_slice(&next.bytes);
                state = scan(state, b"\n", self.delimiter);
                state = scan(state, &next.bytes, self.delimiter);
                taken.push(next);
            }
            return Ok(Some(Ok(Line { number: first.number, bytes: record, too_long: false })));
        }
    }
}

/// Where the scanner stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    Quoted,
    Closed,
}

fn step(state: State, byte: u8, delimiter: u8) -> State {
    match (state, byte) {
        (State::Quoted, b'"') => State::Closed,
        (State::Closed, b'"') => State::Quoted, // a doubled quote
        (State::Quoted, _) => State::Quoted,
        (State::Start, b'"') => State::Quoted,
        (_, b) if b == delimiter => State::Start,
        (State::Closed, _) => State::Closed,
        _ => State::Plain,
    }
}

fn scan(state: State, bytes: &[u8], delimiter: u8) -> State {
    if state == State::Start && !bytes.contains(&b'"') {
        return State::Plain;
    }
    bytes.iter().fold(state, |state, &b| step(state, b, delimiter))
}

/// Cuts a record into the cells of `row`.
fn split(record: &str, delimiter: u8, line: u64, row: &mut Row) {
    row.clear(line);
    row.raw.push_str(record);
    if !record.contains('"') {
        for (idx, cell) in record.split(char::from(delimiter)).enumerate() {
            row.set(idx, cell);
        }
        return;
    }
    let (mut state, mut idx, mut cell) = (State::Start, 0, String::new());
    for c in record.chars() {
        let byte = u8::try_from(c).ok().filter(u8::is_ascii).unwrap_or(b'x');
        let next = step(state, byte, delimiter);
        match (state, next) {
            (_, State::Start) => {
                row.set(idx, &cell);
                cell.clear();
                idx += 1;
            }
            (State::Start, State::Quoted) | (State::Quoted, State::Closed) => {}
            _ => cell.push(c),
        }
        state = next;
    }
    row.set(idx, &cell);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::{CsvSpec, Encoding, read};
    use crate::tables::RejectReason;

    type Outcome = (u64, Result<Vec<String>, RejectReason>);

    fn rows(bytes: &[u8], has_header: bool, encoding: Encoding) -> Vec<Outcome> {
        let spec = CsvSpec { delimiter: b',', has_header, typed_header: false, encoding };
        let mut out = Vec::new();
        let _ = read(bytes, Path::new("t.csv"), &spec, &mut |_, row| {
            out.push(match row {
                Ok(row) => {
                    let cell = |i| row.get(i).unwrap_or_default().to_owned();
                    (row.line, Ok((0..row.width()).map(cell).collect()))
                }
                Err(bad) => (bad.line, Err(bad.reason)),
            });
            Ok(())
        });
        out
    }

    fn check(text: &[u8], expect: &[(u64, Result<&[&str], RejectReason>)]) {
        let got = rows(text, true, Encoding::Utf8);
        let want: Vec<Outcome> = expect
            .iter()
            .map(|(n, r)| (*n, r.map(|c| c.iter().map(|s| (*s).to_owned()).collect())))
            .collect();
        assert_eq!(got, want, "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn records_cells_and_lines() {
        check(b"\xEF\xBB\xBFa,b\r\n1,2\r\n\r\n3,4", &[(2, Ok(&["1", "2"])), (4, Ok(&["3", "4"]))]);
        check(b"a,b\n\"x, \"\"y\"\"\", 2 \n", &[(2, Ok(&["x, \"y\"", "2"]))]);
        check(
            b"a,b\n\"two\nlines\",2\n3,4",
            &[(2, Ok(&["two\nlines", "2"])), (4, Ok(&["3", "4"]))],
        );
        check(b"a,b\n1/4\" nail,2\n", &[(2, Ok(&["1/4\" nail", "2"]))]);
        check(
            b"a,b\n1\n1,2,3\n1,2",
            &[
                (2, Err(RejectReason::ShortRow)),
                (3, Err(RejectReason::LongRow)),
                (4, Ok(&["1", "2"])),
            ],
        );
    }

    #[test]
    fn an_open_quote_or_bad_byte_costs_one_row() {
        check(
            b"a,b\n\"open,2\n3,4\n5,6\n",
            &[(2, Err(RejectReason::UnclosedQuote)), (3, Ok(&["3", "4"])), (4, Ok(&["5", "6"]))],
        );
        check(b"a,b\n\xff,2\n3,4", &[(2, Err(RejectReason::InvalidUtf8)), (3, Ok(&["3", "4"]))]);
        let latin1 = rows(b"a,b\ncaf\xe9,2", true, Encoding::Latin1);
        assert_eq!(latin1, [(2, Ok(vec!["café".to_owned(), "2".to_owned()]))]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(b'"'), Just(b','), Just(b'\n'), Just(b'a')], 0..300),
            has_header: bool,
        ) {
            for encoding in [Encoding::Utf8, Encoding::Latin1] {
                let lines = bytes.split(|&b| b == b'\n').count();
                let got = rows(&bytes, has_header, encoding);
                prop_assert!(got.len() <= lines);
                prop_assert!(got.is_sorted_by(|a, b| a.0 < b.0));
            }
        }

        #[test]
        fn quoted_cells_come_back(cells in prop::collection::vec("[^\u{0}\r]{0,12}", 1..5)) {
            let quote = |c: &String| format!("\"{}\"", c.replace('"', "\"\""));
            let line = cells.iter().map(quote).collect::<Vec<_>>().join(",");
            let want: Vec<String> = cells.iter().map(|c| c.trim().to_owned()).collect();
            prop_assert_eq!(rows(line.as_bytes(), false, Encoding::Utf8), vec![(1, Ok(want))]);
        }
    }
}
