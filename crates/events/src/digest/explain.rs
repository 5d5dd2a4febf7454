//! Why a digest reads as it does: what each level kept and dropped, and every line with its tokens.

use types::{Digest, EventType};

use super::budget::{Fitted, score};
use super::entities::Kept;
use super::lines::Coarseness;
use super::tokens::Tokens;

/// One line, kept or dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedLine {
    /// As the model reads it, or would have read it.
    pub text: String,
    /// Its tokens, alone.
    pub tokens: usize,
    /// Events behind it.
    pub n_events: u64,
    /// How much its texts tell, in the mean: weight of the behaviour, recency and frequency.
    pub score: f64,
}

/// What each level kept and dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The digest itself.
    pub digest: Digest,
    /// Events per type: read, and of those in some line before the budget.
    pub events: Vec<(EventType, u64, u64)>,
    /// Reliable events dropped because the item's last purchase went back.
    pub n_returned: u64,
    /// How times are told in the end: `published`, `weeks`, `months` or `calendar`.
    pub time: &'static str,
    /// Lines that stay, in their order.
    pub kept: Vec<ExplainedLine>,
    /// Lines and parts of lines that the budget left out, those that tell most first.
    pub dropped: Vec<ExplainedLine>,
}

pub(super) fn explain(
    digest: Digest,
    kept: &Kept<'_>,
    fitted: &Fitted<'_, '_>,
    tokens: &Tokens<'_>,
) -> Explanation {
    let facts = kept.history.facts;
    let in_lines = |kind: EventType| -> u64 {
        let cells = kept.entities.iter().flat_map(|e| kept.cells(e));
        cells.filter(|cell| cell.kind == kind).map(|cell| cell.n).sum()
    };
    let events = EventType::ALL
        .into_iter()
        .map(|kind| (kind, facts.n_by_type[kind as usize], in_lines(kind)))
        .filter(|(_, n, _)| *n > 0)
        .collect();
    let groups = &fitted.groups;
    let line = |(row, entities): &(usize, Vec<u32>)| {
        let mut text = String::new();
        groups.write_line(&groups.groups[*row], entities, &mut text);
        let worth = entities.iter().map(|&e| score(groups.entity(e), groups.kept()));
        ExplainedLine {
            tokens: tokens.exact(&text),
            text,
            n_events: entities.iter().map(|&e| groups.entity(e).n_events).sum(),
            score: worth.sum::<f64>() / entities.len().max(1) as f64,
        }
    };
    Explanation {
        digest,
        events,
        n_returned: kept.n_returned,
        time: match fitted.coarseness {
            Coarseness::Published => "published",
            Coarseness::Weeks => "weeks",
            Coarseness::Months => "months",
            Coarseness::Calendar => "calendar",
        },
        kept: fitted.taken.iter().map(line).collect(),
        dropped: fitted.left_out.iter().map(line).collect(),
    }
}
