//! Calls kept by content: one JSON file per call, `<folder>/<2 hex digits>/<32 hex digits>.json` with the
//! fields `request` and `completion`, named by the XXH3-128 hash of the request's text.
//!
//! Never forgets by itself; delete the folder to ask again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io, process};

use io::Write;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::error::LmError;
use crate::model::Completion;

/// A folder of calls.
#[derive(Debug)]
pub(super) struct CallStore {
    dir: PathBuf,
    n_written: AtomicU64,
}

#[derive(Serialize, Deserialize)]
struct Call {
    request: Value,
    completion: Completion,
}

impl CallStore {
    /// Makes the folder if need be.
    pub(super) fn open(dir: &Path) -> Result<Self, LmError> {
        fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
        Ok(Self { dir: dir.to_owned(), n_written: AtomicU64::new(0) })
    }

    /// The completion of an equal request. A file that cannot be read counts as absent and is written
    /// anew after the call.
    pub(super) fn get(&self, request: &Value) -> Option<Completion> {
        let path = self.path(request);
        let text = fs::read(&path).ok()?;
        match serde_json::from_slice::<Call>(&text) {
            // The comparison guards against two requests of one hash.
            Ok(call) => (call.request == *request).then_some(call.completion),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "stored call cannot be read");
                None
            }
        }
    }

    /// Keeps a completion. Readers see the whole file or none: it is written aside, synced and renamed.
    pub(super) fn put(&self, request: &Value, completion: &Completion) -> Result<(), LmError> {
        let path = self.path(request);
        let dir = path.parent().unwrap_or(&self.dir);
        let call = Call { request: request.clone(), completion: completion.clone() };
        let text = serde_json::to_vec(&call).expect("strings and numbers are always JSON");
        let serial = self.n_written.fetch_add(1, Ordering::Relaxed);
        let aside = dir.join(format!(".{}-{serial}.tmp", process::id()));
        let write = || {
            fs::create_dir_all(dir)?;
            let mut file = fs::File::create(&aside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&aside, &path)
        };
        write().map_err(|error| failed(&path, &error))
    }

    fn path(&self, request: &Value) -> PathBuf {
        let hash = format!("{:032x}", xxh3_128(request.to_string().as_bytes()));
        self.dir.join(&hash[..2]).join(format!("{hash}.json"))
    }
}

fn failed(path: &Path, error: &io::Error) -> LmError {
    LmError::Io { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::CallStore;
    use crate::model::{Completion, Finish};

    #[test]
    fn keeps_calls_by_content_and_survives_a_broken_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = CallStore::open(dir.path()).unwrap();
        let request = json!({ "model": "m", "seed": 1 });
        let text = "shoes".to_owned();
        let done =
            Completion { text, finish: Finish::Stop, prompt_tokens: 3, completion_tokens: 1 };
        assert_eq!(store.get(&request), None);
        store.put(&request, &done).unwrap();
        assert_eq!(store.get(&request), Some(done.clone()));
        assert_eq!(store.get(&json!({ "model": "m", "seed": 2 })), None);

        fs::write(store.path(&request), b"{\"request\":").unwrap();
        assert_eq!(store.get(&request), None);
        store.put(&request, &done).unwrap();
        assert_eq!(store.get(&request), Some(done));
        let left = fs::read_dir(store.path(&request).parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "no temporary file is left");
    }
}
