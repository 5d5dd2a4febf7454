//! The folder that an export fills, and the account of what went into it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::record::{ExportRecord, Split};
use crate::error::AlignError;

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenFile {
    /// Its name in the folder.
    pub name: String,
    /// Rows in it; in `dataset_info.json`, data sets.
    pub n_rows: usize,
}

/// Rows that a format has no place for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Why.
    pub reason: &'static str,
    /// How many records.
    pub n_records: usize,
}

/// What an export wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExportSummary {
    /// Files with rows, in the order of writing.
    pub files: Vec<WrittenFile>,
    /// What is in none of them.
    pub left_out: Vec<LeftOut>,
}

/// The folder being filled.
pub(super) struct Folder {
    dir: PathBuf,
    summary: ExportSummary,
}

impl Folder {
    pub(super) fn create(dir: &Path) -> Result<Self, AlignError> {
        std::fs::create_dir_all(dir)
            .map_err(|source| AlignError::Io { path: dir.display().to_string(), source })?;
        Ok(Self { dir: dir.to_owned(), summary: ExportSummary::default() })
    }

    /// Writes `name`, one JSON object per line; returns whether there is any row.
    pub(super) fn write_jsonl(
        &mut self,
        name: &str,
        rows: impl IntoIterator<Item = Value>,
    ) -> Result<bool, AlignError> {
        let (mut text, mut n_rows) = (String::new(), 0);
        for row in rows {
            text.push_str(&row.to_string());
            text.push('\n');
            n_rows += 1;
        }
        self.write(name, n_rows, text.as_bytes())
    }

    /// Writes `name` whole; without rows there is no such file. Returns whether there is any row.
    pub(super) fn write(
        &mut self,
        name: &str,
        n_rows: usize,
        bytes: &[u8],
    ) -> Result<bool, AlignError> {
        let path = self.dir.join(name);
        if n_rows == 0 {
            return match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(AlignError::Io { path: path.display().to_string(), source })
                }
                _ => Ok(false),
            };
        }
        lm::write_whole(&path, bytes)?;
        self.summary.files.push(WrittenFile { name: name.to_owned(), n_rows });
        Ok(true)
    }

    /// Counts records that are in none of the files.
    pub(super) fn leave_out(&mut self, reason: &'static str, n_records: usize) {
        if n_records > 0 {
            self.summary.left_out.push(LeftOut { reason, n_records });
        }
    }

    pub(super) fn into_summary(self) -> ExportSummary {
        self.summary
    }
}

/// Records of a split whose conversation is to be learned.
pub(super) fn demonstrations(
    records: &[ExportRecord],
    split: Split,
) -> impl Iterator<Item = &ExportRecord> {
    records.iter().filter(move |r| r.split == split && r.is_demonstration())
}

/// Records of a split with a better and a worse answer.
pub(super) fn preferences(
    records: &[ExportRecord],
    split: Split,
) -> impl Iterator<Item = (&ExportRecord, &str, &str)> {
    let of_split = records.iter().filter(move |r| r.split == split);
    of_split.filter_map(|r| r.preference().map(|(chosen, rejected)| (r, chosen, rejected)))
}

/// Records of a split with a truth that a reward can use.
pub(super) fn problems(
    records: &[ExportRecord],
    split: Split,
) -> impl Iterator<Item = (&ExportRecord, &str)> {
    let of_split = records.iter().filter(move |r| r.split == split);
    of_split.filter_map(|r| r.ground_truth.as_deref().map(|truth| (r, truth)))
}
