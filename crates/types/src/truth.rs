//! What a simulated user really wants. Only evaluation, and the making of training data, read it.

use serde::{Deserialize, Serialize};

use crate::{InterestStage, Timestamp};

/// One interest that the simulation gave a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrueInterest {
    /// In the words of the pool, such as "hiking and trekking".
    pub text: String,
    /// How long it lasts.
    pub stage: InterestStage,
    /// Paths of the leaf categories that it draws from.
    pub categories: Vec<String>,
    /// The user's taste within it: modifiers that they prefer.
    pub modifiers: Vec<String>,
    /// From when on.
    pub from: Timestamp,
    /// Until when; open for a lasting one.
    pub until: Option<Timestamp>,
}

/// Something the user will want from a moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrueNeed {
    /// Path of the leaf category.
    pub category: String,
    /// A tag that names it: modifiers and core word.
    pub tag: String,
    /// Text of the interest it belongs to.
    pub interest: String,
    /// Why, in a few words: `goes with espresso machine`, `new baby`, `winter`, `loves hiking`.
    pub rationale: String,
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// The truth of one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTruth {
    /// Whose.
    pub user_id: String,
    /// Their own interests, strongest first; gifts for others are not among them.
    pub interests: Vec<TrueInterest>,
    /// What they want from the asked moment on, likeliest first.
    pub needs: Vec<TrueNeed>,
}
