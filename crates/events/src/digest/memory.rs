//! An order of lines that changes only at its end, so that the beginning of a user's prompt stays the
//! same from one day to the next and a serving engine's prefix cache knows it.
//!
//! Oldest first, by the calendar instead of by distance: one block per past year, then one per past
//! month of this year, then one per day. A block whose time is over never changes again. What does not
//! fit is folded within its block: each keeps what tells most, by a score that does not age.

use types::{TimeBucket, Timestamp};

use super::DigestConfig;
use super::budget::{Chosen, Fitted, Piece, all, pieces, select};
use super::entities::{Cell, Entity, Kept};
use super::lines::{Coarseness, Groups, code, group};
use super::tokens::Tokens;

/// Shares of the budget: all past years together, one month, one day. Eleven months and 31 days are
/// within what the years leave.
const YEARS: f64 = 0.5;
const MONTH: f64 = 1.0 / 48.0;
const DAY: f64 = 1.0 / 124.0;

/// The block of a moment as seen from `now`.
pub(super) fn block(time: Timestamp, now: Timestamp) -> TimeBucket {
    let (date, today) = (time.date(), now.date());
    if date.year() < today.year() {
        TimeBucket::CalendarYear(date.year())
    } else if date.month() < today.month() && date.year() == today.year() {
        TimeBucket::CalendarMonth(date.year(), date.month())
    } else {
        TimeBucket::CalendarDay(date.year(), date.month(), date.day())
    }
}

/// What is kept, an entity for every block in which its text stands.
pub(super) fn by_calendar<'a>(kept: &Kept<'a>) -> Kept<'a> {
    let mut split = kept.without_entities();
    for entity in &kept.entities {
        let mut cells: Vec<(u32, Cell)> = kept
            .cells(entity)
            .iter()
            .map(|&cell| {
                let day = Timestamp(0).plus_days(i64::from(cell.day));
                (code(block(day, kept.now)), cell)
            })
            .collect();
        cells.sort_by_key(|(block, _)| *block);
        let ids = kept.history.ids;
        let mut events: Vec<(u32, u32)> = kept
            .events(entity)
            .iter()
            .map(|&event| (code(block(Timestamp(ids.time(event)), kept.now)), event))
            .collect();
        events.sort_by_key(|(block, _)| *block);
        for part in cells.chunk_by(|a, b| a.0 == b.0) {
            let from = events.partition_point(|(block, _)| *block < part[0].0);
            let to = events.partition_point(|(block, _)| *block <= part[0].0);
            split.add_part(
                entity,
                part.iter().map(|(_, c)| *c),
                events[from..to].iter().map(|e| e.1),
            );
        }
    }
    split
}

/// Fits blocks into the budget, each into its own share where not all of them fit whole.
pub(super) fn fit<'k, 'a>(
    kept: &'k Kept<'a>,
    config: &DigestConfig,
    tokens: &Tokens<'_>,
) -> Fitted<'k, 'a> {
    let groups = group(kept, Coarseness::Calendar);
    let taken = all(&groups);
    let whole = tokens.of_lines(&groups, &taken);
    let n_lines_sequence = groups.groups.len() as u64;
    let mut fitted = Fitted {
        groups,
        taken,
        left_out: Vec::new(),
        coarseness: Coarseness::Calendar,
        tokens_sequence: whole,
        n_lines_sequence,
        tokens: whole,
        n_dropped: 0,
    };
    if whole <= config.budget {
        return fitted;
    }
    let pieces = pieces(&fitted.groups, &|entity| timeless(entity, kept), tokens);
    let mut scale = 1.0;
    loop {
        let chosen = fold(&fitted.groups, kept, &pieces, config.budget as f64 * scale);
        let exact = tokens.of_lines(&fitted.groups, &chosen.taken);
        if exact <= config.budget {
            fitted.taken = chosen.taken;
            fitted.left_out = chosen.left_out;
            fitted.n_dropped = chosen.n_dropped;
            fitted.tokens = exact;
            return fitted;
        }
        scale = if scale < 0.01 { 0.0 } else { scale * 0.9 }; // joined texts took more than their parts
    }
}

/// Every block's pieces within its share of `budget` tokens.
fn fold(groups: &Groups<'_, '_>, kept: &Kept<'_>, pieces: &[Piece], budget: f64) -> Chosen {
    let block_of = |piece: &Piece| groups.bucket(&groups.groups[piece.group]);
    let mut blocks: std::collections::BTreeMap<TimeBucket, Vec<Piece>> = Default::default();
    for piece in pieces {
        blocks.entry(block_of(piece)).or_default().push(piece.clone());
    }
    let is_year = |block: &TimeBucket| matches!(block, TimeBucket::CalendarYear(_));
    let years: Vec<u64> = blocks
        .iter()
        .filter(|(block, _)| is_year(block))
        .map(|(_, pieces)| pieces.iter().map(|p| p.tokens).sum())
        .collect();
    let year = level(&years, (budget * YEARS) as u64);
    let mut all = Chosen::default();
    for (block, pieces) in &blocks {
        let share = match block {
            TimeBucket::CalendarYear(_) => year,
            TimeBucket::CalendarMonth(..) => (budget * MONTH) as u64,
            TimeBucket::CalendarDay(..)
            | TimeBucket::Day(_)
            | TimeBucket::Month(_)
            | TimeBucket::Year(_) => (budget * DAY) as u64,
        };
        all.add(select(groups, kept, pieces, share));
    }
    all
}

/// The height to which all must be cut so that they fit together.
fn level(sizes: &[u64], budget: u64) -> u64 {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    let mut left = budget;
    for (idx, &size) in sizes.iter().enumerate() {
        let each = left / (sizes.len() - idx) as u64;
        if size > each {
            return each;
        }
        left -= size;
    }
    budget
}

/// What an entity tells, whenever it is asked.
fn timeless(entity: &Entity<'_>, kept: &Kept<'_>) -> f64 {
    let of = |cell: &Cell| super::budget::weight(cell.kind) * (1.0 + cell.n as f64).ln();
    kept.cells(entity).iter().map(of).sum()
}
