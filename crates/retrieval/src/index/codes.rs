//! Vectors in eight bits, a scale per vector, and how far each lies from its original.

use rayon::prelude::*;

use nn::{int8_encode, int8_query, int8_stride};

/// `[n, stride]` codes with their scales and errors.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Codes {
    dim: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
    errors: Vec<f32>, // |v - scale * code|, rounded up
    largest: f32,     // of all |v| so far
}

/// A query as the codes need it.
#[derive(Debug, Clone)]
pub(crate) struct CodedQuery {
    pub(crate) numbers: Vec<i16>,
    pub(crate) scale: f32,
    norm: f32,
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
    pub(crate) fn new(query: &[f32]) -> Self {
        let (numbers, scale) = int8_query(query);
        let off: Vec<f32> =
            query.iter().zip(&numbers).map(|(q, &n)| q - scale * f32::from(n)).collect();
        Self { numbers, scale, norm: norm(query), error: norm(&off) }
    }
}

impl Codes {
    pub(crate) fn new(dim: usize) -> Self {
        Self { dim, ..Self::default() }
    }

    /// The codes of `vectors[n, dim]`, by threads.
    pub(crate) fn of(vectors: &[f32], dim: usize) -> Self {
        let parts: Vec<Self> = vectors
            .par_chunks(dim * 4096)
            .map(|vectors| {
                let mut part = Self::new(dim);
                vectors.chunks(dim).for_each(|vector| part.push(vector));
                part
            })
            .collect();
        let mut all = Self::new(dim);
        for part in parts {
            all.codes.extend(part.codes);
            all.scales.extend(part.scales);
            all.errors.extend(part.errors);
            all.largest = all.largest.max(part.largest);
        }
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.scales.len()
    }

    pub(crate) fn stride(&self) -> usize {
        int8_stride(self.dim)
    }

    /// Codes of neighbouring rows, `[rows.len(), stride]`, and their scales.
    pub(crate) fn rows(&self, rows: std::ops::Range<usize>) -> (&[i8], &[f32]) {
        let stride = self.stride();
        (&self.codes[rows.start * stride..rows.end * stride], &self.scales[rows])
    }

    pub(crate) fn error(&self, row: usize) -> f32 {
        self.errors[row]
    }

    pub(crate) fn errors(&self, rows: std::ops::Range<usize>) -> &[f32] {
        &self.errors[rows]
    }

    /// What every product may be off beside `|q| * error`: the query's own rounding and that of sums.
    pub(crate) fn slack(&self, query: &CodedQuery) -> f32 {
        let largest = self.largest * 1.01;
        largest * (query.error + 2.0 * rounding(self.dim) * query.norm)
    }

    /// `|q|` with the rounding of its own product.
    pub(crate) fn reach(query: &CodedQuery) -> f32 {
        query.norm * 1.000_01
    }

    pub(crate) fn push(&mut self, vector: &[f32]) {
        let from = self.codes.len();
        self.codes.resize(from + self.stride(), 0);
        self.scales.push(0.0);
        self.errors.push(0.0);
        self.set(self.len() - 1, vector);
    }

    pub(crate) fn set(&mut self, row: usize, vector: &[f32]) {
        let stride = self.stride();
        let codes = &mut self.codes[row * stride..(row + 1) * stride];
        let scale = int8_encode(vector, codes);
        let off =
            vector.iter().zip(codes.iter()).map(|(x, &c)| f64::from(x - scale * f32::from(c)));
        self.errors[row] = off.map(|x| x * x).sum::<f64>().sqrt() as f32 * 1.000_01;
        self.scales[row] = scale;
        self.largest = self.largest.max(norm(vector));
    }

    /// Moves the last row to `row` and drops the last.
    pub(crate) fn swap_remove(&mut self, row: usize) {
        let (stride, last) = (self.stride(), self.len() - 1);
        self.codes.copy_within(last * stride..(last + 1) * stride, row * stride);
        self.codes.truncate(last * stride);
        self.scales.swap_remove(row);
        self.errors.swap_remove(row);
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.codes.len() + 4 * (self.scales.len() + self.errors.len())
    }
}
