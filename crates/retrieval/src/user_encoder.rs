//! What reads the order of a history: attention over a user's newest interactions.
//!
//! ```text
//! z_p = h(i_p) + behaviour(b_p) + place(p)          oldest first, places counted from the newest
//! y_p = blocks(z)_p                                 causal (`sequence`): sees z_1 .. z_p; |y_p| about 1
//! attention:       s   = y_last
//! multi_interest:  s_k = sum_p w_kp y_p,  w_k = softmax_p(c_k . y_p),   k = 1 .. K
//! ```
//!
//! `h` are the history-side representations that the pools read, `c_k` learned codes (Poly-Encoder,
//! Humeau et al. 2020, arXiv 1905.01969; for interests ComiRec, Cen et al. 2020, arXiv 2005.09347). The
//! states `s` are one more source of the user tower, beside the pools (`network.rs`). At the start the
//! blocks are the identity.

use std::ops::Range;

use rayon::prelude::*;

use crate::chance::Chance;
use crate::network::PARAM_ROW;
use crate::sequence::network::{Packed, SequenceNetwork, Trace};
use crate::sequences::{N_GROUPS, Token};
use crate::{SequenceConfig, TowerConfig, UserEncoder};

/// Parts that users are dealt to; fixed, so that sums do not depend on threads.
const PARTS: usize = 8;

/// Attention with its parameters in one flat list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attention {
    dim: usize,
    max_len: usize,
    seed: u64,
    /// Also holds what is not its own, behind its own tensors.
    network: SequenceNetwork,
    behaviours: Range<usize>, // [N_GROUPS, dim]
    codes: Range<usize>,      // [K, dim]; empty for the last state
}

/// What the backward pass needs, by part.
pub(crate) struct Encoded(Vec<PartTrace>);

struct PartTrace {
    packed: Packed,
    groups: Vec<usize>,        // per token
    users: Vec<Option<usize>>, // which segment is a user's
    trace: Trace,
    weights: Vec<f32>, // [tokens, K]
}

impl Attention {
    /// The encoder of a configuration; none for pools alone.
    pub(crate) fn init(config: &TowerConfig) -> Option<Self> {
        let n_codes = match config.user_encoder {
            UserEncoder::Pooled => return None,
            UserEncoder::Attention => 0,
            UserEncoder::MultiInterest => config.interests,
        };
        let dim = config.dim;
        let mut network = SequenceNetwork::init(&SequenceConfig {
            dim,
            heads: config.attention_heads,
            blocks: config.attention_blocks,
            max_len: config.attention_len,
            dropout: config.attention_dropout,
            seed: config.seed,
            ..SequenceConfig::default()
        });
        network.start_quietly();
        let mut end = network.params.len();
        let mut tensor = |len: usize| {
            end += len;
            end - len..end
        };
        let (behaviours, codes) = (tensor(N_GROUPS * dim), tensor(n_codes * dim));
        network.params.resize(end.next_multiple_of(PARAM_ROW), 0.0);
        let mut chance = Chance::new(config.seed, 0xc0de, 0);
        network.params[codes.clone()].iter_mut().for_each(|c| *c = 2.0 * chance.normal());
        let (max_len, seed) = (config.attention_len, config.seed);
        Some(Self { dim, max_len, seed, network, behaviours, codes })
    }

    /// All parameters.
    pub(crate) fn params(&self) -> &[f32] {
        &self.network.params
    }

    pub(crate) fn params_mut(&mut self) -> &mut [f32] {
        &mut self.network.params
    }

    /// States per user.
    pub(crate) fn n_states(&self) -> usize {
        (self.codes.len() / self.dim).max(1)
    }

    /// States `[users * n_states, dim]` of users with these tokens, whose items are rows of
    /// `history[n, dim]`; zero without tokens. With a `step` there is dropout.
    pub(crate) fn forward(
        &self,
        history: &[f32],
        users: &[Vec<Token>],
        step: Option<u64>,
    ) -> (Vec<f32>, Encoded) {
        let parts: Vec<(Vec<f32>, PartTrace)> = users
            .par_chunks(part_len(users.len()))
            .enumerate()
            .map(|(part, users)| {
                let key = |step: u64| step * PARTS as u64 + part as u64;
                let mut chance = step.map(|step| Chance::new(self.seed, 0xa77, key(step)));
                self.part(history, users, chance.as_mut())
            })
            .collect();
        let mut states = Vec::with_capacity(users.len() * self.n_states() * self.dim);
        let mut traces = Vec::with_capacity(parts.len());
        for (part, trace) in parts {
            states.extend(part);
            traces.push(trace);
        }
        (states, Encoded(traces))
    }

    /// Gradient of [`Attention::forward`]: adds to `d_history` and returns that of the parameters.
    pub(crate) fn backward(
        &self,
        encoded: &Encoded,
        d_states: &[f32],
        d_history: &mut [f32],
    ) -> Vec<f32> {
        let dim = self.dim;
        let per_user = self.n_states() * dim;
        let chunks = d_states.par_chunks(part_len(d_states.len() / per_user) * per_user);
        let parts: Vec<(Vec<f32>, Vec<f32>)> = encoded
            .0
            .par_iter()
            .zip(chunks)
            .map(|(part, d_states)| self.part_backward(part, d_states))
            .collect();
        let mut grads = vec![0.0; self.network.params.len()];
        for (part, (own, d_input)) in encoded.0.iter().zip(&parts) {
            grads.iter_mut().zip(own).for_each(|(sum, x)| *sum += x);
            for (&item, d) in part.packed.items.iter().zip(d_input.chunks(dim)) {
                nn::axpy(&mut d_history[item as usize * dim..][..dim], 1.0, d);
            }
        }
        grads
    }

    /// Names, shapes and places of all tensors.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>, Range<usize>)> {
        let mut list = self.network.tensors();
        list.push(("behaviours".to_owned(), vec![N_GROUPS, self.dim], self.behaviours.clone()));
        if !self.codes.is_empty() {
            list.push(("codes".to_owned(), vec![self.n_states(), self.dim], self.codes.clone()));
        }
        list.into_iter().map(|(name, shape, at)| (format!("attention.{name}"), shape, at)).collect()
    }

    fn part(
        &self,
        history: &[f32],
        users: &[Vec<Token>],
        chance: Option<&mut Chance>,
    ) -> (Vec<f32>, PartTrace) {
        let (dim, mut packed) = (self.dim, Packed::default());
        let (mut groups, mut segments, mut input) = (Vec::new(), Vec::new(), Vec::new());
        let behaviours = &self.network.params[self.behaviours.clone()];
        for tokens in users {
            segments.push((!tokens.is_empty()).then_some(packed.segments.len()));
            packed.push(tokens.iter().map(|token| token.0), self.max_len - tokens.len());
            for &(item, group) in tokens {
                let item = &history[item as usize * dim..][..dim];
                let behaviour = &behaviours[group * dim..][..dim];
                input.extend(item.iter().zip(behaviour).map(|(h, b)| h + b));
                groups.push(group);
            }
        }
        let trace = self.network.forward(input, &packed, chance);
        let weights = self.code_weights(&packed, trace.out());
        let part = PartTrace { packed, groups, users: segments, trace, weights };
        let mut states = vec![0.0; users.len() * self.n_states() * dim];
        for (segment, states) in part.users.iter().zip(states.chunks_mut(self.n_states() * dim)) {
            let Some(segment) = *segment else { continue };
            let rows = part.packed.segments[segment].rows.clone();
            if self.codes.is_empty() {
                states.copy_from_slice(&part.trace.out()[(rows.end - 1) * dim..rows.end * dim]);
                continue;
            }
            for row in rows {
                let y = &part.trace.out()[row * dim..][..dim];
                let weights = &part.weights[row * self.n_states()..];
                states.chunks_mut(dim).zip(weights).for_each(|(s, &w)| nn::axpy(s, w, y));
            }
        }
        (states, part)
    }

    /// `softmax_p(c_k . y_p)`, `[tokens, K]`; empty without codes.
    fn code_weights(&self, packed: &Packed, y: &[f32]) -> Vec<f32> {
        let n = self.codes.len() / self.dim;
        let mut weights = vec![0.0; packed.items.len() * n];
        if n == 0 {
            return weights;
        }
        let codes = &self.network.params[self.codes.clone()];
        nn::gemm_nt(&mut weights, y, codes, (packed.items.len(), self.dim, n), 0.0);
        for segment in &packed.segments {
            let weights = &mut weights[segment.rows.start * n..segment.rows.end * n];
            for code in 0..n {
                let column = || weights.iter().skip(code).step_by(n);
                let most = column().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = column().map(|x| nn::exp(x - most)).sum();
                let column = weights.iter_mut().skip(code).step_by(n);
                column.for_each(|x| *x = nn::exp(*x - most) / sum);
            }
        }
        weights
    }

    /// Gradients of the parameters, and of the tokens' items, `[tokens, dim]`.
    fn part_backward(&self, part: &PartTrace, d_states: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (dim, mut grads) = (self.dim, vec![0.0; self.network.params.len()]);
        let mut d_y = vec![0.0; part.packed.items.len() * dim];
        for (segment, d_states) in part.users.iter().zip(d_states.chunks(self.n_states() * dim)) {
            let Some(segment) = *segment else { continue };
            let rows = part.packed.segments[segment].rows.clone();
            if self.codes.is_empty() {
                d_y[(rows.end - 1) * dim..rows.end * dim].copy_from_slice(d_states);
            } else {
                self.codes_backward(part, rows, d_states, (&mut d_y, &mut grads));
            }
        }
        let d_input = self.network.backward(&part.trace, &d_y, &part.packed, &mut grads);
        let d_behaviours = &mut grads[self.behaviours.clone()];
        for (&group, d) in part.groups.iter().zip(d_input.chunks(dim)) {
            nn::axpy(&mut d_behaviours[group * dim..][..dim], 1.0, d);
        }
        (grads, d_input)
    }

    /// With `l_kp = c_k . y_p` and `d w_kp = d s_k . y_p`: `d l_kp = w_kp (d w_kp - sum_q w_kq d w_kq)`,
    /// `d y_p = sum_k w_kp d s_k + d l_kp c_k`, `d c_k = sum_p d l_kp y_p`.
    fn codes_backward(
        &self,
        part: &PartTrace,
        rows: Range<usize>,
        d_states: &[f32],
        (d_y, grads): (&mut [f32], &mut [f32]),
    ) {
        let (dim, n) = (self.dim, self.n_states());
        let codes = &self.network.params[self.codes.clone()];
        let y = |row: usize| &part.trace.out()[row * dim..][..dim];
        for code in 0..n {
            let (d_state, at) = (&d_states[code * dim..][..dim], code * dim..(code + 1) * dim);
            let weight = |row: usize| part.weights[row * n + code];
            let d_weights: Vec<f32> = rows.clone().map(|row| nn::dot(d_state, y(row))).collect();
            let mean: f32 = rows.clone().zip(&d_weights).map(|(row, d)| weight(row) * d).sum();
            for (row, d_weight) in rows.clone().zip(&d_weights) {
                let d_logit = weight(row) * (d_weight - mean);
                let d_row = &mut d_y[row * dim..][..dim];
                nn::axpy(d_row, weight(row), d_state);
                nn::axpy(d_row, d_logit, &codes[at.clone()]);
                nn::axpy(&mut grads[self.codes.clone()][at.clone()], d_logit, y(row));
            }
        }
    }
}

/// Users of one part.
fn part_len(n_users: usize) -> usize {
    n_users.div_ceil(PARTS).max(1)
}
