//! Training of the sequence encoder.
//!
//! A step's users are dealt to a fixed number of parts, whose gradients are added in order: the result
//! does not depend on threads.

use std::ops::ControlFlow;

use nn::{AdamSettings, AdamW, AdamWConfig, Bags, SparseAdam};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Catalogue, Interaction, Taxonomy};

use super::network::{Packed, SequenceNetwork};
use super::softmax::{Rows as SoftmaxRows, softmax_loss};
use super::{SequenceConfig, SequenceModel, newest};
use crate::chance::Chance;
use crate::features::{Features, Rows, Side};
use crate::{HistorySide, RetrievalError, TowerConfig};

/// Parts of a step.
const PARTS: usize = 4;

/// What the encoder learns from.
#[derive(Debug, Clone, Copy)]
pub struct SequenceData<'a> {
    /// All items.
    pub catalogue: &'a Catalogue,
    /// The categories that the items name.
    pub taxonomy: &'a Taxonomy,
    /// Sorted by user, then time.
    pub interactions: &'a [Interaction],
}

/// One epoch of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SequencePoint {
    /// From 1.
    pub epoch: usize,
    /// Mean cross-entropy per predicted item.
    pub loss: f64,
}

/// Trains on all consecutive pairs of all histories. `watch` sees the model after each epoch and may
/// end the training; it chooses what to keep.
///
/// # Errors
/// [`RetrievalError::Setting`] for heads that do not divide the dimension,
/// [`RetrievalError::NoExamples`] when no user has two positive acts.
pub fn train_sequence(
    data: &SequenceData<'_>,
    config: &SequenceConfig,
    watch: &mut dyn FnMut(&SequenceModel, SequencePoint) -> ControlFlow<()>,
) -> Result<SequenceModel, RetrievalError> {
    if config.heads == 0 || !config.dim.is_multiple_of(config.heads) {
        let (value, expected) = (config.heads.to_string(), "expected a divisor of dim");
        return Err(RetrievalError::Setting { key: "heads", value, expected });
    }
    let n_items = data.catalogue.len();
    let lists: Vec<Vec<u32>> = data
        .interactions
        .chunk_by(|a, b| a.user == b.user)
        .map(|history| newest(history, config.max_len + 1, n_items))
        .filter(|list| list.len() > 1)
        .collect();
    if lists.is_empty() {
        let interactions = data.interactions.len();
        return Err(RetrievalError::NoExamples { interactions, users: 0 });
    }
    let mut run = Run::new(data, config, &lists);
    let per_epoch = lists.len().div_ceil(config.batch);
    let total = per_epoch * config.epochs;
    let mut step = 0;
    for epoch in 1..=config.epochs {
        let mut order: Vec<usize> = (0..lists.len()).collect();
        Chance::new(config.seed, 0x5e90, epoch as u64).shuffle(&mut order);
        let (mut loss, mut n) = (0.0, 0);
        for users in order.chunks(config.batch) {
            let batch: Vec<&[u32]> = users.iter().map(|&u| &lists[u][..]).collect();
            n += batch.iter().map(|list| list.len() - 1).sum::<usize>();
            loss += run.step(&batch, (step, total));
            step += 1;
        }
        let point = SequencePoint { epoch, loss: loss / n as f64 };
        if watch(&run.model(), point).is_break() {
            break;
        }
    }
    Ok(run.model())
}

/// Weights, their optimisers, and what batches are drawn from.
struct Run<'a> {
    config: &'a SequenceConfig,
    item_rows: Vec<Rows>,
    history_rows: Vec<Rows>,
    log_share: Vec<f32>, // share of each item among the targets
    table: Vec<f32>,     // [rows, dim]
    network: SequenceNetwork,
    table_adam: SparseAdam,
    dense_adam: AdamW,
    buffers: nn::Buffers,
}

/// Gradients of one part.
struct Part {
    loss: f64,
    dense: Vec<f32>,
    d_columns: Vec<f32>,
    d_input: Vec<f32>,
}

impl<'a> Run<'a> {
    fn new(data: &SequenceData<'_>, config: &'a SequenceConfig, lists: &[Vec<u32>]) -> Self {
        let dim = config.dim;
        let history_side =
            if config.own_history_ids { HistorySide::OwnIds } else { HistorySide::Shared };
        let rows_of = TowerConfig { history_side, ..TowerConfig::default() };
        let features = Features::new(data.catalogue, data.taxonomy, 0, &rows_of);
        let rows = |side: Side| -> Vec<Rows> {
            let items = data.catalogue.items().iter().enumerate();
            let one = |(idx, item)| {
                let mut rows = vec![(features.id_row(side, idx), 1.0)];
                if config.content {
                    rows.extend(features.content_rows(side, item));
                }
                rows
            };
            items.map(one).collect()
        };
        let mut share = vec![0.0f32; data.catalogue.len()];
        let n_targets: usize = lists.iter().map(|list| list.len() - 1).sum();
        for &item in lists.iter().flat_map(|list| &list[1..]) {
            share[item as usize] += 1.0 / n_targets as f32;
        }
        let mut table = vec![0.0; features.n_rows() * dim];
        let scale = 1.0 / (dim as f32).sqrt();
        table.par_chunks_mut(dim).enumerate().for_each(|(row, weights)| {
            let mut chance = Chance::new(config.seed, 0x5e9a, row as u64);
            weights.iter_mut().for_each(|w| *w = scale * chance.normal());
        });
        for (history, item) in features.twins() {
            table.copy_within(item * dim..(item + 1) * dim, history * dim);
        }
        let network = SequenceNetwork::init(config);
        let settings =
            AdamSettings { weight_decay: config.weight_decay, ..AdamSettings::default() };
        let dense = AdamWConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
        Self {
            config,
            item_rows: rows(Side::Item),
            history_rows: rows(Side::History),
            log_share: share,
            table_adam: SparseAdam::new(features.n_rows(), dim, settings),
            dense_adam: AdamW::new(dense, network.params.len()),
            table,
            network,
            buffers: nn::Buffers::default(),
        }
    }

    fn model(&self) -> SequenceModel {
        SequenceModel {
            config: self.config.clone(),
            network: self.network.clone(),
            items: sums(&self.table, self.config.dim, self.item_rows.iter()),
            history: sums(&self.table, self.config.dim, self.history_rows.iter()),
        }
    }

    /// One step of Adam; returns the sum of the losses.
    fn step(&mut self, batch: &[&[u32]], (step, total): (usize, usize)) -> f64 {
        let weight = 1.0 / batch.iter().map(|list| list.len() - 1).sum::<usize>() as f32;
        let columns = self.columns(batch, step as u64);
        let vectors = sums(
            &self.table,
            self.config.dim,
            columns.items.iter().map(|&i| &self.item_rows[i as usize]),
        );
        let log_q = self.log_q(&columns, batch);
        let per_part = batch.len().div_ceil(PARTS);
        let inputs: Vec<Packed> = batch
            .chunks(per_part)
            .map(|lists| {
                let read: Vec<Vec<u32>> =
                    lists.iter().map(|list| list[..list.len() - 1].to_vec()).collect();
                Packed::new(&read)
            })
            .collect();
        let parts: Vec<Part> = inputs
            .par_iter()
            .zip(batch.par_chunks(per_part))
            .enumerate()
            .map(|(part, (packed, lists))| {
                let key = (step * PARTS + part) as u64;
                let mut chance = Chance::new(self.config.seed, 0x5e9b, key);
                let targets: Vec<u32> = lists
                    .iter()
                    .flat_map(|list| &list[1..])
                    .map(|&item| columns.place[item as usize])
                    .collect();
                self.part(packed, (&targets, weight), (&vectors, &log_q), Some(&mut chance))
            })
            .collect();
        self.update(&columns, &inputs, parts, self.rate(step, total)) / f64::from(weight)
    }

    /// Loss and gradients of one part.
    fn part(
        &self,
        packed: &Packed,
        (targets, weight): (&[u32], f32),
        (vectors, log_q): (&[f32], &[f32]),
        chance: Option<&mut Chance>,
    ) -> Part {
        let dim = self.config.dim;
        let rows = packed.items.iter().map(|&i| &self.history_rows[i as usize]);
        let input = sums(&self.table, dim, rows);
        let trace = self.network.forward(input, packed, chance);
        let mut d_columns = vec![0.0; vectors.len()];
        let rows = SoftmaxRows { encodings: trace.out(), targets, weight };
        let (loss, d_out) = softmax_loss(&rows, (vectors, log_q, dim), &mut d_columns);
        let mut dense = vec![0.0; self.network.params.len()];
        let d_input = self.network.backward(&trace, &d_out, packed, &mut dense);
        Part { loss, dense, d_columns, d_input }
    }

    fn update(&mut self, columns: &Columns, inputs: &[Packed], parts: Vec<Part>, rate: f32) -> f64 {
        let dim = self.config.dim;
        let mut bags = Bags::default();
        let mut push = |rows: &Rows| {
            rows.iter().for_each(|&(row, weight)| bags.push(row, weight));
            bags.close();
        };
        columns.items.iter().for_each(|&i| push(&self.item_rows[i as usize]));
        let read = inputs.iter().flat_map(|packed| &packed.items);
        read.for_each(|&i| push(&self.history_rows[i as usize]));
        let mut loss = 0.0;
        let mut dense = vec![0.0; self.network.params.len()];
        let mut d_vectors = vec![0.0; columns.items.len() * dim];
        for part in &parts {
            loss += part.loss;
            dense.iter_mut().zip(&part.dense).for_each(|(sum, x)| *sum += x);
            d_vectors.iter_mut().zip(&part.d_columns).for_each(|(sum, x)| *sum += x);
        }
        parts.iter().for_each(|part| d_vectors.extend_from_slice(&part.d_input));
        let grad = bags.backward(&d_vectors, dim, &mut self.buffers);
        self.table_adam.step(&mut self.table, &grad, rate);
        self.buffers.give(grad.grads);
        let all = [(0..self.network.params.len(), false)];
        self.dense_adam.update(&mut self.network.params, &dense, 1.0, rate, &all);
        loss
    }

    /// All items, or the targets of the batch and uniform negatives.
    fn columns(&self, batch: &[&[u32]], step: u64) -> Columns {
        let n = self.item_rows.len();
        let mut columns = Columns { items: Vec::new(), place: vec![u32::MAX; n] };
        let Some(negatives) = self.config.negatives.filter(|&negatives| negatives < n) else {
            (0..n as u32).for_each(|item| columns.add(item));
            return columns;
        };
        batch.iter().flat_map(|list| &list[1..]).for_each(|&item| columns.add(item));
        let mut chance = Chance::new(self.config.seed, 0x5e9c, step);
        (0..negatives).for_each(|_| columns.add(chance.below(n) as u32));
        columns
    }

    /// Log of the expected number of draws of each column; empty where all items are columns.
    fn log_q(&self, columns: &Columns, batch: &[&[u32]]) -> Vec<f32> {
        let n = self.item_rows.len();
        let Some(negatives) = self.config.negatives.filter(|&negatives| negatives < n) else {
            return Vec::new();
        };
        let targets = batch.iter().map(|list| list.len() - 1).sum::<usize>() as f32;
        let uniform = negatives as f32 / n as f32;
        // an item is there or not, so the expectation is that of 1 - (no draw takes it)
        let chance = |&i: &u32| 1.0 - (-(targets * self.log_share[i as usize] + uniform)).exp();
        columns.items.iter().map(chance).map(|p| p.max(1e-9).ln()).collect()
    }

    fn rate(&self, step: usize, total: usize) -> f32 {
        let at = (step + 1) as f32 / total as f32;
        let rise = (at / 0.05).min(1.0);
        self.config.learning_rate * rise * (0.51 + 0.49 * (std::f32::consts::PI * at).cos())
    }
}

/// Items under the softmax, and where each stands.
struct Columns {
    items: Vec<u32>,
    place: Vec<u32>,
}

impl Columns {
    fn add(&mut self, item: u32) {
        let place = &mut self.place[item as usize];
        if *place == u32::MAX {
            *place = self.items.len() as u32;
            self.items.push(item);
        }
    }
}

/// Sums of table rows, `[n, dim]`.
fn sums<'r>(table: &[f32], dim: usize, rows: impl Iterator<Item = &'r Rows>) -> Vec<f32> {
    let mut bags = Bags::default();
    for rows in rows {
        rows.iter().for_each(|&(row, weight)| bags.push(row, weight));
        bags.close();
    }
    let mut out = vec![0.0; bags.len() * dim];
    bags.sum(table, dim, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use types::{Catalogue, Item, Taxonomy};

    use super::{Run, SequenceData, sums, train_sequence};
    use crate::SequenceConfig;
    use crate::baselines::testing::log;
    use crate::sequence::network::Packed;

    fn catalogue(n: usize) -> Catalogue {
        let titles = ["red boot", "red sock", "blue lamp", "red hat", "blue desk"];
        let item = |i: usize| Item {
            item_id: i.to_string(),
            title: titles[i % titles.len()].to_owned(),
            ..Item::default()
        };
        Catalogue::new((0..n).map(item).collect()).expect("ids are distinct")
    }

    fn config() -> SequenceConfig {
        SequenceConfig {
            dim: 8,
            heads: 2,
            max_len: 6,
            dropout: 0.0,
            content: true,
            own_history_ids: true,
            ..SequenceConfig::default()
        }
    }

    /// Loss of two sequences, and every gradient.
    fn part(run: &Run<'_>) -> (f64, Vec<f32>, Vec<f32>, Vec<f32>) {
        let packed = Packed::new(&[vec![0, 1, 2, 3], vec![4, 0]]);
        let vectors = sums(&run.table, run.config.dim, run.item_rows.iter());
        let part = run.part(&packed, (&[1, 2, 3, 4, 0, 2], 0.5), (&vectors, &[]), None);
        (part.loss, part.dense, part.d_columns, part.d_input)
    }

    #[test]
    fn gradients_of_all_weights_equal_finite_differences() {
        let (catalogue, taxonomy, config) = (catalogue(5), Taxonomy::default(), config());
        let interactions = log(&["abcde"]);
        let data = SequenceData {
            catalogue: &catalogue,
            taxonomy: &taxonomy,
            interactions: &interactions,
        };
        let mut run = Run::new(&data, &config, &[vec![0, 1]]);
        let (_, dense, d_columns, d_input) = part(&run);
        let check = |name: &str, got: f32, high: f64, low: f64| {
            let want = (high - low) / 2e-3;
            assert!((f64::from(got) - want).abs() < 3e-3, "{name}: {got} is not {want}");
        };
        for (idx, &got) in dense.iter().enumerate() {
            let old = run.network.params[idx];
            let mut at = |value: f32| {
                run.network.params[idx] = value;
                part(&run).0
            };
            let (high, low) = (at(old + 1e-3), at(old - 1e-3));
            at(old);
            check(&format!("parameter {idx}"), got, high, low);
        }
        // every row of the table: its uses as a column and as an input together
        let dim = config.dim;
        let inputs = [0usize, 1, 2, 3, 4, 0];
        for row in 0..run.table.len() / dim {
            let weight_in = |rows: &[(u32, f32)]| {
                rows.iter().filter(|r| r.0 as usize == row).map(|r| r.1).sum::<f32>()
            };
            for k in 0..dim {
                let columns: f32 = run
                    .item_rows
                    .iter()
                    .enumerate()
                    .map(|(i, rows)| weight_in(rows) * d_columns[i * dim + k])
                    .sum();
                let read: f32 = inputs
                    .iter()
                    .enumerate()
                    .map(|(p, &i)| weight_in(&run.history_rows[i]) * d_input[p * dim + k])
                    .sum();
                let old = run.table[row * dim + k];
                let mut at = |value: f32| {
                    run.table[row * dim + k] = value;
                    part(&run).0
                };
                let (high, low) = (at(old + 1e-3), at(old - 1e-3));
                at(old);
                check(&format!("row {row}, {k}"), columns + read, high, low);
            }
        }
    }

    #[test]
    fn the_next_item_is_learned_with_all_items_and_with_drawn_ones() {
        // a leads to b, b to c, c to d, d to a
        let words: Vec<String> = (0..40)
            .map(|i| (0..6).map(|p| char::from(b'a' + ((i + p) % 4) as u8)).collect())
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (interactions, catalogue) = (log(&words), catalogue(30));
        let taxonomy = Taxonomy::default();
        let data = SequenceData {
            catalogue: &catalogue,
            taxonomy: &taxonomy,
            interactions: &interactions,
        };
        for negatives in [None, Some(8)] {
            let config =
                SequenceConfig { negatives, batch: 8, epochs: 30, learning_rate: 0.01, ..config() };
            let mut losses = Vec::new();
            let watch = &mut |_: &_, point: super::SequencePoint| {
                losses.push(point.loss);
                ControlFlow::Continue(())
            };
            let model = train_sequence(&data, &config, watch).unwrap();
            assert!(losses[29] < 0.3 * losses[0], "{losses:?}");
            let mut scores = vec![0.0; 30];
            let user = (types::UserId(0), &interactions[..3]); // a b c
            crate::baselines::Scorer::scores(&model, &[user], &mut scores);
            let best = crate::baselines::top_of(&scores, 1, &|_| true);
            assert_eq!(best[0].0, types::ItemId(3), "{scores:?}");
        }
    }
}
