//! One block of the decoder, forward and backward; training and inference run the same equations.
//!
//! ```text
//! x = x + attention(rope(norm(norm(x) @ q)), rope(norm(norm(x) @ k)), norm(x) @ v) @ o
//! x = x + (silu(norm(x) @ gate) * (norm(x) @ up)) @ down
//! ```

use std::ops::Range;

use nn::{AttentionSaved, Products, Qkv, QkvGrad, RmsNormSaved};

use super::DecoderConfig;
use super::layout::BlockPlaces;

/// A block's weights as training holds them or as inference packs them.
pub(super) trait BlockWeights {
    /// `out = x @ w` for rows of `x`, or `out += x @ w` with `add`.
    fn product(&mut self, matrix: Matrix, x: &[f32], out: &mut [f32], add: bool);

    /// The weight of a norm; none where the model has no such norm.
    fn norm(&self, norm: Norm) -> Option<&[f32]>;
}

/// The matrices of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matrix {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

/// The norms of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Norm {
    /// Before attention.
    Attention,
    /// Before the SwiGLU.
    Mlp,
    /// On each head of queries.
    Q,
    /// On each head of keys.
    K,
}

/// What a block needs besides its input.
pub(super) struct Block<'a, W> {
    pub(super) config: &'a DecoderConfig,
    pub(super) weights: W,
    pub(super) rope: &'a nn::RopeTable,
}

/// Weights in the flat vector of parameters.
pub(super) struct TrainedWeights<'a> {
    pub(super) config: &'a DecoderConfig,
    pub(super) places: &'a BlockPlaces,
    pub(super) params: &'a [f32],
    pub(super) products: &'a mut Products,
}

/// The intermediate results of a block, kept for the backward pass and reused between calls.
#[derive(Debug, Clone, Default)]
pub(super) struct BlockTape {
    x: Vec<f32>,         // [rows, hidden], the input
    inv1: Vec<f32>,      // [rows]
    h1: Vec<f32>,        // [rows, hidden], normed input
    h1_picked: Vec<f32>, // [wanted, hidden]; unused where all are wanted
    q_raw: Vec<f32>,     // [wanted, q_width], before norm and rotation
    k_raw: Vec<f32>,     // [rows, kv_width]
    inv_q: Vec<f32>,     // [wanted, heads]
    inv_k: Vec<f32>,     // [rows, kv_heads]
    q: Vec<f32>,         // [rows, q_width]; zeros where none is wanted
    k: Vec<f32>,         // [rows, kv_width]
    v: Vec<f32>,         // [rows, kv_width]
    attended: Vec<f32>,  // [rows, q_width]
    log_sum: Vec<f32>,   // [rows, heads]
    picked: Vec<f32>, // [wanted, q_width], of `q`, then of `attended`; unused where all are wanted
    mid: Vec<f32>,    // [wanted, hidden], after attention
    inv2: Vec<f32>,   // [wanted]
    h2: Vec<f32>,     // [wanted, hidden], normed
    gate: Vec<f32>,   // [wanted, intermediate]
    up: Vec<f32>,     // [wanted, intermediate]
    activated: Vec<f32>, // [wanted, intermediate]
}

/// Gradients of the intermediate results, shared by all blocks.
#[derive(Debug, Clone, Default)]
pub(super) struct BlockGrad {
    d_activated: Vec<f32>, // [wanted, intermediate]
    d_gate: Vec<f32>,      // [wanted, intermediate]
    d_up: Vec<f32>,        // [wanted, intermediate]
    d_h: Vec<f32>,         // [wanted, hidden] of h2, then [rows, hidden] of h1
    d_picked: Vec<f32>, // [wanted, q_width] of the attended, then of q; unused where all are wanted
    d_h_picked: Vec<f32>, // [wanted, hidden], of h1 through q; unused where all are wanted
    d_attended: Vec<f32>, // [rows, q_width]
    d_q: Vec<f32>,      // [rows, q_width]
    d_k: Vec<f32>,      // [rows, kv_width]
    d_v: Vec<f32>,      // [rows, kv_width]
    d_q_raw: Vec<f32>,  // [wanted, q_width]
    d_k_raw: Vec<f32>,  // [rows, kv_width]
}

/// Attention as the caller has its keys: from the same rows, or from a cache.
/// Takes queries, keys and values, and writes the attended values and the sums.
pub(super) trait Attend: FnMut(Qkv<'_>, &mut [f32], &mut [f32]) {}
impl<F: FnMut(Qkv<'_>, &mut [f32], &mut [f32])> Attend for F {}

impl<W: BlockWeights> Block<'_, W> {
    /// Advances `x[rows, hidden]` through the block.
    ///
    /// A row's query serves that row alone, and behind attention a row is alone, so that in the last block only
    /// those ask and go on whose output is `wanted` (ascending; all by default), and `x` has only them afterwards.
    pub(super) fn forward(
        &mut self,
        x: &mut Vec<f32>,
        positions: &[u32],
        wanted: Option<&[usize]>,
        tape: &mut BlockTape,
        mut attend: impl Attend,
    ) {
        tape.resize(self.config, (positions.len(), wanted.map_or(positions.len(), <[usize]>::len)));
        tape.x.copy_from_slice(x);
        self.norm(Norm::Attention, &tape.x, &mut tape.h1, &mut tape.inv1);
        self.queries(positions, wanted, tape);
        self.weights.product(Matrix::K, &tape.h1, &mut tape.k_raw, false);
        self.weights.product(Matrix::V, &tape.h1, &mut tape.v, false);
        self.norm(Norm::K, &tape.k_raw, &mut tape.k, &mut tape.inv_k);
        self.rope.rotate(&mut tape.k, positions);
        let qkv = Qkv { q: &tape.q, k: &tape.k, v: &tape.v };
        attend(qkv, &mut tape.attended, &mut tape.log_sum);
        let attended = match wanted {
            None => &tape.attended,
            Some(wanted) => {
                pick(&tape.attended, wanted, self.config.q_width(), &mut tape.picked);
                pick(&tape.x, wanted, self.config.hidden_size, x);
                &tape.picked
            }
        };
        self.weights.product(Matrix::O, attended, x, true);
        tape.mid.copy_from_slice(x);
        self.norm(Norm::Mlp, &tape.mid, &mut tape.h2, &mut tape.inv2);
        self.weights.product(Matrix::Gate, &tape.h2, &mut tape.gate, false);
        self.weights.product(Matrix::Up, &tape.h2, &mut tape.up, false);
        nn::swiglu_forward(&tape.gate, &tape.up, &mut tape.activated);
        self.weights.product(Matrix::Down, &tape.activated, x, true);
    }

    /// From the normed input to the turned queries of the rows that are wanted.
    fn queries(&mut self, positions: &[u32], wanted: Option<&[usize]>, tape: &mut BlockTape) {
        let Some(wanted) = wanted else {
            self.weights.product(Matrix::Q, &tape.h1, &mut tape.q_raw, false);
            self.norm(Norm::Q, &tape.q_raw, &mut tape.q, &mut tape.inv_q);
            self.rope.rotate(&mut tape.q, positions);
            return;
        };
        let (h, q_width) = (self.config.hidden_size, self.config.q_width());
        pick(&tape.h1, wanted, h, &mut tape.h1_picked);
        self.weights.product(Matrix::Q, &tape.h1_picked, &mut tape.q_raw, false);
        tape.picked.resize(wanted.len() * q_width, 0.0);
        self.norm(Norm::Q, &tape.q_raw, &mut tape.picked, &mut tape.inv_q);
        self.rope.rotate(&mut tape.picked, &positions_of(wanted, positions));
        put(&tape.picked, wanted, q_width, (&mut tape.q, positions.len()));
    }

    /// The norm of rows or heads; a copy where the model has none.
    fn norm(&self, norm: Norm, x: &[f32], out: &mut [f32], inv: &mut [f32]) {
        match self.weights.norm(norm) {
            Some(weight) => nn::rms_norm_forward(x, weight, self.config.rms_norm_eps, out, inv),
            None => out.copy_from_slice(x),
        }
    }
}

impl BlockWeights for TrainedWeights<'_> {
    fn product(&mut self, matrix: Matrix, x: &[f32], out: &mut [f32], add: bool) {
        let (n_in, n_out) = matrix.size(self.config);
        let w = self.w(self.places.matrix(matrix));
        self.products.nn(out, x, w, (x.len() / n_in, n_in, n_out), add);
    }

    fn norm(&self, norm: Norm) -> Option<&[f32]> {
        let [q, k] = match &self.places.head_norms {
            Some([q, k]) => [Some(q), Some(k)],
            None => [None, None],
        };
        let place = match norm {
            Norm::Attention => Some(&self.places.norm1),
            Norm::Mlp => Some(&self.places.norm2),
            Norm::Q => q,
            Norm::K => k,
        };
        place.map(|place| self.w(place))
    }
}

impl<'a> TrainedWeights<'a> {
    fn w(&self, range: &Range<usize>) -> &'a [f32] {
        &self.params[range.clone()]
    }

    /// `d_x = d_out @ w^T`, or `d_x += d_out @ w^T` with `add`.
    fn d_input(&mut self, matrix: Matrix, d_out: &[f32], d_x: &mut [f32], add: bool) {
        let (n_in, n_out) = matrix.size(self.config);
        let w = self.w(self.places.matrix(matrix));
        self.products.nt(d_x, d_out, w, (d_out.len() / n_out, n_out, n_in), add);
    }

    /// Adds `x^T @ d_out` to the gradient of a matrix.
    fn d_weight(&mut self, matrix: Matrix, x: &[f32], d_out: &[f32], grads: &mut [f32]) {
        let (n_in, n_out) = matrix.size(self.config);
        let d_w = &mut grads[self.places.matrix(matrix).clone()];
        self.products.tn(d_w, x, d_out, (n_in, x.len() / n_in, n_out), true);
    }
}

impl Matrix {
    /// All of them, in the order of [`BlockPlaces::matrix`].
    pub(super) const ALL: [Self; 7] =
        [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Numbers in and out.
    pub(super) fn size(self, c: &DecoderConfig) -> (usize, usize) {
        match self {
            Self::Q => (c.hidden_size, c.q_width()),
            Self::K | Self::V => (c.hidden_size, c.kv_width()),
            Self::O => (c.q_width(), c.hidden_size),
            Self::Gate | Self::Up => (c.hidden_size, c.intermediate_size),
            Self::Down => (c.intermediate_size, c.hidden_size),
        }
    }
}

impl Block<'_, TrainedWeights<'_>> {
    /// Turns `d_x` from the gradient of the output, of the rows that were `wanted` of [`Self::forward`], into that
    /// of the input; adds to `grads`, which lies like the parameters.
    pub(super) fn backward(
        &mut self,
        d_x: &mut Vec<f32>,
        (positions, segments): (&[u32], &[nn::Segment]),
        wanted: Option<&[usize]>,
        tape: &BlockTape,
        (scratch, grads): (&mut BlockGrad, &mut [f32]),
    ) {
        let rows = positions.len();
        scratch.resize(self.config, (rows, wanted.map_or(rows, <[usize]>::len)));
        self.backward_mlp(d_x, tape, scratch, grads);
        self.backward_output(d_x, wanted, tape, scratch, grads);
        if let Some(wanted) = wanted {
            let h = self.config.hidden_size;
            let of_wanted = std::mem::take(d_x);
            put(&of_wanted, wanted, h, (d_x, rows));
        }
        scratch.d_h.resize(d_x.len(), 0.0);
        self.backward_attention(d_x, (positions, segments), wanted, tape, (scratch, grads));
    }

    /// Through the projection behind attention.
    fn backward_output(
        &mut self,
        d_x: &[f32],
        wanted: Option<&[usize]>,
        tape: &BlockTape,
        s: &mut BlockGrad,
        grads: &mut [f32],
    ) {
        let (w, q_width) = (&mut self.weights, self.config.q_width());
        let Some(wanted) = wanted else {
            w.d_input(Matrix::O, d_x, &mut s.d_attended, false);
            w.d_weight(Matrix::O, &tape.attended, d_x, grads);
            return;
        };
        w.d_input(Matrix::O, d_x, &mut s.d_picked, false);
        w.d_weight(Matrix::O, &tape.picked, d_x, grads);
        let rows = tape.attended.len() / q_width;
        put(&s.d_picked, wanted, q_width, (&mut s.d_attended, rows));
    }

    fn backward_mlp(
        &mut self,
        d_x: &mut [f32],
        tape: &BlockTape,
        s: &mut BlockGrad,
        grads: &mut [f32],
    ) {
        let (p, w) = (self.weights.places, &mut self.weights);
        w.d_input(Matrix::Down, d_x, &mut s.d_activated, false);
        w.d_weight(Matrix::Down, &tape.activated, d_x, grads);
        nn::swiglu_backward(&tape.gate, &tape.up, &s.d_activated, &mut s.d_gate, &mut s.d_up);
        w.d_input(Matrix::Gate, &s.d_gate, &mut s.d_h, false);
        w.d_input(Matrix::Up, &s.d_up, &mut s.d_h, true);
        w.d_weight(Matrix::Gate, &tape.h2, &s.d_gate, grads);
        w.d_weight(Matrix::Up, &tape.h2, &s.d_up, grads);
        let saved =
            RmsNormSaved { x: &tape.mid, weight: self.weights.w(&p.norm2), inv_rms: &tape.inv2 };
        nn::rms_norm_backward(&saved, &s.d_h, d_x, &mut grads[p.norm2.clone()]);
    }

    fn backward_attention(
        &mut self,
        d_x: &mut [f32],
        (positions, segments): (&[u32], &[nn::Segment]),
        wanted: Option<&[usize]>,
        tape: &BlockTape,
        (s, grads): (&mut BlockGrad, &mut [f32]),
    ) {
        let w = &mut self.weights;
        let qkv = Qkv { q: &tape.q, k: &tape.k, v: &tape.v };
        let saved = AttentionSaved { out: &tape.attended, log_sum: &tape.log_sum };
        let mut grad = QkvGrad { d_q: &mut s.d_q, d_k: &mut s.d_k, d_v: &mut s.d_v };
        let rows = (segments, self.config.attention());
        nn::attention_backward(qkv, saved, &s.d_attended, rows, w.products, &mut grad);
        self.rope.rotate_back(&mut s.d_k, positions);
        self.backward_queries(positions, wanted, tape, s, grads);
        let k_raw = (&tape.k_raw[..], &tape.inv_k[..]);
        self.backward_head_norm(1, k_raw, (&s.d_k, &mut s.d_k_raw), grads);
        let (p, w) = (self.weights.places, &mut self.weights);
        w.d_input(Matrix::K, &s.d_k_raw, &mut s.d_h, true);
        w.d_input(Matrix::V, &s.d_v, &mut s.d_h, true);
        w.d_weight(Matrix::K, &tape.h1, &s.d_k_raw, grads);
        w.d_weight(Matrix::V, &tape.h1, &s.d_v, grads);
        let saved =
            RmsNormSaved { x: &tape.x, weight: self.weights.w(&p.norm1), inv_rms: &tape.inv1 };
        nn::rms_norm_backward(&saved, &s.d_h, d_x, &mut grads[p.norm1.clone()]);
    }

    /// From the gradient of the turned queries to what the normed input gets through them, in `d_h`.
    fn backward_queries(
        &mut self,
        positions: &[u32],
        wanted: Option<&[usize]>,
        tape: &BlockTape,
        s: &mut BlockGrad,
        grads: &mut [f32],
    ) {
        let q_raw = (&tape.q_raw[..], &tape.inv_q[..]);
        let Some(wanted) = wanted else {
            self.rope.rotate_back(&mut s.d_q, positions);
            self.backward_head_norm(0, q_raw, (&s.d_q, &mut s.d_q_raw), grads);
            self.weights.d_input(Matrix::Q, &s.d_q_raw, &mut s.d_h, false);
            self.weights.d_weight(Matrix::Q, &tape.h1, &s.d_q_raw, grads);
            return;
        };
        pick(&s.d_q, wanted, self.config.q_width(), &mut s.d_picked);
        self.rope.rotate_back(&mut s.d_picked, &positions_of(wanted, positions));
        self.backward_head_norm(0, q_raw, (&s.d_picked, &mut s.d_q_raw), grads);
        self.weights.d_input(Matrix::Q, &s.d_q_raw, &mut s.d_h_picked, false);
        self.weights.d_weight(Matrix::Q, &tape.h1_picked, &s.d_q_raw, grads);
        put(&s.d_h_picked, wanted, self.config.hidden_size, (&mut s.d_h, positions.len()));
    }

    /// From the gradient of turned queries or keys (normed by `head_norms[norm]`) to that of the raw ones.
    fn backward_head_norm(
        &self,
        norm: usize,
        (x, inv_rms): (&[f32], &[f32]),
        (d, d_raw): (&[f32], &mut [f32]),
        grads: &mut [f32],
    ) {
        let Some(norms) = &self.weights.places.head_norms else {
            d_raw.copy_from_slice(d);
            return;
        };
        d_raw.fill(0.0);
        let saved = RmsNormSaved { x, weight: self.weights.w(&norms[norm]), inv_rms };
        nn::rms_norm_backward(&saved, d, d_raw, &mut grads[norms[norm].clone()]);
    }
}

impl BlockTape {
    fn resize(&mut self, c: &DecoderConfig, (rows, wanted): (usize, usize)) {
        let (h, i) = (c.hidden_size, c.intermediate_size);
        for hidden in [&mut self.x, &mut self.h1] {
            hidden.resize(rows * h, 0.0);
        }
        for hidden in [&mut self.mid, &mut self.h2] {
            hidden.resize(wanted * h, 0.0);
        }
        for queries in [&mut self.q, &mut self.attended] {
            queries.resize(rows * c.q_width(), 0.0);
        }
        self.q_raw.resize(wanted * c.q_width(), 0.0);
        for keys in [&mut self.k_raw, &mut self.k, &mut self.v] {
            keys.resize(rows * c.kv_width(), 0.0);
        }
        for inner in [&mut self.gate, &mut self.up, &mut self.activated] {
            inner.resize(wanted * i, 0.0);
        }
        self.inv_q.resize(wanted * c.num_attention_heads, 0.0);
        self.log_sum.resize(rows * c.num_attention_heads, 0.0);
        self.inv_k.resize(rows * c.num_key_value_heads, 0.0);
        self.inv1.resize(rows, 0.0);
        self.inv2.resize(wanted, 0.0);
    }
}

impl BlockGrad {
    fn resize(&mut self, c: &DecoderConfig, (rows, wanted): (usize, usize)) {
        for inner in [&mut self.d_activated, &mut self.d_gate, &mut self.d_up] {
            inner.resize(wanted * c.intermediate_size, 0.0);
        }
        for picked in [&mut self.d_picked, &mut self.d_q_raw] {
            picked.resize(wanted * c.q_width(), 0.0);
        }
        for queries in [&mut self.d_attended, &mut self.d_q] {
            queries.resize(rows * c.q_width(), 0.0);
        }
        self.d_h_picked.resize(wanted * c.hidden_size, 0.0);
        for keys in [&mut self.d_k, &mut self.d_v, &mut self.d_k_raw] {
            keys.resize(rows * c.kv_width(), 0.0);
        }
        self.d_h.resize(wanted * c.hidden_size, 0.0);
    }
}

/// The rows `wanted` of `from[rows, width]`, in `to`.
fn pick(from: &[f32], wanted: &[usize], width: usize, to: &mut Vec<f32>) {
    to.clear();
    wanted.iter().for_each(|row| to.extend_from_slice(&from[row * width..][..width]));
}

/// The positions of the rows `wanted`.
fn positions_of(wanted: &[usize], positions: &[u32]) -> Vec<u32> {
    wanted.iter().map(|&row| positions[row]).collect()
}

/// The other way round: `to[rows, width]` has `from` at the rows `wanted`, and zeros elsewhere.
fn put(from: &[f32], wanted: &[usize], width: usize, (to, rows): (&mut Vec<f32>, usize)) {
    to.clear();
    to.resize(rows * width, 0.0);
    for (row, from) in wanted.iter().zip(from.chunks_exact(width)) {
        to[row * width..][..width].copy_from_slice(from);
    }
}
