//! Behaviour level and sequence level: what is kept, grouped by (time, behaviour) and inverted.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use types::{DigestContext, DigestLine, EventType, ItemId, TimeBucket, Timestamp};

use super::state::{Cell, DigestState, MOST_EVIDENCE};
use super::{DigestConfig, ItemCores};

const RECENT_DAYS: i64 = 30;
const SEPARATORS: [char; 3] = ['|', ';', '\n'];

/// What the behaviour level keeps.
pub(super) struct Kept<'a> {
    /// By text, in alphabetical order.
    pub(super) entities: Vec<Entity<'a>>,
    /// Events behind them.
    pub(super) n_events: u64,
    pub(super) today: i64,
}

/// A text that stands in a line: core words (of one or several items) or a query.
pub(super) struct Entity<'a> {
    pub(super) text: Cow<'a, str>,
    /// A row of the catalogue with this text, where there is one.
    pub(super) item: Option<ItemId>,
    pub(super) cells: Vec<CellRef<'a>>,
    pub(super) n_events: u64,
    pub(super) newest: Timestamp,
}

/// A cell, owned where it was made for this digest.
pub(super) enum CellRef<'a> {
    Stored(&'a Cell),
    Made(Cell),
}

impl CellRef<'_> {
    pub(super) fn get(&self) -> &Cell {
        match self {
            Self::Stored(cell) => cell,
            Self::Made(cell) => cell,
        }
    }
}

/// Keeps reliable behaviour; with too little of it, also items clicked at least twice. An item
/// whose last purchase went back is left out.
pub(super) fn keep_reliable<'a>(
    state: &'a DigestState,
    config: &DigestConfig,
    cores: &'a ItemCores,
) -> Kept<'a> {
    let reliable = |kind: &EventType| kind.is_reliable();
    let n_reliable: u64 =
        state.n_by_type.iter().filter(|(kind, _)| reliable(kind)).map(|(_, n)| n).sum();
    let few = n_reliable < config.min_reliable;
    let mut by_text: BTreeMap<Cow<'a, str>, (Option<ItemId>, Vec<CellRef<'a>>)> = BTreeMap::new();
    for (item_id, facts) in &state.items {
        if facts.returned {
            continue;
        }
        let clicks = few && facts.n_clicks >= 2;
        let kept = facts
            .cells
            .iter()
            .filter(|c| reliable(&c.behaviour) || clicks && c.behaviour == EventType::Click);
        let mut kept = kept.map(CellRef::Stored).peekable();
        if kept.peek().is_some() {
            let item = cores.find(item_id);
            let text = text_of(item_id, item, cores);
            let entry = by_text.entry(text).or_insert((item, Vec::new()));
            entry.0 = entry.0.or(item);
            entry.1.extend(kept);
        }
    }
    for (query, facts) in &state.queries {
        if !facts.cells.is_empty() {
            let entry = by_text.entry(Cow::Borrowed(query)).or_default();
            entry.1.extend(facts.cells.iter().map(CellRef::Stored));
        }
    }
    for (query, cell) in state.open_searches() {
        by_text.entry(Cow::Borrowed(query)).or_default().1.push(CellRef::Made(cell));
    }
    let entities: Vec<Entity<'a>> = by_text
        .into_iter()
        .map(|(text, (item, cells))| Entity {
            text,
            item,
            n_events: cells.iter().map(|c| c.get().n).sum(),
            newest: cells
                .iter()
                .filter_map(|c| c.get().newest.last().map(|(time, _)| *time))
                .max()
                .unwrap_or_default(),
            cells,
        })
        .collect();
    let n_events = entities.iter().map(|e| e.n_events).sum();
    Kept { entities, n_events, today: config.now.day() }
}

/// Texts of what was clicked, bought, otherwise taken up, or searched within 30 days; newest first.
pub(super) fn recent(state: &DigestState, now: Timestamp, cores: &ItemCores) -> Vec<String> {
    let items = state
        .items
        .iter()
        .filter_map(|(id, facts)| Some((facts.last_positive?, text_of(id, cores.find(id), cores))));
    let queries = state.queries.iter().map(|(query, f)| (f.last, Cow::Borrowed(query.as_str())));
    let mut all: Vec<(Timestamp, Cow<'_, str>)> =
        items.chain(queries).filter(|(time, _)| now.day() - time.day() < RECENT_DAYS).collect();
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let mut seen = BTreeSet::new();
    let all = all.into_iter().map(|(_, text)| text.into_owned());
    all.filter(|text| seen.insert(text.clone())).collect()
}

/// Core words of an item; its id, without separators, where the catalogue lacks it.
fn text_of<'a>(item_id: &'a str, item: Option<ItemId>, cores: &'a ItemCores) -> Cow<'a, str> {
    match item {
        Some(id) => Cow::Borrowed(cores.of(id)),
        None if item_id.contains(SEPARATORS) => Cow::Owned(item_id.replace(SEPARATORS, " ")),
        None => Cow::Borrowed(item_id),
    }
}

/// How far apart two moments must be to be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Coarseness {
    /// Days within a month, months within a year, years beyond: as published.
    Published,
    /// Days within a week, weeks, months up to two, quarters.
    Weeks,
    /// Days within a week, then one month, one year, up to three years.
    Months,
}

impl Coarseness {
    pub(super) const ALL: [Self; 3] = [Self::Published, Self::Weeks, Self::Months];
}

/// The bucket of a day.
pub(super) fn bucket(days_ago: i64, coarseness: Coarseness) -> TimeBucket {
    let days = u16::try_from(days_ago.clamp(0, 30_000)).expect("clamped to a u16");
    let published = match days {
        0..30 => TimeBucket::Day(days),
        30..365 => TimeBucket::Month(days / 30),
        _ => TimeBucket::Year(days / 365),
    };
    match (coarseness, published) {
        (Coarseness::Published, same)
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
pub(super) struct Group<'a, 'k> {
    pub(super) contexts: Vec<DigestContext>,
    /// Newest first, then by text.
    pub(super) entities: Vec<&'k Entity<'a>>,
}

/// Inverts: contexts per entity, then entities per list of contexts, nearest context first.
pub(super) fn group<'a, 'k>(kept: &'k Kept<'a>, coarseness: Coarseness) -> Vec<Group<'a, 'k>> {
    let mut groups: BTreeMap<Vec<DigestContext>, Vec<&Entity<'a>>> = BTreeMap::new();
    for entity in &kept.entities {
        let mut contexts: BTreeMap<TimeBucket, BTreeSet<(EventType, Option<&str>)>> =
            BTreeMap::new();
        for cell in entity.cells.iter().map(CellRef::get) {
            let time = bucket(kept.today - cell.day, coarseness);
            let behaviours = contexts.entry(time).or_default();
            behaviours.insert((cell.behaviour, cell.query.as_deref()));
        }
        let contexts = contexts.into_iter().map(|(bucket, behaviours)| DigestContext {
            bucket,
            behaviours: behaviours.into_iter().map(|(b, q)| (b, q.map(str::to_owned))).collect(),
        });
        groups.entry(contexts.collect()).or_default().push(entity);
    }
    groups
        .into_iter()
        .map(|(contexts, mut entities)| {
            entities.sort_by(|a, b| b.newest.cmp(&a.newest).then(a.text.cmp(&b.text)));
            Group { contexts, entities }
        })
        .collect()
}

impl Group<'_, '_> {
    /// The line of these entities.
    pub(super) fn line(&self) -> DigestLine {
        let mut evidence: Vec<&(Timestamp, String)> = self
            .entities
            .iter()
            .flat_map(|e| e.cells.iter().flat_map(|c| &c.get().newest))
            .collect();
        evidence.sort_by(|a, b| b.cmp(a));
        evidence.dedup();
        let n_events: u64 = self.entities.iter().map(|e| e.n_events).sum();
        DigestLine {
            contexts: self.contexts.clone(),
            items: self.entities.iter().map(|e| e.text.clone().into_owned()).collect(),
            evidence: evidence.into_iter().take(MOST_EVIDENCE).map(|(_, id)| id.clone()).collect(),
            n_events: u32::try_from(n_events).unwrap_or(u32::MAX),
        }
    }
}
