//! A kind of product in open text, "modifier + core word", and the constraints on it.

use serde::{Deserialize, Serialize};

use crate::CategoryId;

/// One predicted tag, such as "waterproof non-slip hiking boots".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The whole tag.
    pub text: String,
    /// Words that narrow the core.
    pub modifiers: Vec<String>,
    /// The kind of product.
    pub core: String,
    /// Text of the interest that it serves.
    pub interest: String,
    /// Why this user, in the model's words.
    pub rationale: String,
    /// What the Tag-to-Category model says.
    pub category: Option<CategoryId>,
}

/// The five constraints on tags (RECGPT.md 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagConstraint {
    /// Serves an interest of the user's own.
    InterestConsistency,
    /// At least 50 tags over at least 8 categories, none twice.
    Diversity,
    /// Modifier and core word; no vague word, no brand or model.
    SemanticPrecision,
    /// Nothing clicked, bought or searched in the past month.
    Freshness,
    /// Fits the date.
    Season,
}

impl TagConstraint {
    /// All five, in the published order.
    pub const ALL: [Self; 5] = [
        Self::InterestConsistency,
        Self::Diversity,
        Self::SemanticPrecision,
        Self::Freshness,
        Self::Season,
    ];

    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InterestConsistency => "interest_consistency",
            Self::Diversity => "diversity",
            Self::SemanticPrecision => "semantic_precision",
            Self::Freshness => "freshness",
            Self::Season => "season",
        }
    }
}

/// A tag that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConstraintBreach {
    /// Text of the tag; empty when the breach is of the whole list.
    pub tag: String,
    /// Which constraint.
    pub constraint: TagConstraint,
    /// In words, naming what was found.
    pub detail: String,
}

/// Lower case, one space between words, no punctuation at the ends: how texts are compared.
#[must_use]
pub fn normalise_text(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split_whitespace().map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()));
    words.filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::normalise_text;

    #[test]
    fn normalised_texts_compare_equal() {
        assert_eq!(normalise_text("  Non-slip  Hiking-Boots! "), "non-slip hiking-boots");
        assert_eq!(normalise_text("户外 防滑"), "户外 防滑");
        assert_eq!(normalise_text(" - "), "");
    }
}
