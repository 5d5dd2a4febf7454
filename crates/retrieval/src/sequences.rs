//! Users' interactions as sequences, their pools at a moment, and the training examples.
//!
//! A pool reads only what lies before its moment; nothing here reads at or after the cut.

use types::{Catalogue, EventType, Interaction, Taxonomy, Timestamp};

use crate::{RetrievalError, TowerConfig};

/// What the towers learn from.
#[derive(Debug, Clone, Copy)]
pub struct TowerData<'a> {
    /// All items.
    pub catalogue: &'a Catalogue,
    /// The categories that the items name.
    pub taxonomy: &'a Taxonomy,
    /// Users have numbers below this.
    pub n_users: usize,
    /// Sorted by user, then time.
    pub interactions: &'a [Interaction],
    /// The cut: interactions at or after it are not read.
    pub now: Timestamp,
}

/// The pools of a user tower: three behaviour groups, then the short-term pool.
pub(crate) const N_POOLS: usize = 4;
const RECENT: usize = 3;
/// Behaviour groups.
pub(crate) const N_GROUPS: usize = 3;

/// The behaviour group of a positive interaction.
fn group(event_type: EventType) -> usize {
    match event_type {
        EventType::Favorite | EventType::Cart => 1,
        EventType::Purchase => 2,
        EventType::Click
        | EventType::DetailView
        | EventType::ReviewRead
        | EventType::Share
        | EventType::Impression
        | EventType::Return
        | EventType::Search
        | EventType::Dislike
        | EventType::Dwell => 0,
    }
}

/// Items of each pool with weights that sum to 1; empty where there is nothing.
pub(crate) type Pools = [Vec<(u32, f32)>; N_POOLS];

/// One interaction as attention reads it: the item and the behaviour group.
pub(crate) type Token = (u32, usize);

/// What the user tower reads of a history.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct History {
    pub(crate) pools: Pools,
    /// Oldest first; empty for a tower that reads pools alone.
    pub(crate) tokens: Vec<Token>,
}

/// Reads a history (in time order): per behaviour group the newest `pool_len` interactions with
/// weight `pool_decay^rank`, the newest `recent_len` distinct items of any behaviour with
/// `recent_decay^rank`, and for attention the newest interactions one by one. `keep` is asked once per
/// interaction that would enter.
pub(crate) fn read_history(
    history: &[Interaction],
    config: &TowerConfig,
    keep: &mut dyn FnMut(u32) -> bool,
) -> History {
    let mut read = History::default();
    // heavy users: nothing older than this can matter much, and it bounds the work
    let window = config.pool_len.max(config.recent_len).max(config.n_tokens()).saturating_mul(16);
    for i in history.iter().rev().filter(|i| i.event_type.is_positive()).take(window) {
        let (item, group) = (i.item.0, group(i.event_type));
        let History { pools, tokens } = &mut read;
        let enters = pools[group].len() < config.pool_len;
        let recent = pools[RECENT].len() < config.recent_len
            && pools[RECENT].iter().all(|&(other, _)| other != item);
        let is_token = tokens.len() < config.n_tokens();
        if !(enters || recent || is_token) || !keep(item) {
            continue;
        }
        let mut enter = |pool: usize, decay: f32| {
            let rank = pools[pool].len() as i32;
            pools[pool].push((item, decay.powi(rank)));
        };
        if enters {
            enter(group, config.pool_decay);
        }
        if recent {
            enter(RECENT, config.recent_decay);
        }
        if is_token {
            tokens.push((item, group));
        }
    }
    for pool in &mut read.pools {
        let total: f32 = pool.iter().map(|(_, w)| w).sum();
        pool.iter_mut().for_each(|(_, w)| *w /= total);
    }
    read.tokens.reverse();
    read
}

/// One thing to predict: the interaction at `target`, from those in `first..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) first: u32,
    pub(crate) end: u32,
    pub(crate) target: u32,
}

/// Examples for training and for choosing the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Examples {
    /// By user, in order.
    pub(crate) training: Vec<Vec<Example>>,
    pub(crate) validation: Vec<Example>,
}

/// Checks order and ranges, and cuts off what lies at or after `now`: the interactions to use.
pub(crate) fn before_cut(data: &TowerData<'_>) -> Result<Vec<Interaction>, RetrievalError> {
    let bad = |row: usize, detail: String| Err(RetrievalError::Interaction { row, detail });
    for (row, i) in data.interactions.iter().enumerate() {
        if i.user.idx() >= data.n_users {
            return bad(row, format!("user {} of {}", i.user.0, data.n_users));
        }
        if i.item.idx() >= data.catalogue.len() {
            return bad(row, format!("item {} of {}", i.item.0, data.catalogue.len()));
        }
        if row > 0 {
            let before = &data.interactions[row - 1];
            if (before.user, before.timestamp) > (i.user, i.timestamp) {
                return bad(row, format!("user {} at {} comes late", i.user.0, i.timestamp.0));
            }
        }
    }
    Ok(data.interactions.iter().filter(|i| i.timestamp < data.now).copied().collect())
}

/// All examples: positive interactions with something before them; an item that the history
/// already holds only with `repeats`. The last example of some users, spread over all, is kept for
/// validation.
pub(crate) fn examples(log: &[Interaction], config: &TowerConfig) -> Examples {
    let mut all: Vec<Vec<Example>> = Vec::new();
    let mut first = 0;
    for events in log.chunk_by(|a, b| a.user == b.user) {
        all.push(user_examples(events, first, config));
        first += events.len();
    }
    let mut examples = Examples::default();
    let able = all.iter().filter(|list| list.len() > 1).count();
    let held = config.validation_users.min(able / 5);
    let mut seen = 0;
    for mut list in all {
        if list.len() > 1 {
            // the seen-th of `able` users is held when seen * held / able grows
            let chosen = (seen + 1) * held / able.max(1) > seen * held / able.max(1);
            seen += 1;
            if chosen {
                examples.validation.extend(list.pop());
            }
        }
        if !list.is_empty() {
            examples.training.push(list);
        }
    }
    examples
}

fn user_examples(events: &[Interaction], first: usize, config: &TowerConfig) -> Vec<Example> {
    let mut list = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    let mut end = 0;
    let mut has_positive = false;
    for (idx, event) in events.iter().enumerate() {
        let horizon = event.timestamp.0.saturating_sub(config.history_gap_ms);
        // strictly earlier: lines of one basket share their time and do not explain each other
        while events[end].timestamp.0 < event.timestamp.0 && events[end].timestamp.0 <= horizon {
            has_positive |= events[end].event_type.is_positive();
            end += 1;
        }
        if !event.event_type.is_positive() {
            continue;
        }
        let new = known.insert(event.item);
        if has_positive && (new || config.repeats) {
            list.push(Example {
                first: first as u32,
                end: (first + end) as u32,
                target: (first + idx) as u32,
            });
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use types::{EventType, Interaction, ItemId, Timestamp, UserId};

    use super::{Example, examples, read_history};
    use crate::{TowerConfig, UserEncoder};

    fn event(user: u32, time: i64, item: u32, event_type: EventType) -> Interaction {
        Interaction {
            user: UserId(user),
            timestamp: Timestamp(time),
            item: ItemId(item),
            event_type,
        }
    }

    #[test]
    fn pools_weigh_by_rank_and_attention_reads_the_newest_in_their_order() {
        let config = TowerConfig {
            pool_len: 2,
            pool_decay: 0.5,
            recent_len: 2,
            recent_decay: 0.25,
            user_encoder: UserEncoder::Attention,
            attention_len: 3,
            ..TowerConfig::default()
        };
        let history = [
            event(0, 1, 9, EventType::Click),
            event(0, 2, 1, EventType::Click),
            event(0, 3, 2, EventType::Cart),
            event(0, 4, 9, EventType::Impression),
            event(0, 5, 2, EventType::Click),
        ];
        let read = read_history(&history, &config, &mut |_| true);
        assert_eq!(read.tokens, [(1, 0), (2, 1), (2, 0)]);
        let pooled = TowerConfig { user_encoder: UserEncoder::Pooled, ..config };
        assert!(read_history(&history, &pooled, &mut |_| true).tokens.is_empty());
        let (third, fifth) = (1.0 / 3.0, 0.2);
        let want = [
            vec![(2, 2.0 * third), (1, third)],
            vec![(2, 1.0)],
            vec![],
            vec![(2, 4.0 * fifth), (1, fifth)],
        ];
        for (got, want) in read.pools.iter().zip(&want) {
            assert_eq!(got.len(), want.len());
            for (g, w) in got.iter().zip(want) {
                assert!(g.0 == w.0 && (g.1 - w.1).abs() < 1e-6, "{got:?} is not {want:?}");
            }
        }
    }

    #[track_caller]
    fn check(config: &TowerConfig, times: &[(i64, u32)], want: &[(u32, u32)]) {
        let log: Vec<Interaction> =
            times.iter().map(|&(t, item)| event(0, t, item, EventType::Click)).collect();
        let got: Vec<(u32, u32)> = examples(&log, config)
            .training
            .concat()
            .iter()
            .map(|&Example { end, target, .. }| (end, target))
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn an_example_reads_only_what_came_before_it() {
        let config = TowerConfig { validation_users: 0, ..TowerConfig::default() };
        let repeats = TowerConfig { repeats: true, ..config.clone() };
        let gap = TowerConfig { history_gap_ms: 10, ..config.clone() };
        check(&config, &[(1, 7), (2, 8), (3, 9)], &[(1, 1), (2, 2)]);
        check(&config, &[(1, 7), (1, 8), (3, 9)], &[(2, 2)]); // one basket at time 1
        check(&config, &[(1, 7), (2, 8), (3, 7)], &[(1, 1)]); // 7 again
        check(&repeats, &[(1, 7), (2, 8), (3, 7)], &[(1, 1), (2, 2)]);
        check(&gap, &[(1, 7), (2, 8), (11, 9), (12, 5)], &[(1, 2), (2, 3)]);
    }

    #[test]
    fn the_last_example_of_some_users_is_held_out() {
        let config = TowerConfig { validation_users: 2, ..TowerConfig::default() };
        let log: Vec<Interaction> = (0..20)
            .flat_map(|user| (0..4).map(move |t| event(user, t, user + t as u32, EventType::Click)))
            .collect();
        let examples = examples(&log, &config);
        assert_eq!(examples.validation.len(), 2);
        assert!(examples.validation.iter().all(|e| e.target % 4 == 3));
        assert_eq!(examples.training.concat().len(), 20 * 3 - 2);
        assert!(!examples.training.concat().contains(&examples.validation[0]));
    }
}
