//! One block of the decoder, forward and backward; training and inference run the same equations.
//!
//! ```text
//! x = x + attention(rope(norm(norm(x) @ q)), rope(norm(norm(x) @ k)), norm(x) @ v) @ o
//! x = x + (silu(norm(x) @ gate) * (norm(x) @ up)) @ down
//! ```

use std::ops::Range;

use nn::{AttentionSaved, Qkv, QkvGrad, RmsNormSaved, gemm_nt, gemm_rowwise, gemm_tn};

use super::DecoderConfig;
use super::layout::BlockPlaces;

/// What a block needs besides its input.
pub(super) struct Block<'a> {
    pub(super) config: &'a DecoderConfig,
    pub(super) places: &'a BlockPlaces,
    pub(super) params: &'a [f32],
    pub(super) rope: &'a nn::RopeTable,
}

/// The intermediate results of a block, kept for the backward pass and reused between calls.
#[derive(Debug, Clone, Default)]
pub(super) struct BlockTape {
    x: Vec<f32>,         // [rows, hidden], the input
    inv1: Vec<f32>,      // [rows]
    h1: Vec<f32>,        // [rows, hidden], normed input
    q_raw: Vec<f32>,     // [rows, q_width], before norm and rotation
    k_raw: Vec<f32>,     // [rows, kv_width]
    inv_q: Vec<f32>,     // [rows, heads]
    inv_k: Vec<f32>,     // [rows, kv_heads]
    q: Vec<f32>,         // [rows, q_width]
    k: Vec<f32>,         // [rows, kv_width]
    v: Vec<f32>,         // [rows, kv_width]
    attended: Vec<f32>,  // [rows, q_width]
    log_sum: Vec<f32>,   // [rows, heads]
    mid: Vec<f32>,       // [rows, hidden], after attention
    inv2: Vec<f32>,      // [rows]
    h2: Vec<f32>,        // [rows, hidden], normed
    gate: Vec<f32>,      // [rows, intermediate]
    up: Vec<f32>,        // [rows, intermediate]
    activated: Vec<f32>, // [rows, intermediate]
}

/// Gradients of the intermediate results, shared by all blocks.
#[derive(Debug, Clone, Default)]
pub(super) struct BlockGrad {
    d_activated: Vec<f32>, // [rows, intermediate]
    d_gate: Vec<f32>,      // [rows, intermediate]
    d_up: Vec<f32>,        // [rows, intermediate]
    d_h: Vec<f32>,         // [rows, hidden], of h2, then of h1
    d_attended: Vec<f32>,  // [rows, q_width]
    d_q: Vec<f32>,         // [rows, q_width]
    d_k: Vec<f32>,         // [rows, kv_width]
    d_v: Vec<f32>,         // [rows, kv_width]
    d_q_raw: Vec<f32>,     // [rows, q_width]
    d_k_raw: Vec<f32>,     // [rows, kv_width]
}

/// Attention as the caller has its keys: from the same rows, or from a cache.
/// Takes queries, keys and values, and writes the attended values and the sums.
pub(super) trait Attend: FnMut(Qkv<'_>, &mut [f32], &mut [f32]) {}
impl<F: FnMut(Qkv<'_>, &mut [f32], &mut [f32])> Attend for F {}

impl Block<'_> {
    /// Advances `x[rows, hidden]` through the block.
    pub(super) fn forward(
        &self,
        x: &mut [f32],
        positions: &[u32],
        tape: &mut BlockTape,
        mut attend: impl Attend,
    ) {
        let (c, rows) = (self.config, positions.len());
        let (h, q_width, kv_width) = (c.hidden_size, c.q_width(), c.kv_width());
        tape.resize(c, rows);
        tape.x.copy_from_slice(x);
        self.norm(&tape.x, &self.places.norm1, &mut tape.h1, &mut tape.inv1);
        gemm_rowwise(&mut tape.q_raw, &tape.h1, self.w(&self.places.q), (rows, h, q_width), 0.0);
        gemm_rowwise(&mut tape.k_raw, &tape.h1, self.w(&self.places.k), (rows, h, kv_width), 0.0);
        gemm_rowwise(&mut tape.v, &tape.h1, self.w(&self.places.v), (rows, h, kv_width), 0.0);
        self.norm(&tape.q_raw, &self.places.q_norm, &mut tape.q, &mut tape.inv_q);
        self.norm(&tape.k_raw, &self.places.k_norm, &mut tape.k, &mut tape.inv_k);
        self.rope.rotate(&mut tape.q, positions);
        self.rope.rotate(&mut tape.k, positions);
        let qkv = Qkv { q: &tape.q, k: &tape.k, v: &tape.v };
        attend(qkv, &mut tape.attended, &mut tape.log_sum);
        gemm_rowwise(x, &tape.attended, self.w(&self.places.o), (rows, q_width, h), 1.0);
        tape.mid.copy_from_slice(x);
        self.norm(&tape.mid, &self.places.norm2, &mut tape.h2, &mut tape.inv2);
        let i = c.intermediate_size;
        gemm_rowwise(&mut tape.gate, &tape.h2, self.w(&self.places.gate), (rows, h, i), 0.0);
        gemm_rowwise(&mut tape.up, &tape.h2, self.w(&self.places.up), (rows, h, i), 0.0);
        nn::swiglu_forward(&tape.gate, &tape.up, &mut tape.activated);
        gemm_rowwise(x, &tape.activated, self.w(&self.places.down), (rows, i, h), 1.0);
    }

    /// Turns `d_x` from the gradient of the output into that of the input; adds to `grads`, which
    /// lies like the parameters.
    pub(super) fn backward(
        &self,
        d_x: &mut [f32],
        positions: &[u32],
        segments: &[Range<usize>],
        tape: &BlockTape,
        (scratch, grads): (&mut BlockGrad, &mut [f32]),
    ) {
        scratch.resize(self.config, positions.len());
        self.backward_mlp(d_x, tape, scratch, grads);
        self.backward_attention(d_x, (positions, segments), tape, scratch, grads);
    }

    fn backward_mlp(
        &self,
        d_x: &mut [f32],
        tape: &BlockTape,
        s: &mut BlockGrad,
        grads: &mut [f32],
    ) {
        let (p, rows) = (self.places, tape.inv1.len());
        let (h, i) = (self.config.hidden_size, self.config.intermediate_size);
        gemm_nt(&mut s.d_activated, d_x, self.w(&p.down), (rows, h, i), 0.0);
        gemm_tn(&mut grads[p.down.clone()], &tape.activated, d_x, (i, rows, h), 1.0);
        nn::swiglu_backward(&tape.gate, &tape.up, &s.d_activated, &mut s.d_gate, &mut s.d_up);
        gemm_nt(&mut s.d_h, &s.d_gate, self.w(&p.gate), (rows, i, h), 0.0);
        gemm_nt(&mut s.d_h, &s.d_up, self.w(&p.up), (rows, i, h), 1.0);
        gemm_tn(&mut grads[p.gate.clone()], &tape.h2, &s.d_gate, (h, rows, i), 1.0);
        gemm_tn(&mut grads[p.up.clone()], &tape.h2, &s.d_up, (h, rows, i), 1.0);
        let saved = RmsNormSaved { x: &tape.mid, weight: self.w(&p.norm2), inv_rms: &tape.inv2 };
        nn::rms_norm_backward(&saved, &s.d_h, d_x, &mut grads[p.norm2.clone()]);
    }

    fn backward_attention(
        &self,
        d_x: &mut [f32],
        (positions, segments): (&[u32], &[Range<usize>]),
        tape: &BlockTape,
        s: &mut BlockGrad,
        grads: &mut [f32],
    ) {
        let (c, p, rows) = (self.config, self.places, positions.len());
        let (h, q_width, kv_width) = (c.hidden_size, c.q_width(), c.kv_width());
        gemm_nt(&mut s.d_attended, d_x, self.w(&p.o), (rows, h, q_width), 0.0);
        gemm_tn(&mut grads[p.o.clone()], &tape.attended, d_x, (q_width, rows, h), 1.0);
        let qkv = Qkv { q: &tape.q, k: &tape.k, v: &tape.v };
        let saved = AttentionSaved { out: &tape.attended, log_sum: &tape.log_sum };
        let mut grad = QkvGrad { d_q: &mut s.d_q, d_k: &mut s.d_k, d_v: &mut s.d_v };
        let shape = c.attention();
        nn::attention_backward(qkv, saved, &s.d_attended, segments, shape, &mut grad);
        self.rope.rotate_back(&mut s.d_q, positions);
        self.rope.rotate_back(&mut s.d_k, positions);
        s.d_q_raw.fill(0.0);
        s.d_k_raw.fill(0.0);
        let saved =
            RmsNormSaved { x: &tape.q_raw, weight: self.w(&p.q_norm), inv_rms: &tape.inv_q };
        nn::rms_norm_backward(&saved, &s.d_q, &mut s.d_q_raw, &mut grads[p.q_norm.clone()]);
        let saved =
            RmsNormSaved { x: &tape.k_raw, weight: self.w(&p.k_norm), inv_rms: &tape.inv_k };
        nn::rms_norm_backward(&saved, &s.d_k, &mut s.d_k_raw, &mut grads[p.k_norm.clone()]);
        gemm_nt(&mut s.d_h, &s.d_q_raw, self.w(&p.q), (rows, q_width, h), 0.0);
        gemm_nt(&mut s.d_h, &s.d_k_raw, self.w(&p.k), (rows, kv_width, h), 1.0);
        gemm_nt(&mut s.d_h, &s.d_v, self.w(&p.v), (rows, kv_width, h), 1.0);
        gemm_tn(&mut grads[p.q.clone()], &tape.h1, &s.d_q_raw, (h, rows, q_width), 1.0);
        gemm_tn(&mut grads[p.k.clone()], &tape.h1, &s.d_k_raw, (h, rows, kv_width), 1.0);
        gemm_tn(&mut grads[p.v.clone()], &tape.h1, &s.d_v, (h, rows, kv_width), 1.0);
        let saved = RmsNormSaved { x: &tape.x, weight: self.w(&p.norm1), inv_rms: &tape.inv1 };
        nn::rms_norm_backward(&saved, &s.d_h, d_x, &mut grads[p.norm1.clone()]);
    }

    fn w(&self, range: &Range<usize>) -> &[f32] {
        &self.params[range.clone()]
    }

    fn norm(&self, x: &[f32], weight: &Range<usize>, out: &mut [f32], inv: &mut [f32]) {
        nn::rms_norm_forward(x, self.w(weight), self.config.rms_norm_eps, out, inv);
    }
}

impl BlockTape {
    fn resize(&mut self, c: &DecoderConfig, rows: usize) {
        let (h, i) = (c.hidden_size, c.intermediate_size);
        for hidden in [&mut self.x, &mut self.h1, &mut self.mid, &mut self.h2] {
            hidden.resize(rows * h, 0.0);
        }
        for queries in [&mut self.q_raw, &mut self.q, &mut self.attended] {
            queries.resize(rows * c.q_width(), 0.0);
        }
        for keys in [&mut self.k_raw, &mut self.k, &mut self.v] {
            keys.resize(rows * c.kv_width(), 0.0);
        }
        for inner in [&mut self.gate, &mut self.up, &mut self.activated] {
            inner.resize(rows * i, 0.0);
        }
        for heads in [&mut self.inv_q, &mut self.log_sum] {
            heads.resize(rows * c.num_attention_heads, 0.0);
        }
        self.inv_k.resize(rows * c.num_key_value_heads, 0.0);
        self.inv1.resize(rows, 0.0);
        self.inv2.resize(rows, 0.0);
    }
}

impl BlockGrad {
    fn resize(&mut self, c: &DecoderConfig, rows: usize) {
        for inner in [&mut self.d_activated, &mut self.d_gate, &mut self.d_up] {
            inner.resize(rows * c.intermediate_size, 0.0);
        }
        for queries in [&mut self.d_attended, &mut self.d_q, &mut self.d_q_raw] {
            queries.resize(rows * c.q_width(), 0.0);
        }
        for keys in [&mut self.d_k, &mut self.d_v, &mut self.d_k_raw] {
            keys.resize(rows * c.kv_width(), 0.0);
        }
        self.d_h.resize(rows * c.hidden_size, 0.0);
    }
}
