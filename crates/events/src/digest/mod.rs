//! From a life of behaviour to a prompt: item level, behaviour level, sequence level, budget
//! (RECGPT.md 1.1, hierarchical compression), with the tokens before and after each.
//!
//! A [`DigestState`] is fed events in time order and can give a digest at any later moment; the
//! digest of a whole history is a state fed once. Nothing here reads an event at or after `now`.

mod cores;
mod facts;
mod ids;
mod names;
mod safe;
mod state;

mod entities;
mod lines;
mod tokens;

mod budget;
mod memory;

mod columns;
mod explain;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Catalogue, Digest, DigestTokens, Timestamp, TokenCounter};

pub use self::budget::BudgetPolicy;
use self::budget::Fitted;
pub use self::columns::{Scan, scan_bucket};
pub use self::cores::ItemCores;
use self::entities::{History, ItemName, Kept};
pub use self::explain::{ExplainedLine, Explanation};
pub use self::state::DigestState;
use self::tokens::Tokens;
use crate::{EventStore, EventsError, UserHistory};

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestConfig {
    /// The moment to look back from.
    pub now: Timestamp,
    /// Tokens that the lines may take together.
    pub budget: usize,
    /// Below so many reliable events, items clicked at least twice are kept too.
    pub min_reliable: u64,
    /// What becomes of lines that do not fit.
    pub policy: BudgetPolicy,
    /// Which lines come first, and how their times are told.
    pub order: LineOrder,
}

/// Which lines come first, and how their times are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineOrder {
    /// The nearest first, at distances from now: `3d(cart),2y(buy)|boots`. What the built-in model learnt.
    NewestFirst,
    /// The oldest first, by the calendar: `2024(buy)|boots`, `2026-11-22(cart)|boots`. A prompt's
    /// beginning stays the same from day to day, which a server's prefix cache turns into speed; what
    /// does not fit is folded within its year, month or day.
    Stable,
}

impl DigestConfig {
    /// The published rules with a budget of `budget` tokens.
    #[must_use]
    pub fn new(now: Timestamp, budget: usize) -> Self {
        Self {
            now,
            budget,
            min_reliable: 8,
            policy: BudgetPolicy::CoarserTime,
            order: LineOrder::NewestFirst,
        }
    }
}

/// Makes digests of many users; remembers the tokens of every item and phrase. Share it among
/// threads.
pub struct Digester<'a> {
    cores: &'a ItemCores,
    config: DigestConfig,
    tokens: Tokens<'a>,
}

impl<'a> Digester<'a> {
    /// `cores` must be those of `catalogue`; `counter` is asked once per item and phrase, and once
    /// or more per finished digest.
    #[must_use]
    pub fn new(
        cores: &'a ItemCores,
        catalogue: &'a Catalogue,
        config: DigestConfig,
        counter: &'a TokenCounter<'a>,
    ) -> Self {
        Self { cores, config, tokens: Tokens::new(cores, catalogue, config.now, counter) }
    }

    /// Counts the tokens of lines by their parts, each asked about once. Exact for tokenizers whose tokens
    /// never span a letter or digit and a character that separates in a line: all that split words from
    /// punctuation first, as those of GPT-2, Llama 3, Qwen and the built-in one do. Other counters are
    /// asked about every finished text.
    #[must_use]
    pub fn counting_parts(mut self) -> Self {
        self.tokens.count_parts();
        self
    }

    /// The digest of one history; events at or after `now` are not read.
    ///
    /// # Errors
    /// [`EventsError::OutOfOrder`] when the history is not sorted by (time, event id).
    pub fn digest(&self, history: &UserHistory) -> Result<Digest, EventsError> {
        self.digest_at(history, self.config.now)
    }

    /// As [`Self::digest`] at a moment of this user's own (a cut of leave-one-out), with the counts
    /// that are remembered already.
    ///
    /// # Errors
    /// As [`Self::digest`].
    pub fn digest_at(&self, history: &UserHistory, now: Timestamp) -> Result<Digest, EventsError> {
        self.digest_state_at(&read_until(history, now)?, now)
    }

    /// The digest of what a state has read.
    ///
    /// # Errors
    /// [`EventsError::StateAhead`] when the state holds an event at or after `now`.
    pub fn digest_state(&self, state: &DigestState) -> Result<Digest, EventsError> {
        self.digest_state_at(state, self.config.now)
    }

    /// As [`Self::digest_state`] at another moment.
    ///
    /// # Errors
    /// As [`Self::digest_state`].
    pub fn digest_state_at(
        &self,
        state: &DigestState,
        now: Timestamp,
    ) -> Result<Digest, EventsError> {
        self.with_state(state, now, &|history, now| self.digest_of(history, now))
    }

    /// The digest of a history with what was kept and dropped on each level, line by line.
    ///
    /// # Errors
    /// As [`Self::digest`].
    pub fn explain(
        &self,
        history: &UserHistory,
        now: Timestamp,
    ) -> Result<Explanation, EventsError> {
        let state = read_until(history, now)?;
        self.with_state(&state, now, &|history, now| {
            self.fitted(history, now, &|kept, fitted| {
                explain::explain(self.digest_from(kept, fitted), kept, fitted, &self.tokens)
            })
        })
    }

    fn with_state<T>(
        &self,
        state: &DigestState,
        now: Timestamp,
        each: &dyn Fn(History<'_>, Timestamp) -> T,
    ) -> Result<T, EventsError> {
        if let Some(last) = state.last_event().filter(|last| *last >= now) {
            let user = state.user_id().to_owned();
            return Err(EventsError::StateAhead { user, now, last });
        }
        let names = state.items.texts().iter();
        let items: Vec<ItemName<'_>> =
            names.map(|id| ItemName { row: self.cores.find(id), id }).collect();
        let queries: Vec<&str> = state.queries.texts().iter().map(String::as_str).collect();
        let mut facts = state.facts.clone();
        facts.settle();
        let history = History {
            user_id: state.user_id(),
            facts: &facts,
            items: &items,
            queries: &queries,
            ids: &state.ids,
            cores: self.cores,
        };
        Ok(each(history, now))
    }

    /// Hands over the digests of one bucket of a store in order of user id, each at the user's own cut;
    /// the fast way, which reads only the columns it needs and makes no [`types::Event`]. Users with
    /// nothing before their cut are left out.
    ///
    /// # Errors
    /// What `each` returns; [`EventsError::WrongOrder`] when the layout of the store is not kept;
    /// [`EventsError`] when a file is unreadable.
    pub fn fold_bucket<E: From<EventsError>>(
        &self,
        store: &EventStore,
        bucket: u32,
        cut_of: &dyn Fn(&str) -> Timestamp,
        each: &mut dyn FnMut(Digest) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        self.fold(store, bucket, cut_of, &mut |history, now| {
            failed = each(self.digest_of(history, now)).err();
            failed.is_none()
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn fold(
        &self,
        store: &EventStore,
        bucket: u32,
        cut_of: &dyn Fn(&str) -> Timestamp,
        each: &mut columns::Each<'_>,
    ) -> Result<(), EventsError> {
        columns::fold_bucket(store, bucket, self.cores, self.config.min_reliable, cut_of, each)
    }

    /// The digests of a whole store, sorted by user id; buckets in parallel.
    ///
    /// # Errors
    /// As [`Self::fold_bucket`]; the error of the lowest bucket.
    pub fn fold_store(
        &self,
        store: &EventStore,
        cut_of: &(dyn Fn(&str) -> Timestamp + Sync),
    ) -> Result<Vec<Digest>, EventsError> {
        let buckets: Vec<Result<Vec<Digest>, EventsError>> = (0..store.n_buckets())
            .into_par_iter()
            .map(|bucket| {
                let mut digests = Vec::new();
                self.fold_bucket(store, bucket, cut_of, &mut |digest| {
                    digests.push(digest);
                    Ok::<(), EventsError>(())
                })?;
                Ok(digests)
            })
            .collect();
        let mut all = Vec::new();
        for bucket in buckets {
            all.extend(bucket?);
        }
        all.sort_by(|a, b| a.user_id.cmp(&b.user_id));
        Ok(all)
    }

    /// Hands over the lines of the sequence level of every user of a bucket (id, text, events read),
    /// without budget, evidence or counts of tokens: what engines for tables can do, too.
    ///
    /// # Errors
    /// As [`Self::fold_bucket`].
    pub fn fold_lines<E: From<EventsError>>(
        &self,
        store: &EventStore,
        bucket: u32,
        cut_of: &dyn Fn(&str) -> Timestamp,
        each: &mut dyn FnMut(&str, &str, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut text = String::new();
        let mut failed = None;
        self.fold(store, bucket, cut_of, &mut |history, now| {
            text.clear();
            self.write_published(history, now, &mut text);
            failed = each(history.user_id, &text, history.facts.n_events).err();
            failed.is_none()
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Appends the lines of the sequence level.
    fn write_published(&self, history: History<'_>, now: Timestamp, text: &mut String) {
        let kept = entities::keep_reliable(history, now, self.config.min_reliable);
        let groups = lines::group(&kept, lines::Coarseness::Published);
        for group in &groups.groups {
            groups.write_line(group, &group.entities, text);
            text.push('\n');
        }
    }

    /// The digest of settled facts.
    fn digest_of(&self, history: History<'_>, now: Timestamp) -> Digest {
        self.fitted(history, now, &|kept, fitted| self.digest_from(kept, fitted))
    }

    /// What is kept of a history, and its lines within the budget.
    fn fitted<T>(
        &self,
        history: History<'_>,
        now: Timestamp,
        then: &dyn Fn(&Kept<'_>, &Fitted<'_, '_>) -> T,
    ) -> T {
        let config = DigestConfig { now, ..self.config };
        let kept = entities::keep_reliable(history, now, config.min_reliable);
        match config.order {
            LineOrder::NewestFirst => then(&kept, &budget::fit(&kept, &config, &self.tokens)),
            LineOrder::Stable => {
                let blocks = memory::by_calendar(&kept);
                then(&kept, &memory::fit(&blocks, &config, &self.tokens))
            }
        }
    }

    fn digest_from(&self, kept: &Kept<'_>, fitted: &Fitted<'_, '_>) -> Digest {
        let history = kept.history;
        let (raw, item) = self.tokens.of_history(history);
        let n_events = history.facts.n_events;
        Digest {
            user_id: history.user_id.to_owned(),
            now: kept.now,
            lines: fitted.lines(),
            recent: entities::recent(history, kept.now),
            tokens: DigestTokens {
                raw,
                item,
                behaviour: self.tokens.of_kept(kept),
                sequence: fitted.tokens_sequence,
                budget: fitted.tokens,
            },
            n_events,
            n_dropped_behaviour: n_events - kept.n_events,
            n_dropped_budget: fitted.n_dropped,
            n_lines_sequence: fitted.n_lines_sequence,
        }
    }
}

/// A state that has read what happened before `now`.
fn read_until(history: &UserHistory, now: Timestamp) -> Result<DigestState, EventsError> {
    let n_before = history.events.partition_point(|e| e.timestamp < now);
    let mut state = DigestState::new(&history.user_id);
    state.extend(&history.events[..n_before])?;
    Ok(state)
}

/// The digest of one history. For many users make one [`Digester`]: it remembers token counts.
///
/// # Errors
/// [`EventsError::OutOfOrder`] when the history is not sorted by (time, event id).
pub fn digest(
    history: &UserHistory,
    cores: &ItemCores,
    catalogue: &Catalogue,
    config: &DigestConfig,
    counter: &TokenCounter<'_>,
) -> Result<Digest, EventsError> {
    Digester::new(cores, catalogue, *config, counter).digest(history)
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
