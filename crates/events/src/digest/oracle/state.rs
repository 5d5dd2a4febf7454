//! What a digest needs of a history, at the granularity of a day, and how events extend it.
//!
//! Per item and day: which behaviours, how often, the newest event ids. Per search: what it led to.
//! The buckets relative to `now` come later, so a state serves every later moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{DAY_MS, Event, EventType, Timestamp};

use super::super::safe::plain;
use crate::EventsError;

/// Most event ids that a line keeps as evidence.
pub(super) const MOST_EVIDENCE: usize = 16;

const SEARCH_REACH_MS: i64 = 30 * 60_000; // without session ids
const SESSION_REACH_MS: i64 = DAY_MS; // within one session
const MOST_QUERY_WORDS: usize = 12;

/// Everything that digests of one user need, mergeable in time order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct DigestState {
    user_id: String,
    n_events: u64,
    last: Option<(Timestamp, String)>,
    pub(super) n_by_type: BTreeMap<EventType, u64>,
    pub(super) items: BTreeMap<String, ItemFacts>,
    pub(super) queries: BTreeMap<String, QueryFacts>,
    /// The latest search of each session (empty: of no session) that may still lead somewhere.
    open: BTreeMap<String, OpenSearch>,
}

/// What happened to one item.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct ItemFacts {
    pub(super) n: u64,
    pub(super) n_clicks: u64,
    pub(super) returned: bool,
    pub(super) last_positive: Option<Timestamp>,
    pub(super) cells: Vec<Cell>,
}

/// What happened to one query.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct QueryFacts {
    pub(super) n: u64,
    pub(super) last: Timestamp,
    /// Searches that led nowhere.
    pub(super) cells: Vec<Cell>,
}

/// One behaviour on one day; sorted by day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) day: i64,
    pub(super) behaviour: EventType,
    /// The query, where the cell is a search that led to the item.
    pub(super) query: Option<String>,
    /// Events that count here: a search that led to several items counts at the first.
    pub(super) n: u64,
    /// Oldest first, at most [`MOST_EVIDENCE`].
    pub(super) newest: Vec<(Timestamp, String)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OpenSearch {
    query: String,
    at: Timestamp,
    event_id: String,
    led_somewhere: bool,
}

impl DigestState {
    /// A state that has read nothing.
    #[must_use]
    pub(super) fn new(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), ..Self::default() }
    }

    /// Whose.
    #[must_use]
    pub(super) fn user_id(&self) -> &str {
        &self.user_id
    }

    /// Events read.
    #[must_use]
    pub(super) fn n_events(&self) -> u64 {
        self.n_events
    }

    /// Reads more events of the user, each later than all before by (time, event id).
    ///
    /// # Errors
    /// [`EventsError::OutOfOrder`] at the first event that is not; events before it are read.
    pub(super) fn extend(&mut self, events: &[Event]) -> Result<(), EventsError> {
        for event in events {
            if let Some((time, id)) = &self.last
                && (event.timestamp, &event.event_id) <= (*time, id)
            {
                let (user, event_id) = (self.user_id.clone(), event.event_id.clone());
                return Err(EventsError::OutOfOrder { user, event_id });
            }
            self.last = Some((event.timestamp, event.event_id.clone()));
            self.n_events += 1;
            *self.n_by_type.entry(event.event_type).or_default() += 1;
            match (event.event_type, &event.query, &event.item_id) {
                (EventType::Search, Some(query), _) => self.search(event, query),
                (_, _, Some(item)) => self.act(event, item),
                _ => {} // a row without item or query says nothing; it is counted
            }
        }
        Ok(())
    }

    /// Searches that have led nowhere so far, and may still: query, cell.
    pub(super) fn open_searches(&self) -> impl Iterator<Item = (&str, Cell)> {
        let open = self.open.values().filter(|search| !search.led_somewhere);
        open.map(|search| (search.query.as_str(), search.cell()))
    }

    fn search(&mut self, event: &Event, query: &str) {
        let words = plain(query);
        let query = words.split(' ').take(MOST_QUERY_WORDS).collect::<Vec<_>>().join(" ");
        if query.is_empty() {
            return;
        }
        let facts = self.queries.entry(query.clone()).or_default();
        facts.n += 1;
        facts.last = event.timestamp;
        let search = OpenSearch {
            query,
            at: event.timestamp,
            event_id: event.event_id.clone(),
            led_somewhere: false,
        };
        let session = event.session_id.clone().unwrap_or_default();
        let before = self.open.insert(session, search);
        self.close(before);
        // sessions end: what can lead nowhere any more is closed, so the map stays small
        let at = event.timestamp;
        let over = |s: &OpenSearch| at.0 - s.at.0 > SESSION_REACH_MS;
        if self.open.len() > 64 {
            let (old, open) =
                std::mem::take(&mut self.open).into_iter().partition(|(_, s)| over(s));
            self.open = open;
            let old: BTreeMap<String, OpenSearch> = old;
            old.into_values().for_each(|search| self.close(Some(search)));
        }
    }

    fn close(&mut self, search: Option<OpenSearch>) {
        let Some(search) = search.filter(|s| !s.led_somewhere) else { return };
        let facts = self.queries.entry(search.query.clone()).or_default();
        add(&mut facts.cells, search.cell());
    }

    fn act(&mut self, event: &Event, item: &str) {
        if !self.items.contains_key(item) {
            self.items.insert(item.to_owned(), ItemFacts::default());
        }
        let facts = self.items.get_mut(item).expect("just inserted");
        facts.n += 1;
        match event.event_type {
            EventType::Click => facts.n_clicks += 1,
            EventType::Return => facts.returned = true,
            EventType::Purchase => facts.returned = false,
            EventType::Impression
            | EventType::DetailView
            | EventType::ReviewRead
            | EventType::Favorite
            | EventType::Cart
            | EventType::Search
            | EventType::Share
            | EventType::Dislike
            | EventType::Dwell => {}
        }
        if event.event_type.is_positive() {
            facts.last_positive = Some(event.timestamp);
        }
        let reliable = event.event_type.is_reliable();
        if !reliable && event.event_type != EventType::Click {
            return;
        }
        let cell = Cell {
            day: event.timestamp.day(),
            behaviour: event.event_type,
            query: None,
            n: 1,
            newest: vec![(event.timestamp, event.event_id.clone())],
        };
        add(&mut facts.cells, cell);
        let session = event.session_id.as_deref().unwrap_or_default();
        if let Some(search) = open_before(&mut self.open, session, event.timestamp)
            && reliable
        {
            let mut cell = search.cell();
            cell.n = u64::from(!search.led_somewhere);
            cell.query = Some(search.query.clone());
            search.led_somewhere = true;
            add(&mut facts.cells, cell);
        }
    }
}

impl OpenSearch {
    /// The search as a cell of its own line.
    fn cell(&self) -> Cell {
        Cell {
            day: self.at.day(),
            behaviour: EventType::Search,
            query: None,
            n: 1,
            newest: vec![(self.at, self.event_id.clone())],
        }
    }
}

/// The search that an act at `at` may answer: the latest of its session, or, where the search has
/// no session, the latest within half an hour.
fn open_before<'m>(
    open: &'m mut BTreeMap<String, OpenSearch>,
    session: &str,
    at: Timestamp,
) -> Option<&'m mut OpenSearch> {
    let reaches = |key: &str| {
        let reach = if key.is_empty() { SEARCH_REACH_MS } else { SESSION_REACH_MS };
        open.get(key).is_some_and(|search| at.0 - search.at.0 <= reach)
    };
    let key = [session, ""].into_iter().find(|key| reaches(key))?;
    open.get_mut(key)
}

/// Adds a cell to a list sorted by day; cells of one day, behaviour and query become one.
fn add(cells: &mut Vec<Cell>, cell: Cell) {
    let start = cells.partition_point(|c| c.day < cell.day);
    let end = start + cells[start..].partition_point(|c| c.day == cell.day);
    let same = |c: &&mut Cell| c.behaviour == cell.behaviour && c.query == cell.query;
    match cells[start..end].iter_mut().find(same) {
        Some(found) => {
            found.n += cell.n;
            for newest in cell.newest {
                if !found.newest.contains(&newest) {
                    found.newest.push(newest);
                }
            }
            found.newest.sort();
            let surplus = found.newest.len().saturating_sub(MOST_EVIDENCE);
            found.newest.drain(..surplus);
        }
        None => cells.insert(end, cell),
    }
}
