//! The trained towers: vectors of users, items and tags in one space.
//!
//! Equations: `network.rs`. Training: `train.rs`. All vectors have length 1 (a user, item or text of
//! which nothing is known has the zero vector, and scores 0 with everything).

use std::path::Path;

use nn::{Bags, Buffers};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Interaction, Item, ItemId, UserId};

use crate::baselines::Scorer;
use crate::features::{self, Features, Rows, Side};
use crate::network::{Network, Tower};
use crate::sequences::{History, N_POOLS, Token, read_history};
use crate::step::{UserInput, Weights};
use crate::user_encoder::Attention;
use crate::{RetrievalError, TowerConfig, UserEncoder, store};

/// Users that one task encodes.
const CHUNK: usize = 64;

/// The three towers.
#[derive(Debug, Clone, PartialEq)]
pub struct Towers {
    config: TowerConfig,
    features: Features,
    weights: Weights,
    item_vectors: Vec<f32>,    // [items, dim]
    history_vectors: Vec<f32>, // [items, dim], what pools read
    repeat_weight: f32,
}

/// `config.json` of a towers folder.
#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    config: TowerConfig,
    features: Features,
    #[serde(default)]
    repeat_weight: f32,
}

/// 2: attention beside the pools. Files of version 1 hold pools alone and are read.
const VERSION: u32 = 2;

impl Towers {
    pub(crate) fn new(
        config: TowerConfig,
        features: Features,
        weights: Weights,
        items: &ItemRows,
    ) -> Self {
        let item_vectors = item_vectors(&weights, items);
        let history_vectors = sums(&weights, &items.history);
        Self { config, features, weights, item_vectors, history_vectors, repeat_weight: 0.0 }
    }

    /// What [`repeat_boosts`](crate::repeat_boosts) weigh beside the user score, as training chose it: 0
    /// where `repeats` is not set.
    #[must_use]
    pub fn repeat_weight(&self) -> f32 {
        self.repeat_weight
    }

    pub(crate) fn set_repeat_weight(&mut self, weight: f32) {
        self.repeat_weight = weight;
    }

    /// The settings of training.
    #[must_use]
    pub fn config(&self) -> &TowerConfig {
        &self.config
    }

    /// Length of all vectors.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.config.dim
    }

    /// Number of items, pushed ones included.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.item_vectors.len() / self.config.dim
    }

    /// The learned scale that turns a cosine into a logit, `1 / temperature`.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.weights.network.scale()
    }

    /// Vectors of all items, `[n_items, dim]`, row = [`ItemId`]: what the index holds.
    #[must_use]
    pub fn item_vectors(&self) -> &[f32] {
        &self.item_vectors
    }

    /// Vectors per user; a user's score of an item is that of the best of them.
    #[must_use]
    pub fn n_interests(&self) -> usize {
        self.weights.n_interests()
    }

    /// The vectors of a user, `[n_interests, dim]`, from their history in time order. A user or item
    /// that training did not know is left out of them.
    #[must_use]
    pub fn user_vector(&self, user: UserId, history: &[Interaction]) -> Vec<f32> {
        self.user_vectors(&[(user, history)])
    }

    /// [`Towers::user_vector`] for many users: `[n, n_interests, dim]`.
    #[must_use]
    pub fn user_vectors(&self, users: &[(UserId, &[Interaction])]) -> Vec<f32> {
        let n_items = self.n_items();
        users
            .par_chunks(CHUNK)
            .flat_map_iter(|users| {
                let all: Vec<(Option<u32>, History)> = users
                    .iter()
                    .map(|(user, history)| {
                        let row = self.features.user_row(user.idx());
                        let row = row.filter(|_| self.config.user_ids);
                        let mut known = |item: u32| (item as usize) < n_items;
                        (row, read_history(history, &self.config, &mut known))
                    })
                    .collect();
                encode_users(&self.weights, &self.history_vectors, &all)
            })
            .collect()
    }

    /// The vector of a tag, or of any text such as a query, `[dim]`; unknown words share hashed rows.
    #[must_use]
    pub fn tag_vector(&self, tag: &str) -> Vec<f32> {
        let rows = self.features.tag_rows(&features::words(tag));
        let sum = sum_rows(&self.weights, &rows);
        self.through(Tower::Tag, sum)
    }

    /// The vector of an item by its content alone, `[dim]`: for an item that training did not see.
    #[must_use]
    pub fn encode_item(&self, item: &Item) -> Vec<f32> {
        let rows = self.features.content_rows(Side::Item, item);
        self.through(Tower::Item, sum_rows(&self.weights, &rows))
    }

    /// Adds an item by its content; from now on histories may hold it. Returns its number, which is
    /// the next row of the catalogue.
    pub fn push_item(&mut self, item: &Item) -> ItemId {
        let id = ItemId::from_idx(self.n_items());
        let vector = self.encode_item(item);
        self.item_vectors.extend(vector);
        let rows = self.features.content_rows(Side::History, item);
        self.history_vectors.extend(sum_rows(&self.weights, &rows));
        id
    }

    /// Writes `config.json` and `weights.safetensors` into `dir`, each whole or not at all.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] when the folder cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), RetrievalError> {
        let dim = self.config.dim;
        let Weights { network, attention, .. } = &self.weights;
        let (dense, attending) = (network.tensors(), attention.as_ref().map(Attention::tensors));
        let params = attention.as_ref().map_or(&[][..], Attention::params);
        let attending = attending.iter().flatten().map(|tensor| (tensor, params));
        let mut tensors: Vec<(&str, Vec<usize>, &[f32])> = dense
            .iter()
            .map(|tensor| (tensor, &network.params[..]))
            .chain(attending)
            .map(|((name, shape, at), params)| (&name[..], shape.clone(), &params[at.clone()]))
            .collect();
        for (name, data) in [
            ("table", &self.weights.table),
            ("item_vectors", &self.item_vectors),
            ("history_vectors", &self.history_vectors),
        ] {
            tensors.push((name, vec![data.len() / dim, dim], data));
        }
        store::save_tensors(&dir.join("weights.safetensors"), &tensors)?;
        let saved = Saved {
            version: VERSION,
            config: self.config.clone(),
            features: self.features.clone(),
            repeat_weight: self.repeat_weight,
        };
        let path = dir.join("config.json");
        let json = serde_json::to_vec(&saved).map_err(|e| RetrievalError::Format {
            path: path.clone(),
            detail: format!("cannot be encoded: {e}"),
        })?;
        store::write_whole(&path, &json)
    }

    /// Takes the row of a user out of the table; users behind it move up by one, as they do in the
    /// list of users. False for a user unknown in training. What the shared weights have learnt from
    /// the user stays in them until the next training.
    pub fn forget_user(&mut self, user: UserId) -> bool {
        let Some(row) = self.features.user_row(user.idx()) else { return false };
        let from = row as usize * self.config.dim;
        self.weights.table.drain(from..from + self.config.dim);
        self.features.remove_user();
        true
    }

    /// Reads what [`Towers::save`] wrote.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] or [`RetrievalError::Format`] when a file is missing, damaged, of
    /// another version, or does not fit the other.
    pub fn load(dir: &Path) -> Result<Self, RetrievalError> {
        let path = dir.join("config.json");
        let bytes = std::fs::read(&path)
            .map_err(|source| RetrievalError::Io { path: path.clone(), source })?;
        let bad = |detail: String| RetrievalError::Format { path: path.clone(), detail };
        let mut saved: Saved = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        match saved.version {
            1 => saved.config.user_encoder = UserEncoder::Pooled, // there was no other
            VERSION => {}
            other => return Err(bad(format!("is version {other}, expected at most {VERSION}"))),
        }
        saved.config.check()?;
        let (config, features) = (saved.config, saved.features.with_lookup());
        let path = dir.join("weights.safetensors");
        let mut tensors = store::load_tensors(&path)?;
        let mut take = |name: &str, want: &[usize]| {
            let (shape, data) = store::take(&mut tensors, name, &path)?;
            if shape == want {
                return Ok(data);
            }
            let detail = format!("{name} has shape {shape:?}, expected {want:?} by config.json");
            Err(RetrievalError::Format { path: path.clone(), detail })
        };
        let mut network = Network::init(&config);
        for (name, shape, range) in network.tensors() {
            network.params[range].copy_from_slice(&take(&name, &shape)?);
        }
        let mut attention = Attention::init(&config);
        if let Some(attention) = &mut attention {
            for (name, shape, range) in attention.tensors() {
                attention.params_mut()[range].copy_from_slice(&take(&name, &shape)?);
            }
        }
        let table = take("table", &[features.n_rows(), config.dim])?;
        let (shape, item_vectors) = store::take(&mut tensors, "item_vectors", &path)?;
        let (history_shape, history_vectors) = store::take(&mut tensors, "history_vectors", &path)?;
        let enough = shape.len() == 2 && shape[0] >= features.n_items() && shape[1] == config.dim;
        if !enough || shape != history_shape {
            let least = [features.n_items(), config.dim];
            let detail = format!(
                "item vectors have shapes {shape:?} and {history_shape:?}, expected at least {least:?}"
            );
            return Err(RetrievalError::Format { path, detail });
        }
        let weights = Weights { table, network, attention };
        let repeat_weight = saved.repeat_weight;
        Ok(Self { config, features, weights, item_vectors, history_vectors, repeat_weight })
    }

    fn through(&self, tower: Tower, mut sum: Vec<f32>) -> Vec<f32> {
        let c = sum.clone();
        if c.iter().all(|x| *x == 0.0) {
            return c;
        }
        self.weights.network.forward(tower, &mut sum, &c, &mut Buffers::default());
        sum
    }
}

impl Scorer for Towers {
    fn n_items(&self) -> usize {
        Self::n_items(self)
    }

    /// Scores of the user tower alone.
    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        best_scores(&self.user_vectors(users), &self.item_vectors, self.config.dim, out);
    }
}

/// The rows of all items of a catalogue on both sides; an item without interactions has no id row.
pub(crate) struct ItemRows {
    pub(crate) item: Vec<Rows>,
    pub(crate) history: Vec<Rows>,
}

/// Vectors of all items, `[items, dim]`.
pub(crate) fn item_vectors(weights: &Weights, items: &ItemRows) -> Vec<f32> {
    let mut out = sums(weights, &items.item);
    let c = out.clone();
    weights.network.forward(Tower::Item, &mut out, &c, &mut Buffers::default());
    out
}

/// Sums of rows, `[items, dim]`.
pub(crate) fn sums(weights: &Weights, items: &[Rows]) -> Vec<f32> {
    let mut bags = Bags::default();
    for rows in items {
        rows.iter().for_each(|&(row, weight)| bags.push(row, weight));
        bags.close();
    }
    let mut out = vec![0.0; items.len() * weights.network.dim];
    bags.sum(&weights.table, weights.network.dim, &mut out);
    out
}

fn sum_rows(weights: &Weights, rows: &Rows) -> Vec<f32> {
    sums(weights, std::slice::from_ref(rows))
}

/// `out[n, n_items]`: the best of each user's `vectors[n, interests, dim]` for every item.
pub(crate) fn best_scores(vectors: &[f32], items: &[f32], dim: usize, out: &mut [f32]) {
    let (rows, n_items) = (vectors.len() / dim, items.len() / dim);
    if out.len() == rows * n_items {
        return nn::par_gemm_nt(out, vectors, items, (rows, dim, n_items), 0.0);
    }
    let interests = rows * n_items / out.len().max(1);
    let mut scores = vec![0.0; interests * n_items];
    for (out, vectors) in out.chunks_mut(n_items.max(1)).zip(vectors.chunks(interests * dim)) {
        nn::par_gemm_nt(&mut scores, vectors, items, (interests, dim, n_items), 0.0);
        out.copy_from_slice(&scores[..n_items]);
        for scores in scores.chunks(n_items).skip(1) {
            out.iter_mut().zip(scores).for_each(|(best, score)| *best = best.max(*score));
        }
    }
}

/// User vectors, `[n, interests, dim]`, from rows and histories.
pub(crate) fn encode_users(
    weights: &Weights,
    history_vectors: &[f32],
    users: &[(Option<u32>, History)],
) -> Vec<f32> {
    let dim = weights.network.dim;
    let (mut ids, mut bags) = (Bags::default(), Bags::default());
    for (row, history) in users {
        row.iter().for_each(|&row| ids.push(row, 1.0));
        ids.close();
        for pool in &history.pools {
            pool.iter().for_each(|&(item, weight)| bags.push(item, weight));
            bags.close();
        }
    }
    let tokens: Vec<Vec<Token>> = users.iter().map(|(_, history)| history.tokens.clone()).collect();
    let mut id_vectors = vec![0.0; users.len() * dim];
    ids.sum(&weights.table, dim, &mut id_vectors);
    let mut pooled = vec![0.0; users.len() * N_POOLS * dim];
    bags.sum(history_vectors, dim, &mut pooled);
    let input = UserInput {
        ids: &id_vectors,
        pooled: &pooled,
        history: history_vectors,
        tokens: &tokens,
        step: None,
    };
    let mut encoded = weights.users(&input, &mut Buffers::default());
    let known = encoded.c.chunks(weights.network.user_width());
    for (out, c) in encoded.out.chunks_mut(dim).zip(known) {
        if c.iter().all(|x| *x == 0.0) {
            out.fill(0.0); // nothing known: the hidden layer's bias is no user
        }
    }
    encoded.out
}
