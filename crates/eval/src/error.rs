//! What can go wrong in evaluation and reporting, with the values and the mend.

use std::path::PathBuf;

/// Everything that this crate refuses.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Interactions do not stand in the order (user, time).
    #[error(
        "interactions must be sorted by (user, timestamp): row {row} comes before row {before} in \
         that order; sort them first"
    )]
    Unsorted {
        /// Row that came too late, from 0.
        row: usize,
        /// Row that it should precede.
        before: usize,
    },
    /// A table has the wrong number of rows.
    #[error("{table} has {got} rows, the catalogue has {expected} items")]
    Rows {
        /// Which table.
        table: &'static str,
        /// Rows needed.
        expected: usize,
        /// Rows found.
        got: usize,
    },
    /// A system recommended an item that the catalogue does not hold.
    #[error(
        "system {system:?} recommended item {item} to user {user}, the catalogue has {n_items}"
    )]
    UnknownItem {
        /// Which system.
        system: String,
        /// To whom.
        user: u32,
        /// Which item.
        item: u32,
        /// Items of the catalogue.
        n_items: usize,
    },
    /// Two systems carry the same name, or the reference is not among them.
    #[error("{problem} system {name:?}; systems are {known:?}")]
    SystemName {
        /// What is wrong with the name.
        problem: &'static str,
        /// The name.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// A parameter is outside its range.
    #[error("{name} is {got}, it must be {expected}")]
    Parameter {
        /// Which.
        name: &'static str,
        /// What was given.
        got: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A figure is no number, so JSON cannot hold it.
    #[error("figure {name:?} is {value}; leave it out where nothing was measured")]
    NotFinite {
        /// Which figure.
        name: String,
        /// NaN or an infinity.
        value: f64,
    },
    /// The page could not be made.
    #[error("report template: {0}")]
    Template(#[from] minijinja::Error),
    /// The report is no JSON of this version.
    #[error("report.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
