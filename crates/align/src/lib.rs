//! Training of language models: samples from truths, goals, taxonomies and a shop's own log; the
//! tokenizer; the trainer. Knows no ranking and no serving.

mod error;
mod sample;

mod acts;
mod curriculum;
mod generic;
mod interest_counts;
mod judge_samples;
mod knowledge;
mod shop;
mod support;
mod truth;

mod chain;
mod cleaning;
mod incremental;
mod neighbours;
mod own;
mod precise;
mod scope;
mod shelf;

pub mod export;

mod tokens;

mod trainer;

mod fit;
mod interpolate;

pub use crate::acts::acts_by_category;
pub use crate::cleaning::{
    CleanAnswer, Cleaned, CleaningLevel, CleaningReport, CleaningRules, LevelCount, RejectReason,
    Rejection, Taught, TeacherAnswer, clean,
};
pub use crate::curriculum::{
    CurriculumSamples, CurriculumScore, CurriculumSources, Level, Metric, Product, SUBTASKS,
    Subtask, SubtaskScore, evaluate, is_held_out, quotas, subtask, topological_order,
};
pub use crate::error::AlignError;
pub use crate::fit::{FitData, Fitted, fit, fit_config};
pub use crate::generic::{
    ReasonExample, read_goals, samples_from_goals, samples_from_reasons, samples_from_taxonomy,
};
pub use crate::incremental::{
    DropReason, Incremental, IncrementalConfig, IncrementalReport, IncrementalShop,
    IncrementalStep, StepCount, WindowEvent, WindowUser, incremental_samples,
};
pub use crate::interest_counts::InterestCounts;
pub use crate::interpolate::Kept;
pub use crate::judge_samples::{
    JudgeWorld, Labelled, ModifierIndex, interest_judge_sample, rebalanced, tag_judge_sample,
};
pub use crate::knowledge::{samples_from_needs, samples_from_products};
pub use crate::neighbours::Neighbours;
pub use crate::own::own_sample;
pub use crate::sample::{RejectedPart, Sample, Segment, TokenSample};
pub use crate::shop::{Shop, ShopUser, shop_associations, shop_samples};
pub use crate::tokens::{SPECIAL_TOKENS, encode_samples, train_tokenizer};
pub use crate::trainer::{Optimizer, TrainLog, TrainRecord, Trainer, TrainerConfig};
pub use crate::truth::{TruthShop, mine_tag_sample, samples_from_truth, supported_profile};
