//! Causal grouped-query attention over packed sequences, with its gradient.
//!
//! A packed row of tokens holds several segments; a token sees the tokens of its own segment up to
//! itself, less the branches beside its own ([`Segment`]). Queries go in blocks, so that no more than `[group * BLOCK, segment]` scores exist at a
//! time; the backward pass computes them again from the saved log-sums (Dao et al. 2022). Scores,
//! softmax and sums are in single precision; [`Products`] may round the factors of the products.

use std::ops::Range;

use crate::matmul::{Mat, MatMut, transpose_strided};
use crate::products::{Products, Right};
use crate::segment::Segment;
use crate::simd::{dot_inline, exp, exp_shifted_inline, max_inline, vectorised};

/// Positions of queries that one block of scores covers.
const BLOCK: usize = 64;

/// The heads; `n_heads` is a multiple of `n_kv_heads`, and head `h` reads `h / (n_heads / n_kv_heads)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Heads of queries.
    pub n_heads: usize,
    /// Heads of keys and values.
    pub n_kv_heads: usize,
    /// Numbers of one head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Query heads that share one head of keys and values.
    pub fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// The factor `1 / sqrt(head_dim)` on the scores.
    pub fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Queries `[rows, n_heads * head_dim]`, keys and values `[rows, n_kv_heads * head_dim]`.
#[derive(Clone, Copy)]
pub struct Qkv<'a> {
    /// Queries.
    pub q: &'a [f32],
    /// Keys.
    pub k: &'a [f32],
    /// Values.
    pub v: &'a [f32],
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Copy)]
pub struct AttentionSaved<'a> {
    /// The output `[rows, n_heads * head_dim]`.
    pub out: &'a [f32],
    /// The logarithm of the sum of exponentials of each row's scores, `[rows, n_heads]`.
    pub log_sum: &'a [f32],
}

/// Gradients of queries, keys and values, in their shapes; written, not added to.
pub struct QkvGrad<'a> {
    /// Of the queries.
    pub d_q: &'a mut [f32],
    /// Of the keys.
    pub d_k: &'a mut [f32],
    /// Of the values.
    pub d_v: &'a mut [f32],
}

/// Writes `out[rows, n_heads * head_dim]` and `log_sum[rows, n_heads]` for the rows in `segments`, or for those
/// of them that are `wanted` (ascending) and some beside them.
pub fn attention_forward(
    qkv: Qkv<'_>,
    (segments, shape): (&[Segment], AttentionShape),
    wanted: Option<&[usize]>,
    products: &mut Products,
    out: &mut [f32],
    log_sum: &mut [f32],
) {
    let (hd, group) = (shape.head_dim, shape.group());
    let longest = segments.iter().map(|segment| segment.rows.len()).max().unwrap_or(0);
    let mut keys_t = vec![0.0; longest * hd]; // [hd, len]
    let mut block_q = vec![0.0; group * BLOCK * hd]; // [group * block, hd]
    let mut block_out = vec![0.0; group * BLOCK * hd]; // [group * block, hd]
    let mut scores = vec![0.0; group * BLOCK * longest]; // [group * block, n]
    let kv_stride = shape.n_kv_heads * hd;
    for (segment, kv_head) in heads_of(segments, shape) {
        let (start, len) = (segment.rows.start, segment.rows.len());
        let kv_at = start * kv_stride + kv_head * hd;
        transpose_strided(&qkv.k[kv_at..], kv_stride, (len, hd), &mut keys_t);
        let keys = products.right(Mat::new(&keys_t, hd, len));
        let values = products.right(Mat::strided(&qkv.v[kv_at..], len, hd, kv_stride));
        for block in blocks(&segment.rows).filter(|block| has_wanted(wanted, block)) {
            let heads = HeadBlock { shape, kv_head, rows: block.clone() };
            let (m, n) = (group * block.len(), block.end - start);
            heads.gather(qkv.q, shape.scale(), &mut block_q);
            let (block_q, block_out) = (&block_q[..m * hd], &mut block_out[..m * hd]);
            let scores = &mut scores[..m * n];
            products.times(MatMut::new(scores, m, n), Mat::new(block_q, m, hd), &keys, false);
            let mut inv_sum = vec![0.0; m];
            vectorised(
                #[inline(always)]
                || {
                    for (r, row) in scores.chunks_exact_mut(n).enumerate() {
                        let position = heads.rows.start + r % heads.rows.len();
                        let (seen, later) = row.split_at_mut(position - start + 1);
                        let hidden = relative(segment.hidden_from(position), start);
                        seen[hidden.clone()].fill(f32::NEG_INFINITY);
                        let max = max_inline(seen);
                        let sum = exp_shifted_inline(seen, max);
                        seen[hidden].fill(0.0);
                        later.fill(0.0);
                        inv_sum[r] = 1.0 / sum;
                        log_sum[position * shape.n_heads + heads.head(r)] = max + sum.ln();
                    }
                },
            );
            products.times(MatMut::new(block_out, m, hd), Mat::new(scores, m, n), &values, false);
            for (r, row) in block_out.chunks_exact(hd).enumerate() {
                for (o, x) in out[heads.at(r)..][..hd].iter_mut().zip(row) {
                    *o = x * inv_sum[r];
                }
            }
        }
        products.give(keys);
        products.give(values);
    }
}

/// Writes the gradients for the rows in `segments` from `d_out[rows, n_heads * head_dim]`. A block of rows where that is zero
/// costs nothing.
pub fn attention_backward(
    qkv: Qkv<'_>,
    saved: AttentionSaved<'_>,
    d_out: &[f32],
    (segments, shape): (&[Segment], AttentionShape),
    products: &mut Products,
    grad: &mut QkvGrad<'_>,
) {
    let (hd, group) = (shape.head_dim, shape.group());
    let longest = segments.iter().map(|segment| segment.rows.len()).max().unwrap_or(0);
    let (mut keys_t, mut values_t) = (vec![0.0; longest * hd], vec![0.0; longest * hd]);
    let mut state = BackwardState {
        q: vec![0.0; group * BLOCK * hd],
        d_out: vec![0.0; group * BLOCK * hd],
        scores: vec![0.0; group * BLOCK * longest],
        d_scores: vec![0.0; group * BLOCK * longest],
    };
    let kv_stride = shape.n_kv_heads * hd;
    for (segment, kv_head) in heads_of(segments, shape) {
        let (start, len) = (segment.rows.start, segment.rows.len());
        let kv_at = start * kv_stride + kv_head * hd;
        transpose_strided(&qkv.k[kv_at..], kv_stride, (len, hd), &mut keys_t);
        transpose_strided(&qkv.v[kv_at..], kv_stride, (len, hd), &mut values_t);
        for r in 0..len {
            grad.d_k[kv_at + r * kv_stride..][..hd].fill(0.0);
            grad.d_v[kv_at + r * kv_stride..][..hd].fill(0.0);
        }
        let keys = products.right(Mat::strided(&qkv.k[kv_at..], len, hd, kv_stride));
        let turned = [
            products.right(Mat::new(&keys_t, hd, len)),
            products.right(Mat::new(&values_t, hd, len)),
        ];
        for block in blocks(&segment.rows) {
            let heads = HeadBlock { shape, kv_head, rows: block };
            let n = heads.rows.end - start;
            let m = group * heads.rows.len();
            state.gather(qkv, d_out, &heads);
            if state.d_out[..m * hd].iter().all(|d| *d == 0.0) {
                (0..m).for_each(|r| grad.d_q[heads.at(r)..][..hd].fill(0.0));
                continue;
            }
            state.fill_scores(saved, (segment, &heads), &turned, (n, &mut *products));
            let d_scores = Mat::new(&state.d_scores, m, n);
            let d_k = MatMut::strided(&mut grad.d_k[kv_at..], n, hd, kv_stride);
            products.gemm(d_k, d_scores.t(), Mat::new(&state.q, m, hd), true);
            let d_v = MatMut::strided(&mut grad.d_v[kv_at..], n, hd, kv_stride);
            let probabilities = Mat::new(&state.scores, m, n);
            products.gemm(d_v, probabilities.t(), Mat::new(&state.d_out, m, hd), true);
            // Now d_q, less the scale.
            products.times(MatMut::new(&mut state.q, m, hd), d_scores, &keys, false);
            for (r, row) in state.q[..m * hd].chunks_exact(hd).enumerate() {
                for (d, x) in grad.d_q[heads.at(r)..][..hd].iter_mut().zip(row) {
                    *d = x * shape.scale();
                }
            }
        }
        turned.into_iter().chain([keys]).for_each(|right| products.give(right));
    }
}

/// Buffers of the backward pass over one block.
struct BackwardState {
    q: Vec<f32>,        // [group * block, hd], scaled
    d_out: Vec<f32>,    // [group * block, hd]
    scores: Vec<f32>,   // [group * block, n], then probabilities
    d_scores: Vec<f32>, // [group * block, n]
}

impl BackwardState {
    fn gather(&mut self, qkv: Qkv<'_>, d_out: &[f32], heads: &HeadBlock) {
        heads.gather(qkv.q, heads.shape.scale(), &mut self.q);
        heads.gather(d_out, 1.0, &mut self.d_out);
    }

    /// Computes the probabilities of `n` positions again, and the gradient of the scores
    /// `p * (d_out @ v^T - sum(d_out * out))`.
    fn fill_scores(
        &mut self,
        saved: AttentionSaved<'_>,
        (segment, heads): (&Segment, &HeadBlock),
        [keys_t, values_t]: &[Right<'_>; 2],
        (n, products): (usize, &mut Products),
    ) {
        let hd = heads.shape.head_dim;
        let m = heads.shape.group() * heads.rows.len();
        let (q, d_out) = (Mat::new(&self.q, m, hd), Mat::new(&self.d_out, m, hd));
        products.times(MatMut::new(&mut self.scores, m, n), q, keys_t, false);
        products.times(MatMut::new(&mut self.d_scores, m, n), d_out, values_t, false);
        vectorised(
            #[inline(always)]
            || {
                let rows = self.scores.chunks_exact_mut(n).zip(self.d_scores.chunks_exact_mut(n));
                for (r, (p, d)) in rows.take(m).enumerate() {
                    let position = heads.rows.start + r % heads.rows.len();
                    // Positions after this one are hidden from it.
                    let seen = n - (heads.rows.end - position) + 1;
                    let log_sum = saved.log_sum[position * heads.shape.n_heads + heads.head(r)];
                    let out = &saved.out[heads.at(r)..][..hd];
                    let mean = dot_inline(out, &self.d_out[r * hd..][..hd]);
                    for (p, d) in p[..seen].iter_mut().zip(d[..seen].iter_mut()) {
                        *p = exp(*p - log_sum);
                        *d = *p * (*d - mean);
                    }
                    let hidden = relative(segment.hidden_from(position), segment.rows.start);
                    for out_of_sight in [hidden, seen..n] {
                        p[out_of_sight.clone()].fill(0.0);
                        d[out_of_sight].fill(0.0);
                    }
                }
            },
        );
    }
}

/// The query heads of one group at some rows, as the rows of one matrix: heads outer, rows inner.
pub(crate) struct HeadBlock {
    pub(crate) shape: AttentionShape,
    pub(crate) kv_head: usize,
    pub(crate) rows: Range<usize>,
}

impl HeadBlock {
    /// The query head of matrix row `r`.
    fn head(&self, r: usize) -> usize {
        self.kv_head * self.shape.group() + r / self.rows.len()
    }

    /// Where matrix row `r` begins in a `[rows, n_heads * head_dim]` slice.
    pub(crate) fn at(&self, r: usize) -> usize {
        let row = self.rows.start + r % self.rows.len();
        (row * self.shape.n_heads + self.head(r)) * self.shape.head_dim
    }

    pub(crate) fn gather(&self, from: &[f32], scale: f32, into: &mut [f32]) {
        let hd = self.shape.head_dim;
        for r in 0..self.shape.group() * self.rows.len() {
            let source = &from[self.at(r)..][..hd];
            for (o, x) in into[r * hd..][..hd].iter_mut().zip(source) {
                *o = x * scale;
            }
        }
    }
}

/// Every segment with every head of keys and values.
fn heads_of(
    segments: &[Segment],
    shape: AttentionShape,
) -> impl Iterator<Item = (&Segment, usize)> {
    segments.iter().flat_map(move |segment| (0..shape.n_kv_heads).map(move |head| (segment, head)))
}

/// Whether an output of the block is wanted; all are by default.
fn has_wanted(wanted: Option<&[usize]>, block: &Range<usize>) -> bool {
    wanted.is_none_or(|wanted| {
        let at = wanted.partition_point(|row| *row < block.start);
        wanted.get(at).is_some_and(|row| *row < block.end)
    })
}

/// Rows counted from `start`.
fn relative(rows: Range<usize>, start: usize) -> Range<usize> {
    rows.start - start..rows.end - start
}

/// The blocks of query rows of a segment.
fn blocks(segment: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = segment.end;
    segment.clone().step_by(BLOCK).map(move |at| at..(at + BLOCK).min(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_gradient, wave};

    const SHAPE: AttentionShape = AttentionShape { n_heads: 4, n_kv_heads: 2, head_dim: 6 };

    fn forward(qkv: Qkv<'_>, segments: &[Segment], shape: AttentionShape) -> [Vec<f32>; 2] {
        let rows = qkv.q.len() / shape.n_heads / shape.head_dim;
        let mut out = vec![0.0; qkv.q.len()];
        let mut log_sum = vec![0.0; rows * shape.n_heads];
        let mut products = Products::default();
        attention_forward(qkv, (segments, shape), None, &mut products, &mut out, &mut log_sum);
        [out, log_sum]
    }

    /// The definition, one output number after another.
    fn by_definition(qkv: Qkv<'_>, segments: &[Segment], shape: AttentionShape) -> Vec<f32> {
        let hd = shape.head_dim;
        let mut out = vec![0.0; qkv.q.len()];
        for segment in segments {
            for (i, h) in segment.rows.clone().flat_map(|i| (0..shape.n_heads).map(move |h| (i, h)))
            {
                let q_at = (i * shape.n_heads + h) * hd;
                let kv_at = |j: usize| (j * shape.n_kv_heads + h / shape.group()) * hd;
                let score = |j: usize| -> f32 {
                    (0..hd).map(|d| qkv.q[q_at + d] * qkv.k[kv_at(j) + d]).sum::<f32>()
                        / (hd as f32).sqrt()
                };
                let hidden = segment.hidden_from(i);
                let seen = || (segment.rows.start..=i).filter(|j| !hidden.contains(j));
                let weights: Vec<f32> = seen().map(|j| score(j).exp()).collect();
                let sum: f32 = weights.iter().sum();
                for (j, w) in seen().zip(weights) {
                    for d in 0..hd {
                        out[q_at + d] += w / sum * qkv.v[kv_at(j) + d];
                    }
                }
            }
        }
        out
    }

    #[test]
    fn blocks_and_segments_follow_the_definition() {
        let rows = 200; // longer than two blocks
        let branched = Segment { rows: 0..150, branches: vec![70, 75, 140] };
        let segments = [branched, (150..151).into(), (151..200).into()];
        let (q, k, v) = (wave(rows * 24, 0.7), wave(rows * 12, 0.31), wave(rows * 12, 0.53));
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let [out, _] = forward(qkv, &segments, SHAPE);
        for (i, (g, w)) in out.iter().zip(by_definition(qkv, &segments, SHAPE)).enumerate() {
            assert!((g - w).abs() < 1e-5, "entry {i}: {g} is not {w}");
        }
    }

    #[test]
    fn rows_that_are_wanted_are_those_of_all() {
        let (rows, segments) = (400, [(0..300).into(), (300..400).into()]);
        let (q, k, v) = (wave(rows * 24, 0.7), wave(rows * 12, 0.31), wave(rows * 12, 0.53));
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let [all, sums] = forward(qkv, &segments, SHAPE);
        for wanted in [&[0, 64, 65, 299][..], &[191, 300], &[399], &[]] {
            let (mut out, mut log_sum) = (vec![f32::NAN; all.len()], vec![f32::NAN; sums.len()]);
            let (of, products) = ((&segments[..], SHAPE), &mut Products::default());
            attention_forward(qkv, of, Some(wanted), products, &mut out, &mut log_sum);
            for row in wanted {
                assert_eq!(out[row * 24..][..24], all[row * 24..][..24], "row {row}");
                assert_eq!(log_sum[row * 4..][..4], sums[row * 4..][..4], "row {row}");
            }
            let skipped = out.iter().filter(|x| x.is_nan()).count();
            assert!(skipped >= 24 * (rows - 64 * wanted.len().min(4)), "{skipped} of {wanted:?}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let branched = Segment { rows: 0..6, branches: vec![2, 4] };
        let (rows, segments) = (9, [branched, (6..9).into()]);
        let (q, k, v) = (wave(rows * 24, 0.7), wave(rows * 12, 0.3), wave(rows * 12, 0.5));
        let d_out = wave(rows * 24, 1.1);
        let loss = |q: &[f32], k: &[f32], v: &[f32]| -> f64 {
            let [out, _] = forward(Qkv { q, k, v }, &segments, SHAPE);
            out.iter().zip(&d_out).map(|(o, d)| f64::from(o * d)).sum()
        };
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let [out, log_sum] = forward(qkv, &segments, SHAPE);
        let [mut d_q, mut d_k, mut d_v] = [rows * 24, rows * 12, rows * 12].map(|n| vec![9.0; n]);
        let saved = AttentionSaved { out: &out, log_sum: &log_sum };
        let mut grad = QkvGrad { d_q: &mut d_q, d_k: &mut d_k, d_v: &mut d_v };
        attention_backward(
            qkv,
            saved,
            &d_out,
            (&segments, SHAPE),
            &mut Products::default(),
            &mut grad,
        );
        assert_gradient(&q, &d_q, |q| loss(q, &k, &v));
        assert_gradient(&k, &d_k, |k| loss(&q, k, &v));
        assert_gradient(&v, &d_v, |v| loss(&q, &k, v));
    }

    #[test]
    fn gradients_of_many_blocks_add_up_to_those_of_one_position_at_a_time() {
        // A block of queries contributes what its rows contribute alone.
        let (rows, segments) = (130, [(0..100).into(), (100..130).into()]);
        let (q, k, v) = (wave(rows * 24, 0.7), wave(rows * 12, 0.3), wave(rows * 12, 0.5));
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let [out, log_sum] = forward(qkv, &segments, SHAPE);
        let saved = AttentionSaved { out: &out, log_sum: &log_sum };
        let backward = |d_out: &[f32]| {
            let [mut d_q, mut d_k, mut d_v] =
                [rows * 24, rows * 12, rows * 12].map(|n| vec![0.0; n]);
            let mut grad = QkvGrad { d_q: &mut d_q, d_k: &mut d_k, d_v: &mut d_v };
            attention_backward(
                qkv,
                saved,
                d_out,
                (&segments, SHAPE),
                &mut Products::default(),
                &mut grad,
            );
            [d_q, d_k, d_v].concat()
        };
        let d_out = wave(rows * 24, 1.1);
        let mut sum = vec![0.0; rows * 48];
        for r in 0..rows {
            let mut only = vec![0.0; d_out.len()];
            only[r * 24..(r + 1) * 24].copy_from_slice(&d_out[r * 24..(r + 1) * 24]);
            sum.iter_mut().zip(backward(&only)).for_each(|(s, x)| *s += x);
        }
        for (g, w) in backward(&d_out).iter().zip(sum) {
            assert!((g - w).abs() < 1e-4, "{g} is not {w}");
        }
    }
}
