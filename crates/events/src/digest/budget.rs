//! Budget: coarser buckets first, then the least informative lines go; never a cut line, and what
//! is left out is counted.

use serde::{Deserialize, Serialize};
use types::{DigestLine, EventType};

use super::DigestConfig;
use super::entities::{Cell, Entity, Kept};
use super::lines::{Coarseness, Group, Groups, group};
use super::tokens::Tokens;

const ITEMS_PER_PIECE: usize = 4; // a long line is split into pieces of so many items before any goes

/// What becomes of lines that do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPolicy {
    /// The published buckets; what happened longest ago goes first.
    OldestFirst,
    /// Weeks and months for days first, then the least informative lines go.
    CoarserTime,
    /// The published buckets; the least informative lines go first.
    LeastInformative,
}

impl BudgetPolicy {
    /// All, in the order of the comparison in docs/LOG.md.
    pub const ALL: [Self; 3] = [Self::OldestFirst, Self::CoarserTime, Self::LeastInformative];

    fn levels(self) -> &'static [Coarseness] {
        match self {
            Self::OldestFirst | Self::LeastInformative => &[Coarseness::Published],
            Self::CoarserTime => &Coarseness::ALL,
        }
    }
}

/// Lines within the budget.
pub(super) struct Fitted<'k, 'a> {
    pub(super) groups: Groups<'k, 'a>,
    /// Rows of `groups` with the entities that stay.
    pub(super) taken: Vec<(usize, Vec<u32>)>,
    /// Pieces left out, most informative first.
    pub(super) left_out: Vec<(usize, Vec<u32>)>,
    pub(super) coarseness: Coarseness,
    /// Tokens of the lines as published, before the budget.
    pub(super) tokens_sequence: usize,
    /// Lines as published, before the budget.
    pub(super) n_lines_sequence: u64,
    /// Tokens of the text.
    pub(super) tokens: usize,
    /// Events whose lines are left out.
    pub(super) n_dropped: u64,
}

impl Fitted<'_, '_> {
    pub(super) fn lines(&self) -> Vec<DigestLine> {
        let line = |(row, entities): &(usize, Vec<u32>)| {
            self.groups.line(&self.groups.groups[*row], entities)
        };
        self.taken.iter().map(line).collect()
    }
}

/// Fits what is kept into the budget; the count of the resulting text decides, not the estimate.
pub(super) fn fit<'k, 'a>(
    kept: &'k Kept<'a>,
    config: &DigestConfig,
    tokens: &Tokens<'_>,
) -> Fitted<'k, 'a> {
    let budget = config.budget as u64;
    let (mut tokens_sequence, mut n_lines_sequence) = (0, 0);
    let levels = config.policy.levels();
    for &coarseness in levels {
        let groups = group(kept, coarseness);
        let published = coarseness == Coarseness::Published;
        // joined text can take fewer tokens than its parts, so a miss by half is worth a count
        let estimate = || groups.groups.iter().map(|g| estimate(&groups, g, tokens)).sum::<u64>();
        if published || estimate() <= 2 * budget {
            let taken = all(&groups);
            let exact = tokens.of_lines(&groups, &taken);
            if published {
                tokens_sequence = exact;
                n_lines_sequence = groups.groups.len() as u64;
            }
            if exact <= config.budget {
                return Fitted {
                    groups,
                    taken,
                    left_out: Vec::new(),
                    coarseness,
                    tokens_sequence,
                    n_lines_sequence,
                    tokens: exact,
                    n_dropped: 0,
                };
            }
        }
    }
    let coarseness = *levels.last().expect("every policy has a level");
    let groups = group(kept, coarseness);
    let pieces = match config.policy {
        BudgetPolicy::OldestFirst => pieces(&groups, &|entity| entity.newest as f64, tokens),
        BudgetPolicy::CoarserTime | BudgetPolicy::LeastInformative => {
            pieces(&groups, &|entity| score(entity, kept), tokens)
        }
    };
    // how much the parts overstate, from a first try; the loop only ever lowers the target
    let first = select(&groups, kept, &pieces, budget);
    let exact = tokens.of_lines(&groups, &first.taken) as u64;
    let mut target = if exact < budget && exact > 0 { budget * first.used / exact } else { budget };
    loop {
        let chosen = select(&groups, kept, &pieces, target);
        let exact = tokens.of_lines(&groups, &chosen.taken);
        if exact <= config.budget {
            let Chosen { taken, left_out, n_dropped, .. } = chosen;
            let tokens = exact;
            return Fitted {
                groups,
                taken,
                left_out,
                coarseness,
                tokens_sequence,
                n_lines_sequence,
                tokens,
                n_dropped,
            };
        }
        target = target.saturating_sub((exact as u64 - budget).max(1));
    }
}

/// Everything, in the order of the groups.
pub(super) fn all(groups: &Groups<'_, '_>) -> Vec<(usize, Vec<u32>)> {
    groups.groups.iter().enumerate().map(|(row, g)| (row, g.entities.clone())).collect()
}

/// Some entities of one group.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) group: usize,
    entities: Vec<u32>,
    /// Tokens by the sum of parts.
    pub(super) tokens: u64,
    score: f64,
}

/// Pieces of all groups, those that tell most first.
pub(super) fn pieces(
    groups: &Groups<'_, '_>,
    worth: &dyn Fn(&Entity<'_>) -> f64,
    tokens: &Tokens<'_>,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (idx, group) in groups.groups.iter().enumerate() {
        let head = tokens.head(groups, group);
        let mut ranked: Vec<(f64, u32)> =
            group.entities.iter().map(|&e| (worth(groups.entity(e)), e)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable: newest first among equals
        for piece in ranked.chunks(ITEMS_PER_PIECE) {
            let items: u64 = piece.iter().map(|(_, e)| tokens.entity(groups.entity(*e)) + 1).sum();
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

/// What stays and what goes.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) taken: Vec<(usize, Vec<u32>)>,
    pub(super) left_out: Vec<(usize, Vec<u32>)>,
    pub(super) n_dropped: u64,
    /// The estimate.
    used: u64,
}

impl Chosen {
    /// Adds what was chosen of groups behind all before.
    pub(super) fn add(&mut self, other: Self) {
        self.taken.extend(other.taken);
        self.left_out.extend(other.left_out);
        self.n_dropped += other.n_dropped;
        self.used += other.used;
    }
}

/// Takes pieces by score while they fit, and joins those of one group again.
pub(super) fn select(
    groups: &Groups<'_, '_>,
    kept: &Kept<'_>,
    pieces: &[Piece],
    target: u64,
) -> Chosen {
    let mut taken: Vec<Vec<u32>> = groups.groups.iter().map(|_| Vec::new()).collect();
    let (mut used, mut n_dropped, mut left_out) = (0, 0, Vec::new());
    for piece in pieces {
        if used + piece.tokens <= target {
            used += piece.tokens;
            taken[piece.group].extend(&piece.entities);
        } else {
            n_dropped += piece.entities.iter().map(|e| groups.entity(*e).n_events).sum::<u64>();
            left_out.push((piece.group, piece.entities.clone()));
        }
    }
    let mut taken: Vec<(usize, Vec<u32>)> =
        taken.into_iter().enumerate().filter(|(_, entities)| !entities.is_empty()).collect();
    for (_, entities) in &mut taken {
        kept.newest_first(entities);
    }
    Chosen { taken, left_out, n_dropped, used }
}

/// How much an entity tells: weight of the behaviour, recency (half after a year, never below a
/// fifth), and the logarithm of how often.
pub(super) fn score(entity: &Entity<'_>, kept: &Kept<'_>) -> f64 {
    let of = |cell: &Cell| {
        let age = (kept.today() - i64::from(cell.day)).max(0) as f64;
        let recency = 0.5_f64.powf(age / 365.0).max(0.2);
        weight(cell.kind) * recency * (1.0 + cell.n as f64).ln()
    };
    kept.cells(entity).iter().map(of).sum()
}

/// What one act of a kind tells.
pub(super) fn weight(behaviour: EventType) -> f64 {
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
fn estimate(groups: &Groups<'_, '_>, group: &Group, tokens: &Tokens<'_>) -> u64 {
    let items: u64 = group.entities.iter().map(|&e| tokens.entity(groups.entity(e)) + 1).sum();
    tokens.head(groups, group) + items + 1
}
