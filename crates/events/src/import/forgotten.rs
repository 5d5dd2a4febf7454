//! Who asked to be forgotten: their rows are left out of every later import.
//!
//! Holds hashes, because a list of the forgotten by name would not have forgotten them. A hash of a
//! guessable id can still be recognised by whoever guesses it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::rows::BadRow;
use crate::EventsError;
use crate::tables::columns::{json, write_text};

/// The hashes (xxh3, 128 bits, hexadecimal) of user ids.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgotten {
    users: BTreeSet<String>,
}

impl Forgotten {
    /// Reads `forgotten.json`; nobody where there is no such file.
    ///
    /// # Errors
    /// [`EventsError`] when the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, EventsError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(EventsError::io("open", path)(e)),
        };
        serde_json::from_str(&text)
            .map_err(|e| EventsError::Json { path: path.to_owned(), detail: e.to_string() })
    }

    /// Writes the file whole.
    ///
    /// # Errors
    /// [`EventsError::Io`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), EventsError> {
        write_text(path, &json(self))
    }

    /// Adds a user.
    pub fn add(&mut self, user_id: &str) {
        self.users.insert(Self::hash_of(user_id));
    }

    /// Whether the user was added.
    #[must_use]
    pub fn contains(&self, user_id: &str) -> bool {
        !self.users.is_empty() && self.users.contains(&Self::hash_of(user_id))
    }

    /// Empties a refused row that has a forgotten user for one of its words.
    pub(super) fn redact(&self, bad: &mut BadRow) {
        let in_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        if !self.users.is_empty()
            && bad.raw.split(|c| !in_word(c)).any(|word| !word.is_empty() && self.contains(word))
        {
            bad.raw.clear();
            "a row of a user who was forgotten".clone_into(&mut bad.message);
        }
    }

    /// What is kept of a user.
    #[must_use]
    pub fn hash_of(user_id: &str) -> String {
        format!("{:032x}", xxh3_128(user_id.as_bytes()))
    }
}
