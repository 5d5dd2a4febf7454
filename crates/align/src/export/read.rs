//! Records out of JSONL files: of samples, or of records that a caller made.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::record::ExportRecord;
use crate::error::AlignError;
use crate::sample::Sample;

/// Reads samples, one JSON object per line, as `recgpt align --export` writes them. Equal samples get
/// ids of their own.
///
/// # Errors
/// [`AlignError::Io`], or [`AlignError::Format`] with the line of what is no sample or has no turns.
pub fn records_from_samples(
    path: &Path,
    test_percent: u32,
) -> Result<Vec<ExportRecord>, AlignError> {
    let mend = "give the file that `recgpt align --export FILE` writes";
    let file = path
        .file_name()
        .map_or(path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut records = Vec::new();
    for (line, sample) in lines_of::<Sample>(path, mend)? {
        let mut record = ExportRecord::from_sample(&sample, format!("{file}:{line}"), test_percent)
            .map_err(|error| at(path, line, &error.to_string()))?;
        let n_equal = seen.entry(record.id.clone()).or_default();
        *n_equal += 1;
        if *n_equal > 1 {
            record.id = format!("{}-{n_equal}", record.id);
        }
        records.push(record);
    }
    Ok(records)
}

/// Reads records, one JSON object per line.
///
/// # Errors
/// [`AlignError::Io`], or [`AlignError::Format`] with the line of what is no record, is not well formed,
/// or repeats an id.
pub fn read_records(path: &Path) -> Result<Vec<ExportRecord>, AlignError> {
    let mend = "give objects with id, messages, task, provenance, split, and chosen with rejected \
                or ground_truth";
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut records = Vec::new();
    for (line, record) in lines_of::<ExportRecord>(path, mend)? {
        record.check().map_err(|error| at(path, line, &error.to_string()))?;
        if let Some(first) = seen.insert(record.id.clone(), line) {
            let id = &record.id;
            let detail = format!("id {id:?} stands in line {first} already; give each its own");
            return Err(at(path, line, &detail));
        }
        records.push(record);
    }
    Ok(records)
}

/// All lines that are not blank, with their numbers from 1.
fn lines_of<T: DeserializeOwned>(path: &Path, mend: &str) -> Result<Vec<(usize, T)>, AlignError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| AlignError::Io { path: path.display().to_string(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let values: Result<Vec<(usize, T)>, AlignError> = lines
        .map(|(i, line)| {
            let value = serde_json::from_str(line);
            let value = value.map_err(|error| at(path, i + 1, &format!("{error}; {mend}")))?;
            Ok((i + 1, value))
        })
        .collect();
    let values = values?;
    if values.is_empty() {
        let path = path.display().to_string();
        return Err(AlignError::Format { path, detail: format!("holds no line; {mend}") });
    }
    Ok(values)
}

fn at(path: &Path, line: usize, detail: &str) -> AlignError {
    AlignError::Format {
        path: path.display().to_string(),
        detail: format!("line {line}: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_file_line_and_mend() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.jsonl");
        let sample =
            r#"{"segments":[{"text":"a","loss":false},{"text":"b","loss":true}],"task":"t"}"#;
        let prompt = r#"{"segments":[{"text":"a","loss":false}],"task":"t"}"#;
        let record = r#"{"id":"1","messages":[{"role":"user","content":"a"}],"chosen":"b","rejected":"c","task":"t","provenance":"p","split":"test"}"#;
        let check = |text: &str, are_samples: bool, expect: &[&str]| {
            std::fs::write(&path, text).unwrap();
            let read =
                if are_samples { records_from_samples(&path, 5) } else { read_records(&path) };
            match read {
                Ok(records) => assert_eq!(expect, [format!("{} read", records.len())]),
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains("in.jsonl"), "{error}");
                    assert!(expect.iter().all(|part| error.contains(part)), "{expect:?}: {error}");
                }
            }
        };
        check(&format!("{sample}\n\n{sample}\n"), true, &["2 read"]);
        check(&format!("{record}\n"), false, &["1 read"]);
        check(&format!("{sample}\n{{\"task\":"), true, &["line 2", "column", "recgpt align"]);
        check(&format!("\n{prompt}\n"), true, &["line 2", "without an answer"]);
        check(&format!("{sample}\n"), false, &["line 1", "unknown field", "give objects with id"]);
        check(&format!("{record}\n{record}\n"), false, &["line 2", "line 1 already"]);
        check(&record.replace("\"c\"", "\"b\""), false, &["line 1", "are the same"]);
        check("\n", true, &["holds no line"]);
    }

    #[test]
    fn equal_samples_get_ids_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.jsonl");
        let sample =
            r#"{"segments":[{"text":"a","loss":false},{"text":"b","loss":true}],"task":"t"}"#;
        std::fs::write(&path, format!("{sample}\n{sample}\n")).unwrap();
        let records = records_from_samples(&path, 5).unwrap();
        assert_eq!(format!("{}-2", records[0].id), records[1].id);
        assert_eq!(records[1].provenance, "in.jsonl:2");
    }
}
