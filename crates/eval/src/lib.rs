//! Metrics, splits, statistics and the report of a run.
//!
//! Every metric is a pure function of (truth, ranked list) or of exposure counts, with its formula in
//! the doc. This crate trains nothing, recommends nothing and reads no log: it is handed lists.

mod error;

mod category;
mod exposure;
mod ranking;

mod interests;
mod judge;
mod splits;
mod stats;

mod harness;

mod report;

pub use crate::category::{
    CategoryCase, CategoryHitReport, category_diversity, category_hit, category_hit_rate,
    category_hit_report, novelty, pairwise_category_diversity, popular_categories,
    recent_categories,
};
pub use crate::error::EvalError;
pub use crate::exposure::{
    GroupExposure, PopularityGroup, PopularityRanking, count_exposure, coverage,
    exposure_by_popularity_group, gini, tail_share,
};
pub use crate::harness::{
    Difference, EvalConfig, EvalSet, EvalUser, Evaluation, System, SystemMetrics, TruthRule,
    evaluate,
};
pub use crate::interests::{InterestMatch, content_words, interest_match, interests_agree};
pub use crate::judge::{CalibrationBin, JudgeReport, MIN_KAPPA, Verdict, best_threshold};
pub use crate::ranking::{hit_rate_at, mrr, ndcg_at, precision_at, recall_at};
pub use crate::report::{
    BreachCount, CompressionSection, DigestFacts, EvaluationSection, ExtraSection, Floor,
    HeavyUser, InputSection, IntentSection, IssueCount, LevelTokens, MappedType, REPORT_VERSION,
    RejectReason, Report, RunInfo, Segment, Series, ShownItem, ShownUser, SourceFile, StepTime,
    SweepPoint, Timings, Trace, TraceStep, TrainingCurve, render_page,
};
pub use crate::splits::{LeaveOneOut, Split, by_time, leave_one_out};
pub use crate::stats::{
    BootstrapConfig, Estimate, PairedDifference, bootstrap_mean, mean_and_se, mean_of_runs,
    paired_bootstrap, paired_ratio,
};
