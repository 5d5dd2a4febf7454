//! The sections of a report, as plain data.

use serde::{Deserialize, Serialize};
use types::DigestTokens;

use crate::{CategoryHitReport, Evaluation, InterestMatch};

/// One file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its name.
    pub file: String,
    /// What it holds: `events`, `items`, `users`, `taxonomy`.
    pub kind: String,
    /// Rows read.
    pub rows: u64,
    /// Rows quarantined.
    pub rejected: u64,
}

/// How often one event type occurs, and under which name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedType {
    /// Name in the log, where a mapping was used.
    pub raw: Option<String>,
    /// Canonical name.
    pub event_type: String,
    /// Rows.
    pub rows: u64,
}

/// Why rows went to quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectReason {
    /// In words.
    pub reason: String,
    /// Rows.
    pub rows: u64,
    /// One place, `events.csv:17:3`.
    pub example: String,
}

/// What went in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct InputSection {
    /// Files read.
    pub files: Vec<SourceFile>,
    /// Event rows accepted.
    pub events: u64,
    /// Event rows quarantined.
    pub rejected: u64,
    /// Users with an event.
    pub users: u64,
    /// Items of the catalogue.
    pub items: u64,
    /// Leaf categories.
    pub categories: u64,
    /// Date of the first event; `None` where the log has order only.
    pub first: Option<String>,
    /// Date of the last event.
    pub last: Option<String>,
    /// Date of the cut between training and evaluation, or the split in words.
    pub cut: Option<String>,
    /// Event types, most frequent first.
    pub event_types: Vec<MappedType>,
    /// Reasons of rejection, most frequent first.
    pub rejects: Vec<RejectReason>,
}

/// Tokens after one level of the digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelTokens {
    /// Name of the level: `raw item behaviour sequence budget`.
    pub level: String,
    /// Mean per user.
    pub mean: f64,
    /// Median per user.
    pub median: f64,
    /// Highest of any user.
    pub max: u64,
    /// `1 - total / total of the level before`; 0 for the first level.
    pub reduction: f64,
}

/// The user with the longest history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeavyUser {
    /// Who.
    pub user_id: String,
    /// Events read.
    pub n_events: u64,
    /// Tokens by level.
    pub tokens: DigestTokens,
    /// First lines of the digest.
    pub excerpt: String,
}

/// How far histories were compressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct CompressionSection {
    /// Users with a digest.
    pub n_users: u64,
    /// Most events of one user.
    pub events_max: u64,
    /// Token budget of a digest.
    pub budget: u64,
    /// Levels from the raw record to the budget.
    pub levels: Vec<LevelTokens>,
    /// Share of users whose raw history fits 128K (131,072) tokens.
    pub within_128k_raw: f64,
    /// Share of users whose digest does.
    pub within_128k: f64,
    /// Events dropped by the behaviour level.
    pub dropped_behaviour: u64,
    /// Events whose lines the budget left out.
    pub dropped_budget: u64,
    /// The longest history.
    pub heavy_user: Option<HeavyUser>,
}

/// What compression of one user is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestFacts {
    /// Tokens by level.
    pub tokens: DigestTokens,
    /// Events read.
    pub n_events: u64,
    /// Events dropped by the behaviour level.
    pub dropped_behaviour: u64,
    /// Events left out by the budget.
    pub dropped_budget: u64,
}

impl CompressionSection {
    /// Tokens of the published window (RECGPT.md 1.1).
    pub const WINDOW: usize = 131_072;

    /// Measures digests; `heavy_user` is left to the caller.
    #[must_use]
    pub fn new(facts: &[DigestFacts], budget: u64) -> Self {
        let level =
            |name: &str, of: fn(&DigestTokens) -> usize, before: fn(&DigestTokens) -> usize| {
                let mut tokens: Vec<usize> = facts.iter().map(|f| of(&f.tokens)).collect();
                tokens.sort_unstable();
                let total: usize = tokens.iter().sum();
                let total_before: usize = facts.iter().map(|f| before(&f.tokens)).sum();
                LevelTokens {
                    level: name.to_owned(),
                    mean: total as f64 / facts.len().max(1) as f64,
                    median: median(&tokens),
                    max: tokens.last().map_or(0, |&t| t as u64),
                    reduction: 1.0 - ratio(total, total_before),
                }
            };
        let within = |of: fn(&DigestTokens) -> usize| {
            let n = facts.iter().filter(|f| of(&f.tokens) <= Self::WINDOW).count();
            ratio(n, facts.len())
        };
        Self {
            n_users: facts.len() as u64,
            events_max: facts.iter().map(|f| f.n_events).max().unwrap_or(0),
            budget,
            levels: vec![
                level("raw", |t| t.raw, |t| t.raw),
                level("item", |t| t.item, |t| t.raw),
                level("behaviour", |t| t.behaviour, |t| t.item),
                level("sequence", |t| t.sequence, |t| t.behaviour),
                level("budget", |t| t.budget, |t| t.sequence),
            ],
            within_128k_raw: within(|t| t.raw),
            within_128k: within(|t| t.budget),
            dropped_behaviour: facts.iter().map(|f| f.dropped_behaviour).sum(),
            dropped_budget: facts.iter().map(|f| f.dropped_budget).sum(),
            heavy_user: None,
        }
    }
}

/// How often one kind of parse issue occurred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueCount {
    /// The kind.
    pub kind: String,
    /// How often.
    pub n: u64,
    /// One of them, as the model wrote it.
    pub example: String,
}

/// How often one constraint refused a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreachCount {
    /// The constraint.
    pub constraint: String,
    /// Tags refused.
    pub n: u64,
    /// One of them, with the reason.
    pub example: String,
}

/// One user with all that was mined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ShownUser {
    /// Who.
    pub user_id: String,
    /// Attributes, such as "female, 34, Hangzhou".
    pub attributes: String,
    /// First lines of the digest.
    pub digest: String,
    /// Lines of the digest in all.
    pub digest_lines: u64,
    /// Mined interests.
    pub interests: Vec<types::Interest>,
    /// True interests, where a simulation knows them.
    pub true_interests: Vec<String>,
    /// Tags, in order.
    pub tags: Vec<types::Tag>,
    /// The slate.
    pub slate: Vec<ShownItem>,
}

/// One place of a shown slate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownItem {
    /// Title.
    pub title: String,
    /// Category path.
    pub category: String,
    /// The tag that found it; none for the user tower.
    pub tag: Option<String>,
    /// Why, in one line.
    pub reason: Option<String>,
    /// Whether the user took it after the cut.
    pub hit: bool,
}

/// Interests and tags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct IntentSection {
    /// The language model by name.
    pub model: String,
    /// Users who got interests and tags.
    pub n_users: u64,
    /// Users served by the user tower alone.
    pub n_users_without: u64,
    /// Interests, mean per user.
    pub interests_per_user: f64,
    /// Tags after the constraints, mean per user.
    pub tags_per_user: f64,
    /// Distinct categories of those tags, mean per user.
    pub categories_per_user: f64,
    /// Parse issues over lines that the model wrote.
    pub parse_issue_rate: f64,
    /// Issues by kind, most frequent first.
    pub parse_issues: Vec<IssueCount>,
    /// Refused tags by constraint, in the published order.
    pub breaches: Vec<BreachCount>,
    /// Against the truth of a simulation.
    pub truth: Option<InterestMatch>,
    /// HR@30.
    pub hit_rate: Option<CategoryHitReport>,
    /// Some users whole.
    pub users: Vec<ShownUser>,
    /// Why no user has interests, where that is so.
    pub absent_because: Option<String>,
}

/// A loss over steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingCurve {
    /// What was trained.
    pub name: String,
    /// What is measured, such as "loss per token".
    pub unit: String,
    /// (step, value).
    pub points: Vec<(u64, f64)>,
}

/// A published or given figure to hold a system against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// Whose.
    pub name: String,
    /// Which metric, such as `recall@10`.
    pub metric: String,
    /// The figure.
    pub value: f64,
    /// Where it stands.
    pub source: String,
}

/// One weight of the user tower.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// Weight of the user tower; 1 is the user tower alone.
    pub beta: f64,
    /// recall@10.
    pub recall: f64,
    /// Hit rate of categories new to the user @10.
    pub new_category_hit_rate: f64,
    /// Share of slots of the tail @10.
    pub tail_share: f64,
    /// Distinct categories over places @10.
    pub category_diversity: f64,
    /// Gini index of the exposure @10.
    #[serde(default)]
    pub gini: f64,
}

/// The same systems on a part of the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Which part, such as "new items only".
    pub name: String,
    /// Its table.
    pub evaluation: Evaluation,
}

/// Ranking metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationSection {
    /// How: split, what is left out of the lists, all items or sampled.
    pub protocol: String,
    /// The main table.
    pub main: Evaluation,
    /// Parts of it.
    pub segments: Vec<Segment>,
    /// Figures to beat.
    pub floors: Vec<Floor>,
    /// Beta sweep, beta ascending.
    pub sweep: Vec<SweepPoint>,
}

/// One step of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStep {
    /// Stage: `behaviour`, `interest`, `tag`, `item`, `reason`.
    pub stage: String,
    /// What stands there.
    pub text: String,
    /// Where it comes from: event ids, rationale, scores.
    pub detail: String,
}

/// One recommendation from behaviour line to reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Whose.
    pub user_id: String,
    /// Steps in order.
    pub steps: Vec<TraceStep>,
}

/// A small table of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraSection {
    /// Heading.
    pub title: String,
    /// One paragraph.
    pub text: String,
    /// Name and value.
    pub rows: Vec<(String, String)>,
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn median(sorted: &[usize]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2] as f64,
        n => (sorted[n / 2 - 1] + sorted[n / 2]) as f64 / 2.0,
    }
}
