//! In place of `remote` where the feature `object-store` is off: every URL is refused, with the mend.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::config::fault;
use super::input::FileStat;
use super::parquet::Table;
use crate::EventsError;

fn refused(url: &Path) -> EventsError {
    let text = "is a URL, and this recgpt was built without them: build it with \
                `cargo build --release --features object-store`, or name a local file";
    fault("files", format!("{} {text}", url.display()))
}

pub(super) fn expand(section: &str, url: &Path) -> Result<Vec<PathBuf>, EventsError> {
    let _ = section;
    Err(refused(url))
}

pub(super) fn stat(url: &Path) -> Result<FileStat, EventsError> {
    Err(refused(url))
}

pub(super) fn reader(url: &Path) -> Result<Box<dyn Read>, EventsError> {
    Err(refused(url))
}

pub(super) fn table(url: &Path, _limit: Option<usize>) -> Result<Table, EventsError> {
    Err(refused(url))
}
