//! Candidates, and the slate of items that is shown, with its reasons.

use serde::{Deserialize, Serialize};

use crate::ItemId;

/// Which channel found a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "channel")]
pub enum CandidateSource {
    /// The fusion of user and tag vector.
    Tag {
        /// Text of the tag.
        tag: String,
        /// Text of the interest that it serves.
        interest: String,
    },
    /// What the request says is wanted, alone or fused with the user vector.
    Wish {
        /// The text as it was given.
        text: String,
    },
    /// The user tower alone.
    User,
    /// What the user takes again.
    Repeat,
    /// What most people take.
    Popular,
}

/// An item that retrieval found; candidates have no order of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The item.
    pub item: ItemId,
    /// Fused score, `beta * user + (1 - beta) * tag`.
    pub score: f32,
    /// Score by the user tower alone.
    pub user_score: f32,
    /// Score by the tag tower, where a tag found it.
    pub tag_score: Option<f32>,
    /// Which channel.
    pub source: CandidateSource,
}

/// Why a slate is not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// No tags for this user: the user tower alone (beta = 1).
    NoTags,
    /// The language model has no words in this catalogue: the user tower alone.
    NoWords,
    /// Nothing is known of the user, and the request says nothing either: popular items.
    UnknownUser,
}

/// What a slate was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// What the log knows of the user.
    History,
    /// The last events, which the request brought.
    Session,
    /// The user's predicted tags.
    Tags,
    /// What the request says is wanted.
    Wishes,
    /// What most people take.
    Popular,
}

impl Signal {
    /// The name in replies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Session => "session",
            Self::Tags => "tags",
            Self::Wishes => "wishes",
            Self::Popular => "popular",
        }
    }
}

/// One place of a slate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlateItem {
    /// The id in the catalogue.
    pub item_id: String,
    /// Its title.
    pub title: String,
    /// Its category path.
    pub category: String,
    /// The score that ordered it.
    pub score: f32,
    /// Which channel found it.
    pub source: CandidateSource,
    /// Why this user, one line; absent when not asked for.
    pub reason: Option<String>,
}

/// The ordered list that is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slate {
    /// For whom.
    pub user_id: String,
    /// Best first.
    pub items: Vec<SlateItem>,
    /// Set when a stage could not answer.
    pub fallback: Option<Fallback>,
    /// Weight of the user tower that was used.
    pub beta: f32,
    /// What it was made from.
    pub signals: Vec<Signal>,
    /// Item ids of the request (session, exclude list) that are not in the catalogue; they had no effect.
    pub missing_ids: Vec<String>,
    /// The version of the artefacts that answered.
    pub model_version: String,
}
