//! The sequence encoder: causal self-attention over the items of a history, next item by softmax.
//!
//! ```text
//! x_p = sqrt(dim) h(i_p) + position_p                    h: history-side rows of an item
//! x  <- x + W_o attention(n(x))                          per block; n: RMSNorm
//! x  <- x + W_2 relu(W_1 n(x) + b_1) + b_2
//! u   = n(x_last),   score(i) = u . v(i)                 v: item-side rows
//! L   = - mean_p ln softmax_i(u_p . v(i))[i_(p+1)]       over the catalogue, or over drawn items with logQ
//! ```
//!
//! With one row per item, shared by both sides, and the whole catalogue under the softmax this is SASRec
//! (Kang and McAuley 2018, arXiv 1808.09781) in its strong form (cross-entropy instead of one sampled
//! negative, RMSNorm in place of LayerNorm). With content rows and rows of its own for the history side
//! it is the attention encoder of recgpt.

pub(crate) mod network;
mod softmax;
mod train;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Interaction, UserId};

use crate::baselines::Scorer;
use network::{Packed, SequenceNetwork};

pub use train::{SequenceData, SequencePoint, train_sequence};

/// Settings of [`train_sequence`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequenceConfig {
    /// Length of all vectors.
    pub dim: usize,
    /// Heads of attention; divides `dim`.
    pub heads: usize,
    /// Blocks of attention and feed-forward.
    pub blocks: usize,
    /// Newest items of a history that are read.
    pub max_len: usize,
    /// Chance that a number behind the embeddings, the attention or the feed-forward is left out.
    pub dropout: f32,
    /// Whether items are known by their content (words, brand, category) beside their id.
    pub content: bool,
    /// Whether the history side has item rows of its own.
    pub own_history_ids: bool,
    /// Uniform negatives per part of a step, beside the positives in it, with logQ correction; none for
    /// the whole catalogue.
    pub negatives: Option<usize>,
    /// Users per step.
    pub batch: usize,
    /// Peak learning rate of Adam; rises over the first 5% of the steps, falls along a cosine.
    pub learning_rate: f32,
    /// Decoupled weight decay on the embedding rows.
    pub weight_decay: f32,
    /// Passes over the users.
    pub epochs: usize,
    /// Of everything random.
    pub seed: u64,
}

impl Default for SequenceConfig {
    fn default() -> Self {
        Self {
            dim: 64,
            heads: 2,
            blocks: 2,
            max_len: 50,
            dropout: 0.3,
            content: false,
            own_history_ids: false,
            negatives: None,
            batch: 64,
            learning_rate: 0.004,
            weight_decay: 0.0,
            epochs: 20,
            seed: 17,
        }
    }
}

/// A trained encoder with the vectors of all items.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceModel {
    config: SequenceConfig,
    network: SequenceNetwork,
    items: Vec<f32>,   // [items, dim], item side
    history: Vec<f32>, // [items, dim], history side
}

impl SequenceModel {
    /// The settings of training.
    #[must_use]
    pub fn config(&self) -> &SequenceConfig {
        &self.config
    }

    /// Vectors of all items, `[n_items, dim]`: what an index holds.
    #[must_use]
    pub fn item_vectors(&self) -> &[f32] {
        &self.items
    }

    /// Vectors of users from their histories in time order, `[users, dim]`; zero for an empty history.
    #[must_use]
    pub fn user_vectors(&self, histories: &[&[Interaction]]) -> Vec<f32> {
        let dim = self.config.dim;
        let lists: Vec<Vec<u32>> = histories.iter().map(|h| self.last_items(h)).collect();
        let packed = Packed::new(&lists);
        let mut input = vec![0.0; packed.items.len() * dim];
        for (row, &item) in input.chunks_mut(dim).zip(&packed.items) {
            row.copy_from_slice(&self.history[item as usize * dim..][..dim]);
        }
        let trace = self.network.forward(input, &packed, None);
        let mut users = vec![0.0; lists.len() * dim];
        let mut segments = packed.segments.iter();
        for (list, user) in lists.iter().zip(users.chunks_mut(dim)) {
            if !list.is_empty() {
                let last = segments.next().map_or(0, |segment| segment.rows.end) - 1;
                user.copy_from_slice(&trace.out()[last * dim..][..dim]);
            }
        }
        users
    }

    fn last_items(&self, history: &[Interaction]) -> Vec<u32> {
        let n = self.n_items();
        newest(history, self.config.max_len, n)
    }
}

/// The newest `n` items with a positive act, oldest first.
fn newest(history: &[Interaction], n: usize, n_items: usize) -> Vec<u32> {
    let known = |i: &&Interaction| i.event_type.is_positive() && i.item.idx() < n_items;
    let mut items: Vec<u32> =
        history.iter().rev().filter(known).take(n).map(|i| i.item.0).collect();
    items.reverse();
    items
}

impl Scorer for SequenceModel {
    fn n_items(&self) -> usize {
        self.items.len() / self.config.dim
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        let (dim, n) = (self.config.dim, self.n_items());
        let histories: Vec<&[Interaction]> = users.iter().map(|(_, h)| *h).collect();
        let vectors: Vec<f32> =
            histories.par_chunks(32).flat_map_iter(|h| self.user_vectors(h)).collect();
        nn::par_gemm_nt(out, &vectors, &self.items, (users.len(), dim, n), 0.0);
    }
}
