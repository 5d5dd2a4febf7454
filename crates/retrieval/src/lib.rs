//! Finding items: three towers in one space, the index, the fusion of user and tags, and the
//! baselines to beat.
//!
//! Reads interactions, items and texts as [`types`] has them. Knows no language model, no event log
//! and no HTTP; ranks by its own scores only.

mod error;

mod config;
mod sequences;

mod features;
mod network;

mod batch;
mod step;
mod train;

mod single_steps;

mod towers;

mod fusion;
mod index;
mod spread;

mod retrieve;

mod baselines;

mod chance;
mod store;

pub use crate::baselines::{ItemKnn, ItemKnnConfig, Popularity};
pub use crate::config::{HistorySide, TowerConfig};
pub use crate::error::RetrievalError;
pub use crate::fusion::{FusionInput, Merge, fuse};
pub use crate::index::{ExactIndex, INDEX_VERSION, IndexKind, ItemIndex, LISTS_FROM};
pub use crate::retrieve::retrieve;
pub use crate::sequences::TowerData;
pub use crate::single_steps::SingleSteps;
pub use crate::spread::fuse_spread;
pub use crate::towers::Towers;
pub use crate::train::{EpochPoint, TrainCurve, train_towers, train_towers_with_tags};
