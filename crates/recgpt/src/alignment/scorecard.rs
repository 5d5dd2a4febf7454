//! How well a model folder does on worlds that it has never seen and on shared test sets.

mod counts;
mod intention;
mod judge;
mod worlds;

use std::collections::BTreeMap;
use std::path::Path;

use align::{CurriculumScore, Sample};
use anyhow::Result;
use eval::Estimate;
use lm::{Engine, EngineConfig, Tokenizer, load_packed};
use serde::{Deserialize, Serialize};

use self::intention::intention_accuracy;
pub(crate) use self::judge::JudgeCard;
use self::worlds::{measure_judge, measure_worlds};

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct ScorecardPlan {
    pub(crate) worlds: usize,
    pub(crate) users: usize,
    /// People of training worlds, 150 of each, whose interests the baseline counts.
    pub(crate) counted: usize,
    /// First seed; neither a training seed nor one that a demo can have by default.
    pub(crate) seed: u64,
    /// Tokens of a digest.
    pub(crate) digest_budget: usize,
    /// Purchase intentions that are asked, spread over the test set; all by default.
    pub(crate) intentions: Option<usize>,
    /// The judge's thresholds are chosen so that it is right in at least this part of cases, where it can be; it
    /// is used for nothing where it is not, or where it agrees with the truth no better than chance. 0 asks nothing of it.
    pub(crate) judge_accuracy: f64,
}

/// Means over users of unseen worlds, and over questions of test sets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Scorecard {
    /// Mean of the curriculum's macro score, F1 of interests, share of valid tags and HR@30 of tags:
    /// one figure to compare stages by.
    pub(crate) score: f64,
    pub(crate) users: usize,
    /// Share of mined interests that the truth holds, by exact or half word overlap.
    pub(crate) interest_precision: f64,
    /// Share of true interests that were mined.
    pub(crate) interest_recall: f64,
    /// The same recall over those true interests that the digest supports at all.
    pub(crate) interest_recall_supported: f64,
    pub(crate) chance_precision: f64,
    /// Of a baseline that counts categories and reads no words.
    pub(crate) counts_precision: f64,
    pub(crate) counts_recall: f64,
    pub(crate) interests_per_user: f64,
    pub(crate) tags_per_user: f64,
    pub(crate) categories_per_user: f64,
    /// Share of tags in a category of the user's true needs.
    pub(crate) tag_category_precision: f64,
    /// Share of categories of the true needs that some tag names.
    pub(crate) tag_category_recall: f64,
    /// Share of proposed tags that hold all constraints.
    pub(crate) tag_valid_share: f64,
    /// Share of proposed tags that hold each constraint; of several breaches the first counts.
    pub(crate) tag_valid_by_constraint: BTreeMap<String, f64>,
    /// HR@30 of tags, all next categories.
    pub(crate) hr30: Option<Estimate>,
    /// HR@30 of tags where the next category that is new to the user counts.
    pub(crate) hr30_new_categories: Option<Estimate>,
    /// Different interest texts, and different tag texts, over all users: low where a model names the
    /// same to everyone.
    pub(crate) distinct_interests: usize,
    pub(crate) distinct_tags: usize,
    /// Parse issues over lines of both answers.
    pub(crate) parse_issue_rate: f64,
    pub(crate) completion_tokens_per_second: f64,
    /// Every subtask on held-out questions; none where the recipe has no curriculum.
    pub(crate) curriculum: Option<CurriculumScore>,
    /// The model as a judge of interests and tags; none before it has learnt to judge.
    #[serde(default)]
    pub(crate) judge: Option<JudgeCard>,
    /// Share of purchase-intention questions answered rightly (chance .25); none without the data.
    pub(crate) intention_accuracy: Option<f64>,
}

/// What is asked besides mining and tagging.
#[derive(Clone, Copy, Default)]
pub(crate) struct Questions<'a> {
    /// Held-out samples of the curriculum.
    pub(crate) curriculum: &'a [Sample],
    /// Folder of shared data with `purchase_intention`.
    pub(crate) data: Option<&'a Path>,
    /// Folder of the model that judges the answers.
    pub(crate) judge: Option<&'a Path>,
}

/// Measures the model folder `dir` with this tokenizer.
pub(crate) fn scorecard(
    dir: &Path,
    tokenizer: &Path,
    plan: &ScorecardPlan,
    questions: Questions<'_>,
) -> Result<Scorecard> {
    let engine = open(dir, tokenizer)?;
    let judge = questions.judge.map(|dir| open(dir, tokenizer)).transpose()?;
    let mut card = measure_worlds(&engine, plan, judge.as_ref())?;
    if !questions.curriculum.is_empty() {
        card.curriculum = Some(align::evaluate(&engine, questions.curriculum, 48)?);
    }
    if let Some(data) = questions.data {
        card.intention_accuracy = intention_accuracy(&engine, data, plan.intentions)?;
    }
    card.score = score(&card);
    Ok(card)
}

/// How well the model in `judge` judges the answers of the one in `dir`.
pub(crate) fn judge_card(
    (dir, judge): (&Path, &Path),
    tokenizer: &Path,
    plan: &ScorecardPlan,
) -> Result<JudgeCard> {
    measure_judge(&open(dir, tokenizer)?, &open(judge, tokenizer)?, plan)
}

/// The model in a folder, with the tokenizer of the alignment.
pub(super) fn open(dir: &Path, tokenizer: &Path) -> Result<Engine> {
    let (limits, tokenizer) = (EngineConfig::STANDARD, Tokenizer::load(tokenizer)?);
    let decoder = load_packed(dir, limits.weights, limits.window)?;
    Ok(Engine::new(decoder, tokenizer, limits)?)
}

fn score(card: &Scorecard) -> f64 {
    let (p, r) = (card.interest_precision, card.interest_recall);
    let f1 = if p + r > 0.0 { 2.0 * p * r / (p + r) } else { 0.0 };
    let curriculum = card.curriculum.as_ref().map_or(0.0, |c| c.macro_mean);
    (curriculum + f1 + card.tag_valid_share + card.hr30.map_or(0.0, |e| e.mean)) / 4.0
}
