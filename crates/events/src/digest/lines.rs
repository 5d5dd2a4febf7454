//! Sequence level: grouped by (time, behaviour) and inverted, from one entity's contexts to the
//! entities that share them.
//!
//! A context atom is a number: bucket, behaviour, query, in the order in which a line writes them.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::OnceLock;

use ahash::AHashMap;
use types::{DigestContext, DigestLine, EventType, TimeBucket, Timestamp};

use super::entities::{Entity, Kept};
use super::facts::NONE;
use super::memory::block;

/// Most event ids that a line keeps as evidence.
pub(super) const MOST_EVIDENCE: usize = 16;

const QUERY_BITS: u32 = 32;
const KIND_BITS: u32 = 4;

/// How far apart two moments must be to be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coarseness {
    /// Days within a month, months within a year, years beyond: as published.
    Published,
    /// Days within a week, weeks, months up to two, quarters.
    Weeks,
    /// Days within a week, then one month, one year, up to three years.
    Months,
    /// Past years, past months of this year, days: by the calendar, see [`super::memory`].
    Calendar,
}

impl Coarseness {
    pub(super) const ALL: [Self; 3] = [Self::Published, Self::Weeks, Self::Months];
}

/// The bucket of a day, seen so many days later; by the calendar the published one.
pub(super) fn bucket(days_ago: i64, coarseness: Coarseness) -> TimeBucket {
    let days = u16::try_from(days_ago.clamp(0, 30_000)).expect("clamped to a u16");
    let published = match days {
        0..30 => TimeBucket::Day(days),
        30..365 => TimeBucket::Month(days / 30),
        _ => TimeBucket::Year(days / 365),
    };
    match (coarseness, published) {
        (Coarseness::Published | Coarseness::Calendar, same)
        | (_, same @ TimeBucket::Day(0..7))
        | (Coarseness::Weeks, same @ (TimeBucket::Month(1..3) | TimeBucket::Year(_)))
        | (Coarseness::Months, same @ TimeBucket::Month(1)) => same,
        (Coarseness::Weeks, TimeBucket::Day(n)) => TimeBucket::Day(n / 7 * 7),
        (Coarseness::Weeks, TimeBucket::Month(n)) => TimeBucket::Month(n / 3 * 3),
        (Coarseness::Months, TimeBucket::Day(_)) => TimeBucket::Month(1),
        (Coarseness::Months, TimeBucket::Month(_)) => TimeBucket::Year(1),
        (Coarseness::Months, TimeBucket::Year(n)) => TimeBucket::Year(n.min(3)),
        (
            _,
            calendar @ (TimeBucket::CalendarYear(_)
            | TimeBucket::CalendarMonth(..)
            | TimeBucket::CalendarDay(..)),
        ) => calendar,
    }
}

/// Entities that share all their contexts.
#[derive(Debug, Clone)]
pub(super) struct Group {
    atoms: Range<u32>,
    /// Rows of [`Kept::entities`], newest first, then by text.
    pub(super) entities: Vec<u32>,
}

/// The groups of a history at one coarseness.
pub(super) struct Groups<'k, 'a> {
    kept: &'k Kept<'a>,
    atoms: Vec<u64>,
    /// Nearest context first.
    pub(super) groups: Vec<Group>,
}

/// Inverts: contexts per entity, then entities per list of contexts, nearest context first.
pub(super) fn group<'k, 'a>(kept: &'k Kept<'a>, coarseness: Coarseness) -> Groups<'k, 'a> {
    let buckets = Buckets::new(kept.now, coarseness);
    let mut atoms: Vec<u64> = Vec::with_capacity(kept.entities.len() * 2);
    let mut spans: Vec<Range<u32>> = Vec::with_capacity(kept.entities.len());
    let mut own: Vec<u64> = Vec::new();
    for entity in &kept.entities {
        own.clear();
        own.extend(kept.cells(entity).iter().map(|cell| {
            let query = if cell.query == NONE { 0 } else { kept.query_rank[cell.query as usize] };
            atom(buckets.code(cell.day), cell.kind, query)
        }));
        own.sort_unstable();
        own.dedup();
        let start = atoms.len() as u32;
        atoms.extend_from_slice(&own);
        spans.push(start..atoms.len() as u32);
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut known: AHashMap<&[u64], usize> = AHashMap::with_capacity(spans.len());
    for (entity, span) in spans.iter().enumerate() {
        let of = *known.entry(slice(&atoms, span)).or_insert_with(|| {
            groups.push(Group { atoms: span.clone(), entities: Vec::new() });
            groups.len() - 1
        });
        groups[of].entities.push(entity as u32);
    }
    groups.sort_unstable_by(|a, b| by_contexts(slice(&atoms, &a.atoms), slice(&atoms, &b.atoms)));
    for group in &mut groups {
        kept.newest_first(&mut group.entities);
    }
    Groups { kept, atoms, groups }
}

fn slice<'s>(atoms: &'s [u64], span: &Range<u32>) -> &'s [u64] {
    &atoms[span.start as usize..span.end as usize]
}

/// Codes of the buckets of recent days, looked up instead of computed.
struct Buckets {
    now: Timestamp,
    today: i64,
    /// By distance in days; empty for the calendar.
    codes: &'static [u32],
}

/// Codes of the three coarsenesses by distance.
static CODES: [OnceLock<Vec<u32>>; 3] = [const { OnceLock::new() }; 3];

/// Days before it are as far away as it is.
const FARTHEST_DAY: i64 = 30_000;

impl Buckets {
    fn new(now: Timestamp, coarseness: Coarseness) -> Self {
        let known = Coarseness::ALL.iter().position(|c| *c == coarseness);
        let codes = known.map_or(&[][..], |row| {
            CODES[row].get_or_init(|| {
                (0..=FARTHEST_DAY).map(|days| code(bucket(days, coarseness))).collect()
            })
        });
        Self { now, today: now.day(), codes }
    }

    fn code(&self, day: i32) -> u32 {
        let day = i64::from(day);
        if self.codes.is_empty() {
            return code(block(Timestamp(0).plus_days(day), self.now));
        }
        self.codes[(self.today - day).clamp(0, FARTHEST_DAY) as usize]
    }
}

const TAG: u32 = 24;
const YEAR_ZERO: i32 = 10_000; // calendar years reach down to -9999

/// A bucket as a number that sorts like it; the calendar's sort oldest first.
pub(super) fn code(bucket: TimeBucket) -> u32 {
    let months =
        |year: i16, month: i8| ((i32::from(year) + YEAR_ZERO) * 12 + i32::from(month)) as u32;
    match bucket {
        TimeBucket::Day(n) => u32::from(n),
        TimeBucket::Month(n) => 0x100 + u32::from(n),
        TimeBucket::Year(n) => 0x200 + u32::from(n),
        TimeBucket::CalendarYear(year) => 1 << TAG | (i32::from(year) + YEAR_ZERO) as u32,
        TimeBucket::CalendarMonth(year, month) => 2 << TAG | months(year, month),
        TimeBucket::CalendarDay(year, month, day) => {
            3 << TAG | (months(year, month) * 32 + day as u32)
        }
    }
}

/// The bucket of a code.
pub(super) fn bucket_of(code: u32) -> TimeBucket {
    let value = code & ((1 << TAG) - 1);
    let year = |months: u32| ((months - 1) / 12) as i32 - YEAR_ZERO;
    let month = |months: u32| ((months - 1) % 12 + 1) as i8;
    match (code >> TAG, value) {
        (0, 0..0x100) => TimeBucket::Day(value as u16),
        (0, 0x100..0x200) => TimeBucket::Month((value - 0x100) as u16),
        (0, _) => TimeBucket::Year((value - 0x200) as u16),
        (1, _) => TimeBucket::CalendarYear((value as i32 - YEAR_ZERO) as i16),
        (2, _) => TimeBucket::CalendarMonth(year(value) as i16, month(value)),
        _ => {
            let (months, day) = (value / 32, value % 32);
            TimeBucket::CalendarDay(year(months) as i16, month(months), day as i8)
        }
    }
}

fn atom(bucket: u32, kind: EventType, query: u32) -> u64 {
    let kind = u64::from(kind as u8);
    (u64::from(bucket) << (KIND_BITS + QUERY_BITS)) | (kind << QUERY_BITS) | u64::from(query)
}

fn bucket_bits(atom: u64) -> u64 {
    atom >> (KIND_BITS + QUERY_BITS)
}

/// The order of lists of contexts, each a bucket with a list of behaviours: where one list of behaviours
/// ends and the other goes on, the shorter one is less.
fn by_contexts(a: &[u64], b: &[u64]) -> Ordering {
    let Some(at) = a.iter().zip(b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let (x, y) = (bucket_bits(a[at]), bucket_bits(b[at]));
    let before = at.checked_sub(1).map(|at| bucket_bits(a[at]));
    match (x == y, before) {
        (true, _) => a[at].cmp(&b[at]),
        (false, Some(open)) if open == x => Ordering::Greater,
        (false, Some(open)) if open == y => Ordering::Less,
        (false, _) => x.cmp(&y),
    }
}

impl Kept<'_> {
    /// Newest first, then by text.
    pub(super) fn newest_first(&self, entities: &mut [u32]) {
        let of = |row: &u32| &self.entities[*row as usize];
        entities.sort_unstable_by(|a, b| {
            let (a, b) = (of(a), of(b));
            b.newest.cmp(&a.newest).then_with(|| a.text.cmp(&b.text))
        });
    }
}

impl<'a> Groups<'_, 'a> {
    pub(super) fn kept(&self) -> &Kept<'a> {
        self.kept
    }

    pub(super) fn entity(&self, row: u32) -> &Entity<'a> {
        &self.kept.entities[row as usize]
    }

    /// Appends the contexts as a line prints them, without the bar behind.
    pub(super) fn write_head(&self, group: &Group, out: &mut String) {
        let mut first = true;
        for (bucket, kind, query, opens) in self.atoms(group) {
            if opens {
                out.push_str(if first { "" } else { ")," });
                push_bucket(bucket_of(bucket), out);
                out.push('(');
            } else {
                out.push(',');
            }
            first = false;
            out.push_str(kind.digest_word());
            if let Some(query) = query {
                out.push(':');
                out.push_str(query);
            }
        }
        out.push(')');
    }

    /// The first bucket of a group.
    pub(super) fn bucket(&self, group: &Group) -> TimeBucket {
        bucket_of(bucket_bits(self.atoms[group.atoms.start as usize]) as u32)
    }

    /// Bucket, kind and query of every atom, and whether it opens a context.
    pub(super) fn atoms(
        &self,
        group: &Group,
    ) -> impl Iterator<Item = (u32, EventType, Option<&str>, bool)> {
        let mut open = None;
        slice(&self.atoms, &group.atoms).iter().map(move |&atom| {
            let bucket = bucket_bits(atom) as u32;
            let opens = open.replace(bucket) != Some(bucket);
            let (kind, query) = parts(atom);
            let query = (query > 0).then(|| {
                let query = self.kept.query_order[query as usize - 1];
                self.kept.history.queries[query as usize]
            });
            (bucket, kind, query, opens)
        })
    }

    /// Appends the line of some entities of a group.
    pub(super) fn write_line(&self, group: &Group, entities: &[u32], out: &mut String) {
        self.write_head(group, out);
        out.push('|');
        for (idx, &entity) in entities.iter().enumerate() {
            if idx > 0 {
                out.push(';');
            }
            out.push_str(&self.entity(entity).text);
        }
    }

    /// The line of some entities of a group, in their order.
    pub(super) fn line(&self, group: &Group, entities: &[u32]) -> DigestLine {
        let ids = self.kept.history.ids;
        let of = entities.iter().map(|&e| self.entity(e));
        let mut evidence: Vec<u32> =
            of.clone().flat_map(|e| self.kept.events(e).iter().copied()).collect();
        evidence.sort_unstable_by(|a, b| b.cmp(a));
        evidence.dedup();
        let n_events: u64 = of.clone().map(|e| e.n_events).sum();
        DigestLine {
            contexts: self.contexts(group),
            items: of.map(|e| e.text.clone().into_owned()).collect(),
            evidence: evidence
                .into_iter()
                .take(MOST_EVIDENCE)
                .map(|row| ids.id(row).to_owned())
                .collect(),
            n_events: u32::try_from(n_events).unwrap_or(u32::MAX),
        }
    }

    fn contexts(&self, group: &Group) -> Vec<DigestContext> {
        let atoms = slice(&self.atoms, &group.atoms);
        let query_of = |rank: u32| {
            let query = self.kept.query_order[rank as usize - 1];
            self.kept.history.queries[query as usize].to_owned()
        };
        atoms
            .chunk_by(|a, b| bucket_bits(*a) == bucket_bits(*b))
            .map(|same| DigestContext {
                bucket: bucket_of(bucket_bits(same[0]) as u32),
                behaviours: same
                    .iter()
                    .map(|&atom| {
                        let (kind, query) = parts(atom);
                        (kind, (query > 0).then(|| query_of(query)))
                    })
                    .collect(),
            })
            .collect()
    }
}

/// Appends a bucket as its `Display` writes it; nearly all lie less than a hundred units back.
fn push_bucket(bucket: TimeBucket, out: &mut String) {
    let known = match bucket {
        TimeBucket::Day(n) => Some((n, "d")),
        TimeBucket::Month(n) => Some((n, "mo")),
        TimeBucket::Year(n) => Some((n, "y")),
        TimeBucket::CalendarYear(_)
        | TimeBucket::CalendarMonth(..)
        | TimeBucket::CalendarDay(..) => None,
    };
    let Some((n, unit)) = known.filter(|(n, _)| *n < 100) else {
        let _ = write!(out, "{bucket}");
        return;
    };
    let digit = |n: u16| char::from(b'0' + n as u8);
    if n >= 10 {
        out.push(digit(n / 10));
    }
    out.push(digit(n % 10));
    out.push_str(unit);
}

/// Kind and place of the query of an atom.
fn parts(atom: u64) -> (EventType, u32) {
    let kind = (atom >> QUERY_BITS) & ((1 << KIND_BITS) - 1);
    (EventType::ALL[kind as usize], atom as u32)
}
