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
use crate::sequences::{N_POOLS, Pools, pools};
use crate::step::{Weights, join_rows};
use crate::{RetrievalError, TowerConfig, store};

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
}

/// `config.json` of a towers folder.
#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    config: TowerConfig,
    features: Features,
}

const VERSION: u32 = 1;

impl Towers {
    pub(crate) fn new(
        config: TowerConfig,
        features: Features,
        weights: Weights,
        items: &ItemRows,
    ) -> Self {
        let item_vectors = item_vectors(&weights, items);
        let history_vectors = sums(&weights, &items.history);
        Self { config, features, weights, item_vectors, history_vectors }
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

    /// The vector of a user, `[dim]`, from their history in time order. A user or item that training
    /// did not know is left out of it.
    #[must_use]
    pub fn user_vector(&self, user: UserId, history: &[Interaction]) -> Vec<f32> {
        self.user_vectors(&[(user, history)])
    }

    /// [`Towers::user_vector`] for many users: `[n, dim]`.
    #[must_use]
    pub fn user_vectors(&self, users: &[(UserId, &[Interaction])]) -> Vec<f32> {
        let n_items = self.n_items();
        users
            .par_chunks(CHUNK)
            .flat_map_iter(|users| {
                let all: Vec<(Option<u32>, Pools)> = users
                    .iter()
                    .map(|(user, history)| {
                        let row = self.features.user_row(user.idx());
                        let row = row.filter(|_| self.config.user_ids);
                        let mut known = |item: u32| (item as usize) < n_items;
                        (row, pools(history, &self.config, &mut known))
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
        let dense = self.weights.network.tensors();
        let params = &self.weights.network.params;
        let mut tensors: Vec<(&str, Vec<usize>, &[f32])> = dense
            .iter()
            .map(|(name, shape, range)| (name.as_str(), shape.clone(), &params[range.clone()]))
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
        let saved: Saved = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if saved.version != VERSION {
            return Err(bad(format!("is version {}, expected {VERSION}", saved.version)));
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
        let weights = Weights { table, network };
        Ok(Self { config, features, weights, item_vectors, history_vectors })
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
        let (dim, n) = (self.config.dim, Self::n_items(self));
        let queries = self.user_vectors(users);
        nn::par_gemm_nt(out, &queries, &self.item_vectors, (users.len(), dim, n), 0.0);
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

/// User vectors, `[n, dim]`, from rows and pools.
pub(crate) fn encode_users(
    weights: &Weights,
    history_vectors: &[f32],
    users: &[(Option<u32>, Pools)],
) -> Vec<f32> {
    let dim = weights.network.dim;
    let (mut ids, mut bags) = (Bags::default(), Bags::default());
    for (row, pools) in users {
        row.iter().for_each(|&row| ids.push(row, 1.0));
        ids.close();
        for pool in pools {
            pool.iter().for_each(|&(item, weight)| bags.push(item, weight));
            bags.close();
        }
    }
    let mut id_vectors = vec![0.0; users.len() * dim];
    ids.sum(&weights.table, dim, &mut id_vectors);
    let mut pooled = vec![0.0; users.len() * N_POOLS * dim];
    bags.sum(history_vectors, dim, &mut pooled);
    let buffers = &mut Buffers::default();
    let c = join_rows(&id_vectors, &pooled, dim, buffers);
    let mut out = weights.network.user_base(&c, buffers);
    weights.network.forward(Tower::User, &mut out, &c, buffers);
    for (out, c) in out.chunks_mut(dim).zip(c.chunks(dim * (1 + N_POOLS))) {
        if c.iter().all(|x| *x == 0.0) {
            out.fill(0.0); // nothing known: the hidden layer's bias is no user
        }
    }
    out
}
