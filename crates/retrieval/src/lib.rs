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
mod user_encoder;

mod batch;
mod mining;
mod step;
mod train;

mod single_steps;

mod repeats;
mod towers;

mod fusion;
mod index;
mod slate;

mod retrieve;

pub mod baselines;
mod sequence;

mod blend;

mod chance;
mod store;

pub use crate::baselines::{ItemKnn, ItemKnnConfig, Popularity, Scorer, top_of};
pub use crate::blend::{Blend, BlendCase, Component, Scale};
pub use crate::config::{HistorySide, TowerConfig, UserEncoder};
pub use crate::error::RetrievalError;
pub use crate::fusion::{FusionInput, Merge, fuse};
pub use crate::index::{ExactIndex, INDEX_VERSION, IndexKind, ItemIndex, LISTS_FROM};
pub use crate::repeats::repeat_boosts;
pub use crate::retrieve::{Allowed, retrieve, retrieve_slate};
pub use crate::sequence::{
    SequenceConfig, SequenceData, SequenceModel, SequencePoint, train_sequence,
};
pub use crate::sequences::TowerData;
pub use crate::single_steps::SingleSteps;
pub use crate::slate::{SlateFilter, SlateRules, fuse_slate, fuse_spread, slate_of};
pub use crate::towers::Towers;
pub use crate::train::{EpochPoint, TrainCurve, train_towers, train_towers_with_tags};
