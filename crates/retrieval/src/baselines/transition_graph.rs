//! The untrained heuristic of arXiv 2605.07125, built from its description: items a few hops from the
//! last one or two items of a history in the graph of transitions, ranked by similarity of item text.
//!
//! We had no code of the authors. What the description leaves open is a setting, chosen on validation:
//! hops, last items, and how much the transitions themselves count beside the text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{Interaction, Item, UserId};

use super::Scorer;
use super::item_knn::last_items;
use super::text::{TextVectors, tf_idf};

/// Settings of [`TransitionGraph`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransitionGraphConfig {
    /// Last distinct items that speak; published one or two.
    pub last: usize,
    /// Longest path.
    pub hops: usize,
    /// Share of the text's cosine in the score of a reached item; the rest is the probability of the
    /// walk to it, relative to the likeliest.
    pub text: f32,
}

impl Default for TransitionGraphConfig {
    fn default() -> Self {
        Self { last: 2, hops: 2, text: 0.5 }
    }
}

/// Weight of a step from the item before the last, and of a second hop.
const DECAY: f32 = 0.5;

/// The graph: `w(i, j)` counts users' steps from `i` to `j`, in time order; items of one moment all
/// follow those of the moment before. Steps are normalised per `i`.
#[derive(Debug, Clone)]
pub struct TransitionGraph {
    config: TransitionGraphConfig,
    next: Vec<Vec<(u32, f32)>>,
    texts: TextVectors,
}

impl TransitionGraph {
    /// Counts the steps of all users; `interactions` are sorted by user and time.
    #[must_use]
    pub fn new(
        interactions: &[Interaction],
        items: &[Item],
        config: TransitionGraphConfig,
    ) -> Self {
        let mut steps: Vec<BTreeMap<u32, f32>> = vec![BTreeMap::new(); items.len()];
        for history in interactions.chunk_by(|a, b| a.user == b.user) {
            let moments: Vec<&[Interaction]> =
                history.chunk_by(|a, b| a.timestamp == b.timestamp).collect();
            for pair in moments.windows(2) {
                // baskets count once in all, however large
                let weight = 1.0 / pair[1].len() as f32;
                for from in pair[0].iter().filter(|i| i.event_type.is_positive()) {
                    for to in pair[1].iter().filter(|i| i.event_type.is_positive()) {
                        if from.item != to.item {
                            *steps[from.item.idx()].entry(to.item.0).or_default() += weight;
                        }
                    }
                }
            }
        }
        let next = steps.into_iter().map(|steps| {
            let total: f32 = steps.values().sum();
            steps.into_iter().map(|(to, count)| (to, count / total)).collect()
        });
        Self { config, next: next.collect(), texts: tf_idf(items) }
    }

    /// The same graph, asked in another way.
    #[must_use]
    pub fn asked(&self, config: TransitionGraphConfig) -> Self {
        Self { config, ..self.clone() }
    }

    /// Adds the probability of the walks from the last items to `mass[items]`; gives the items reached, in
    /// the order of reaching them.
    fn walk(&self, history: &[Interaction], mass: &mut [f32]) -> Vec<u32> {
        let mut reached = Vec::new();
        let mut weight = 1.0;
        for item in last_items(history, self.config.last) {
            let mut front = vec![(item.0, weight)];
            for hop in 0..self.config.hops {
                let mut further = BTreeMap::new();
                let is_last = hop + 1 == self.config.hops;
                for &(from, share_of_from) in &front {
                    for &(to, share) in self.next.get(from as usize).into_iter().flatten() {
                        let of_step = share_of_from * share;
                        if mass[to as usize] == 0.0 {
                            reached.push(to);
                        }
                        mass[to as usize] += of_step;
                        if !is_last {
                            *further.entry(to).or_insert(0.0) += DECAY * of_step;
                        }
                    }
                }
                front = further.into_iter().collect();
            }
            weight *= DECAY;
        }
        reached
    }
}

impl Scorer for TransitionGraph {
    fn n_items(&self) -> usize {
        self.next.len()
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        out.fill(0.0);
        for ((_, history), row) in users.iter().zip(out.chunks_mut(self.next.len().max(1))) {
            let reached = self.walk(history, row);
            let most = row.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
            let last = last_items(history, self.config.last);
            let mut words: BTreeMap<u32, f32> = BTreeMap::new();
            // without a share for text its cosines are not needed
            let read = if self.config.text > 0.0 { last.len() } else { 0 };
            for (item, weight) in last.iter().take(read).zip([1.0, DECAY]) {
                for &(word, value) in self.texts.get(item.idx()).into_iter().flatten() {
                    *words.entry(word).or_default() += weight * value;
                }
            }
            for item in reached {
                let mass = row[item as usize];
                let of_item = if words.is_empty() { &[][..] } else { &self.texts[item as usize] };
                let text: f32 =
                    of_item.iter().filter_map(|(word, value)| Some(value * words.get(word)?)).sum();
                // reached items lie above all others, whatever their text
                row[item as usize] =
                    1e-6 + self.config.text * text + (1.0 - self.config.text) * mass / most;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::{Item, UserId};

    use super::{TransitionGraph, TransitionGraphConfig};
    use crate::baselines::testing::{letters, log};
    use crate::baselines::{Scorer as _, top_of};

    #[track_caller]
    fn check(config: TransitionGraphConfig, history: &str, expect: &str) {
        let titles = ["red boot", "red sock", "blue lamp", "red hat", "desk", "green sofa"];
        let items: Vec<Item> = titles
            .iter()
            .map(|title| Item {
                item_id: (*title).to_owned(),
                title: (*title).to_owned(),
                ..Item::default()
            })
            .collect();
        let graph = TransitionGraph::new(&log(&["ac", "ac", "ab", "cd", "be"]), &items, config);
        let history = log(&[history]);
        let mut scores = vec![0.0; items.len()];
        graph.scores(&[(UserId(0), &history)], &mut scores);
        let reached = scores.iter().filter(|s| **s > 0.0).count();
        assert_eq!(letters(&top_of(&scores, reached, &|_| true)), expect, "{scores:?}");
    }

    #[test]
    fn hops_reach_items_and_text_ranks_them() {
        let config = |last, hops, text| TransitionGraphConfig { last, hops, text };
        check(config(1, 1, 0.0), "a", "cb"); // two steps to c, one to b
        check(config(1, 1, 1.0), "a", "bc"); // b shares a word with a
        check(config(1, 2, 0.0), "a", "cbde");
        check(config(2, 1, 0.0), "ba", "ceb"); // c 2/3 and b 1/3 from a, e 1/2 from b
        check(config(2, 2, 0.5), "f", ""); // nobody went on from f
    }
}
