//! Shapes of the replies; apart from the nouns of `types`, so that the API can stay when they move.

use std::time::Duration;

use serde::Serialize;
use types::{CandidateSource, Fallback, Interest, InterestSource, InterestStage, Slate, Tag};
use utoipa::ToSchema;

use crate::{ItemsPut, Recommender};

/// A slate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SlateReply {
    /// As in the header `x-request-id`; an event that answers this slate should carry it.
    request_id: String,
    /// For whom.
    user_id: String,
    /// Which models answered.
    model_version: String,
    /// Weight of the user tower that was used, 0 to 1.
    beta: f32,
    /// What the slate was made from: `history`, `session`, `tags`, `wishes` (the texts of the request),
    /// `popular`.
    signals: Vec<&'static str>,
    /// Why the slate is not what was asked for: `no_tags` and `no_words` (user tower alone), `unknown_user`
    /// (nothing is known: popular items); absent when everything answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<&'static str>,
    /// Item ids of the request that are not in the catalogue; they had no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_ids: Vec<String>,
    /// Best first.
    items: Vec<SlateItemReply>,
}

/// One place of a slate.
#[derive(Debug, Serialize, ToSchema)]
struct SlateItemReply {
    /// The id in the catalogue.
    item_id: String,
    /// Its title; may be empty.
    title: String,
    /// Its category path; may be empty.
    category: String,
    /// The score that ordered it; comparable within one channel only.
    score: f32,
    /// Which channel found it: `tag`, `wish`, `user`, `repeat` (taken before) or `popular`.
    channel: &'static str,
    /// The tag that found it, or the text of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// The interest that the tag serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    interest: Option<String>,
    /// Why this user, in one line; absent when not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl SlateReply {
    pub(super) fn new(slate: Slate, request_id: String) -> Self {
        let item = |item: types::SlateItem| {
            let channel = channel(&item.source);
            let (tag, interest) = match item.source {
                CandidateSource::Tag { tag, interest } => (Some(tag), Some(interest)),
                CandidateSource::Wish { text } => (Some(text), None),
                CandidateSource::User | CandidateSource::Repeat | CandidateSource::Popular => {
                    (None, None)
                }
            };
            SlateItemReply {
                item_id: item.item_id,
                title: item.title,
                category: item.category,
                score: item.score,
                channel,
                tag,
                interest,
                reason: item.reason,
            }
        };
        Self {
            request_id,
            user_id: slate.user_id,
            model_version: slate.model_version,
            beta: slate.beta,
            signals: slate.signals.iter().map(|signal| signal.as_str()).collect(),
            missing_ids: slate.missing_ids,
            fallback: slate.fallback.map(fallback_name),
            items: slate.items.into_iter().map(item).collect(),
        }
    }
}

/// Name of a channel in replies and metrics.
pub(super) fn channel(source: &CandidateSource) -> &'static str {
    match source {
        CandidateSource::Tag { .. } => "tag",
        CandidateSource::Wish { .. } => "wish",
        CandidateSource::User => "user",
        CandidateSource::Repeat => "repeat",
        CandidateSource::Popular => "popular",
    }
}

/// Name of a fallback in replies and metrics.
pub(super) fn fallback_name(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::NoTags => "no_tags",
        Fallback::NoWords => "no_words",
        Fallback::UnknownUser => "unknown_user",
    }
}

/// What a user is interested in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InterestsReply {
    /// As in the header `x-request-id`.
    pub(super) request_id: String,
    /// Whose.
    pub(super) user_id: String,
    /// The moment up to which behaviour was read, RFC 3339; absent when nothing was mined for this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mined_at: Option<String>,
    /// Strongest first.
    pub(super) interests: Vec<InterestReply>,
}

/// One interest.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InterestReply {
    /// In the order mined.
    id: String,
    /// In words.
    text: String,
    /// `long` or `short`.
    stage: &'static str,
    /// `listed` in the pool of interests, or `extended` by the model.
    source: &'static str,
    /// Why the model believes it.
    reason: String,
    /// Ids of the events that support it.
    evidence: Vec<String>,
}

impl From<&Interest> for InterestReply {
    fn from(interest: &Interest) -> Self {
        Self {
            id: interest.id.clone(),
            text: interest.text.clone(),
            stage: match interest.stage {
                InterestStage::Long => "long",
                InterestStage::Short => "short",
            },
            source: match interest.source {
                InterestSource::Listed => "listed",
                InterestSource::Extended => "extended",
            },
            reason: interest.reason.clone(),
            evidence: interest.evidence.clone(),
        }
    }
}

/// Kinds of product that would serve a user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TagsReply {
    /// As in the header `x-request-id`.
    pub(super) request_id: String,
    /// Whose.
    pub(super) user_id: String,
    /// Likeliest first.
    pub(super) tags: Vec<TagReply>,
}

/// One tag.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TagReply {
    /// The whole tag.
    text: String,
    /// Words that narrow the core.
    modifiers: Vec<String>,
    /// The kind of product.
    core: String,
    /// The interest that it serves.
    interest: String,
    /// Why this user.
    rationale: String,
    /// Path of its category, where the model names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
}

impl TagReply {
    pub(super) fn new(tag: &Tag, recommender: &Recommender) -> Self {
        Self {
            text: tag.text.clone(),
            modifiers: tag.modifiers.clone(),
            core: tag.core.clone(),
            interest: tag.interest.clone(),
            rationale: tag.rationale.clone(),
            category: tag.category.and_then(|category| recommender.category_path(category)),
        }
    }
}

/// What became of items that were put on sale.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ItemsReply {
    /// As in the header `x-request-id`.
    request_id: String,
    /// Items that were not there.
    added: usize,
    /// Items that were there, and changed.
    updated: usize,
    /// From the body being read until the items were kept and could be found.
    took_millis: f64,
}

impl ItemsReply {
    pub(super) fn new(request_id: String, put: ItemsPut, took: Duration) -> Self {
        let took_millis = took.as_secs_f64() * 1e3;
        Self { request_id, added: put.added, updated: put.updated, took_millis }
    }
}

/// Which version answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReloadReply {
    /// As in the header `x-request-id`.
    pub(super) request_id: String,
    /// As in every slate from now on.
    pub(super) model_version: String,
    /// Whether another one answered before.
    pub(super) swapped: bool,
}

/// State of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthReply {
    /// `live`, `ready` or `draining`.
    pub(super) status: &'static str,
}
