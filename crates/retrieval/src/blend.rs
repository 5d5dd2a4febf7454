//! A weighted sum of several models, weights chosen on validation.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Interaction, ItemId, UserId};

use crate::baselines::{Scorer, top_of};

/// How the scores of one model become comparable with those of another, user by user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// `(s - mean) / deviation` over the catalogue: for models that tell all items apart.
    Standard,
    /// `s / max`: for models that know a few items and give 0 to the others.
    OfMost,
    /// `s`: for cosines in one space.
    AsIs,
}

/// One model of a blend.
pub struct Component<'a> {
    /// Its name.
    pub name: String,
    /// The model.
    pub model: Box<dyn Scorer + 'a>,
    /// Its scale.
    pub scale: Scale,
    /// Its weight.
    pub weight: f32,
}

/// `score(i) = sum_m weight_m scale_m(s_m(i))`.
pub struct Blend<'a> {
    components: Vec<Component<'a>>,
}

/// One user of validation for [`Blend::tuned`].
#[derive(Debug, Clone)]
pub struct BlendCase<'a> {
    /// Who.
    pub user: UserId,
    /// What was known of them, in time order.
    pub history: &'a [Interaction],
    /// What they took next, none twice.
    pub truth: &'a [ItemId],
    /// Sorted items that may not be shown.
    pub hidden: Vec<ItemId>,
}

/// Items of each model that tuning looks at.
const POOL: usize = 100;
/// Weights that tuning tries for one model.
const WEIGHTS: [f32; 11] = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 8.0, 16.0];

impl<'a> Blend<'a> {
    /// A blend with the weights that the components bring.
    #[must_use]
    pub fn new(components: Vec<Component<'a>>) -> Self {
        Self { components }
    }

    /// Weights in the order of the components.
    #[must_use]
    pub fn weights(&self) -> Vec<(String, f32)> {
        self.components.iter().map(|c| (c.name.clone(), c.weight)).collect()
    }

    /// Chooses the weights, the first one fixed, by NDCG at `k` over `cases`. Looks at the 100 best items
    /// of each model, so test data is ranked in full later but tuning is quick.
    #[must_use]
    pub fn tuned(mut self, cases: &[BlendCase<'_>], k: usize) -> Self {
        let pools: Vec<Pool> = cases.par_chunks(32).flat_map(|c| self.pools(c)).collect();
        let ndcg = |weights: &[f32]| -> f64 {
            let one = |pool: &Pool| pool.ndcg(weights, k);
            let all: Vec<f64> = pools.par_iter().with_min_len(64).map(one).collect();
            all.iter().sum() // in the order of the users, whatever the threads
        };
        let weights = ascend(self.components.iter().map(|c| c.weight).collect(), &ndcg);
        for (component, weight) in self.components.iter_mut().zip(weights) {
            component.weight = weight;
        }
        self
    }

    fn pools(&self, cases: &[BlendCase<'_>]) -> Vec<Pool> {
        let users: Vec<(UserId, &[Interaction])> =
            cases.iter().map(|c| (c.user, c.history)).collect();
        let scaled: Vec<Vec<f32>> = self.components.iter().map(|c| c.scaled(&users)).collect();
        let n = self.n_items();
        cases
            .iter()
            .enumerate()
            .map(|(user, case)| {
                let keep = |item: ItemId| case.hidden.binary_search(&item).is_err();
                let rows: Vec<&[f32]> =
                    scaled.iter().map(|scores| &scores[user * n..(user + 1) * n]).collect();
                let mut items: Vec<ItemId> = rows
                    .iter()
                    .flat_map(|row| top_of(row, POOL, &keep))
                    .map(|(item, _)| item)
                    .collect();
                items.sort_unstable();
                items.dedup();
                let of_items = |row: &&[f32]| items.iter().map(|i| row[i.idx()]).collect();
                Pool {
                    features: rows.iter().map(of_items).collect(),
                    right: items.iter().map(|item| case.truth.contains(item)).collect(),
                    n_truth: case.truth.len(),
                }
            })
            .collect()
    }
}

/// Raises `value` by one weight after the other, twice around; the first one is fixed.
fn ascend(mut weights: Vec<f32>, value: &dyn Fn(&[f32]) -> f64) -> Vec<f32> {
    let mut best = value(&weights);
    for _ in 0..2 {
        for idx in 1..weights.len() {
            let mut chosen = weights[idx];
            for weight in WEIGHTS {
                weights[idx] = weight;
                let got = value(&weights);
                if got > best {
                    (best, chosen) = (got, weight);
                }
            }
            weights[idx] = chosen;
        }
    }
    weights
}

/// The items of one user that tuning ranks.
struct Pool {
    features: Vec<Vec<f32>>, // [models, items]
    right: Vec<bool>,
    n_truth: usize,
}

impl Pool {
    fn ndcg(&self, weights: &[f32], k: usize) -> f64 {
        let mut scores = vec![0.0; self.right.len()];
        for (of_model, &weight) in self.features.iter().zip(weights).filter(|(_, w)| **w != 0.0) {
            nn::axpy(&mut scores, weight, of_model);
        }
        let gain = |place: usize| 1.0 / (place as f64 + 2.0).log2();
        let ideal: f64 = (0..self.n_truth.min(k)).map(gain).sum();
        let best = top_of(&scores, k, &|_| true);
        let found = best.iter().enumerate().filter(|(_, (row, _))| self.right[row.idx()]);
        let found: f64 = found.map(|(place, _)| gain(place)).sum();
        found / ideal.max(f64::MIN_POSITIVE)
    }
}

impl Component<'_> {
    fn scaled(&self, users: &[(UserId, &[Interaction])]) -> Vec<f32> {
        let n = self.model.n_items();
        let mut out = vec![0.0; users.len() * n];
        self.model.scores(users, &mut out);
        for row in out.chunks_mut(n.max(1)) {
            match self.scale {
                Scale::Standard => standardise(row),
                Scale::AsIs => {}
                Scale::OfMost => {
                    let most = row.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
                    row.iter_mut().for_each(|x| *x /= most);
                }
            }
        }
        out
    }
}

fn standardise(row: &mut [f32]) {
    let n = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let square = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let inverse = 1.0 / square.sqrt().max(1e-9);
    row.iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) * inverse) as f32);
}

impl Scorer for Blend<'_> {
    fn n_items(&self) -> usize {
        self.components.first().map_or(0, |c| c.model.n_items())
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        out.fill(0.0);
        for component in self.components.iter().filter(|c| c.weight != 0.0) {
            nn::axpy(out, component.weight, &component.scaled(users));
        }
    }
}

#[cfg(test)]
mod tests {
    use types::{Interaction, ItemId, UserId};

    use super::{Blend, BlendCase, Component, Scale};
    use crate::baselines::{Scorer, top_of};

    /// Gives everybody the same scores.
    struct Fixed(Vec<f32>);

    impl Scorer for Fixed {
        fn n_items(&self) -> usize {
            self.0.len()
        }

        fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
            (0..users.len())
                .for_each(|u| out[u * self.0.len()..][..self.0.len()].copy_from_slice(&self.0));
        }
    }

    fn component(name: &str, scores: &[f32], scale: Scale) -> Component<'static> {
        let model = Box::new(Fixed(scores.to_vec()));
        Component { name: name.to_owned(), model, scale, weight: 1.0 }
    }

    #[test]
    fn tuning_finds_the_model_that_knows_and_drops_the_one_that_misleads() {
        let blend = Blend::new(vec![
            component("flat", &[0.1, 0.0, 0.0, 0.0], Scale::Standard),
            component("right", &[0.0, 0.0, 8.0, 0.0], Scale::OfMost),
            component("wrong", &[0.0, 5.0, 0.0, 4.0], Scale::OfMost),
        ]);
        let truth = [ItemId(2)];
        let case = BlendCase { user: UserId(0), history: &[], truth: &truth, hidden: vec![] };
        let blend = blend.tuned(&[case], 4);
        let mut scores = vec![0.0; 4];
        blend.scores(&[(UserId(0), &[])], &mut scores);
        assert_eq!(top_of(&scores, 1, &|_| true)[0].0, ItemId(2), "{:?}", blend.weights());
    }
}
