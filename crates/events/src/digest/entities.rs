//! Behaviour level: which marks stay, by the text that stands for them in a line.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;

use ahash::AHashMap;
use types::{EventType, ItemId, Timestamp};

use super::ItemCores;
use super::facts::{Facts, ItemFacts, Mark, NO_ACTS, NONE, QUERY};
use super::names::EventIds;
use super::safe::id_text;

const RECENT_DAYS: i64 = 30;

/// An item of a history: its row of the catalogue where it has one, and its id.
#[derive(Debug, Clone, Copy)]
pub(super) struct ItemName<'a> {
    pub(super) row: Option<ItemId>,
    pub(super) id: &'a str,
}

/// One user's history with its texts.
#[derive(Clone, Copy)]
pub(super) struct History<'a> {
    pub(super) user_id: &'a str,
    pub(super) facts: &'a Facts,
    pub(super) items: &'a [ItemName<'a>],
    pub(super) queries: &'a [&'a str],
    pub(super) ids: &'a EventIds,
    pub(super) cores: &'a ItemCores,
}

impl<'a> History<'a> {
    /// Core words of an item; its id, without separators, where the catalogue lacks it.
    fn item_text(&self, item: u32) -> Cow<'a, str> {
        let name = self.items[item as usize];
        match name.row {
            Some(row) => Cow::Borrowed(self.cores.of(row)),
            None => id_text(name.id),
        }
    }
}

/// What the behaviour level keeps.
pub(super) struct Kept<'a> {
    pub(super) history: History<'a>,
    pub(super) entities: Vec<Entity<'a>>,
    cells: Vec<Cell>,
    /// Event rows of the marks, by entity and in the order of its cells' making.
    events: Vec<u32>,
    /// Place of each query in alphabetical order, from 1.
    pub(super) query_rank: Vec<u32>,
    /// Queries in alphabetical order.
    pub(super) query_order: Vec<u32>,
    /// Events behind all entities.
    pub(super) n_events: u64,
    /// Events of items whose last purchase went back.
    pub(super) n_returned: u64,
    pub(super) now: Timestamp,
}

/// A text that stands in a line: core words (of one or several items) or a query.
pub(super) struct Entity<'a> {
    pub(super) text: Cow<'a, str>,
    /// A row of the catalogue with this text, where there is one.
    pub(super) item: Option<ItemId>,
    cells: Range<u32>,
    events: Range<u32>,
    pub(super) n_events: u64,
    pub(super) newest: i64,
}

/// One behaviour on one day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) day: i32,
    pub(super) kind: EventType,
    /// The query, where the cell is a search that led to the item.
    pub(super) query: u32,
    pub(super) n: u64,
}

impl<'a> Kept<'a> {
    /// In order of item id and day.
    pub(super) fn cells(&self, entity: &Entity<'_>) -> &[Cell] {
        &self.cells[entity.cells.start as usize..entity.cells.end as usize]
    }

    pub(super) fn events(&self, entity: &Entity<'_>) -> &[u32] {
        &self.events[entity.events.start as usize..entity.events.end as usize]
    }

    /// The same history, with nothing kept of it yet.
    pub(super) fn without_entities(&self) -> Self {
        Self {
            history: self.history,
            entities: Vec::with_capacity(self.entities.len()),
            cells: Vec::with_capacity(self.cells.len()),
            events: Vec::with_capacity(self.events.len()),
            query_rank: self.query_rank.clone(),
            query_order: self.query_order.clone(),
            n_events: self.n_events,
            n_returned: self.n_returned,
            now: self.now,
        }
    }

    /// Adds some cells of an entity, and their events, as an entity of its own.
    pub(super) fn add_part(
        &mut self,
        entity: &Entity<'a>,
        cells: impl Iterator<Item = Cell>,
        events: impl Iterator<Item = u32>,
    ) {
        let (first_cell, first_event) = (self.cells.len(), self.events.len());
        self.cells.extend(cells);
        self.events.extend(events);
        let ids = self.history.ids;
        let newest = self.events[first_event..].iter().map(|&event| ids.time(event)).max();
        self.entities.push(Entity {
            text: entity.text.clone(),
            item: entity.item,
            cells: first_cell as u32..self.cells.len() as u32,
            events: first_event as u32..self.events.len() as u32,
            n_events: self.cells[first_cell..].iter().map(|c| c.n).sum(),
            newest: newest.unwrap_or(i64::MIN),
        });
    }

    pub(super) fn today(&self) -> i64 {
        self.now.day()
    }
}

/// Cells of one subject's day: looked through while few, indexed when a day has many searches.
struct Day {
    start: usize,
    known: Option<AHashMap<(EventType, u32), usize>>,
}

const FEW: usize = 32;

const NO_MARK: Mark =
    Mark { subject: NONE, query: NONE, day: 0, event: 0, kind: EventType::Click, n: 0 };

/// What is kept of one item or query, before those with one text come together.
struct Subject {
    text: u32,
    subject: u32,
    n_marks: u32,
}

/// Keeps reliable behaviour; with too little of it, also items clicked at least twice. An item
/// whose last purchase went back is left out.
pub(super) fn keep_reliable<'a>(
    history: History<'a>,
    now: Timestamp,
    min_reliable: u64,
) -> Kept<'a> {
    let facts = history.facts;
    let few = facts.n_reliable() < min_reliable;
    let n_items = facts.items.len();
    // marks per item and, behind the items, per query
    let mut counts = vec![0_u32; n_items + facts.queries.len()];
    let place = |subject: u32| match subject & QUERY {
        0 => subject as usize,
        _ => n_items + (subject & !QUERY) as usize,
    };
    let mut n_returned = 0;
    let mut places: Vec<u32> = Vec::with_capacity(facts.marks.len());
    for mark in &facts.marks {
        let place = place(mark.subject);
        let item = if place < n_items { facts.items[place] } else { NO_ACTS };
        let kept = is_kept(mark, &item, few);
        counts[place] += u32::from(kept);
        places.push(if kept { place as u32 } else { NONE });
        n_returned += u64::from(item.returned && mark.n > 0 && mark.kind.is_reliable());
    }
    let subjects = subjects(history, &counts);
    let mut starts = counts;
    let mut n_marks = 0;
    for subject in &subjects {
        starts[place(subject.subject)] = n_marks;
        n_marks += subject.n_marks;
    }
    // copies, so that each subject's marks are read in a row
    let mut sorted = vec![NO_MARK; n_marks as usize];
    for (mark, &place) in facts.marks.iter().zip(&places).filter(|(_, place)| **place != NONE) {
        let at = &mut starts[place as usize];
        sorted[*at as usize] = *mark;
        *at += 1;
    }
    let mut kept = Kept {
        history,
        entities: Vec::with_capacity(subjects.len()),
        cells: Vec::with_capacity(sorted.len()),
        events: Vec::with_capacity(sorted.len()),
        query_rank: Vec::new(),
        query_order: Vec::new(),
        n_events: 0,
        n_returned,
        now,
    };
    kept.rank_queries();
    for group in subjects.chunk_by(|a, b| a.text == b.text) {
        kept.add_entity(group, &mut sorted);
    }
    kept
}

/// Whether a mark stays, with what happened to its item.
fn is_kept(mark: &Mark, item: &ItemFacts, few: bool) -> bool {
    if mark.subject & QUERY != 0 {
        return mark.n > 0;
    }
    !item.returned && (mark.kind != EventType::Click || few && item.n_clicks >= 2)
}

/// Items and queries with marks that stay, those with one text beside each other: items by id, then
/// the query.
fn subjects(history: History<'_>, counts: &[u32]) -> Vec<Subject> {
    let n_items = history.facts.items.len();
    let mut other: AHashMap<Cow<'_, str>, u32> = AHashMap::new();
    let mut subjects: Vec<Subject> = Vec::new();
    for (place, &n_marks) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let known = history.items.get(place).filter(|_| place < n_items).and_then(|item| item.row);
        let (subject, text) = match known {
            Some(row) => (place as u32, history.cores.text_row(row)),
            None => {
                let (subject, text) = if place < n_items {
                    (place as u32, history.item_text(place as u32))
                } else {
                    let query = place - n_items;
                    (query as u32 | QUERY, Cow::Borrowed(history.queries[query]))
                };
                let known = history.cores.find_text(&text);
                let next = (history.cores.n_texts() + other.len()) as u32;
                (subject, known.unwrap_or_else(|| *other.entry(text).or_insert(next)))
            }
        };
        subjects.push(Subject { text, subject, n_marks });
    }
    subjects.sort_unstable_by(|a, b| a.text.cmp(&b.text).then_with(|| by_id(history, a, b)));
    subjects
}

/// Items by id, then the query.
fn by_id(history: History<'_>, a: &Subject, b: &Subject) -> Ordering {
    if (a.subject | b.subject) & QUERY != 0 {
        return (a.subject & QUERY).cmp(&(b.subject & QUERY));
    }
    let (a, b) = (history.items[a.subject as usize], history.items[b.subject as usize]);
    match (a.row, b.row) {
        (Some(a), Some(b)) => history.cores.place(a).cmp(&history.cores.place(b)),
        _ => a.id.cmp(b.id),
    }
}

impl<'a> Kept<'a> {
    /// Joins the marks of subjects with one text; `marks` holds those of all, theirs next.
    fn add_entity(&mut self, subjects: &[Subject], marks: &mut [Mark]) {
        let (first_cell, first_event) = (self.cells.len() as u32, self.events.len() as u32);
        let (mut n_events, mut last) = (0, None);
        let mut text = None;
        let mut item = None;
        for subject in subjects {
            let from = self.events.len();
            let marks = &mut marks[from..from + subject.n_marks as usize];
            by_day(marks);
            let mut day = Day { start: self.cells.len(), known: None };
            for mark in marks.iter() {
                self.events.push(mark.event);
                n_events += u64::from(mark.n);
                last = last.max(Some(mark.event)); // rows of events are in time order
                self.add_cell(&mut day, mark);
            }
            match subject.subject & QUERY {
                0 => {
                    item = item.or(self.history.items[subject.subject as usize].row);
                    text.get_or_insert_with(|| self.history.item_text(subject.subject));
                }
                _ => {
                    let query = (subject.subject & !QUERY) as usize;
                    text.get_or_insert_with(|| Cow::Borrowed(self.history.queries[query]));
                }
            }
        }
        self.n_events += n_events;
        self.entities.push(Entity {
            text: text.unwrap_or_default(),
            item,
            cells: first_cell..self.cells.len() as u32,
            events: first_event..self.events.len() as u32,
            n_events,
            newest: last.map_or(i64::MIN, |event| self.history.ids.time(event)),
        });
    }

    /// Cells of one day, behaviour and query become one.
    fn add_cell(&mut self, day: &mut Day, mark: &Mark) {
        let own = &self.cells[day.start..];
        if own.first().is_some_and(|c| c.day != mark.day) {
            *day = Day { start: self.cells.len(), known: None };
        }
        let own = &self.cells[day.start..];
        let found = if own.len() <= FEW {
            own.iter().position(|c| c.kind == mark.kind && c.query == mark.query)
        } else {
            let all = own.iter().enumerate();
            let all = || all.map(|(at, c)| ((c.kind, c.query), at)).collect();
            day.known.get_or_insert_with(all).get(&(mark.kind, mark.query)).copied()
        };
        if let Some(at) = found {
            self.cells[day.start + at].n += u64::from(mark.n);
            return;
        }
        if let Some(known) = &mut day.known {
            known.insert((mark.kind, mark.query), own.len());
        }
        let (day, kind, query, n) = (mark.day, mark.kind, mark.query, u64::from(mark.n));
        self.cells.push(Cell { day, kind, query, n });
    }

    fn rank_queries(&mut self) {
        let queries = self.history.queries;
        let mut used = vec![false; queries.len()];
        for mark in self.history.facts.marks.iter().filter(|m| m.query != NONE) {
            used[mark.query as usize] = true;
        }
        let mut order: Vec<u32> = (0..queries.len() as u32).filter(|&q| used[q as usize]).collect();
        order.sort_unstable_by(|a, b| queries[*a as usize].cmp(queries[*b as usize]));
        self.query_rank = vec![0; queries.len()];
        for (rank, query) in order.iter().enumerate() {
            self.query_rank[*query as usize] = rank as u32 + 1;
        }
        self.query_order = order;
    }
}

/// Sorts marks by day and keeps their order within one; they are nearly in order: only a search
/// may be of the day before its mark.
fn by_day(marks: &mut [Mark]) {
    if !marks.is_sorted_by_key(|mark| mark.day) {
        marks.sort_by_key(|mark| mark.day);
    }
}

/// Texts of what was clicked, bought, otherwise taken up, or searched within 30 days; newest first.
pub(super) fn recent(history: History<'_>, now: Timestamp) -> Vec<String> {
    let is_recent = |time: i64| now.day() - Timestamp(time).day() < RECENT_DAYS;
    let items = history.facts.items.iter().enumerate().filter_map(|(item, facts)| {
        let time = facts.last_positive.filter(|&time| is_recent(time))?;
        Some((time, history.item_text(item as u32)))
    });
    let queries = history.facts.queries.iter().enumerate().filter(|(_, f)| is_recent(f.last));
    let queries = queries.map(|(q, f)| (f.last, Cow::Borrowed(history.queries[q])));
    let mut all: Vec<(i64, Cow<'_, str>)> = items.chain(queries).collect();
    all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let mut seen = BTreeSet::new();
    let texts = all.into_iter().map(|(_, text)| text);
    texts.filter(|text| seen.insert(text.clone())).map(Cow::into_owned).collect()
}
