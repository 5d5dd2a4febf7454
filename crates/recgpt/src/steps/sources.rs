//! `imports.json`: the raw files whose events the store holds, so that an append reads what is new and
//! a whole import loses nothing that was appended.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::failure::Usage;
use crate::workspace::Workspace;

/// Where the list lies.
pub(crate) const SOURCES: &str = "imports.json";

/// One raw file as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RawFile {
    /// Its absolute path, or its URL.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Nanoseconds since 1970 of its last change.
    pub(crate) modified: u64,
}

/// Every raw file of events, in the order in which they were read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Sources {
    pub(crate) files: Vec<RawFile>,
    /// Paths of those that `import --append` was given and the configuration does not name.
    #[serde(default)]
    pub(crate) appended: Vec<PathBuf>,
}

impl RawFile {
    /// The file as it is now; zeros where it is missing.
    pub(crate) fn now(path: &Path) -> Self {
        let stat = events::import::stat(path).ok();
        Self {
            path: std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            bytes: stat.map_or(0, |s| s.bytes),
            modified: stat.map_or(0, |s| s.modified),
        }
    }
}

impl Sources {
    /// The list of a workspace; empty where nothing was imported.
    pub(crate) fn read(ws: &Workspace) -> Result<Self> {
        if ws.path(SOURCES).exists() { ws.read_json(SOURCES) } else { Ok(Self::default()) }
    }

    /// Whether the file was read as it is now.
    pub(crate) fn has(&self, file: &RawFile) -> bool {
        self.files.contains(file)
    }

    /// Adds files that were appended; `named` are those of the configuration.
    pub(crate) fn append(&mut self, files: &[RawFile], named: &[RawFile]) {
        for file in files {
            self.files.retain(|known| known.path != file.path);
            self.files.push(file.clone());
            let in_configuration = named.iter().any(|n| n.path == file.path);
            if !in_configuration && !self.appended.contains(&file.path) {
                self.appended.push(file.path.clone());
            }
        }
    }

    /// Refuses a whole import that would lose events: of files that were appended and are not among
    /// `named`.
    pub(crate) fn check_whole(&self, named: &[RawFile]) -> Result<()> {
        let lost = self.appended.iter().find(|path| !named.iter().any(|n| n.path == **path));
        let Some(lost) = lost else { return Ok(()) };
        Err(anyhow!(Usage(format!(
            "the store holds events of {} that the configuration does not name: add it to \
             import.events.files, go on with `import --append`, or drop its events with \
             `import --replace`",
            lost.display()
        ))))
    }
}

#[cfg(test)]
mod tests {
    use super::{RawFile, Sources};

    fn file(name: &str, bytes: u64) -> RawFile {
        RawFile { path: name.into(), bytes, modified: 1 }
    }

    #[test]
    fn what_was_appended_is_not_lost() {
        let mut sources = Sources { files: vec![file("a", 1)], appended: vec![] };
        let named = [file("a", 1)];
        sources.append(&[file("b", 1), file("a", 2)], &named);
        assert!(sources.has(&file("a", 2)) && !sources.has(&file("a", 1)));
        let error = sources.check_whole(&named).unwrap_err().to_string();
        assert!(error.starts_with("the store holds events of b "), "{error}");
        sources.check_whole(&[file("a", 2), file("b", 7)]).unwrap();
    }
}
