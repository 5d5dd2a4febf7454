//! Raw files as bytes, by path or by URL: the only place of the import that opens them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::remote;
use crate::EventsError;

/// What tells whether a raw file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStat {
    /// Its size.
    pub bytes: u64,
    /// Nanoseconds since 1970 of its last change; 0 where nobody knows.
    pub modified: u64,
}

/// Whether an entry of `files` is a URL (`s3://bucket/log/`) and no path.
#[must_use]
pub fn is_url(entry: &Path) -> bool {
    let Some((scheme, _)) = entry.to_str().and_then(|text| text.split_once("://")) else {
        return false;
    };
    // One letter would be a drive.
    scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Size and time of change.
///
/// # Errors
/// [`EventsError::Io`] where the file is missing or its server does not answer;
/// [`EventsError::Config`] for a URL that this program cannot read.
pub fn stat(path: &Path) -> Result<FileStat, EventsError> {
    if is_url(path) {
        return remote::stat(path);
    }
    let meta = std::fs::metadata(path).map_err(EventsError::io("open", path))?;
    let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let modified = changed.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    Ok(FileStat { bytes: meta.len(), modified })
}

/// The bytes of a file from its beginning, as they come.
pub(super) fn reader(path: &Path) -> Result<Box<dyn Read>, EventsError> {
    if is_url(path) {
        return remote::reader(path);
    }
    Ok(Box::new(File::open(path).map_err(EventsError::io("open", path))?))
}

/// A small text file as a whole.
pub(super) fn read_to_string(path: &Path) -> Result<String, EventsError> {
    let mut text = String::new();
    reader(path)?.read_to_string(&mut text).map_err(EventsError::io("open", path))?;
    Ok(text)
}

/// The files behind a URL: itself, or those below it or of its pattern.
pub(super) fn expand_url(section: &str, url: &Path) -> Result<Vec<PathBuf>, EventsError> {
    remote::expand(section, url)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_url;

    #[test]
    fn urls_are_told_from_paths() {
        for (entry, want) in [
            ("s3://bucket/a.csv", true),
            ("file:///a.csv", true),
            ("https://host/a.csv", true),
            ("a.csv", false),
            ("/log/a://b.csv", false),
            ("c://a.csv", false),
            ("s3:/bucket", false),
        ] {
            assert_eq!(is_url(Path::new(entry)), want, "{entry}");
        }
    }
}
