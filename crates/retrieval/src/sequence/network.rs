//! Blocks of causal attention over packed sequences, forward and backward.

use std::ops::Range;

use nn::{
    AttentionSaved, AttentionShape, Precision, Products, Qkv, QkvGrad, RmsNormSaved, Segment,
};

use super::SequenceConfig;
use crate::chance::Chance;

const EPS: f32 = 1e-6;

/// Sequences of items, one behind the other; empty ones have no segment.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Packed {
    pub(crate) items: Vec<u32>,
    pub(crate) segments: Vec<Segment>,
    /// The position of each segment's first item.
    firsts: Vec<usize>,
}

impl Packed {
    /// Positions are counted from the oldest item.
    pub(crate) fn new(lists: &[Vec<u32>]) -> Self {
        let mut packed = Self::default();
        lists.iter().for_each(|list| packed.push(list.iter().copied(), 0));
        packed
    }

    /// Adds a list whose first item has position `first`.
    pub(crate) fn push(&mut self, list: impl Iterator<Item = u32>, first: usize) {
        let from = self.items.len();
        self.items.extend(list);
        if self.items.len() > from {
            self.segments.push(Segment::from(from..self.items.len()));
            self.firsts.push(first);
        }
    }
}

/// Parameters in one flat list, and where each tensor lies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SequenceNetwork {
    dim: usize,
    heads: usize,
    dropout: f32,
    /// Of the input, so that it is as loud as what the blocks add to it.
    scale: f32,
    pub(crate) params: Vec<f32>,
    positions: Range<usize>, // [max_len, dim]
    last_norm: Range<usize>, // [dim]
    blocks: Vec<Block>,
}

/// Places of one block's tensors; matrices are `[out, in]`.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    norm1: Range<usize>,
    wq: Range<usize>,
    wk: Range<usize>,
    wv: Range<usize>,
    wo: Range<usize>,
    norm2: Range<usize>,
    w1: Range<usize>,
    b1: Range<usize>,
    w2: Range<usize>,
    b2: Range<usize>,
}

/// What the backward pass needs.
pub(crate) struct Trace {
    drop_in: Option<Vec<f32>>,
    blocks: Vec<BlockTrace>,
    last: Vec<f32>,    // [n, dim]
    inverse: Vec<f32>, // [n]
    out: Vec<f32>,     // [n, dim]
}

struct BlockTrace {
    x: Vec<f32>,
    a: Vec<f32>,
    inverse1: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    log_sum: Vec<f32>,
    drop1: Option<Vec<f32>>,
    middle: Vec<f32>,
    b: Vec<f32>,
    inverse2: Vec<f32>,
    hidden: Vec<f32>,
    drop2: Option<Vec<f32>>,
}

impl Trace {
    /// The encodings, `[n, dim]`.
    pub(crate) fn out(&self) -> &[f32] {
        &self.out
    }
}

impl SequenceNetwork {
    pub(crate) fn init(config: &SequenceConfig) -> Self {
        let dim = config.dim;
        let mut end = 0;
        let mut tensor = |len: usize| {
            end += len;
            end - len..end
        };
        let positions = tensor(config.max_len * dim);
        let last_norm = tensor(dim);
        let blocks: Vec<Block> = (0..config.blocks)
            .map(|_| Block {
                norm1: tensor(dim),
                wq: tensor(dim * dim),
                wk: tensor(dim * dim),
                wv: tensor(dim * dim),
                wo: tensor(dim * dim),
                norm2: tensor(dim),
                w1: tensor(dim * dim),
                b1: tensor(dim),
                w2: tensor(dim * dim),
                b2: tensor(dim),
            })
            .collect();
        let mut params = vec![0.0; end];
        let mut chance = Chance::new(config.seed, 0x5e9, 0);
        let mut random = |range: &Range<usize>, scale: f32, params: &mut [f32]| {
            params[range.clone()].iter_mut().for_each(|w| *w = scale * chance.normal());
        };
        random(&positions, 0.1 / (dim as f32).sqrt(), &mut params);
        params[last_norm.clone()].fill(1.0);
        for block in &blocks {
            let scale = 1.0 / (dim as f32).sqrt();
            // the sum of all branches starts with the variance of one, as in GPT-2
            let branch = scale / (2.0 * config.blocks as f32).sqrt();
            for (matrix, scale) in [
                (&block.wq, scale),
                (&block.wk, scale),
                (&block.wv, scale),
                (&block.wo, branch),
                (&block.w1, scale),
                (&block.w2, branch),
            ] {
                random(matrix, scale, &mut params);
            }
            params[block.norm1.clone()].fill(1.0);
            params[block.norm2.clone()].fill(1.0);
        }
        let (heads, dropout) = (config.heads, config.dropout);
        let scale = (dim as f32).sqrt();
        Self { dim, heads, dropout, scale, params, positions, last_norm, blocks }
    }

    /// Encodes `input[n, dim]`, the history-side vectors of the packed items; dropout where there is
    /// chance.
    pub(crate) fn forward(
        &self,
        mut input: Vec<f32>,
        packed: &Packed,
        mut chance: Option<&mut Chance>,
    ) -> Trace {
        let dim = self.dim;
        let positions = &self.params[self.positions.clone()];
        for (segment, first) in packed.segments.iter().zip(&packed.firsts) {
            let rows = &mut input[segment.rows.start * dim..segment.rows.end * dim];
            let places = rows.iter_mut().zip(&positions[first * dim..]);
            places.for_each(|(x, p)| *x = self.scale * *x + p);
        }
        let drop_in = self.drop(&mut input, chance.as_deref_mut());
        let mut x = input;
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let (next, trace) = self.block(block, x, &packed.segments, chance.as_deref_mut());
            blocks.push(trace);
            x = next;
        }
        let (out, inverse) = self.norm(&x, &self.last_norm);
        Trace { drop_in, blocks, last: x, inverse, out }
    }

    /// Gradient of [`SequenceNetwork::forward`]: adds to `grads`, returns that of the input.
    pub(crate) fn backward(
        &self,
        trace: &Trace,
        d_out: &[f32],
        packed: &Packed,
        grads: &mut [f32],
    ) -> Vec<f32> {
        let dim = self.dim;
        let mut d = vec![0.0; d_out.len()];
        let last = (&trace.last[..], &trace.inverse[..]);
        self.norm_backward(last, &self.last_norm, d_out, (&mut d, grads));
        for (block, trace) in self.blocks.iter().zip(&trace.blocks).rev() {
            d = self.block_backward(block, trace, d, (&packed.segments, grads));
        }
        apply(&mut d, trace.drop_in.as_deref());
        let d_positions = &mut grads[self.positions.clone()];
        for (segment, first) in packed.segments.iter().zip(&packed.firsts) {
            let rows = &d[segment.rows.start * dim..segment.rows.end * dim];
            d_positions[first * dim..].iter_mut().zip(rows).for_each(|(p, d)| *p += d);
        }
        d.iter_mut().for_each(|d| *d *= self.scale);
        d
    }

    /// Names, shapes and places of all tensors.
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>, Range<usize>)> {
        let dim = self.dim;
        let mut list = vec![
            ("positions".to_owned(), vec![self.positions.len() / dim, dim], self.positions.clone()),
            ("last_norm".to_owned(), vec![dim], self.last_norm.clone()),
        ];
        for (number, b) in self.blocks.iter().enumerate() {
            let vectors = [("norm1", &b.norm1), ("norm2", &b.norm2), ("b1", &b.b1), ("b2", &b.b2)];
            let matrices = [
                ("wq", &b.wq),
                ("wk", &b.wk),
                ("wv", &b.wv),
                ("wo", &b.wo),
                ("w1", &b.w1),
                ("w2", &b.w2),
            ];
            let name = |name: &str| format!("blocks.{number}.{name}");
            list.extend(vectors.map(|(n, at)| (name(n), vec![dim], at.clone())));
            list.extend(matrices.map(|(n, at)| (name(n), vec![dim, dim], at.clone())));
        }
        list
    }

    /// Makes every block the identity and the encodings unit vectors: a start for an encoder that adds
    /// to something that works already.
    pub(crate) fn start_quietly(&mut self) {
        self.scale = 1.0;
        self.params[self.last_norm.clone()].fill(1.0 / (self.dim as f32).sqrt());
        for block in &self.blocks {
            self.params[block.wo.clone()].fill(0.0);
            self.params[block.w2.clone()].fill(0.0);
        }
    }

    fn shape(&self) -> AttentionShape {
        AttentionShape {
            n_heads: self.heads,
            n_kv_heads: self.heads,
            head_dim: self.dim / self.heads,
        }
    }

    fn block(
        &self,
        block: &Block,
        x: Vec<f32>,
        segments: &[Segment],
        mut chance: Option<&mut Chance>,
    ) -> (Vec<f32>, BlockTrace) {
        let n = x.len() / self.dim;
        let (a, inverse1) = self.norm(&x, &block.norm1);
        let [q, k, v] = [&block.wq, &block.wk, &block.wv].map(|w| self.times(&a, w));
        let mut attended = vec![0.0; x.len()];
        let mut log_sum = vec![0.0; n * self.heads];
        nn::attention_forward(
            Qkv { q: &q, k: &k, v: &v },
            (segments, self.shape()),
            None,
            &mut Products::new(Precision::F32),
            &mut attended,
            &mut log_sum,
        );
        let mut middle = self.times(&attended, &block.wo);
        let drop1 = self.drop(&mut middle, chance.as_deref_mut());
        middle.iter_mut().zip(&x).for_each(|(m, x)| *m += x);
        let (b, inverse2) = self.norm(&middle, &block.norm2);
        let mut hidden = self.times(&b, &block.w1);
        add_bias(&mut hidden, &self.params[block.b1.clone()]);
        nn::relu(&mut hidden);
        let mut out = self.times(&hidden, &block.w2);
        add_bias(&mut out, &self.params[block.b2.clone()]);
        let drop2 = self.drop(&mut out, chance);
        out.iter_mut().zip(&middle).for_each(|(o, m)| *o += m);
        let trace = BlockTrace {
            x,
            a,
            inverse1,
            q,
            k,
            v,
            attended,
            log_sum,
            drop1,
            middle,
            b,
            inverse2,
            hidden,
            drop2,
        };
        (out, trace)
    }

    fn block_backward(
        &self,
        block: &Block,
        trace: &BlockTrace,
        d: Vec<f32>,
        (segments, grads): (&[Segment], &mut [f32]),
    ) -> Vec<f32> {
        let mut d_f = d.clone();
        apply(&mut d_f, trace.drop2.as_deref());
        add_rows(&mut grads[block.b2.clone()], &d_f);
        let mut d_hidden = self.times_backward(&d_f, &trace.hidden, &block.w2, grads);
        nn::relu_backward(&mut d_hidden, &trace.hidden);
        add_rows(&mut grads[block.b1.clone()], &d_hidden);
        let d_b = self.times_backward(&d_hidden, &trace.b, &block.w1, grads);
        let mut d_middle = d;
        let middle = (&trace.middle[..], &trace.inverse2[..]);
        self.norm_backward(middle, &block.norm2, &d_b, (&mut d_middle, grads));
        let mut d_o = d_middle.clone();
        apply(&mut d_o, trace.drop1.as_deref());
        let d_attended = self.times_backward(&d_o, &trace.attended, &block.wo, grads);
        let zeros = || vec![0.0; d_attended.len()];
        let (mut d_q, mut d_k, mut d_v) = (zeros(), zeros(), zeros());
        nn::attention_backward(
            Qkv { q: &trace.q, k: &trace.k, v: &trace.v },
            AttentionSaved { out: &trace.attended, log_sum: &trace.log_sum },
            &d_attended,
            (segments, self.shape()),
            &mut Products::new(Precision::F32),
            &mut QkvGrad { d_q: &mut d_q, d_k: &mut d_k, d_v: &mut d_v },
        );
        let mut d_a = zeros();
        for (d, w) in [(&d_q, &block.wq), (&d_k, &block.wk), (&d_v, &block.wv)] {
            let part = self.times_backward(d, &trace.a, w, grads);
            d_a.iter_mut().zip(part).for_each(|(a, p)| *a += p);
        }
        let x = (&trace.x[..], &trace.inverse1[..]);
        self.norm_backward(x, &block.norm1, &d_a, (&mut d_middle, grads));
        d_middle
    }

    /// `x W^T` for a square matrix of the parameters.
    fn times(&self, x: &[f32], w: &Range<usize>) -> Vec<f32> {
        let (dim, mut out) = (self.dim, vec![0.0; x.len()]);
        nn::gemm_nt(&mut out, x, &self.params[w.clone()], (x.len() / dim, dim, dim), 0.0);
        out
    }

    fn times_backward(
        &self,
        d_out: &[f32],
        x: &[f32],
        w: &Range<usize>,
        grads: &mut [f32],
    ) -> Vec<f32> {
        let (dim, n) = (self.dim, x.len() / self.dim);
        nn::gemm_tn(&mut grads[w.clone()], d_out, x, (dim, n, dim), 1.0);
        let mut d_x = vec![0.0; x.len()];
        nn::gemm_nn(&mut d_x, d_out, &self.params[w.clone()], (n, dim, dim), 0.0);
        d_x
    }

    fn norm(&self, x: &[f32], weight: &Range<usize>) -> (Vec<f32>, Vec<f32>) {
        let (mut out, mut inverse) = (vec![0.0; x.len()], vec![0.0; x.len() / self.dim]);
        nn::rms_norm_forward(x, &self.params[weight.clone()], EPS, &mut out, &mut inverse);
        (out, inverse)
    }

    fn norm_backward(
        &self,
        (x, inv_rms): (&[f32], &[f32]),
        weight: &Range<usize>,
        d_out: &[f32],
        (d_x, grads): (&mut [f32], &mut [f32]),
    ) {
        let saved = RmsNormSaved { x, weight: &self.params[weight.clone()], inv_rms };
        nn::rms_norm_backward(&saved, d_out, d_x, &mut grads[weight.clone()]);
    }

    /// Leaves numbers out and scales the others up; returns the factors.
    fn drop(&self, x: &mut [f32], chance: Option<&mut Chance>) -> Option<Vec<f32>> {
        let chance = chance.filter(|_| self.dropout > 0.0)?;
        let keep = 1.0 / (1.0 - self.dropout);
        let mask: Vec<f32> =
            x.iter().map(|_| if chance.unit() < self.dropout { 0.0 } else { keep }).collect();
        apply(x, Some(&mask));
        Some(mask)
    }
}

fn apply(x: &mut [f32], mask: Option<&[f32]>) {
    if let Some(mask) = mask {
        x.iter_mut().zip(mask).for_each(|(x, m)| *x *= m);
    }
}

fn add_bias(x: &mut [f32], bias: &[f32]) {
    for row in x.chunks_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
}

fn add_rows(sum: &mut [f32], rows: &[f32]) {
    for row in rows.chunks(sum.len()) {
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += x);
    }
}
