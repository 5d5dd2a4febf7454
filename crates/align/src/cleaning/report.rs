//! Why something was rejected, and how often.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What is kept or rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleaningLevel {
    /// A quote or line number given as evidence.
    Quote,
    /// An interest.
    Interest,
    /// A tag.
    Tag,
    /// All that one user's answer teaches.
    Sample,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Not in the form of the answer.
    Malformed,
    /// The digest does not hold what the answer cites.
    HallucinatedEvidence,
    /// Cited from the recent clicks, which carry no events.
    NoEvents,
    /// Says the same as one before.
    Duplicate,
    /// Interest: a single action supports it.
    OneAction,
    /// Interest: all its evidence is one behaviour within few days.
    Burst,
    /// Interest: rests on goods that are bought out of need and used up.
    Necessity,
    /// Interest: bought once, and for someone that the user is not.
    Gift,
    /// Tag: serves no interest of the answer.
    ForeignInterest,
    /// Tag: its interest was rejected.
    InterestRejected,
    /// Tag: vague, or names a brand or model, or has no modifier.
    Imprecise,
    /// Tag: clicked, bought or searched in the past month.
    RecentlyBought,
    /// Tag: for a season that is neither the present one nor the next.
    Unseasonable,
    /// A judge said no.
    RefusedByJudge,
    /// Sample: the teacher gave nothing that reads.
    NoAnswer,
    /// Sample: too few interests are left.
    TooFewInterests,
    /// Sample: too few tags are left.
    TooFewTags,
    /// Sample: the tags left span too few categories.
    TooFewCategories,
    /// Sample: longer than the context window.
    TooLong,
}

impl CleaningLevel {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quote => "quote",
            Self::Interest => "interest",
            Self::Tag => "tag",
            Self::Sample => "sample",
        }
    }
}

impl RejectReason {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::HallucinatedEvidence => "hallucinated evidence",
            Self::NoEvents => "no events",
            Self::Duplicate => "duplicate",
            Self::OneAction => "one action",
            Self::Burst => "burst",
            Self::Necessity => "necessity",
            Self::Gift => "gift",
            Self::ForeignInterest => "foreign interest",
            Self::InterestRejected => "interest rejected",
            Self::Imprecise => "imprecise",
            Self::RecentlyBought => "recently bought",
            Self::Unseasonable => "unseasonable",
            Self::RefusedByJudge => "refused by the judge",
            Self::NoAnswer => "no answer",
            Self::TooFewInterests => "too few interests",
            Self::TooFewTags => "too few tags",
            Self::TooFewCategories => "too few categories",
            Self::TooLong => "too long",
        }
    }
}

/// One thing that was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Of whose answer.
    pub user_id: String,
    /// What kind of thing.
    pub level: CleaningLevel,
    /// Its text; the user's id for a sample.
    pub subject: String,
    /// Why.
    pub reason: RejectReason,
    /// What was found; may be empty.
    pub detail: String,
}

impl Rejection {
    pub(super) fn new(
        (user_id, level): (&str, CleaningLevel),
        subject: &str,
        reason: RejectReason,
        detail: String,
    ) -> Self {
        let (user_id, subject) = (user_id.to_owned(), subject.to_owned());
        Self { user_id, level, subject, reason, detail }
    }
}

/// One level over all answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LevelCount {
    /// How many there were.
    pub seen: usize,
    /// How many were kept on their own merits; those of a rejected sample count as well.
    pub kept: usize,
    /// How many were rejected for which reason; they sum to `seen - kept`.
    pub rejected: BTreeMap<RejectReason, usize>,
}

/// Counts per level.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CleaningReport {
    /// Levels that saw anything.
    pub levels: BTreeMap<CleaningLevel, LevelCount>,
}

impl CleaningReport {
    /// Share of samples kept; 0 for none.
    #[must_use]
    pub fn yield_share(&self) -> f64 {
        let samples = self.levels.get(&CleaningLevel::Sample);
        samples.map_or(0.0, |count| count.kept as f64 / count.seen.max(1) as f64)
    }

    /// Adds the counts of other answers.
    pub fn add(&mut self, other: &Self) {
        for (level, count) in &other.levels {
            let own = self.level(*level);
            own.seen += count.seen;
            own.kept += count.kept;
            for (reason, n) in &count.rejected {
                *own.rejected.entry(*reason).or_insert(0) += n;
            }
        }
    }

    pub(super) fn level(&mut self, level: CleaningLevel) -> &mut LevelCount {
        self.levels.entry(level).or_default()
    }

    pub(super) fn count(&mut self, rejections: &[Rejection]) {
        for rejection in rejections {
            let rejected = &mut self.level(rejection.level).rejected;
            *rejected.entry(rejection.reason).or_insert(0) += 1;
        }
    }
}

impl fmt::Display for CleaningReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<26}{:>9}{:>9}{:>8}", "level", "seen", "kept", "share")?;
        for (level, count) in &self.levels {
            let share = 100.0 * count.kept as f64 / count.seen.max(1) as f64;
            let LevelCount { seen, kept, .. } = count;
            writeln!(f, "{:<26}{seen:>9}{kept:>9}{share:>7.1}%", level.as_str())?;
            for (reason, n) in &count.rejected {
                writeln!(f, "  {:<24}{n:>9}", reason.as_str())?;
            }
        }
        writeln!(f, "yield {:.1}%", 100.0 * self.yield_share())
    }
}
