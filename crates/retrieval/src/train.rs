//! Training of the towers: epochs over the examples, and the choice of the epoch by held-out ones.
//!
//! The seed fixes every draw, and every sum has a fixed order: the result does not depend on threads.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Interaction, ItemId};

use crate::batch::Sampler;
use crate::chance::Chance;
use crate::features::Features;
use crate::mining::Miner;
use crate::network::Network;
use crate::repeats::tuned_weight;
use crate::sequences::{Example, TowerData, before_cut, examples};
use crate::step::{Losses, Optimiser, Weights};
use crate::towers::{Towers, best_scores, encode_users, item_vectors, sums};
use crate::user_encoder::Attention;
use crate::{RetrievalError, TowerConfig};

/// One epoch of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochPoint {
    /// From 1.
    pub epoch: usize,
    /// Steps so far.
    pub steps: usize,
    /// Mean loss of user to item, `L_col`.
    pub loss_col: f64,
    /// Mean weighted loss of tag to item.
    pub loss_tag: f64,
    /// Mean weighted loss of tag to category.
    pub loss_cate: f64,
    /// NDCG without cut-off of the held-out interactions over all items not seen by the user.
    pub validation_ndcg: f64,
    /// Recall at 20 of the same.
    pub validation_recall_at_20: f64,
    /// The learned temperature.
    pub temperature: f32,
}

/// How training went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainCurve {
    /// Training examples.
    pub examples: usize,
    /// Held-out interactions, one per chosen user.
    pub validation: usize,
    /// The epoch whose weights were kept.
    pub best_epoch: usize,
    /// All epochs.
    pub epochs: Vec<EpochPoint>,
    /// What a user's own repeats weigh; see [`Towers::repeat_weight`].
    #[serde(default)]
    pub repeat_weight: f32,
}

/// Trains the towers on what lies before `data.now`; `progress` counts steps.
///
/// # Errors
/// [`RetrievalError::Setting`] for a setting out of range, [`RetrievalError::Interaction`] for rows
/// out of order or of unknown users or items, [`RetrievalError::NoExamples`] when no user has two,
/// [`RetrievalError::NotFinite`] when mining meets weights that have diverged.
pub fn train_towers(
    data: &TowerData<'_>,
    config: &TowerConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Towers, TrainCurve), RetrievalError> {
    train_towers_with_tags(data, &[], config, progress)
}

/// [`train_towers`] with texts that are known to mean an item (a tag that led to it, a query before
/// its click): `L_tag` and `L_cate` draw three in ten from them, beside the parts of titles that
/// training makes itself. Pairs of items outside the catalogue are left out.
///
/// # Errors
/// As [`train_towers`].
pub fn train_towers_with_tags(
    data: &TowerData<'_>,
    tag_pairs: &[(String, ItemId)],
    config: &TowerConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Towers, TrainCurve), RetrievalError> {
    config.check()?;
    let log = before_cut(data)?;
    let examples = examples(&log, config);
    if examples.training.is_empty() {
        let (interactions, users) = (log.len(), data.n_users);
        return Err(RetrievalError::NoExamples { interactions, users });
    }
    let features = Features::new(data.catalogue, data.taxonomy, data.n_users, config);
    let sampler = Sampler::new((data, tag_pairs), &features, config, (&log, &examples.training));
    let mut run = Run {
        config,
        sampler: &sampler,
        log: &log,
        validation: &examples.validation,
        weights: initial_weights(config, &features),
        miner: None,
        buffers: nn::Buffers::default(),
    };
    let mut curve = run.epochs(&examples.training, progress)?;
    let weights = run.weights;
    let items = sampler.items;
    let mut towers = Towers::new(config.clone(), features, weights, &items);
    if config.repeats {
        curve.repeat_weight = tuned_weight(&towers, &log, &examples.validation);
        towers.set_repeat_weight(curve.repeat_weight);
    }
    Ok((towers, curve))
}

/// Rows with normal entries of length about `init_length`; users start small, and twins of the
/// history side equal to the item side, so that at first like follows like.
pub(crate) fn initial_weights(config: &TowerConfig, features: &Features) -> Weights {
    let dim = config.dim;
    let mut table = vec![0.0; features.n_rows() * dim];
    let scale = config.init_length / (dim as f32).sqrt();
    let users_from = features.n_rows() - features.n_users();
    table.par_chunks_mut(dim).enumerate().for_each(|(row, weights)| {
        let mut chance = Chance::new(config.seed, 0x7ab1e, row as u64);
        let scale = if row < users_from { scale } else { 0.1 * scale };
        weights.iter_mut().for_each(|w| *w = scale * chance.normal());
    });
    for (history, item) in features.twins() {
        table.copy_within(item * dim..(item + 1) * dim, history * dim);
    }
    Weights { table, network: Network::init(config), attention: Attention::init(config) }
}

/// The state of one training.
struct Run<'a> {
    config: &'a TowerConfig,
    sampler: &'a Sampler<'a>,
    log: &'a [Interaction],
    validation: &'a [Example],
    weights: Weights,
    miner: Option<Miner>, // from the second epoch on
    buffers: nn::Buffers,
}

impl Run<'_> {
    /// Leaves the best weights in `self.weights`.
    fn epochs(
        &mut self,
        training: &[Vec<Example>],
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<TrainCurve, RetrievalError> {
        let cap = self.config.examples_per_user;
        let examples: usize = training.iter().map(|list| list.len().min(cap)).sum();
        let per_epoch = examples.div_ceil(self.config.batch);
        let total = (per_epoch * self.config.epochs).min(self.config.max_steps);
        let mut optimiser = Optimiser::new(&self.weights, self.config);
        let mut curve = TrainCurve {
            examples,
            validation: self.validation.len(),
            best_epoch: 0,
            epochs: vec![],
            repeat_weight: 0.0,
        };
        let mut best: Option<(f64, Weights)> = None;
        let mut step = 0;
        for epoch in 1..=self.config.epochs {
            let order = self.order(training, epoch);
            if epoch > 1 && self.config.mined_negatives > 0 && !self.sampler.is_full() {
                self.miner = Some(Miner::new(&self.weights, self.sampler)?);
            }
            let mut losses = Losses::default();
            let mut batches = 0;
            for examples in order.chunks(self.config.batch).take(total - step) {
                let rate = self.rate(step, total);
                let got = self.step(&mut optimiser, examples, (step, rate));
                losses.col += got.col;
                losses.tag += got.tag;
                losses.cate += got.cate;
                batches += 1;
                step += 1;
                progress(step as u64, total as u64);
            }
            let point = self.point(epoch, step, losses, f64::from(batches.max(1)));
            curve.epochs.push(point);
            // without held-out users the last epoch is the best
            let figure =
                if self.validation.is_empty() { epoch as f64 } else { point.validation_ndcg };
            if best.as_ref().is_none_or(|(value, _)| figure > *value) {
                best = Some((figure, self.weights.clone()));
                curve.best_epoch = epoch;
            }
            if step == total || epoch - curve.best_epoch >= self.config.patience.max(1) {
                break;
            }
        }
        if let Some((_, weights)) = best {
            self.weights = weights;
        }
        progress(total as u64, total as u64);
        Ok(curve)
    }

    fn step(
        &mut self,
        optimiser: &mut Optimiser,
        examples: &[Example],
        (step, rate): (usize, f32),
    ) -> Losses {
        if let Some(miner) = &mut self.miner {
            let towers = (&self.weights, self.sampler, self.config);
            miner.draw(towers, (examples, self.log), step as u64);
        }
        let batch = self.sampler.batch(examples, step as u64, self.miner.as_ref());
        let (losses, gradients) = self.weights.loss_and_grad(&batch, &mut self.buffers);
        let done = optimiser.step(&mut self.weights, gradients, rate);
        done.into_iter().for_each(|buffer| self.buffers.give(buffer));
        losses
    }

    /// The examples of an epoch, at most so many per user, shuffled.
    fn order(&self, training: &[Vec<Example>], epoch: usize) -> Vec<Example> {
        let mut chance = Chance::new(self.config.seed, 0x04de4, epoch as u64);
        let cap = self.config.examples_per_user;
        let mut order = Vec::new();
        for list in training {
            if list.len() <= cap {
                order.extend_from_slice(list);
            } else {
                let mut list = list.clone();
                chance.shuffle(&mut list);
                order.extend_from_slice(&list[..cap]);
            }
        }
        chance.shuffle(&mut order);
        order
    }

    /// Linear rise over the first 5% of the steps, then a cosine down to 2%.
    fn rate(&self, step: usize, total: usize) -> f32 {
        let at = (step + 1) as f32 / total as f32;
        let rise = (at / 0.05).min(1.0);
        let fall = 0.51 + 0.49 * (std::f32::consts::PI * at).cos();
        self.config.learning_rate * rise * fall
    }

    fn point(&self, epoch: usize, steps: usize, losses: Losses, batches: f64) -> EpochPoint {
        let (validation_ndcg, validation_recall_at_20) = self.validate();
        EpochPoint {
            epoch,
            steps,
            loss_col: losses.col / batches,
            loss_tag: losses.tag / batches,
            loss_cate: losses.cate / batches,
            validation_ndcg,
            validation_recall_at_20,
            temperature: 1.0 / self.weights.network.scale(),
        }
    }

    /// NDCG and recall at 20 of the held-out interactions, over all items that the user has not
    /// seen before (with `repeats`: over all items).
    fn validate(&self) -> (f64, f64) {
        if self.validation.is_empty() {
            return (0.0, 0.0);
        }
        let dim = self.config.dim;
        let items = item_vectors(&self.weights, &self.sampler.items);
        let history = sums(&self.weights, &self.sampler.items.history);
        let figures: Vec<(f64, f64)> = self
            .validation
            .par_chunks(64)
            .flat_map_iter(|examples| {
                let users: Vec<_> = examples.iter().map(|e| self.sampler.whole_user(e)).collect();
                let queries = encode_users(&self.weights, &history, &users);
                let n_items = items.len() / dim;
                let mut scores = vec![0.0; examples.len() * n_items];
                best_scores(&queries, &items, dim, &mut scores);
                let ranks: Vec<_> = examples
                    .iter()
                    .zip(scores.chunks(n_items))
                    .map(|(example, scores)| self.rank(example, scores))
                    .collect();
                ranks
            })
            .map(|rank| (1.0 / (rank as f64 + 2.0).log2(), if rank < 20 { 1.0 } else { 0.0 }))
            .collect();
        let n = figures.len() as f64;
        let sum = figures.iter().fold((0.0, 0.0), |sum, x| (sum.0 + x.0, sum.1 + x.1));
        (sum.0 / n, sum.1 / n)
    }

    /// Items before the target, from 0.
    fn rank(&self, example: &Example, scores: &[f32]) -> usize {
        let target = self.log[example.target as usize].item.idx();
        let mut seen = vec![false; scores.len()];
        if !self.config.repeats {
            let history = &self.log[example.first as usize..example.end as usize];
            history.iter().for_each(|i| seen[i.item.idx()] = true);
        }
        let better = |(idx, score): (usize, &f32)| {
            !seen[idx] && (*score > scores[target] || (*score == scores[target] && idx < target))
        };
        scores.iter().enumerate().filter(|&x| better(x)).count()
    }
}
