//! Budget: coarser buckets first, then the least informative lines go; never a cut line, and what
//! is left out is counted.

use types::{DigestLine, EventType};

use super::DigestConfig;
use super::lines::{CellRef, Coarseness, Entity, Group, Kept, group};
use super::tokens::Tokens;

const ITEMS_PER_PIECE: usize = 4; // a long line is split into pieces of so many items before any goes

/// Lines within the budget.
pub(super) struct Fitted {
    pub(super) lines: Vec<DigestLine>,
    /// Tokens of the lines as published, before the budget.
    pub(super) tokens_sequence: usize,
    /// Lines as published, before the budget.
    pub(super) n_lines_sequence: u64,
    /// Tokens of `lines` as text.
    pub(super) tokens: usize,
    /// Events whose lines are left out.
    pub(super) n_dropped: u64,
}

/// Fits what is kept into the budget; the count of the resulting text decides, not the estimate.
pub(super) fn fit(kept: &Kept<'_>, config: &DigestConfig, tokens: &Tokens<'_>) -> Fitted {
    let budget = config.budget as u64;
    let (mut sequence, mut n_lines_sequence) = (0, 0);
    for coarseness in Coarseness::ALL {
        let groups = group(kept, coarseness);
        let published = coarseness == Coarseness::Published;
        // joined text can take fewer tokens than its parts, so a miss by half is worth a count
        let estimate = || groups.iter().map(|g| estimate(g, tokens)).sum::<u64>();
        if published || estimate() <= 2 * budget {
            let lines: Vec<DigestLine> = groups.iter().map(Group::line).collect();
            let exact = tokens.exact(&text(&lines));
            if published {
                sequence = exact;
                n_lines_sequence = lines.len() as u64;
            }
            if exact <= config.budget {
                return Fitted {
                    lines,
                    tokens_sequence: sequence,
                    n_lines_sequence,
                    tokens: exact,
                    n_dropped: 0,
                };
            }
        }
    }
    let groups = group(kept, Coarseness::Months);
    let pieces = pieces(&groups, kept, tokens);
    // how much the parts overstate, from a first try; the loop only ever lowers the target
    let (lines, _, used) = select(&groups, &pieces, budget);
    let exact = tokens.exact(&text(&lines)) as u64;
    let mut target = if exact < budget && exact > 0 { budget * used / exact } else { budget };
    loop {
        let (lines, n_dropped, _) = select(&groups, &pieces, target);
        let exact = tokens.exact(&text(&lines));
        if exact <= config.budget {
            return Fitted {
                lines,
                tokens_sequence: sequence,
                n_lines_sequence,
                tokens: exact,
                n_dropped,
            };
        }
        target = target.saturating_sub((exact as u64 - budget).max(1));
    }
}

/// Some entities of one group.
struct Piece<'a, 'k> {
    group: usize,
    entities: Vec<&'k Entity<'a>>,
    tokens: u64,
    score: f64,
}

fn pieces<'a, 'k>(
    groups: &[Group<'a, 'k>],
    kept: &Kept<'_>,
    tokens: &Tokens<'_>,
) -> Vec<Piece<'a, 'k>> {
    let mut pieces = Vec::new();
    for (idx, group) in groups.iter().enumerate() {
        let head = tokens.phrase(&head(group));
        let mut ranked: Vec<(f64, &'k Entity<'a>)> =
            group.entities.iter().map(|e| (score(e, kept.today), *e)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: newest first among equals
        for piece in ranked.chunks(ITEMS_PER_PIECE) {
            let items: u64 = piece.iter().map(|(_, e)| tokens.entity(e) + 1).sum();
            pieces.push(Piece {
                group: idx,
                entities: piece.iter().map(|(_, e)| *e).collect(),
                tokens: head + items + 1,
                score: piece.iter().map(|(s, _)| s).sum::<f64>() / piece.len() as f64,
            });
        }
    }
    pieces.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.group.cmp(&b.group)));
    pieces
}

/// Takes pieces by score while they fit, and joins those of one group again; gives lines, events left
/// out, and the estimate used.
fn select<'a>(
    groups: &[Group<'a, '_>],
    pieces: &[Piece<'a, '_>],
    target: u64,
) -> (Vec<DigestLine>, u64, u64) {
    let mut taken: Vec<Vec<&Entity<'a>>> = groups.iter().map(|_| Vec::new()).collect();
    let (mut used, mut n_dropped) = (0, 0);
    for piece in pieces {
        if used + piece.tokens <= target {
            used += piece.tokens;
            taken[piece.group].extend(&piece.entities);
        } else {
            n_dropped += piece.entities.iter().map(|e| e.n_events).sum::<u64>();
        }
    }
    let lines = groups.iter().zip(taken).filter(|(_, entities)| !entities.is_empty());
    let lines = lines.map(|(group, mut entities)| {
        entities.sort_by(|a, b| b.newest.cmp(&a.newest).then(a.text.cmp(&b.text)));
        Group { contexts: group.contexts.clone(), entities }.line()
    });
    (lines.collect(), n_dropped, used)
}

/// How much an entity tells: weight of the behaviour, recency (half after a year, never below a
/// fifth), and the logarithm of how often.
fn score(entity: &Entity<'_>, today: i64) -> f64 {
    let of = |cell: &CellRef<'_>| {
        let cell = cell.get();
        let age = (today - cell.day).max(0) as f64;
        let recency = 0.5_f64.powf(age / 365.0).max(0.2);
        weight(cell.behaviour) * recency * (1.0 + cell.n as f64).ln()
    };
    entity.cells.iter().map(of).sum()
}

fn weight(behaviour: EventType) -> f64 {
    match behaviour {
        EventType::Purchase => 4.0,
        EventType::Favorite => 3.0,
        EventType::Cart | EventType::Search => 2.5,
        EventType::ReviewRead => 2.0,
        EventType::DetailView => 1.5,
        EventType::Click => 1.0,
        EventType::Impression
        | EventType::Return
        | EventType::Share
        | EventType::Dislike
        | EventType::Dwell => 0.0,
    }
}

/// Sum of the parts: contexts, items with a separator each, the end of the line.
fn estimate(group: &Group<'_, '_>, tokens: &Tokens<'_>) -> u64 {
    let items: u64 = group.entities.iter().map(|e| tokens.entity(e) + 1).sum();
    tokens.phrase(&head(group)) + items + 1
}

/// The contexts as a line prints them.
fn head(group: &Group<'_, '_>) -> String {
    let line = DigestLine {
        contexts: group.contexts.clone(),
        items: Vec::new(),
        evidence: Vec::new(),
        n_events: 0,
    };
    line.to_string().trim_end_matches('|').to_owned()
}

/// The lines as the model reads them, as `Digest::text` joins them.
fn text(lines: &[DigestLine]) -> String {
    lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
