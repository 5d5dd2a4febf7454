//! Training of language models: samples from truths, goals, taxonomies and a shop's own log; the
//! tokenizer; the trainer. Knows no ranking and no serving.

mod error;
mod sample;

mod generic;
mod knowledge;
mod shop;
mod support;
mod truth;

mod defects;
mod judge_samples;
mod rebalance;

mod tokens;

mod trainer;

mod fit;

pub use crate::defects::{
    CaseSubject, Defect, DefectOptions, JudgeCase, JudgeShop, JudgeUser, cases_from_truth,
    label_with_truth,
};
pub use crate::error::AlignError;
pub use crate::fit::{FitData, fit, fit_config};
pub use crate::generic::{
    ReasonExample, samples_from_goals, samples_from_reasons, samples_from_taxonomy,
};
pub use crate::judge_samples::{judge_cases, samples_from_cases};
pub use crate::knowledge::{samples_from_needs, samples_from_products};
pub use crate::rebalance::{RebalanceOptions, VerdictCount, rebalance};
pub use crate::sample::{Sample, Segment, TokenSample};
pub use crate::shop::{Neighbours, Shop, ShopUser, shop_samples};
pub use crate::tokens::{SPECIAL_TOKENS, encode_samples, train_tokenizer};
pub use crate::trainer::{TrainLog, TrainRecord, Trainer, TrainerConfig};
pub use crate::truth::{TruthShop, mine_tag_sample, samples_from_truth, supported_profile};
