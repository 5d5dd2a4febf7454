//! The plain form of the same rules, with a map per thing, as it was before digests were made from numbers: what the
//! fast form must equal to the byte.

mod budget;
mod lines;
mod state;
mod tokens;

use types::{Catalogue, Digest, DigestTokens, TokenCounter};

use self::state::DigestState;
use self::tokens::Tokens;
use super::{DigestConfig, ItemCores};
use crate::{EventsError, UserHistory};

/// The digest of one history; events at or after `now` are not read.
pub(super) fn digest(
    history: &UserHistory,
    cores: &ItemCores,
    catalogue: &Catalogue,
    config: &DigestConfig,
    counter: &TokenCounter<'_>,
) -> Result<Digest, EventsError> {
    let tokens = Tokens::new(cores, catalogue, config.now, counter);
    let n_before = history.events.partition_point(|e| e.timestamp < config.now);
    let mut state = DigestState::new(&history.user_id);
    state.extend(&history.events[..n_before])?;
    let kept = lines::keep_reliable(&state, config, cores);
    let fitted = budget::fit(&kept, config, &tokens);
    let (raw, item) = tokens.of_history(&state);
    Ok(Digest {
        user_id: state.user_id().to_owned(),
        now: config.now,
        lines: fitted.lines,
        recent: lines::recent(&state, config.now, cores),
        tokens: DigestTokens {
            raw,
            item,
            behaviour: tokens.of_kept(&kept),
            sequence: fitted.tokens_sequence,
            budget: fitted.tokens,
        },
        n_events: state.n_events(),
        n_dropped_behaviour: state.n_events() - kept.n_events,
        n_dropped_budget: fitted.n_dropped,
        n_lines_sequence: fitted.n_lines_sequence,
    })
}
