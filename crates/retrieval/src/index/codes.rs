//! Vectors in eight bits, a scale per vector, and how far each lies from its original.

use std::ops::Range;

use rayon::prelude::*;

use nn::{Int8Query, Int8Rows, int8_encode};
use types::ItemId;

use super::shortlist::Estimate;

/// Rows that a thread codes at a time.
const TASK: usize = 256 * Int8Rows::BLOCK;

/// `[n, dim]` codes and how far they lie from their vectors.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Codes {
    rows: Int8Rows,
    errors: Vec<f32>, // |v - scale * code|, rounded up
    largest: f32,     // no vector or row of codes so far was longer
}

/// A query as the codes need it.
#[derive(Debug, Clone)]
pub(crate) struct CodedQuery {
    numbers: Int8Query,
    pub(crate) norm: f32,
    error: f32, // |q - scale * numbers|
}

/// Sums in single precision are taken to be exact within this share of the product of the lengths; the
/// bound of a chain of `n` operations is `n * 2^-24`.
pub(crate) fn rounding(dim: usize) -> f32 {
    2.0 * (dim + 2) as f32 * f32::EPSILON
}

/// Length of a vector.
pub(crate) fn norm(vector: &[f32]) -> f32 {
    nn::square_norm(vector).sqrt() as f32
}

impl CodedQuery {
    /// So fine that only the codes' errors count.
    pub(crate) fn fine(query: &[f32]) -> Self {
        Self::of(query, Int8Query::fine(query))
    }

    /// In as many bits as the codes.
    pub(crate) fn coarse(query: &[f32]) -> Self {
        Self::of(query, Int8Query::coarse(query))
    }

    fn of(query: &[f32], numbers: Int8Query) -> Self {
        let (whole, scale) = (numbers.numbers(), numbers.scale());
        let off: Vec<f32> =
            query.iter().zip(whole).map(|(q, &n)| q - scale * f32::from(n)).collect();
        Self { norm: norm(query), error: norm(&off), numbers }
    }
}

impl AsRef<Int8Query> for CodedQuery {
    fn as_ref(&self) -> &Int8Query {
        &self.numbers
    }
}

impl Codes {
    pub(crate) fn new(dim: usize) -> Self {
        Self { rows: Int8Rows::new(dim), ..Self::default() }
    }

    /// The codes of `vectors[n, dim]`, by threads.
    pub(crate) fn of(vectors: &[f32], dim: usize) -> Self {
        let parts: Vec<Self> = vectors
            .par_chunks(dim * TASK)
            .map(|vectors| {
                let mut part = Self::new(dim);
                vectors.chunks(dim).for_each(|vector| part.push(vector));
                part
            })
            .collect();
        let mut all = Self::new(dim);
        for part in parts {
            all.rows.append(part.rows);
            all.errors.extend(part.errors);
            all.largest = all.largest.max(part.largest);
        }
        all
    }

    /// Estimates of the scores of `rows`, `out[queries, rows]`; `sums` is a buffer.
    pub(crate) fn scores(
        &self,
        rows: Range<usize>,
        queries: &[&CodedQuery],
        sums: &mut Vec<i32>,
        out: &mut [f32],
    ) {
        self.fill(rows, queries, |_| (0.0, 0.0), sums, out);
    }

    /// The highest scores that the errors of codes and queries allow; otherwise as [`Codes::scores`].
    pub(crate) fn highest(
        &self,
        rows: Range<usize>,
        queries: &[&CodedQuery],
        sums: &mut Vec<i32>,
        out: &mut [f32],
    ) {
        self.fill(rows, queries, |query| (Self::reach(query), self.slack(query)), sums, out);
    }

    /// Scores with a multiple of each row's error and a constant added, which the query gives.
    fn fill(
        &self,
        rows: Range<usize>,
        queries: &[&CodedQuery],
        more: impl Fn(&CodedQuery) -> (f32, f32),
        sums: &mut Vec<i32>,
        out: &mut [f32],
    ) {
        let (n, width) = (rows.len(), Int8Rows::padded(rows.len()));
        let (scales, errors) = (&self.rows.scales()[rows.clone()], &self.errors[rows.clone()]);
        sums.resize(queries.len() * width, 0);
        self.rows.dots(rows, queries, sums);
        for (place, query) in queries.iter().enumerate() {
            let (sums, out) = (&sums[place * width..][..n], &mut out[place * n..][..n]);
            let (scale, (reach, slack)) = (query.numbers.scale(), more(query));
            nn::vectorised(
                #[inline(always)]
                || {
                    let rows = sums.iter().zip(scales).zip(errors);
                    for (out, ((&sum, row_scale), error)) in out.iter_mut().zip(rows) {
                        *out = sum as f32 * (scale * row_scale) + (reach * error + slack);
                    }
                },
            );
        }
    }

    /// What is known of an item, row = [`ItemId`], from its highest score.
    pub(crate) fn estimate(&self, query: &CodedQuery, item: ItemId, most: f32) -> Estimate {
        let error = Self::reach(query) * self.errors[item.idx()] + self.slack(query);
        Estimate { item, score: most - error, error }
    }

    /// What every product may be off beside `|q| * error`: the query's own rounding and that of sums.
    fn slack(&self, query: &CodedQuery) -> f32 {
        let largest = self.largest * 1.000_01;
        largest * (query.error + 2.0 * rounding(query.numbers.numbers().len()) * query.norm)
    }

    /// `|q|` with the rounding of its own product.
    fn reach(query: &CodedQuery) -> f32 {
        query.norm * 1.000_01
    }

    pub(crate) fn push(&mut self, vector: &[f32]) {
        let (codes, scale, error) = self.encode(vector);
        self.rows.push(&codes, scale);
        self.errors.push(error);
    }

    pub(crate) fn set(&mut self, row: usize, vector: &[f32]) {
        let (codes, scale, error) = self.encode(vector);
        self.rows.set(row, &codes, scale);
        self.errors[row] = error;
    }

    /// Codes, their scale and error.
    fn encode(&mut self, vector: &[f32]) -> (Vec<i8>, f32, f32) {
        let mut codes = vec![0; vector.len()];
        let scale = int8_encode(vector, &mut codes);
        let off = vector.iter().zip(&codes).map(|(x, &c)| f64::from(x - scale * f32::from(c)));
        let error = off.map(|x| x * x).sum::<f64>().sqrt() as f32 * 1.000_01;
        self.largest = self.largest.max(norm(vector) + error);
        (codes, scale, error)
    }

    /// Moves the last row to `row` and drops the last.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        self.rows.swap_remove(row);
        self.errors.swap_remove(row);
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + 4 * self.errors.len()
    }
}
