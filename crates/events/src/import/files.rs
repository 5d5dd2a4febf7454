//! What the entries of `files` stand for: a file, all files of a folder, or all that a pattern finds.

use std::path::{Path, PathBuf};

use super::config::fault;
use super::input::{expand_url, is_url};
use crate::EventsError;

/// Extensions of raw files, and of their compressed forms.
const EXTENSIONS: [&str; 8] = ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "pq", "inter"];
const COMPRESSED: [&str; 3] = ["gz", "zst", "zstd"];

/// The files behind `entries`, each once: folders and patterns in the order of the names below them.
///
/// A folder stands for the raw files in it and in its folders; names that begin with `.` or `_` are
/// notes of other programs and left out. A pattern has `*`, `?`, `[...]` or `**`. The same holds for
/// URLs of object stores; one that ends with `/` is a folder.
///
/// # Errors
/// [`EventsError::Config`] for a folder or a pattern without a file, and for a URL where the feature
/// `object-store` is off; [`EventsError::Io`] for a folder that cannot be listed. A missing file is found when it is opened.
pub fn expand_files(section: &str, entries: &[PathBuf]) -> Result<Vec<PathBuf>, EventsError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let found = if is_url(entry) {
            expand_url(section, entry)?
        } else if entry.is_dir() {
            let mut found = Vec::new();
            walk(entry, &mut found)?;
            found
        } else if is_pattern(entry) && !entry.exists() {
            matches_of(section, entry)?
        } else {
            vec![entry.clone()]
        };
        if found.is_empty() {
            let detail = format!("{} holds no file that could be read", entry.display());
            return Err(fault(&format!("import.{section}.files"), detail));
        }
        for file in found {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// The extension that tells the format, in lower case, without that of a compression.
pub(super) fn extension(path: &Path) -> Option<String> {
    let lower = path.file_name()?.to_string_lossy().to_lowercase();
    let (stem, last) = lower.rsplit_once('.')?;
    if !COMPRESSED.contains(&last) {
        return Some(last.to_owned());
    }
    stem.rsplit_once('.').map(|(_, extension)| extension.to_owned())
}

/// The compression that the name tells: `gz` or `zst`.
pub(super) fn compression(path: &Path) -> Option<&'static str> {
    let last = path.extension()?.to_string_lossy().to_lowercase();
    COMPRESSED.into_iter().find(|c| *c == last)
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), EventsError> {
    let entries = std::fs::read_dir(folder).map_err(EventsError::io("list", folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(EventsError::io("list", folder))?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !is_note(&name) {
            walk(&path, files)?;
        } else if !path.is_dir() && is_raw_file(&name) {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether a path below a folder is a raw file, by its names alone.
pub(super) fn is_raw_file(below: &str) -> bool {
    !below.split('/').any(is_note)
        && extension(Path::new(below)).is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// Notes of other programs: `_SUCCESS`, `.crc`.
fn is_note(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

fn matches_of(section: &str, pattern: &Path) -> Result<Vec<PathBuf>, EventsError> {
    let field = format!("import.{section}.files");
    let found = glob::glob(&pattern.to_string_lossy()).map_err(|e| fault(&field, e))?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|e| {
            let path = e.path().to_owned();
            EventsError::io("list", &path)(e.into())
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{compression, expand_files, extension};

    #[test]
    fn folders_and_patterns_stand_for_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in
            ["b/2.csv.gz", "b/1.jsonl", "a.parquet", "_SUCCESS", ".x.csv", "notes.txt", "b/_c.csv"]
        {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let names = |entries: &[&str]| -> Result<Vec<String>, String> {
            let entries: Vec<PathBuf> = entries.iter().map(|e| root.join(e)).collect();
            let files = expand_files("events", &entries).map_err(|e| e.to_string())?;
            let name = |p: &PathBuf| p.strip_prefix(root).unwrap().display().to_string();
            Ok(files.iter().map(name).collect())
        };
        assert_eq!(names(&[""]).unwrap(), ["a.parquet", "b/1.jsonl", "b/2.csv.gz"]);
        assert_eq!(names(&["b/*.jsonl", "b"]).unwrap(), ["b/1.jsonl", "b/2.csv.gz"]);
        assert_eq!(names(&["**/[12].*"]).unwrap(), ["b/1.jsonl", "b/2.csv.gz"]);
        assert_eq!(names(&["missing.csv"]).unwrap(), ["missing.csv"]);
        for (entry, part) in [("*.xml", "*.xml"), ("b/***", "import.events.files")] {
            let error = names(&[entry]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn names_tell_format_and_compression() {
        for (name, want) in [
            ("a.CSV", (Some("csv"), None)),
            ("a.csv.gz", (Some("csv"), Some("gz"))),
            ("a.b.jsonl.ZST", (Some("jsonl"), Some("zst"))),
            ("a.gz", (None, Some("gz"))),
            ("a", (None, None)),
        ] {
            let path = Path::new(name);
            assert_eq!((extension(path).as_deref(), compression(path)), want, "{name}");
        }
    }
}
