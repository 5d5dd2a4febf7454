//! Strict parsers: one entry per kind of answer, whatever the style of the model.

use std::collections::HashSet;

use lm::PromptStyle;
use types::{Digest, Interest, Tag, normalise_text};

use crate::issue::ParseIssue;
use crate::tag_text::CoreWords;
use crate::{json, terse};

/// Interests of an answer, strongest first, each with at least one event behind it, and all that was
/// wrong with the answer. `pool` tells listed from extended interests.
#[must_use]
pub fn parse_interests(
    style: PromptStyle,
    text: &str,
    digest: &Digest,
    pool: &[String],
) -> (Vec<Interest>, Vec<ParseIssue>) {
    let pool: HashSet<String> = pool.iter().map(|text| normalise_text(text)).collect();
    match style {
        PromptStyle::Terse => terse::parse_interests(text, digest, &pool),
        PromptStyle::Prose => json::parse_interests(text, digest, &pool),
    }
}

/// Tags of an answer in its order, and all that was wrong with it. A tag without a modifier is an
/// issue; constraints on the user's own tags are [`crate::check_tags`]' part.
#[must_use]
pub fn parse_tags(
    style: PromptStyle,
    text: &str,
    cores: &CoreWords,
) -> (Vec<Tag>, Vec<ParseIssue>) {
    match style {
        PromptStyle::Terse => terse::parse_tags(text, cores),
        PromptStyle::Prose => json::parse_tags(text, cores),
    }
}
