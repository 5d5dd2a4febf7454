//! What a digest needs of a history, at the granularity of a day, and how events extend it.
//!
//! The buckets relative to `now` come later, so a state serves every later moment.

use serde::{Deserialize, Serialize};
use types::{Event, EventType, Timestamp, fnv1a64};
use xxhash_rust::xxh3::xxh3_64;

use super::facts::{Facts, NONE, Row, shows};
use super::names::{EventIds, Names};
use super::safe::query_words;
use crate::EventsError;

/// Everything that digests of one user need, mergeable in time order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DigestState {
    user_id: String,
    last: Option<(Timestamp, String)>,
    n_events: u64,
    pub(super) facts: Facts,
    /// Item ids as the log writes them.
    pub(super) items: Names,
    /// Words of queries.
    pub(super) queries: Names,
    pub(super) ids: EventIds,
}

impl DigestState {
    /// A state that has read nothing.
    #[must_use]
    pub fn new(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), ..Self::default() }
    }

    /// Whose.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// Events read.
    #[must_use]
    pub fn n_events(&self) -> u64 {
        self.n_events
    }

    /// Time of the newest event read.
    #[must_use]
    pub fn last_event(&self) -> Option<Timestamp> {
        self.last.as_ref().map(|(time, _)| *time)
    }

    /// Reads more events of the user, each later than all before by (time, event id).
    ///
    /// # Errors
    /// [`EventsError::OutOfOrder`] at the first event that is not; events before it are read.
    pub fn extend(&mut self, events: &[Event]) -> Result<(), EventsError> {
        for event in events {
            if let Some((time, id)) = &self.last
                && (event.timestamp, &event.event_id) <= (*time, id)
            {
                let (user, event_id) = (self.user_id.clone(), event.event_id.clone());
                return Err(EventsError::OutOfOrder { user, event_id });
            }
            self.last = Some((event.timestamp, event.event_id.clone()));
            self.n_events += 1;
            self.read(event);
        }
        Ok(())
    }

    fn read(&mut self, event: &Event) {
        let (mut item, mut query, mut key) = (NONE, NONE, 0);
        match (event.event_type, &event.query, &event.item_id) {
            (EventType::Search, Some(text), _) => {
                let words = query_words(text);
                if !words.is_empty() {
                    query = self.queries.row(&words);
                    key = tie_key(&words);
                }
            }
            (_, _, Some(id)) => {
                item = self.items.row(id);
                key = tie_key(id);
            }
            _ => {}
        }
        let seen = shows(event.event_type) && (item != NONE || query != NONE);
        let time = event.timestamp.0;
        self.facts.push(Row {
            time,
            kind: event.event_type,
            item,
            query,
            session: session_key(event.session_id.as_deref()),
            event: if seen { self.ids.push(&event.event_id, time) } else { NONE },
            key,
        });
    }
}

/// A session by its hash: a collision within one user's day would give a search to an act of another
/// session, one in 2^64 per pair. 0 for none.
pub(super) fn session_key(session: Option<&str>) -> u64 {
    session.filter(|s| !s.is_empty()).map_or(0, |s| xxh3_64(s.as_bytes()).max(1))
}

/// What orders rows of one moment.
pub(super) fn tie_key(text: &str) -> u32 {
    (fnv1a64(text.as_bytes()) >> 32) as u32
}
