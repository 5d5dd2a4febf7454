//! From raw logs to digests: import with validation, the bucketed event store, digests, and the
//! Parquet tables of the workspace folder.
//!
//! Knows no language model: a digest is told how to count tokens by its caller. Holds one user's
//! history at a time, never the log.

mod error;
mod sort;

pub mod digest;
pub mod import;
pub mod staging;
pub mod store;
pub mod tables;

pub use crate::digest::{
    BudgetPolicy, DigestConfig, DigestState, Digester, ExplainedLine, Explanation, ItemCores,
    LineOrder, Scan, digest, scan_bucket,
};
pub use crate::error::EventsError;
pub use crate::import::{
    ImportConfig, ImportReport, ItemsImport, UsersImport, assign_categories, import_events,
    import_items, import_taxonomy, import_users, taxonomy_of,
};
pub use crate::staging::{Earlier, Staging, recover};
pub use crate::store::{EventStore, Manifest, UserHistory};

/// How long work reports on itself: units done, units in all.
pub type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;
