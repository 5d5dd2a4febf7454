//! The exact index: a scan over all vectors. It is the oracle of recall for any other index.
//!
//! Vectors in eight bits, a quarter of the bytes, give estimates of all scores (many queries at once are
//! multiplied in single precision where the processor does not multiply bytes). The estimates come
//! with a bound on their error, every item that can be among the best is scored again from its own
//! vector, and so the result is that of scoring all items one by one: scores are plain dot products
//! in single precision, equal ones are ordered by item number, and nothing depends on threads, blocks,
//! the processor, or queries that come along.

use std::path::Path;

use rayon::prelude::*;
use types::ItemId;

use super::codes::{CodedQuery, Codes, norm};
use super::file;
use super::reaching::reaching;
use super::scan::Scan;
use super::shortlist::Shortlist;
use crate::RetrievalError;

/// Items whose products with one query are computed at a time, and those of one task.
const ROWS: usize = 256;
const TASK_ROWS: usize = 32 * 1024;

/// Vectors of all items, `[n_items, dim]`, row = [`ItemId`].
#[derive(Debug, Clone, PartialEq)]
pub struct ExactIndex {
    dim: usize,
    vectors: Vec<f32>,
    codes: Codes,
    removed: Vec<bool>,
    largest: f32, // length of the longest vector so far
}

impl ExactIndex {
    /// An index over `vectors[n_items, dim]`.
    ///
    /// # Errors
    /// [`RetrievalError::Shape`] when the length is no multiple of `dim`, or `dim` is 0;
    /// [`RetrievalError::NotFinite`] when a number is infinite or none.
    pub fn new(vectors: Vec<f32>, dim: usize) -> Result<Self, RetrievalError> {
        if dim == 0 || !vectors.len().is_multiple_of(dim) {
            let expected = vectors.len().checked_div(dim).map_or(0, |n| n * dim);
            return Err(RetrievalError::Shape {
                what: "index vectors",
                expected,
                got: vectors.len(),
            });
        }
        check_finite("index vector", &vectors, dim)?;
        let codes = Codes::of(&vectors, dim);
        let largest = vectors.par_chunks(dim).map(norm).reduce(|| 0.0, f32::max);
        Ok(Self { dim, removed: vec![false; vectors.len() / dim], vectors, codes, largest })
    }

    /// Number of items, removed ones included: the next new item gets this number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.removed.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
    }

    /// Length of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Whether an item can be found: it exists and was not removed.
    #[must_use]
    pub fn holds(&self, item: ItemId) -> bool {
        self.removed.get(item.idx()).is_some_and(|removed| !removed)
    }

    /// The vector of one item.
    #[must_use]
    pub fn vector(&self, item: ItemId) -> &[f32] {
        &self.vectors[item.idx() * self.dim..][..self.dim]
    }

    /// The vectors of all items, `[len, dim]`.
    #[must_use]
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// A scan over some of the items, in their order.
    pub(crate) fn part(&self, items: &[ItemId]) -> Self {
        let vectors: Vec<f32> = items.iter().flat_map(|&i| self.vector(i)).copied().collect();
        let (codes, removed) = (Codes::of(&vectors, self.dim), vec![false; items.len()]);
        Self { dim: self.dim, vectors, codes, removed, largest: self.largest }
    }

    /// Removed items, ascending.
    pub(crate) fn removed(&self) -> Vec<u32> {
        (0..self.len()).filter(|&row| self.removed[row]).map(|row| row as u32).collect()
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * self.vectors.len() + self.codes.bytes() + self.removed.len()
    }

    /// Adds an item; it is found by the next search.
    ///
    /// # Errors
    /// [`RetrievalError::Shape`] when the vector is not `dim` long, [`RetrievalError::NotFinite`] when
    /// a number is infinite or none.
    pub fn push(&mut self, vector: &[f32]) -> Result<ItemId, RetrievalError> {
        self.check("new index vector", vector, 1)?;
        self.vectors.extend_from_slice(vector);
        self.codes.push(vector);
        self.removed.push(false);
        self.largest = self.largest.max(norm(vector));
        Ok(ItemId::from_idx(self.len() - 1))
    }

    /// Gives an item another vector; a removed one comes back.
    ///
    /// # Errors
    /// As [`ExactIndex::push`]; [`RetrievalError::Shape`] also where there is no such item.
    pub fn replace(&mut self, item: ItemId, vector: &[f32]) -> Result<(), RetrievalError> {
        self.check("changed index vector", vector, 1)?;
        if item.idx() >= self.len() {
            let (what, expected) = ("items up to the one that changes", self.len());
            return Err(RetrievalError::Shape { what, expected, got: item.idx() + 1 });
        }
        self.vectors[item.idx() * self.dim..][..self.dim].copy_from_slice(vector);
        self.codes.set(item.idx(), vector);
        self.removed[item.idx()] = false;
        self.largest = self.largest.max(norm(vector));
        Ok(())
    }

    /// Takes an item out of every later search; whether it was there.
    pub fn remove(&mut self, item: ItemId) -> bool {
        let held = self.holds(item);
        if held {
            self.removed[item.idx()] = true;
        }
        held
    }

    /// Length of the longest vector so far, or more.
    pub(crate) fn largest(&self) -> f32 {
        self.largest
    }

    /// [`ExactIndex::scores`] of a range of items, on the calling thread: `[items.len(), n]`.
    pub(crate) fn scores_of(&self, items: std::ops::Range<usize>, queries: &[f32]) -> Vec<f32> {
        let n = queries.len() / self.dim;
        let vectors = &self.vectors[items.start * self.dim..items.end * self.dim];
        let mut out = vec![0.0; items.len() * n];
        nn::gemm_nt(&mut out, vectors, queries, (items.len(), self.dim, n), 0.0);
        out
    }

    /// The `k` items with the largest dot product with `query[dim]` among those that `keep` allows,
    /// best first. The filter applies before the cut: `k` items come back whenever so many pass.
    ///
    /// # Panics
    /// When the query is not `dim` long.
    #[must_use]
    pub fn search(
        &self,
        query: &[f32],
        k: usize,
        keep: &dyn Fn(ItemId) -> bool,
    ) -> Vec<(ItemId, f32)> {
        assert_eq!(query.len(), self.dim, "the query has the index's dimension");
        let coded = CodedQuery::fine(query);
        let mut best = Shortlist::new(k);
        reaching(&self.highest(&coded), f32::NEG_INFINITY, |row, most| {
            let item = ItemId::from_idx(row);
            if self.holds(item) && keep(item) {
                best.push(self.codes.estimate(&coded, item, most));
            }
            best.floor()
        });
        best.rescore(k, query, &self.vectors)
    }

    /// The highest score of each item that the vectors in eight bits allow.
    fn highest(&self, query: &CodedQuery) -> Vec<f32> {
        let mut most = vec![0.0; self.len()];
        most.par_chunks_mut(TASK_ROWS).enumerate().for_each(|(task, most)| {
            let mut sums = Vec::new();
            for (block, most) in most.chunks_mut(ROWS).enumerate() {
                let from = task * TASK_ROWS + block * ROWS;
                let rows = from..from + most.len();
                self.codes.highest(rows, &[query], &mut sums, most);
            }
        });
        most
    }

    /// [`ExactIndex::search`] for `queries[n, dim]` at once; `keep` also gets the query's row.
    ///
    /// # Panics
    /// When `queries` is not `[n, dim]`.
    #[must_use]
    pub fn search_many(
        &self,
        queries: &[f32],
        k: usize,
        keep: &(dyn Fn(usize, ItemId) -> bool + Sync),
    ) -> Vec<Vec<(ItemId, f32)>> {
        self.search_many_by(nn::int8_is_fast(), queries, k, keep)
    }

    /// [`ExactIndex::search_many`] with estimates from the codes, or from products in single precision.
    pub(super) fn search_many_by(
        &self,
        codes: bool,
        queries: &[f32],
        k: usize,
        keep: &(dyn Fn(usize, ItemId) -> bool + Sync),
    ) -> Vec<Vec<(ItemId, f32)>> {
        assert!(queries.len().is_multiple_of(self.dim), "queries are [n, dim]");
        Scan { vectors: self, codes: codes.then_some(&self.codes), k, keep }.run(queries)
    }

    /// Writes the index into `dir`, whole or not at all.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] when the folder cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), RetrievalError> {
        file::save(dir, self, None)
    }

    /// Reads the vectors of what [`ExactIndex::save`] or [`crate::ItemIndex::save`] wrote.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] or [`RetrievalError::Index`] when the file is missing, damaged or of
    /// another version.
    pub fn load(dir: &Path) -> Result<Self, RetrievalError> {
        Ok(file::load(dir)?.0)
    }

    fn check(&self, what: &'static str, got: &[f32], rows: usize) -> Result<(), RetrievalError> {
        let (expected, len) = (rows * self.dim, got.len());
        if expected != len {
            return Err(RetrievalError::Shape { what, expected, got: len });
        }
        check_finite(what, got, self.dim)
    }
}

fn check_finite(what: &'static str, numbers: &[f32], dim: usize) -> Result<(), RetrievalError> {
    match numbers.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(RetrievalError::NotFinite { what, row: at / dim, column: at % dim }),
    }
}
