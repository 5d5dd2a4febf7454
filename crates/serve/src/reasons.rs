//! One line per item of a slate that says why it is there, true to the channel that found it.

use intent::{ReasonInput, template_reason};
use types::{Candidate, CandidateSource, EventType, Interaction, ItemId, Tag, Timestamp};

use crate::Reasoner;
use crate::shelf::Shelf;

/// Newest items of the history that a reason may name.
const RECENT: usize = 100;

/// Longest title that a reason quotes whole, in characters.
const TITLE_CHARS: usize = 60;

/// A reason, or what one is written from.
pub(crate) enum Draft {
    Written(String),
    Asked { interest: String, rationale: String, title: String },
}

/// What there is to say about every candidate, in order; needs the shelf, writes nothing.
///
/// Tag channel: interest, rationale and title for the writer. Wishes: the wish. User channel: the item
/// of the history that lies nearest. Repeats: how often it was taken. Popular channel: that others
/// take it.
pub(crate) fn draft(
    candidates: &[Candidate],
    tags: &[&Tag],
    history: &[Interaction],
    shelf: &Shelf,
) -> Vec<Draft> {
    let one = |candidate: &Candidate| match &candidate.source {
        CandidateSource::Tag { tag, interest } => {
            match tags.iter().find(|t| t.text == *tag && t.interest == *interest) {
                None => Draft::Written(format!("Matches {tag}")),
                Some(tag) => Draft::Asked {
                    interest: interest.clone(),
                    rationale: tag.rationale.clone(),
                    title: shelf.catalogue().item(candidate.item).title.clone(),
                },
            }
        }
        CandidateSource::Wish { text } => {
            Draft::Written(format!("For your wish: {}", shorten(text.trim())))
        }
        CandidateSource::User => Draft::Written(nearest(candidate.item, history, shelf)),
        CandidateSource::Repeat => Draft::Written(again(candidate.item, history)),
        CandidateSource::Popular => Draft::Written("Popular with other shoppers".to_owned()),
    };
    candidates.iter().map(one).collect()
}

/// The reasons: the reasoner's line where one is asked for and it has one, else the template of
/// `intent`.
pub(crate) fn write(
    drafts: &[Draft],
    now: Timestamp,
    reasoner: Option<&dyn Reasoner>,
) -> Vec<String> {
    let asked: Vec<ReasonInput<'_>> = drafts.iter().filter_map(|d| d.input(now)).collect();
    let written = reasoner.map_or_else(Vec::new, |r| r.reasons(&asked));
    let mut written = written.into_iter();
    let one = |draft: &Draft| match (draft.input(now), draft) {
        (Some(input), _) => {
            written.next().flatten().unwrap_or_else(|| template_reason(&input).text)
        }
        (None, Draft::Written(text) | Draft::Asked { title: text, .. }) => text.clone(),
    };
    drafts.iter().map(one).collect()
}

impl Draft {
    fn input(&self, now: Timestamp) -> Option<ReasonInput<'_>> {
        match self {
            Self::Written(_) => None,
            Self::Asked { interest, rationale, title } => {
                Some(ReasonInput { interest, rationale, title, now })
            }
        }
    }
}

/// How often the user took an item.
fn again(item: ItemId, history: &[Interaction]) -> String {
    let is_bought = |i: &&Interaction| i.item == item && i.event_type == EventType::Purchase;
    match history.iter().filter(is_bought).count() {
        0 => "You chose this before".to_owned(),
        1 => "You bought this before".to_owned(),
        n => format!("You bought this {n} times"),
    }
}

/// Names the item of the recent history whose vector lies nearest to the candidate's.
fn nearest(item: ItemId, history: &[Interaction], shelf: &Shelf) -> String {
    let vector = shelf.index().exact().vector(item);
    let near = |i: &Interaction| -> f32 {
        shelf.index().exact().vector(i.item).iter().zip(vector).map(|(a, b)| a * b).sum()
    };
    let titled = |i: &&Interaction| {
        i.event_type.is_positive()
            && i.item != item
            && shelf.catalogue().item(i.item).title.chars().any(char::is_alphabetic)
    };
    // the newest of equally near items: `max_by` keeps the last, the history is oldest first
    let best = history
        .iter()
        .skip(history.len().saturating_sub(RECENT))
        .filter(titled)
        .max_by(|a, b| near(a).total_cmp(&near(b)));
    match best {
        Some(i) => {
            let title = shorten(&shelf.catalogue().item(i.item).title);
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
