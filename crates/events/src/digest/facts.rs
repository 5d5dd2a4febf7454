//! What a history says, in numbers: rows in time order become marks, one per act that may stand in a
//! digest. Texts are elsewhere; items, queries and event ids are rows of lists.
//!
//! The order of rows with one timestamp changes nothing: they are held back until the time moves on and
//! then read in an order of their own (searches first, returns last).

use serde::{Deserialize, Serialize};
use types::{DAY_MS, EventType};

/// No item, query or event.
pub(super) const NONE: u32 = u32::MAX;
/// Set in [`Mark::subject`] where it is a query.
pub(super) const QUERY: u32 = 1 << 31;

const N_TYPES: usize = EventType::ALL.len();
const SEARCH_REACH_MS: i64 = 30 * 60_000; // without session ids
const SESSION_REACH_MS: i64 = DAY_MS; // within one session
const MOST_OPEN: usize = 16; // searches that are remembered before those out of reach are forgotten
const MOST_SESSIONS: usize = 1024; // of one day; those with the oldest searches are forgotten beyond it

/// One event, without texts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) time: i64,
    pub(super) kind: EventType,
    pub(super) item: u32,
    /// The words of a search.
    pub(super) query: u32,
    /// Hash of the session; 0 for none.
    pub(super) session: u64,
    /// Row of the list of event ids; [`NONE`] for an act that no digest shows.
    pub(super) event: u32,
    /// Hash of item or query: the order of rows of one moment must not depend on event ids.
    pub(super) key: u32,
}

/// An act that may stand in a digest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// An item, or a query with [`QUERY`] set.
    pub(super) subject: u32,
    /// The query, where the mark is a search that led to the item.
    pub(super) query: u32,
    pub(super) day: i32,
    pub(super) event: u32,
    pub(super) kind: EventType,
    /// 1; 0 for a search that counts elsewhere.
    pub(super) n: u8,
}

/// What happened to one item.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct ItemFacts {
    pub(super) n: u64,
    pub(super) n_clicks: u64,
    pub(super) returned: bool,
    pub(super) last_positive: Option<i64>,
}

pub(super) const NO_ACTS: ItemFacts =
    ItemFacts { n: 0, n_clicks: 0, returned: false, last_positive: None };

/// What happened to one query.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct QueryFacts {
    pub(super) n: u64,
    pub(super) last: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OpenSearch {
    session: u64,
    query: u32,
    at: i64,
    event: u32,
    /// Its own mark, which goes when it leads somewhere.
    mark: u32,
    led_somewhere: bool,
}

/// Everything that digests of one user need, but for the texts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) n_events: u64,
    pub(super) n_by_type: [u64; N_TYPES],
    pub(super) items: Vec<ItemFacts>,
    pub(super) queries: Vec<QueryFacts>,
    /// In time order; those with `n` 0 and no query led somewhere and count there.
    pub(super) marks: Vec<Mark>,
    open: Vec<OpenSearch>,
    tied: Vec<Row>,
}

impl Facts {
    /// Forgets everything and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.n_events = 0;
        self.n_by_type = [0; N_TYPES];
        self.items.clear();
        self.queries.clear();
        self.marks.clear();
        self.open.clear();
        self.tied.clear();
    }

    /// Takes the next row in time order; it is read when the time moves on.
    #[inline]
    pub(super) fn push(&mut self, row: Row) {
        if self.tied.first().is_some_and(|first| first.time != row.time) {
            self.settle();
        }
        self.tied.push(row);
    }

    /// Reads what was held back.
    pub(super) fn settle(&mut self) {
        if let [row] = self.tied[..] {
            self.read(row);
        } else {
            let mut tied = std::mem::take(&mut self.tied);
            tied.sort_by_key(|row| (rank(row.kind), row.key, row.kind));
            tied.iter().for_each(|row| self.read(*row));
            self.tied = tied;
        }
        self.tied.clear();
    }

    pub(super) fn n_reliable(&self) -> u64 {
        EventType::ALL
            .iter()
            .filter(|kind| kind.is_reliable())
            .map(|&kind| self.n_by_type[kind as usize])
            .sum()
    }

    fn read(&mut self, row: Row) {
        self.n_events += 1;
        self.n_by_type[row.kind as usize] += 1;
        if row.query != NONE {
            self.search(row);
        } else if row.item != NONE {
            self.act(row);
        } // a row without item or query says nothing; it is counted
    }

    fn search(&mut self, row: Row) {
        let idx = row.query as usize;
        if idx >= self.queries.len() {
            self.queries.resize(idx + 1, QueryFacts::default());
        }
        self.queries[idx].n += 1;
        self.queries[idx].last = row.time;
        if self.open.len() >= MOST_OPEN {
            self.open.retain(|s| row.time - s.at <= SESSION_REACH_MS);
        }
        self.open.retain(|s| s.session != row.session);
        if self.open.len() >= MOST_SESSIONS {
            self.open.drain(..MOST_SESSIONS / 2);
        }
        let mark = self.marks.len() as u32;
        let (query, session, event) = (row.query, row.session, row.event);
        self.open.push(OpenSearch {
            session,
            query,
            at: row.time,
            event,
            mark,
            led_somewhere: false,
        });
        self.marks.push(Mark {
            subject: row.query | QUERY,
            query: NONE,
            day: day(row.time),
            event,
            kind: EventType::Search,
            n: 1,
        });
    }

    #[inline]
    fn act(&mut self, row: Row) {
        let idx = row.item as usize;
        while self.items.len() <= idx {
            self.items.extend_from_slice(&[NO_ACTS]);
        }
        let facts = &mut self.items[idx];
        facts.n += 1;
        match row.kind {
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
        if row.kind.is_positive() {
            facts.last_positive = Some(row.time);
        }
        if row.event == NONE {
            return; // no act that a digest may show
        }
        let (subject, kind, event) = (row.item, row.kind, row.event);
        self.marks.push(Mark { subject, query: NONE, day: day(row.time), event, kind, n: 1 });
        if kind.is_reliable()
            && let Some(search) = open_before(&mut self.open, row.session, row.time)
        {
            let n = u8::from(!search.led_somewhere);
            search.led_somewhere = true;
            let (query, event, at, own) = (search.query, search.event, search.at, search.mark);
            self.marks[own as usize].n = 0;
            let kind = EventType::Search;
            self.marks.push(Mark { subject, query, day: day(at), event, kind, n });
        }
    }
}

/// Whether a digest may show an act of this kind on an item.
#[inline]
pub(super) fn shows(kind: EventType) -> bool {
    kind.is_reliable() || kind == EventType::Click
}

/// The search that an act at `at` may answer: the latest of its session, or, where the search has
/// no session, the latest within half an hour.
fn open_before(open: &mut [OpenSearch], session: u64, at: i64) -> Option<&mut OpenSearch> {
    let find = |session: u64, reach: i64| {
        open.iter().rposition(|s| s.session == session && at - s.at <= reach)
    };
    let own = if session == 0 { None } else { find(session, SESSION_REACH_MS) };
    let idx = own.or_else(|| find(0, SEARCH_REACH_MS))?;
    open.get_mut(idx)
}

/// Place of a kind among rows of one moment.
fn rank(kind: EventType) -> u8 {
    match kind {
        EventType::Search => 0,
        EventType::Return => 2,
        EventType::Impression
        | EventType::Click
        | EventType::DetailView
        | EventType::ReviewRead
        | EventType::Favorite
        | EventType::Cart
        | EventType::Purchase
        | EventType::Share
        | EventType::Dislike
        | EventType::Dwell => 1,
    }
}

fn day(time: i64) -> i32 {
    i32::try_from(time.div_euclid(DAY_MS)).unwrap_or(if time < 0 { i32::MIN } else { i32::MAX })
}
