//! Causal attention of new queries over cached keys and values, page by page.
//!
//! Chunks of a prompt go through matrix products; a single token, which reads every page for a few
//! multiplications each, through a loop that widens 8- and 16-bit pages on the way.

use half::f16;

use crate::attention::{AttentionShape, HeadBlock};
use crate::fp8::{E4M3_MAX, Fp8};
use crate::matmul::{Mat, MatMut, gemm};
use crate::simd::{exp_shifted_inline, max_inline, vectorised};

/// Tokens in a page of cached keys and values.
pub const KV_PAGE: usize = 64;

/// Rows of queries that go together.
const BLOCK: usize = 64;

/// Columns that the loop for single tokens keeps in registers.
const WIDTH: usize = 64;

/// How a cache stores its numbers.
pub trait KvNumber: Copy + Default + Send + Sync {
    /// `x == x.raw() * SCALE`, times the scale of its token where there is one.
    const SCALE: f32;

    /// Whether each token of a head has a scale of its own.
    const SCALED: bool = false;

    /// The nearest stored number.
    fn narrow(x: f32) -> Self;

    /// What to multiply the numbers of one token with before they are narrowed, and the scale that
    /// undoes it.
    fn token_scale(_numbers: &[f32]) -> (f32, f32) {
        (1.0, 1.0)
    }

    /// The stored number divided by `SCALE`, in a few operations that vectorise.
    fn raw(self) -> f32;
}

impl KvNumber for f32 {
    const SCALE: f32 = 1.0;

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn raw(self) -> f32 {
        self
    }
}

impl KvNumber for f16 {
    /// The exponent of half precision counts from -15, that of single precision from -127.
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        f16::from_f32(x.clamp(-65504.0, 65504.0))
    }

    #[inline(always)]
    fn raw(self) -> f32 {
        // Sign extension brings the sign to the top; the mask removes its copies.
        let bits = i32::from(self.to_bits().cast_signed()) << 13;
        f32::from_bits(bits.cast_unsigned() & 0x8fff_e000)
    }
}

impl KvNumber for Fp8 {
    /// Part of the 2^120 that its exponent is short of; the rest stands in the tokens' scales, so that
    /// no product on the way leaves the range of single precision.
    const SCALE: f32 = f32::from_bits((127 + 100) << 23);

    const SCALED: bool = true;

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        Self::from_f32(x)
    }

    #[inline(always)]
    fn raw(self) -> f32 {
        self.shifted()
    }

    fn token_scale(numbers: &[f32]) -> (f32, f32) {
        let max = numbers.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        let max = if max > 0.0 && max.is_finite() { max } else { 1.0 };
        (E4M3_MAX / max, max / E4M3_MAX * f32::from_bits((127 + 20) << 23))
    }
}

/// One page of one head; slots behind the tokens held are not used.
#[derive(Clone, Copy, Debug)]
pub struct KvPage<'a, E> {
    /// Keys, `[head_dim, KV_PAGE]`.
    pub keys_t: &'a [E],
    /// Values, `[KV_PAGE, head_dim]`.
    pub values: &'a [E],
    /// Scales of the tokens' keys, then of their values, `[2, KV_PAGE]`; empty unless
    /// [`KvNumber::SCALED`].
    pub scales: &'a [f32],
}

impl<E: KvNumber> KvPage<'_, E> {
    #[inline(always)]
    fn scale(&self, row: &mut [f32], which: usize) {
        if E::SCALED {
            let scales = &self.scales[which * KV_PAGE..][..KV_PAGE];
            row.iter_mut().zip(scales).for_each(|(x, scale)| *x *= scale);
        }
    }
}

/// Buffers of cached attention; keep one and call it again.
#[derive(Clone, Debug, Default)]
pub struct PagedAttention {
    q: Vec<f32>,      // [group * block, head_dim]
    out: Vec<f32>,    // [group * block, head_dim]
    scores: Vec<f32>, // [group * block, n]
    page: Vec<f32>,   // [head_dim, KV_PAGE] or its transpose, converted
}

impl PagedAttention {
    /// Writes the query heads that share `kv_head` of `out[rows, n_heads * head_dim]`.
    ///
    /// Row `r` of `q[rows, n_heads * head_dim]` stands at position `start + r` and sees the tokens
    /// up to itself; `pages` hold at least those.
    pub fn forward<E: KvNumber>(
        &mut self,
        q: &[f32],
        (kv_head, start): (usize, usize),
        pages: &[KvPage<'_, E>],
        shape: AttentionShape,
        out: &mut [f32],
    ) {
        let (hd, rows) = (shape.head_dim, q.len() / (shape.n_heads * shape.head_dim));
        for at in (0..rows).step_by(BLOCK) {
            let heads = HeadBlock { shape, kv_head, rows: at..(at + BLOCK).min(rows) };
            let m = shape.group() * heads.rows.len();
            let pages = &pages[..(start + heads.rows.end).div_ceil(KV_PAGE)];
            let n = pages.len() * KV_PAGE;
            self.q.resize(m * hd, 0.0);
            self.out.resize(m * hd, 0.0);
            self.scores.resize(m * n, 0.0);
            let single = heads.rows.len() == 1;
            let scale = if single { E::SCALE } else { 1.0 };
            heads.gather(q, shape.scale() * scale, &mut self.q);
            if single {
                self.single_scores(pages, hd);
            } else {
                self.chunk_scores(pages, m, hd);
            }
            vectorised(
                #[inline(always)]
                || {
                    for (r, row) in self.scores.chunks_exact_mut(n).enumerate() {
                        let seen = start + heads.rows.start + r % heads.rows.len() + 1;
                        for (row, page) in row.chunks_exact_mut(KV_PAGE).zip(pages) {
                            page.scale(row, 0);
                        }
                        let (seen, hidden) = row.split_at_mut(seen);
                        let max = max_inline(seen);
                        let inv = scale / exp_shifted_inline(seen, max);
                        seen.iter_mut().for_each(|x| *x *= inv);
                        hidden.fill(0.0);
                        for (row, page) in row.chunks_exact_mut(KV_PAGE).zip(pages) {
                            page.scale(row, 1);
                        }
                    }
                },
            );
            if single {
                self.single_values(pages, hd);
            } else {
                self.chunk_values(pages, m, hd);
            }
            for (r, row) in self.out.chunks_exact(hd).enumerate() {
                out[heads.at(r)..][..hd].copy_from_slice(row);
            }
        }
    }

    fn chunk_scores<E: KvNumber>(&mut self, pages: &[KvPage<'_, E>], m: usize, hd: usize) {
        let n = pages.len() * KV_PAGE;
        for (i, page) in pages.iter().enumerate() {
            widen(page.keys_t, &mut self.page);
            let scores = MatMut::strided(&mut self.scores[i * KV_PAGE..], m, KV_PAGE, n);
            gemm(scores, Mat::new(&self.q, m, hd), Mat::new(&self.page, hd, KV_PAGE), 0.0);
        }
    }

    fn chunk_values<E: KvNumber>(&mut self, pages: &[KvPage<'_, E>], m: usize, hd: usize) {
        let n = pages.len() * KV_PAGE;
        for (i, page) in pages.iter().enumerate() {
            widen(page.values, &mut self.page);
            let scores = Mat::strided(&self.scores[i * KV_PAGE..], m, KV_PAGE, n);
            let beta = if i == 0 { 0.0 } else { 1.0 };
            let values = Mat::new(&self.page, KV_PAGE, hd);
            gemm(MatMut::new(&mut self.out, m, hd), scores, values, beta);
        }
    }

    /// Scores of one token's heads: `scores[head, j] = sum_d q[head, d] * keys_t[d, j]`.
    fn single_scores<E: KvNumber>(&mut self, pages: &[KvPage<'_, E>], hd: usize) {
        let (q, scores, n) = (&self.q, &mut self.scores, pages.len() * KV_PAGE);
        vectorised(
            #[inline(always)]
            || {
                for (q, scores) in q.chunks(2 * hd).zip(scores.chunks_mut(2 * n)) {
                    let other = if q.len() > hd { &q[hd..] } else { q };
                    for (i, page) in pages.iter().enumerate() {
                        let sums = sum_rows([&q[..hd], other], page.keys_t, (KV_PAGE, 0));
                        for (row, sums) in scores.chunks_exact_mut(n).zip(&sums) {
                            row[i * KV_PAGE..][..KV_PAGE].copy_from_slice(sums);
                        }
                    }
                }
            },
        );
    }

    /// Attended values of one token's heads: `out[head, d] = sum_j scores[head, j] * values[j, d]`.
    fn single_values<E: KvNumber>(&mut self, pages: &[KvPage<'_, E>], hd: usize) {
        let (scores, out, n) = (&self.scores, &mut self.out, pages.len() * KV_PAGE);
        vectorised(
            #[inline(always)]
            || {
                for (scores, out) in scores.chunks(2 * n).zip(out.chunks_mut(2 * hd)) {
                    out.fill(0.0);
                    let other = if scores.len() > n { &scores[n..] } else { scores };
                    for column in (0..hd).step_by(WIDTH) {
                        let width = WIDTH.min(hd - column);
                        for (i, page) in pages.iter().enumerate() {
                            let weights = [scores, other].map(|row| &row[i * KV_PAGE..][..KV_PAGE]);
                            let sums = sum_rows(weights, page.values, (hd, column));
                            for (row, sums) in out.chunks_exact_mut(hd).zip(&sums) {
                                let row = &mut row[column..column + width];
                                row.iter_mut().zip(sums).for_each(|(o, x)| *o += x);
                            }
                        }
                    }
                }
            },
        );
    }
}

/// `sum_r weights[h][r] * rows[r, column..column + WIDTH]` for two heads `h` at once.
///
/// Adds in the order of the rows, each product fused, as the matrix product does: a token gets the
/// same bits alone and in a chunk.
#[inline(always)]
fn sum_rows<E: KvNumber>(
    weights: [&[f32]; 2],
    rows: &[E],
    (stride, column): (usize, usize),
) -> [[f32; WIDTH]; 2] {
    let (mut first, mut second) = ([0.0f32; WIDTH], [0.0f32; WIDTH]);
    let weights = weights[0].iter().zip(weights[1]).enumerate();
    if column + WIDTH > stride {
        for (r, (&a, &b)) in weights {
            for (j, x) in rows[r * stride + column..(r + 1) * stride].iter().enumerate() {
                first[j] = x.raw().mul_add(a, first[j]);
                second[j] = x.raw().mul_add(b, second[j]);
            }
        }
        return [first, second];
    }
    for (r, (&a, &b)) in weights {
        let row: &[E; WIDTH] =
            rows[r * stride + column..][..WIDTH].try_into().expect("a slice of WIDTH numbers");
        for j in 0..WIDTH {
            let x = row[j].raw();
            first[j] = x.mul_add(a, first[j]);
            second[j] = x.mul_add(b, second[j]);
        }
    }
    [first, second]
}

fn widen<E: KvNumber>(from: &[E], into: &mut Vec<f32>) {
    into.resize(from.len(), 0.0);
    vectorised(
        #[inline(always)]
        || {
            for (o, x) in into.iter_mut().zip(from) {
                *o = x.raw() * E::SCALE;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{Qkv, attention_forward};
    use crate::testing::wave;

    #[test]
    fn every_half_is_read_back() {
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits);
            if x.is_finite() {
                assert_eq!(x.raw() * f16::SCALE, x.to_f32(), "bits {bits:04x}");
            }
        }
        assert_eq!(f16::narrow(1e9), f16::MAX);
    }

    /// Keys and values `[n, kv_heads * hd]` of one head as pages of stored numbers.
    fn pages<E: KvNumber>(
        k: &[f32],
        v: &[f32],
        width: usize,
        at: usize,
        hd: usize,
    ) -> Vec<([Vec<E>; 2], Vec<f32>)> {
        let n = k.len() / width;
        let page = |from: usize| {
            let (mut keys_t, mut values) =
                (vec![E::default(); hd * KV_PAGE], vec![E::default(); hd * KV_PAGE]);
            let mut scales = vec![0.0; if E::SCALED { 2 * KV_PAGE } else { 0 }];
            for slot in 0..KV_PAGE.min(n - from) {
                let [k, v] = [k, v].map(|x| &x[(from + slot) * width + at..][..hd]);
                let [(by_k, scale_k), (by_v, scale_v)] = [k, v].map(E::token_scale);
                if E::SCALED {
                    (scales[slot], scales[KV_PAGE + slot]) = (scale_k, scale_v);
                }
                for d in 0..hd {
                    keys_t[d * KV_PAGE + slot] = E::narrow(k[d] * by_k);
                    values[slot * hd + d] = E::narrow(v[d] * by_v);
                }
            }
            ([keys_t, values], scales)
        };
        (0..n).step_by(KV_PAGE).map(page).collect()
    }

    fn check<E: KvNumber>(shape: AttentionShape, tolerance: f32) {
        let (n, hd) = (150, shape.head_dim);
        let (q_width, kv_width) = (shape.n_heads * hd, shape.n_kv_heads * hd);
        let (q, k, v) =
            (wave(n * q_width, 0.7), wave(n * kv_width, 0.31), wave(n * kv_width, 0.53));
        let (mut want, mut log_sum) = (vec![0.0; n * q_width], vec![0.0; n * shape.n_heads]);
        let qkv = Qkv { q: &q, k: &k, v: &v };
        let (segments, mut products) = ([(0..n).into()], crate::Products::default());
        attention_forward(qkv, (&segments, shape), None, &mut products, &mut want, &mut log_sum);
        for (start, end) in [(0, 150), (40, 120), (63, 64), (64, 65), (149, 150)] {
            let mut got = vec![0.0; (end - start) * q_width];
            let mut attention = PagedAttention::default();
            for head in 0..shape.n_kv_heads {
                let pages =
                    pages::<E>(&k[..end * kv_width], &v[..end * kv_width], kv_width, head * hd, hd);
                let pages: Vec<KvPage<'_, E>> = pages
                    .iter()
                    .map(|([k, v], scales)| KvPage { keys_t: k, values: v, scales })
                    .collect();
                let q = &q[start * q_width..end * q_width];
                attention.forward(q, (head, start), &pages, shape, &mut got);
            }
            for (g, w) in got.iter().zip(&want[start * q_width..]) {
                assert!((g - w).abs() < tolerance, "{shape:?} {start}..{end}: {g} is not {w}");
            }
        }
    }

    #[test]
    fn cached_attention_is_attention() {
        for (n_heads, n_kv_heads, head_dim) in [(4, 2, 64), (3, 1, 6), (2, 2, 70), (1, 1, 128)] {
            let shape = AttentionShape { n_heads, n_kv_heads, head_dim };
            check::<f32>(shape, 1e-5);
            check::<f16>(shape, 2e-3);
            check::<Fp8>(shape, 0.1);
        }
    }
}
