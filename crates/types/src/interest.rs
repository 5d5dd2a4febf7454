//! What a user is interested in, in words, with the events that support it.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How long an interest lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterestStage {
    /// Lasting.
    Long,
    /// Of the moment: an event of life, a season, a gift.
    Short,
}

/// Where the words come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterestSource {
    /// From the preset pool of interests.
    Listed,
    /// New words of the model.
    Extended,
}

/// One mined interest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interest {
    /// `interest_01`, in the order mined.
    pub id: String,
    /// The interest in words.
    pub text: String,
    /// How long it lasts.
    pub stage: InterestStage,
    /// Whether the pool listed it.
    pub source: InterestSource,
    /// Why the model believes it; quotes the digest.
    pub reason: String,
    /// Ids of events that support it.
    pub evidence: Vec<String>,
}

/// All interests of one user at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterestProfile {
    /// Whose.
    pub user_id: String,
    /// The cut-off of the digest that was read.
    pub now: Timestamp,
    /// Strongest first.
    pub interests: Vec<Interest>,
}
