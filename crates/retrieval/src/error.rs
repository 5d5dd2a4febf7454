//! What can go wrong in retrieval, with the values that tell how to mend it.

use std::path::PathBuf;

/// An error of towers, index or baselines.
#[derive(Debug, thiserror::Error)]
pub enum RetrievalError {
    /// A list of numbers does not have the length that its shape asks for.
    #[error("{what}: expected {expected} numbers, got {got}")]
    Shape {
        /// Which list.
        what: &'static str,
        /// Length that the shape asks for.
        expected: usize,
        /// Length that came.
        got: usize,
    },
    /// A vector holds a number that is infinite or none.
    #[error("{what}: row {row}, column {column} is no finite number")]
    NotFinite {
        /// Which list.
        what: &'static str,
        /// Row of the vector.
        row: usize,
        /// Place in the vector.
        column: usize,
    },
    /// A setting lies outside its range.
    #[error("tower setting {key} = {value}: {expected}")]
    Setting {
        /// Name in the configuration.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// An interaction names a user or item that does not exist, or breaks the order.
    #[error("interaction {row}: {detail}; expected rows sorted by (user, time) within the tables")]
    Interaction {
        /// Index in the list.
        row: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// Nothing to learn from.
    #[error(
        "no training example: no user has a positive interaction with an earlier one before it \
         ({interactions} interactions, {users} users); give a longer history or lower history_gap_ms"
    )]
    NoExamples {
        /// Interactions given.
        interactions: usize,
        /// Users given.
        users: usize,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {detail}; train the towers again with `recgpt train`")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file of an index does not hold what it should.
    #[error("{path}: {detail}; build the index again with `recgpt index`")]
    Index {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}
