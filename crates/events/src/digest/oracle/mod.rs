#![allow(dead_code, missing_docs, unreachable_pub, clippy::all)]
//! The plain form of the same rules, with a map per thing: what the fast form must equal.

mod budget;
mod lines;
mod state;
mod tokens;

use types::{Catalogue, Digest, DigestTokens, Timestamp, TokenCounter};

pub use self::state::DigestState;
use self::tokens::Tokens;
use super::{DigestConfig, ItemCores};
use crate::{EventsError, UserHistory};

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
        let n_before = history.events.partition_point(|e| e.timestamp < now);
        let mut state = DigestState::new(&history.user_id);
        state.extend(&history.events[..n_before])?;
        self.digest_state_at(&state, now)
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
        if let Some(last) = state.last_event().filter(|last| *last >= now) {
            let user = state.user_id().to_owned();
            return Err(EventsError::StateAhead { user, now, last });
        }
        let config = DigestConfig { now, ..self.config };
        let kept = lines::keep_reliable(state, &config, self.cores);
        let fitted = budget::fit(&kept, &config, &self.tokens);
        let (raw, item) = self.tokens.of_history(state);
        Ok(Digest {
            user_id: state.user_id().to_owned(),
            now,
            lines: fitted.lines,
            recent: lines::recent(state, now, self.cores),
            tokens: DigestTokens {
                raw,
                item,
                behaviour: self.tokens.of_kept(&kept),
                sequence: fitted.tokens_sequence,
                budget: fitted.tokens,
            },
            n_events: state.n_events(),
            n_dropped_behaviour: state.n_events() - kept.n_events,
            n_dropped_budget: fitted.n_dropped,
        })
    }
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
