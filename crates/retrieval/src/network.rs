//! The dense part of the three towers, forward and backward.
//!
//! All towers have one form, with `x` the sum of a thing's embedding rows and `c` what it is known by:
//!
//! ```text
//! tower(x, c) = n(x + W2 relu(W1 c + b1)),   n(z) = z / |z|
//! item:  h_v = tower(x_v, x_v)               x_v = id + category path + brand + merchant + price + words
//! tag:   h_t = tower(x_t, x_t)               x_t = words, of the table that titles use
//! user:  h_u = tower(x_u, [e_u p_1 .. p_S])  x_u = e_u + sum_b g_b * p_b
//! ```
//!
//! `e_u` is the user's row, `p_b` a source: the weighted mean of the history-side representations of
//! the items of one pool (three behaviour groups, and the short-term pool), and with attention, as the
//! last one, its state (`user_encoder.rs`); `g_b` are learned gates per dimension. With several
//! interests a user has one vector per state, and scores an item by the best of them,
//! `s(u, v) = max_k h_uk . h_v`.
//!
//! Published: a network over concatenated fields, plain dot products. A sum of fields is a linear
//! layer over their concatenation, with the layer folded into the rows; vectors are normalised so
//! that user and tag scores have one scale, `s = e^log_scale h . h_v` with one learned scale for all
//! losses, and `beta` means the same everywhere.

use std::ops::Range;

use nn::Buffers;

use crate::chance::Chance;
use crate::sequences::N_POOLS;
use crate::{TowerConfig, UserEncoder};

/// Parameters of the dense part in one flat list, and where each tensor lies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Network {
    pub(crate) dim: usize,
    pub(crate) params: Vec<f32>,
    n_sources: usize,
    gates: Range<usize>, // [n_sources, dim]
    log_scale: usize,
    user: Residual,
    item: Residual,
    tag: Residual,
}

/// `base + W2 relu(W1 c + b1)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Residual {
    n_in: usize,
    hidden: usize,
    dim: usize,
    from: usize,
}

/// Which tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tower {
    User,
    Item,
    Tag,
}

/// What the backward pass of one tower needs.
pub(crate) struct Trace {
    hidden: Vec<f32>,  // [n, hidden]
    inverse: Vec<f32>, // [n]
}

/// The optimiser sees the flat parameters as rows of this many numbers.
pub(crate) const PARAM_ROW: usize = 64;

impl Network {
    /// The shapes of a configuration, with random first layers and zero second ones: at the start
    /// every tower is the sum of its rows, and the user tower leans on the short-term pool, with several
    /// interests on each of them as much.
    pub(crate) fn init(config: &TowerConfig) -> Self {
        let dim = config.dim;
        let n_sources = match config.user_encoder {
            UserEncoder::Pooled => N_POOLS,
            UserEncoder::Attention | UserEncoder::MultiInterest => N_POOLS + 1,
        };
        let mut end = 0;
        let mut tensor = |len: usize| {
            end += len;
            end - len..end
        };
        let gates = tensor(n_sources * dim);
        let log_scale = tensor(1).start;
        let mut residual = |n_in: usize, hidden: usize| {
            let from = tensor(hidden * n_in + hidden + dim * hidden).start;
            Residual { n_in, hidden, dim, from }
        };
        let user = residual((1 + n_sources) * dim, config.user_hidden);
        let item = residual(dim, config.item_hidden);
        let tag = residual(dim, config.tag_hidden);
        let mut params = vec![0.0; end.next_multiple_of(PARAM_ROW)];
        for (pool, gate) in params[gates.clone()].chunks_mut(dim).enumerate() {
            let leads = pool + 1 == N_POOLS || config.n_interests() > 1 && pool == N_POOLS;
            gate.fill(if leads { 1.0 } else { 0.3 });
        }
        params[log_scale] = (1.0 / config.temperature).ln();
        for (key, residual) in (0..).zip([&user, &item, &tag]) {
            let mut chance = Chance::new(config.seed, 0x11e7, key);
            let scale = (2.0 / residual.n_in as f32).sqrt();
            params[residual.w1()].iter_mut().for_each(|w| *w = scale * chance.normal());
        }
        Self { dim, params, n_sources, gates, log_scale, user, item, tag }
    }

    /// `1 / temperature`.
    pub(crate) fn scale(&self) -> f32 {
        self.params[self.log_scale].exp()
    }

    /// Adds to the gradient of the log of the scale.
    pub(crate) fn add_scale_grad(&self, grads: &mut [f32], grad: f32) {
        grads[self.log_scale] += grad;
    }

    /// Keeps the temperature within 0.01 to 1, where logits neither saturate nor vanish.
    pub(crate) fn clamp_scale(&mut self) {
        let value = &mut self.params[self.log_scale];
        *value = value.clamp(0.0, 100f32.ln());
    }

    fn residual(&self, tower: Tower) -> &Residual {
        match tower {
            Tower::User => &self.user,
            Tower::Item => &self.item,
            Tower::Tag => &self.tag,
        }
    }

    /// `n(base + W2 relu(W1 c + b1))` in place for `base[n, dim]`, `c[n, n_in]`.
    pub(crate) fn forward(
        &self,
        tower: Tower,
        base: &mut [f32],
        c: &[f32],
        buffers: &mut Buffers,
    ) -> Trace {
        let hidden = self.residual(tower).forward(&self.params, base, c, buffers);
        Trace { hidden, inverse: nn::l2_normalise(base, self.dim) }
    }

    /// Gradient of [`Network::forward`]: turns `d_out[n, dim]` into the gradient of `base`, adds to
    /// `grads`, and returns the gradient of `c` through the hidden layer.
    pub(crate) fn backward(
        &self,
        tower: Tower,
        grads: &mut [f32],
        d_out: &mut [f32],
        (out, c): (&[f32], &[f32]),
        (trace, buffers): (Trace, &mut Buffers),
    ) -> Vec<f32> {
        nn::l2_normalise_backward(d_out, out, &trace.inverse, self.dim);
        let residual = self.residual(tower);
        let d_c = residual.backward(&self.params, grads, d_out, (c, &trace.hidden), buffers);
        buffers.give(trace.hidden);
        d_c
    }

    /// Numbers that a user is known by: `(1 + n_sources) * dim`.
    pub(crate) fn user_width(&self) -> usize {
        (1 + self.n_sources) * self.dim
    }

    /// `x_u = e_u + sum_b g_b * p_b` for `c = [e_u p_1 .. p_S]`, `[n, user_width]`.
    pub(crate) fn user_base(&self, c: &[f32], buffers: &mut Buffers) -> Vec<f32> {
        let dim = self.dim;
        let gates = &self.params[self.gates.clone()];
        let mut base = buffers.zeros(c.len() / (1 + self.n_sources));
        for (base, c) in base.chunks_mut(dim).zip(c.chunks(self.user_width())) {
            base.copy_from_slice(&c[..dim]);
            for (pool, gate) in c[dim..].chunks(dim).zip(gates.chunks(dim)) {
                for ((x, p), g) in base.iter_mut().zip(pool).zip(gate) {
                    *x += p * g;
                }
            }
        }
        base
    }

    /// Gradient of [`Network::user_base`]: adds to `d_c` and to the gates' `grads`.
    pub(crate) fn user_base_backward(
        &self,
        grads: &mut [f32],
        d_c: &mut [f32],
        d_base: &[f32],
        c: &[f32],
    ) {
        let dim = self.dim;
        let gates = &self.params[self.gates.clone()];
        let d_gates = &mut grads[self.gates.clone()];
        let wide = self.user_width();
        for ((d_c, c), d_base) in d_c.chunks_mut(wide).zip(c.chunks(wide)).zip(d_base.chunks(dim)) {
            d_c.iter_mut().zip(d_base).for_each(|(d, b)| *d += b); // the user's row
            for pool in 0..self.n_sources {
                let (from, gate) = ((1 + pool) * dim, pool * dim);
                for k in 0..dim {
                    d_c[from + k] += d_base[k] * gates[gate + k];
                    d_gates[gate + k] += d_base[k] * c[from + k];
                }
            }
        }
    }

    /// Names, shapes and places of all tensors.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>, Range<usize>)> {
        let mut list = vec![
            ("user.gates".to_owned(), vec![self.n_sources, self.dim], self.gates.clone()),
            ("log_scale".to_owned(), vec![1], self.log_scale..self.log_scale + 1),
        ];
        for (name, r) in [("user", &self.user), ("item", &self.item), ("tag", &self.tag)] {
            if r.hidden > 0 {
                list.push((format!("{name}.w1"), vec![r.hidden, r.n_in], r.w1()));
                list.push((format!("{name}.b1"), vec![r.hidden], r.b1()));
                list.push((format!("{name}.w2"), vec![r.dim, r.hidden], r.w2()));
            }
        }
        list
    }
}

impl Residual {
    fn w1(&self) -> Range<usize> {
        self.from..self.from + self.hidden * self.n_in
    }

    fn b1(&self) -> Range<usize> {
        self.w1().end..self.w1().end + self.hidden
    }

    fn w2(&self) -> Range<usize> {
        self.b1().end..self.b1().end + self.dim * self.hidden
    }

    fn forward(
        &self,
        params: &[f32],
        base: &mut [f32],
        c: &[f32],
        buffers: &mut Buffers,
    ) -> Vec<f32> {
        if self.hidden == 0 {
            return Vec::new();
        }
        let n = base.len() / self.dim;
        let mut hidden = buffers.zeros(n * self.hidden);
        nn::affine(&mut hidden, c, &params[self.w1()], &params[self.b1()]); // [n, hidden]
        nn::relu(&mut hidden);
        nn::par_gemm_nt(base, &hidden, &params[self.w2()], (n, self.hidden, self.dim), 1.0);
        hidden
    }

    fn backward(
        &self,
        params: &[f32],
        grads: &mut [f32],
        d_out: &[f32],
        (c, hidden): (&[f32], &[f32]),
        buffers: &mut Buffers,
    ) -> Vec<f32> {
        let n = d_out.len() / self.dim;
        let mut d_c = buffers.zeros(n * self.n_in);
        if self.hidden == 0 {
            return d_c;
        }
        let mut d_hidden = buffers.zeros(n * self.hidden);
        let shape = (n, self.dim, self.hidden);
        nn::par_gemm_nn(&mut d_hidden, d_out, &params[self.w2()], shape, 0.0);
        let shape = (self.dim, n, self.hidden);
        nn::par_gemm_tn(&mut grads[self.w2()], d_out, hidden, shape, 1.0);
        nn::relu_backward(&mut d_hidden, hidden);
        let (d_w1, rest) = grads[self.from..self.b1().end].split_at_mut(self.hidden * self.n_in);
        nn::affine_backward(&mut d_c, (d_w1, rest), &d_hidden, c, &params[self.w1()]);
        buffers.give(d_hidden);
        d_c
    }
}
