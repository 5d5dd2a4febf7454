//! How many went into each step, and why some did not come out.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The steps in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncrementalStep {
    /// From events of the window to one candidate per item.
    Intake,
    /// Relevance and timeliness.
    Purification,
    /// Tag, interest and rationale, under the five constraints.
    Completion,
    /// So many per user and category.
    Balancing,
}

/// Why an event, a candidate or a tag was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Intake: the event is no turning to an item (an impression, a search, a dwell, a return).
    NotAnInteraction,
    /// Intake: the item came before.
    SameItem,
    /// Purification: sent back or disliked, and not turned to again.
    SentBack,
    /// Purification: a lone click that was left at once, or that only a neighbouring category explains.
    Accidental,
    /// Purification: no interest's evidence speaks for it.
    OffInterest,
    /// Purification: for a season that is neither the present one nor the next.
    OutOfSeason,
    /// Completion: no modifier and core word are left of its words.
    NoTag,
    /// Completion: vague, or names a brand or model that cannot be left out.
    Imprecise,
    /// Completion: clicked, bought or searched in the month before the window, or its core was bought.
    Stale,
    /// Completion: says the same as another tag.
    SameTag,
    /// Balancing: the user has enough tags.
    OverUser,
    /// Balancing: the category has enough tags of this user.
    OverCategory,
}

impl DropReason {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAnInteraction => "not an interaction",
            Self::SameItem => "same item",
            Self::SentBack => "sent back",
            Self::Accidental => "accidental",
            Self::OffInterest => "off interest",
            Self::OutOfSeason => "out of season",
            Self::NoTag => "no tag",
            Self::Imprecise => "imprecise",
            Self::Stale => "stale",
            Self::SameTag => "same tag",
            Self::OverUser => "over the user's share",
            Self::OverCategory => "over the category's share",
        }
    }
}

impl IncrementalStep {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Purification => "purification",
            Self::Completion => "completion",
            Self::Balancing => "balancing",
        }
    }
}

/// One step over all users.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepCount {
    /// How many went in.
    pub seen: usize,
    /// How many came out.
    pub kept: usize,
    /// How many were dropped for which reason; they sum to `seen - kept`.
    pub dropped: BTreeMap<DropReason, usize>,
}

/// What a window came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IncrementalReport {
    /// Users given.
    pub users: usize,
    /// Users who teach something.
    pub samples: usize,
    /// The steps that saw anything.
    pub steps: BTreeMap<IncrementalStep, StepCount>,
}

impl IncrementalReport {
    pub(super) fn keep(&mut self, step: IncrementalStep) {
        let count = self.steps.entry(step).or_default();
        count.seen += 1;
        count.kept += 1;
    }

    pub(super) fn drop(&mut self, step: IncrementalStep, reason: DropReason) {
        let count = self.steps.entry(step).or_default();
        count.seen += 1;
        *count.dropped.entry(reason).or_insert(0) += 1;
    }

    /// Keeps what has no reason against it and counts the rest.
    pub(super) fn sift<T>(
        &mut self,
        step: IncrementalStep,
        found: Result<T, DropReason>,
    ) -> Option<T> {
        match found {
            Ok(value) => {
                self.keep(step);
                Some(value)
            }
            Err(reason) => {
                self.drop(step, reason);
                None
            }
        }
    }
}

impl fmt::Display for IncrementalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} users, {} samples", self.users, self.samples)?;
        for (step, count) in &self.steps {
            writeln!(f, "{:<14} {:>8} seen {:>8} kept", step.as_str(), count.seen, count.kept)?;
            for (reason, n) in &count.dropped {
                writeln!(f, "  {:<28} {n:>8}", reason.as_str())?;
            }
        }
        Ok(())
    }
}
