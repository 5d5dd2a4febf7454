//! Verdicts of people and models, in one shape.

use serde::{Deserialize, Serialize};

/// What is judged (RECGPT.md 1.1, 1.2 and 1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Interest: chosen freely, not out of need.
    Willingness,
    /// Interest: strongly supported by the history.
    Reasonableness,
    /// Tag, explanation: serves the interest.
    Relevance,
    /// Tag: agrees with profile and history.
    Consistency,
    /// Tag: not generic.
    Specificity,
    /// Tag: such a product exists.
    Validity,
    /// Explanation: invents nothing.
    Factuality,
    /// Explanation: reads well.
    Clarity,
    /// Explanation: nothing personal, nothing pushy.
    Safety,
}

impl Criterion {
    /// The name in rubrics, answers and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Willingness => "willingness",
            Self::Reasonableness => "reasonableness",
            Self::Relevance => "relevance",
            Self::Consistency => "consistency",
            Self::Specificity => "specificity",
            Self::Validity => "validity",
            Self::Factuality => "factuality",
            Self::Clarity => "clarity",
            Self::Safety => "safety",
        }
    }
}

/// Who judged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// A person, by name.
    Person(String),
    /// A model, by name and version.
    Model(String),
}

/// One verdict on one criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whose interest, tag or explanation.
    pub user_id: String,
    /// Text of what was judged.
    pub subject: String,
    /// On which criterion.
    pub criterion: Criterion,
    /// The label of the rubric.
    pub label: String,
    /// Whether the label passes.
    pub passes: bool,
    /// By whom.
    pub judge: Judge,
}
