//! Raw files to events, items, users and a taxonomy: formats, column mappings, presets, validation,
//! quarantine.
//!
//! A bad row never stops a run by itself: it goes to quarantine with its place and reason. Too many
//! of them do. Nothing here panics on any bytes.

mod config;
mod presets;

mod csv;
mod jsonl;
mod parquet;
mod rows;
mod sequences;

mod mapper;
mod time_format;

mod catalogue;
mod derive;
mod events;
mod taxonomy;

pub use self::catalogue::{
    ItemsImport, ItemsReport, UsersImport, assign_categories, import_items, import_users,
    taxonomy_of,
};
pub use self::config::{ColumnRef, Encoding, Format, ImportConfig, Preset, SourceConfig, TypeRule};
pub use self::events::{ImportReport, import_events};
pub use self::taxonomy::import_taxonomy;
pub use self::time_format::TimeFormat;

#[cfg(test)]
mod tests;
