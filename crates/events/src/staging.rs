//! Several files of one folder that change together or not at all, whatever stops the program.
//!
//! New files are written below `.staging/` under the names that they will have. Then a journal says
//! which of them move and which old ones go; once the journal is on disk the change *has* happened,
//! and whoever opens the folder next finishes the moves. Until then nothing has. Knows no file by name.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::EventsError;
use crate::tables::columns::{json, sync_folder, write_text};

const FOLDER: &str = ".staging";
const JOURNAL: &str = "journal.json";
const LOCK: &str = ".lock";

/// What an earlier program left in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing: it ended well, or there was none.
    Nothing,
    /// Files of a change that had not happened; they were removed, and the change starts over.
    StartedOver,
    /// A change that had happened; its last moves were made.
    Finished,
}

/// A change under way; dropped without [`Staging::commit`] it never happened, and its files go.
#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
    earlier: Earlier,
    journal: Journal,
    /// Tests act as a killed program with this.
    dead: bool,
    _lock: File,
}

/// What a change does to the folder, in paths relative to it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Journal {
    moves: Vec<PathBuf>,
    removes: Vec<PathBuf>,
}

impl Staging {
    /// Starts a change of the folder `root`, which is made where it is missing; finishes or removes
    /// what an earlier one left.
    ///
    /// # Errors
    /// [`EventsError::Busy`] where another program is changing the folder; [`EventsError`] of the
    /// file system.
    pub fn begin(root: &Path) -> Result<Self, EventsError> {
        fs::create_dir_all(root).map_err(EventsError::io("create", root))?;
        let lock = open_lock(root)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(EventsError::Busy { path: root.to_owned() });
            }
            Err(TryLockError::Error(e)) => {
                return Err(EventsError::io("lock", &root.join(LOCK))(e));
            }
        }
        let folder = root.join(FOLDER);
        let earlier = if finish(root)? {
            Earlier::Finished
        } else if folder.exists() {
            remove_folder(&folder)?;
            Earlier::StartedOver
        } else {
            Earlier::Nothing
        };
        fs::create_dir_all(&folder).map_err(EventsError::io("create", &folder))?;
        Ok(Self {
            root: root.to_owned(),
            earlier,
            journal: Journal::default(),
            dead: false,
            _lock: lock,
        })
    }

    /// What was found at the beginning.
    #[must_use]
    pub fn earlier(&self) -> Earlier {
        self.earlier
    }

    /// The folder that changes.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where to write the new `relative`; on [`Self::commit`] it takes its place.
    ///
    /// # Errors
    /// [`EventsError::Io`] when its folder cannot be made.
    pub fn file(&mut self, relative: impl AsRef<Path>) -> Result<PathBuf, EventsError> {
        let relative = relative.as_ref();
        self.journal.moves.push(relative.to_owned());
        self.scratch(relative)
    }

    /// Where to write something that nobody needs after [`Self::commit`].
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn scratch(&self, relative: impl AsRef<Path>) -> Result<PathBuf, EventsError> {
        let path = self.root.join(FOLDER).join(relative);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(EventsError::io("create", folder))?;
        Ok(path)
    }

    /// Has the old `relative` (a file or a folder) removed on [`Self::commit`].
    pub fn remove(&mut self, relative: impl AsRef<Path>) {
        self.journal.removes.push(relative.as_ref().to_owned());
    }

    /// Makes the change happen.
    ///
    /// # Errors
    /// [`EventsError::Io`]; where the journal was written, the next to open the folder goes on.
    pub fn commit(self) -> Result<(), EventsError> {
        let folder = self.root.join(FOLDER);
        for relative in &self.journal.moves {
            let path = folder.join(relative);
            fs::metadata(&path).map_err(EventsError::io("open", &path))?;
        }
        write_text(&folder.join(JOURNAL), &json(&self.journal))?;
        finish(&self.root).map(|_| ())
    }

    /// Leaves everything as a program does that is killed here.
    #[cfg(test)]
    pub(crate) fn die(mut self) {
        self.dead = true;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let folder = self.root.join(FOLDER);
        // With a journal the change has happened, and its files are not ours to remove.
        if !self.dead && !folder.join(JOURNAL).exists() {
            let _ = remove_folder(&folder); // what stays is removed by the next change
        }
    }
}

/// Finishes a change that had happened when its program was stopped. Cheap where there is none, and
/// then writes nothing; waits for a program that is at its last moves.
///
/// # Errors
/// [`EventsError::Io`] of the file system.
pub fn recover(root: &Path) -> Result<bool, EventsError> {
    if !root.join(FOLDER).join(JOURNAL).exists() {
        return Ok(false);
    }
    let lock = open_lock(root)?;
    lock.lock().map_err(EventsError::io("lock", &root.join(LOCK)))?;
    finish(root)
}

/// Does what the journal says, as far as it is not done; false where there is no journal.
fn finish(root: &Path) -> Result<bool, EventsError> {
    let folder = root.join(FOLDER);
    let path = folder.join(JOURNAL);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(EventsError::io("open", &path)(e)),
    };
    let journal: Journal = serde_json::from_str(&text)
        .map_err(|e| EventsError::Json { path: path.clone(), detail: e.to_string() })?;
    let mut folders = BTreeSet::new();
    for relative in &journal.moves {
        let (from, to) = (folder.join(relative), root.join(relative));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(EventsError::io("create", parent))?;
            folders.insert(parent.to_owned());
        }
        absent_is_done(fs::rename(&from, &to), "rename", &from)?;
    }
    for relative in &journal.removes {
        let path = root.join(relative);
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        absent_is_done(removed, "remove", &path)?;
    }
    for parent in &folders {
        sync_folder(&parent.join(JOURNAL))?;
    }
    // The journal goes first: without it the rest of the folder means nothing.
    absent_is_done(fs::remove_file(&path), "remove", &path)?;
    remove_folder(&folder)?;
    Ok(true)
}

fn open_lock(root: &Path) -> Result<File, EventsError> {
    let path = root.join(LOCK);
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    options.open(&path).map_err(EventsError::io("open", &path))
}

fn remove_folder(folder: &Path) -> Result<(), EventsError> {
    absent_is_done(fs::remove_dir_all(folder), "remove", folder)
}

fn absent_is_done(
    outcome: std::io::Result<()>,
    action: &'static str,
    path: &Path,
) -> Result<(), EventsError> {
    match outcome {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(EventsError::io(action, path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Earlier, FOLDER, JOURNAL, Staging, recover};
    use crate::EventsError;

    fn read(root: &Path, name: &str) -> Option<String> {
        fs::read_to_string(root.join(name)).ok()
    }

    /// A folder with `a` and `old`, and a change that gives `a` and `sub/b` and takes `old`.
    fn change(root: &Path) -> Staging {
        fs::write(root.join("a"), "1").unwrap();
        fs::write(root.join("old"), "1").unwrap();
        let mut staging = Staging::begin(root).unwrap();
        fs::write(staging.file("a").unwrap(), "2").unwrap();
        fs::write(staging.file("sub/b").unwrap(), "2").unwrap();
        staging.remove("old");
        staging
    }

    fn state(root: &Path) -> [Option<String>; 3] {
        ["a", "sub/b", "old"].map(|name| read(root, name))
    }

    #[test]
    fn a_change_happens_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let before = [Some("1".to_owned()), None, Some("1".to_owned())];
        change(root).die();
        assert_eq!(state(root), before);
        assert!(!recover(root).unwrap());
        let staging = change(root);
        assert_eq!(staging.earlier(), Earlier::StartedOver);
        drop(staging);
        assert_eq!(state(root), before);
        assert!(!root.join(FOLDER).exists());
        let staging = change(root);
        assert_eq!(staging.earlier(), Earlier::Nothing);
        staging.commit().unwrap();
        assert_eq!(state(root), [Some("2".to_owned()), Some("2".to_owned()), None]);
        assert!(!root.join(FOLDER).exists());
    }

    #[test]
    fn a_change_that_was_stopped_at_its_moves_is_finished() {
        for moved in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path();
            change(root).die();
            let journal = r#"{"moves":["a","sub/b"],"removes":["old"]}"#;
            fs::write(root.join(FOLDER).join(JOURNAL), journal).unwrap();
            if moved {
                fs::rename(root.join(FOLDER).join("a"), root.join("a")).unwrap();
            }
            if moved {
                assert!(recover(root).unwrap());
            } else {
                assert_eq!(Staging::begin(root).unwrap().earlier(), Earlier::Finished);
            }
            assert_eq!(state(root), [Some("2".to_owned()), Some("2".to_owned()), None]);
        }
    }

    #[test]
    fn two_changes_at_once_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = Staging::begin(dir.path()).unwrap();
        let second = Staging::begin(dir.path());
        assert!(matches!(second, Err(EventsError::Busy { .. })), "{second:?}");
        drop(first);
        Staging::begin(dir.path()).unwrap();
    }
}
