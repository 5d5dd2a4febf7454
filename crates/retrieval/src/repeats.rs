//! What a user takes again and again.
//!
//! Towers know what a user likes, a count knows what they come back for: where people buy the same things
//! again, their own frequencies beat most models. An item's user score grows by
//! `w f(i) / max_j f(j)`, with `f(i) = sum over the user's acts on i of decay^(distinct moments since)`
//! and `w` chosen on what training held out.

use std::collections::BTreeMap;

use rayon::prelude::*;
use types::{Interaction, ItemId, Timestamp, UserId};

use crate::baselines::Scorer as _;
use crate::sequences::Example;
use crate::towers::Towers;

/// What a moment's acts lose with every later one.
const DECAY: f32 = 0.95;

/// Weights that are tried, beside cosines of the user tower.
const WEIGHTS: [f32; 9] = [0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0];

/// Users who are scored at a time.
const CHUNK: usize = 64;

/// What the items of a history add to their user score, in order of the items; nothing without weight.
#[must_use]
pub fn repeat_boosts(history: &[Interaction], weight: f32) -> Vec<(ItemId, f32)> {
    if weight == 0.0 {
        return Vec::new();
    }
    let mut own: BTreeMap<ItemId, f32> = BTreeMap::new();
    acts(history, DECAY).for_each(|(item, act)| *own.entry(item).or_default() += act);
    let most = own.values().copied().fold(f32::MIN_POSITIVE, f32::max);
    own.into_iter().map(|(item, frequency)| (item, weight * frequency / most)).collect()
}

/// The positive acts of a history, `decay^(distinct moments since)` each: `f(i)` is their sum.
pub(crate) fn acts(history: &[Interaction], decay: f32) -> impl Iterator<Item = (ItemId, f32)> {
    let moments: BTreeMap<Timestamp, i32> = {
        let mut times: Vec<Timestamp> = history.iter().map(|i| i.timestamp).collect();
        times.dedup();
        times.into_iter().rev().zip(0..).collect()
    };
    let positive = history.iter().filter(|i| i.event_type.is_positive());
    positive.map(move |i| (i.item, decay.powi(moments[&i.timestamp]).max(1e-5)))
}

/// The weight with the highest sum of `1 / log2(rank + 1)` over held-out acts, ranked among all items.
pub(crate) fn tuned_weight(towers: &Towers, log: &[Interaction], held_out: &[Example]) -> f32 {
    let gains: Vec<[f64; WEIGHTS.len()]> = held_out
        .par_chunks(CHUNK)
        .flat_map_iter(|examples| {
            let users: Vec<(UserId, &[Interaction])> = examples
                .iter()
                .map(|e| (log[e.target as usize].user, &log[e.first as usize..e.end as usize]))
                .collect();
            let n_items = towers.n_items();
            let mut scores = vec![0.0; users.len() * n_items];
            towers.scores(&users, &mut scores);
            let gains: Vec<_> = examples
                .iter()
                .zip(users)
                .zip(scores.chunks(n_items))
                .map(|((example, (_, history)), scores)| {
                    let target = log[example.target as usize].item;
                    let boosts = repeat_boosts(history, 1.0);
                    WEIGHTS.map(|weight| gain(scores, &boosts, weight, target))
                })
                .collect();
            gains
        })
        .collect();
    let sum = |place: usize| gains.iter().map(|gains| gains[place]).sum::<f64>();
    let sums: Vec<f64> = (0..WEIGHTS.len()).map(sum).collect();
    let best = (0..WEIGHTS.len())
        .reduce(|best, place| if sums[place] > sums[best] { place } else { best });
    best.map_or(0.0, |place| WEIGHTS[place])
}

/// What the place of `target` is worth when `weight * boosts` are added to `scores`.
fn gain(scores: &[f32], boosts: &[(ItemId, f32)], weight: f32, target: ItemId) -> f64 {
    let boost =
        |item: ItemId| boosts.binary_search_by_key(&item, |b| b.0).map_or(0.0, |at| boosts[at].1);
    let reach = scores[target.idx()] + weight * boost(target);
    let above = |item: usize, score: f32| score > reach || (score == reach && item < target.idx());
    let plain = scores.iter().enumerate().filter(|&(item, &score)| above(item, score)).count();
    // those with a boost were counted without it
    let own = boosts.iter().map(|&(item, boost)| {
        let score = scores[item.idx()];
        let now = above(item.idx(), score + weight * boost);
        i64::from(now && item != target) - i64::from(above(item.idx(), score))
    });
    let rank = plain as i64 + own.sum::<i64>();
    1.0 / (rank as f64 + 2.0).log2()
}

#[cfg(test)]
mod tests {
    use types::ItemId;

    use super::{gain, repeat_boosts};
    use crate::baselines::testing::log;

    #[test]
    fn what_was_taken_most_and_last_gains_most() {
        let check = |history: &str, expect: &[(u32, f32)]| {
            let boosts = repeat_boosts(&log(&[history]), 0.5);
            assert_eq!(boosts.len(), expect.len(), "{history}: {boosts:?}");
            for ((item, boost), (id, want)) in boosts.iter().zip(expect) {
                assert!(item.0 == *id && (boost - want).abs() < 1e-6, "{history}: {boosts:?}");
            }
        };
        check("", &[]);
        check("ab", &[(0, 0.5 * 0.95), (1, 0.5)]);
        check("aab", &[(0, 0.5), (1, 0.5 / (0.95 + 0.95 * 0.95))]);
        assert!(repeat_boosts(&log(&["aab"]), 0.0).is_empty());
    }

    #[test]
    fn a_gain_is_that_of_the_rank_among_boosted_scores() {
        let scores = [0.5, 0.1, 0.3, 0.3];
        let boosts = [(ItemId(1), 1.0), (ItemId(3), 0.1)];
        for weight in [0.0, 0.1, 0.5, 2.0] {
            let mut all = scores;
            boosts.iter().for_each(|(item, boost)| all[item.idx()] += weight * boost);
            for target in 0..4 {
                let above =
                    |i: &usize| all[*i] > all[target] || (all[*i] == all[target] && *i < target);
                let want = 1.0 / ((0..4).filter(above).count() as f64 + 2.0).log2();
                let got = gain(&scores, &boosts, weight, ItemId::from_idx(target));
                assert_eq!(got, want, "{weight} {target}");
            }
        }
    }
}
