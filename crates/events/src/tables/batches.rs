//! Batches of a Parquet file, from whichever program. The Parquet crate meets some damage with a panic; here
//! it is an error of the file, like any other damage.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::EventsError;

/// An open file.
pub(crate) struct Batches {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl Batches {
    pub(crate) fn new(
        path: &Path,
        builder: ParquetRecordBatchReaderBuilder<File>,
    ) -> Result<Self, EventsError> {
        let reader = guarded(path, || builder.build())?;
        Ok(Self { path: path.to_owned(), reader })
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, EventsError>;

    fn next(&mut self) -> Option<Self::Item> {
        guarded(&self.path, || self.reader.next().transpose()).transpose()
    }
}

/// What `read` gives; an error that names the file where it fails or panics.
pub(crate) fn guarded<T, E: std::fmt::Display>(
    path: &Path,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T, EventsError> {
    quiet_where_guarded();
    let before = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(before);
    match outcome {
        Ok(result) => result.map_err(EventsError::parquet(path)),
        Err(_) => Err(EventsError::parquet(path)("its pages contradict themselves")),
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Has a panic that is caught here say nothing; all others go on as before.
fn quiet_where_guarded() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                before(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::guarded;

    #[test]
    fn a_panic_within_is_an_error_of_the_file() {
        let read = || -> Result<(), String> { panic!("damage") };
        let error = guarded(Path::new("a.parquet"), read).unwrap_err().to_string();
        assert!(error.starts_with("a.parquet: not readable as Parquet"), "{error}");
        assert_eq!(guarded(Path::new("a"), || Ok::<_, String>(1)).unwrap(), 1);
    }
}
