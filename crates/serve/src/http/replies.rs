//! Shapes of the replies; apart from the nouns of `types`, so that the API can stay when they move.

use serde::Serialize;
use types::{
    CandidateSource, Fallback, Interest, InterestSource, InterestStage, Slate, Tag, Taxonomy,
};
use utoipa::ToSchema;

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
    /// Why the slate is not what was asked for: `no_tags` and `no_words` (user tower alone), `unknown_user`
    /// (popular items); absent when everything answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<&'static str>,
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
    /// Which channel found it: `tag`, `user` or `popular`.
    channel: &'static str,
    /// The tag that found it.
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
    pub(super) fn new(slate: Slate, request_id: String, model_version: &str) -> Self {
        let item = |item: types::SlateItem| {
            let channel = channel(&item.source);
            let (tag, interest) = match item.source {
                CandidateSource::Tag { tag, interest } => (Some(tag), Some(interest)),
                CandidateSource::User | CandidateSource::Popular => (None, None),
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
            model_version: model_version.to_owned(),
            beta: slate.beta,
            fallback: slate.fallback.map(fallback_name),
            items: slate.items.into_iter().map(item).collect(),
        }
    }
}

/// Name of a channel in replies and metrics.
pub(super) fn channel(source: &CandidateSource) -> &'static str {
    match source {
        CandidateSource::Tag { .. } => "tag",
        CandidateSource::User => "user",
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
    pub(super) fn new(tag: &Tag, taxonomy: &Taxonomy) -> Self {
        let known = tag.category.filter(|c| c.idx() < taxonomy.len());
        Self {
            text: tag.text.clone(),
            modifiers: tag.modifiers.clone(),
            core: tag.core.clone(),
            interest: tag.interest.clone(),
            rationale: tag.rationale.clone(),
            category: known.map(|c| taxonomy.path(c).to_owned()),
        }
    }
}

/// State of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthReply {
    /// `live`, `ready` or `draining`.
    pub(super) status: &'static str,
}
