//! One line per item of a slate that says why it is there, true to the channel that found it.

use intent::{ReasonInput, template_reason};
use types::{Candidate, CandidateSource, EventType, Interaction, ItemId, Tag};

use crate::Reasoner;
use crate::recommender::Artefacts;

/// Newest items of the history that a reason may name.
const RECENT: usize = 100;

/// Longest title that a reason quotes whole, in characters.
const TITLE_CHARS: usize = 60;

/// A reason for every candidate, in order.
///
/// Tag channel: the reasoner's line for (interest, rationale, title), or the template of `intent`. User
/// channel: the item of the history that lies nearest. Popular channel: that others take it.
pub(crate) fn explain(
    candidates: &[Candidate],
    tags: &[Tag],
    history: &[Interaction],
    parts: &Artefacts,
    reasoner: Option<&dyn Reasoner>,
) -> Vec<Option<String>> {
    let inputs: Vec<Option<ReasonInput<'_>>> =
        candidates.iter().map(|c| tag_input(c, tags, parts)).collect();
    let asked: Vec<ReasonInput<'_>> = inputs.iter().flatten().copied().collect();
    let written = reasoner.map_or_else(Vec::new, |r| r.reasons(&asked));
    let mut written = written.into_iter();
    let one = |(candidate, input): (&Candidate, &Option<ReasonInput<'_>>)| {
        Some(match (&candidate.source, input) {
            (CandidateSource::Tag { .. }, Some(input)) => {
                written.next().flatten().unwrap_or_else(|| template_reason(input).text)
            }
            (CandidateSource::Tag { tag, .. }, None) => format!("Matches {tag}"),
            (CandidateSource::User, _) => nearest(candidate.item, history, parts),
            (CandidateSource::Popular, _) => "Popular with other shoppers".to_owned(),
        })
    };
    candidates.iter().zip(&inputs).map(one).collect()
}

/// What a reason is written from, for a candidate that one of `tags` found.
fn tag_input<'a>(
    candidate: &'a Candidate,
    tags: &'a [Tag],
    parts: &'a Artefacts,
) -> Option<ReasonInput<'a>> {
    let CandidateSource::Tag { tag, interest } = &candidate.source else { return None };
    let tag = tags.iter().find(|t| t.text == *tag && t.interest == *interest)?;
    let title = &parts.catalogue.item(candidate.item).title;
    Some(ReasonInput { interest, rationale: &tag.rationale, title, now: parts.now })
}

/// Names the item of the recent history whose vector lies nearest to the candidate's.
fn nearest(item: ItemId, history: &[Interaction], parts: &Artefacts) -> String {
    let vector = parts.index.exact().vector(item);
    let near = |i: &Interaction| -> f32 {
        parts.index.exact().vector(i.item).iter().zip(vector).map(|(a, b)| a * b).sum()
    };
    let titled = |i: &&Interaction| {
        i.event_type.is_positive()
            && i.item != item
            && parts.catalogue.item(i.item).title.chars().any(char::is_alphabetic)
    };
    // the newest of equally near items: `max_by` keeps the last, the history is oldest first
    let best = history
        .iter()
        .skip(history.len().saturating_sub(RECENT))
        .filter(titled)
        .max_by(|a, b| near(a).total_cmp(&near(b)));
    match best {
        Some(i) => {
            let title = shorten(&parts.catalogue.item(i.item).title);
            match i.event_type {
                EventType::Purchase => format!("Because you bought {title}"),
                EventType::Favorite | EventType::Cart => format!("Because you saved {title}"),
                EventType::Impression
                | EventType::Click
                | EventType::DetailView
                | EventType::ReviewRead
                | EventType::Return
                | EventType::Search
                | EventType::Share
                | EventType::Dislike
                | EventType::Dwell => format!("Because you looked at {title}"),
            }
        }
        None => "Near to what you chose before".to_owned(),
    }
}

/// The title, cut after a whole word where it is long.
fn shorten(title: &str) -> String {
    if title.chars().count() <= TITLE_CHARS {
        return title.to_owned();
    }
    let cut: String = title.chars().take(TITLE_CHARS).collect();
    let whole = cut.rfind(char::is_whitespace).map_or(cut.as_str(), |end| &cut[..end]);
    format!("{}…", whole.trim_end_matches(|c: char| !c.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn long_titles_end_after_a_whole_word() {
        assert_eq!(shorten("short"), "short");
        let long = "waterproof, ".repeat(10);
        assert_eq!(shorten(&long), "waterproof, waterproof, waterproof, waterproof, waterproof…");
        assert_eq!(shorten(&"靴".repeat(80)).chars().count(), 61);
    }
}
