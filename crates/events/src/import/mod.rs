//! Raw files to events, items, users and a taxonomy: formats, column mappings, presets, validation,
//! quarantine.
//!
//! A bad row never stops a run by itself: it goes to quarantine with its place and reason. Too many
//! of them do. Nothing here panics on any bytes.

mod config;
mod files;
mod guess;
mod input;
mod presets;
mod synonyms;

mod csv;
mod jsonl;
mod parquet;
#[cfg(feature = "object-store")]
mod remote;
#[cfg(not(feature = "object-store"))]
#[path = "remote_absent.rs"]
mod remote;
mod rows;
mod sequences;

mod mapper;
mod time_format;

mod catalogue;
mod derive;
mod events;
mod forgotten;
mod taxonomy;

pub use self::catalogue::{
    ItemsImport, ItemsReport, UsersImport, assign_categories, import_items, import_users,
    taxonomy_of,
};
pub use self::config::{ColumnRef, Encoding, Format, ImportConfig, Preset, SourceConfig, TypeRule};
pub use self::events::{
    ImportMode, ImportReport, ImportTarget, SEE_QUARANTINE, import_events, stage_events,
};
pub use self::files::expand_files;
pub use self::forgotten::Forgotten;
pub use self::guess::{Guess, Preview, guess, preview, preview_bytes};
pub use self::input::{FileStat, is_url, stat};
pub use self::taxonomy::import_taxonomy;
pub use self::time_format::TimeFormat;

#[cfg(test)]
mod tests;
