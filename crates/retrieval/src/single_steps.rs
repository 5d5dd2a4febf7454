//! Steps of training on their own, on batches drawn before: what `recgpt bench towers` measures, and the
//! files from which a peer does the same work.

use std::path::Path;

use nn::{Bags, Buffers, ContrastiveRow};
use serde_json::{Value, json};

use crate::batch::Sampler;
use crate::features::Features;
use crate::sequences::{Example, TowerData, before_cut, examples};
use crate::step::{Batch, Optimiser, Weights};
use crate::train::initial_weights;
use crate::{RetrievalError, TowerConfig, store};

/// Fresh towers with batches for them.
pub struct SingleSteps {
    weights: Weights,
    optimiser: Optimiser,
    buffers: Buffers,
    batches: Vec<Batch>,
    learning_rate: f32,
}

impl SingleSteps {
    /// The towers of `config` as training begins with them, and its first `n` batches in the order of the
    /// examples.
    ///
    /// # Errors
    /// As [`crate::train_towers`]; [`RetrievalError::NoExamples`] also where they do not fill `n` batches.
    pub fn draw(
        data: &TowerData<'_>,
        config: &TowerConfig,
        n: usize,
    ) -> Result<Self, RetrievalError> {
        config.check()?;
        let log = before_cut(data)?;
        let training = examples(&log, config).training;
        let features = Features::new(data.catalogue, data.taxonomy, data.n_users, config);
        let sampler = Sampler::new((data, &[]), &features, config, (&log, &training));
        let mut order: Vec<Example> = training.concat();
        crate::chance::Chance::new(config.seed, 0x04de4, 0).shuffle(&mut order);
        if order.len() < n * config.batch {
            let (interactions, users) = (log.len(), data.n_users);
            return Err(RetrievalError::NoExamples { interactions, users });
        }
        let chunks = (0..).zip(order.chunks(config.batch)).take(n);
        let batches = chunks.map(|(step, examples)| sampler.batch(examples, step, None)).collect();
        let weights = initial_weights(config, &features);
        Ok(Self {
            optimiser: Optimiser::new(&weights, config),
            weights,
            buffers: Buffers::default(),
            batches,
            learning_rate: config.learning_rate,
        })
    }

    /// Number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether there is no batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Rows of the table, those of one batch, and how often it reads them.
    #[must_use]
    pub fn rows(&self) -> (usize, usize, usize) {
        let all = self.weights.table.len() / self.weights.network.dim;
        let (_, rows, _) =
            self.batches.first().map_or((&[][..], &[][..], &[][..]), |batch| batch.lookups.parts());
        let distinct: std::collections::BTreeSet<u32> = rows.iter().copied().collect();
        (all, distinct.len(), rows.len())
    }

    /// One step on batch `idx`; returns the loss before it.
    ///
    /// # Panics
    /// When there is no such batch.
    pub fn step(&mut self, idx: usize) -> f64 {
        let (losses, gradients) = self.weights.loss_and_grad(&self.batches[idx], &mut self.buffers);
        let done = self.optimiser.step(&mut self.weights, gradients, self.learning_rate);
        done.into_iter().for_each(|buffer| self.buffers.give(buffer));
        losses.col + losses.tag + losses.cate
    }

    /// Writes weights (`table.f32`, `dense.f32`, little-endian) and `batches.json` into `dir`.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] when the folder cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), RetrievalError> {
        let network = &self.weights.network;
        store::write_whole(&dir.join("table.f32"), bytemuck::cast_slice(&self.weights.table))?;
        store::write_whole(&dir.join("dense.f32"), bytemuck::cast_slice(&network.params))?;
        let tensors: Vec<Value> = network
            .tensors()
            .into_iter()
            .map(|(name, shape, at)| json!({ "name": name, "shape": shape, "from": at.start }))
            .collect();
        let batches: Vec<Value> = self.batches.iter().map(batch_json).collect();
        let all = json!({ "dim": network.dim, "tensors": tensors, "batches": batches,
            "learning_rate": self.learning_rate });
        store::write_whole(&dir.join("batches.json"), all.to_string().as_bytes())
    }
}

fn batch_json(batch: &Batch) -> Value {
    let bags = |bags: &Bags| {
        let (offsets, rows, weights) = bags.parts();
        json!({ "offsets": offsets, "rows": rows, "weights": weights })
    };
    let rows = |rows: &[ContrastiveRow]| {
        json!({
            "targets": rows.iter().map(|r| r.target).collect::<Vec<_>>(),
            "excluded": rows.iter().map(|r| r.excluded_group.map_or(-1, i64::from)).collect::<Vec<_>>(),
            "weights": rows.iter().map(|r| r.weight).collect::<Vec<_>>(),
        })
    };
    json!({
        "lookups": bags(&batch.lookups), "pools": bags(&batch.pools),
        "cols": batch.n_cols, "history": batch.n_history, "users": batch.n_users, "tags": batch.n_tags,
        "col_rows": rows(&batch.col_rows), "tag_rows": rows(&batch.tag_rows),
        "cate_rows": rows(&batch.cate_rows), "log_q": batch.log_q, "titles": batch.titles,
        "categories": batch.categories,
    })
}
