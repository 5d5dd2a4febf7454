//! One JSON object per line; nested objects become columns `a.b`.
//!
//! Lists of `{name, value}` or of `[name, value]` become columns `list.name`; any other list stays
//! JSON text.

use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use super::config::Encoding;
use super::rows::{BadRow, Lines, Names, Row, Sink, decode};
use crate::EventsError;
use crate::tables::RejectReason;

/// Reads all lines.
pub(super) fn read(
    reader: impl BufRead,
    path: &Path,
    encoding: Encoding,
    sink: &mut Sink<'_>,
) -> Result<(), EventsError> {
    let mut lines = Lines::new(reader);
    let (mut names, mut row) = (Names::default(), Row::default());
    while let Some(line) = lines.next().map_err(EventsError::io("read", path))? {
        if line.bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let object = if line.too_long {
            let raw = String::from_utf8_lossy(&line.bytes[..4000]);
            let message = "the line is longer than 4 MiB".to_owned();
            Err(BadRow::new(line.number, "", RejectReason::LongRow, message, &raw))
        } else {
            decode(line.number, line.bytes, encoding).and_then(|text| object(line.number, text))
        };
        match object {
            Ok((object, text)) => {
                row.clear(line.number);
                row.raw = text;
                flatten(&object, "", &mut names, &mut row);
                sink(&names, Ok(&row))?;
            }
            Err(bad) => sink(&names, Err(bad))?,
        }
    }
    Ok(())
}

fn object(line: u64, text: String) -> Result<(Value, String), BadRow> {
    let message = match serde_json::from_str::<Value>(&text) {
        Ok(value) if value.is_object() => return Ok((value, text)),
        Ok(_) => "expected one JSON object per line".to_owned(),
        Err(e) => format!("no JSON: {e}"),
    };
    Err(BadRow::new(line, "", RejectReason::BadJson, message, &text))
}

/// Sets the cells of a JSON value under `prefix`.
pub(super) fn flatten(value: &Value, prefix: &str, names: &mut Names, row: &mut Row) {
    let below = |name: &str| {
        if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
    };
    match value {
        Value::Null => {}
        Value::String(text) => row.set(names.intern(prefix), text),
        Value::Bool(_) | Value::Number(_) => row.set(names.intern(prefix), &value.to_string()),
        Value::Object(object) => {
            for (name, value) in object {
                flatten(value, &below(name), names, row);
            }
        }
        Value::Array(list) => match list.iter().map(pair).collect::<Option<Vec<_>>>() {
            Some(pairs) if !pairs.is_empty() => {
                for (name, value) in pairs {
                    flatten(value, &below(name), names, row);
                }
            }
            _ if list.is_empty() => {}
            _ => row.set(names.intern(prefix), &value.to_string()),
        },
    }
}

/// `{name, value}` or `[name, value]`.
fn pair(value: &Value) -> Option<(&str, &Value)> {
    match value {
        Value::Object(object) if object.len() == 2 => {
            Some((object.get("name")?.as_str()?, object.get("value")?))
        }
        Value::Array(list) => match list.as_slice() {
            [Value::String(name), value] => Some((name, value)),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::{Encoding, read};
    use crate::tables::RejectReason;

    fn cells(bytes: &[u8]) -> Vec<Result<Vec<(String, String)>, RejectReason>> {
        let mut out = Vec::new();
        read(bytes, Path::new("t.jsonl"), Encoding::Utf8, &mut |names, row| {
            out.push(row.map_err(|bad| bad.reason).map(|row| {
                let cell = |&idx: &usize| {
                    (names.list[idx].clone(), row.get(idx).unwrap_or_default().to_owned())
                };
                row.order.iter().map(cell).collect()
            }));
            Ok(())
        })
        .unwrap();
        out
    }

    #[test]
    fn nested_values_become_columns() {
        let line = br#"{"a":1,"n":null,"o":{"x":true},"f":[{"name":"p","value":2.5}],"t":[["c","d"]],"l":["i","j"],"e":[]}"#;
        let want =
            [("a", "1"), ("o.x", "true"), ("f.p", "2.5"), ("t.c", "d"), ("l", r#"["i","j"]"#)];
        let want = want.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
        assert_eq!(cells(line), [Ok(want)]);
        let bad = cells(b"[1]\nnope\n{\"a\":\n\n{\"a\":\"\xff\"}");
        use RejectReason::{BadJson, InvalidUtf8};
        assert_eq!(bad, [Err(BadJson), Err(BadJson), Err(BadJson), Err(InvalidUtf8)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            cells(&bytes);
        }

        #[test]
        fn any_json_like_text_is_read_or_refused(text in "[\\[\\]{}:,\"a1.e\n -]{0,200}") {
            cells(text.as_bytes());
        }
    }
}
