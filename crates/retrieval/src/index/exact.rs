//! The exact index: a blocked scan over all vectors. It is the oracle of recall for any other index.
//!
//! Scores are plain dot products. Equal scores are ordered by item number, so that results do not
//! depend on threads or blocks.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::path::Path;

use rayon::prelude::*;
use types::ItemId;

use crate::RetrievalError;
use crate::store;

/// Items that one task scans.
const BLOCK: usize = 2048;

/// Vectors of all items, `[n_items, dim]`, row = [`ItemId`].
#[derive(Debug, Clone, PartialEq)]
pub struct ExactIndex {
    dim: usize,
    vectors: Vec<f32>,
}

impl ExactIndex {
    /// An index over `vectors[n_items, dim]`.
    ///
    /// # Errors
    /// [`RetrievalError::Shape`] when the length is no multiple of `dim`, or `dim` is 0.
    pub fn new(vectors: Vec<f32>, dim: usize) -> Result<Self, RetrievalError> {
        if dim == 0 || !vectors.len().is_multiple_of(dim) {
            let expected = vectors.len().checked_div(dim).map_or(0, |n| n * dim);
            return Err(RetrievalError::Shape {
                what: "index vectors",
                expected,
                got: vectors.len(),
            });
        }
        Ok(Self { dim, vectors })
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vectors.len() / self.dim
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// Length of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The vector of one item.
    #[must_use]
    pub fn vector(&self, item: ItemId) -> &[f32] {
        &self.vectors[item.idx() * self.dim..][..self.dim]
    }

    /// Adds an item; it is found by the next search.
    ///
    /// # Errors
    /// [`RetrievalError::Shape`] when the vector is not `dim` long.
    pub fn push(&mut self, vector: &[f32]) -> Result<ItemId, RetrievalError> {
        self.check("new index vector", vector, 1)?;
        self.vectors.extend_from_slice(vector);
        Ok(ItemId::from_idx(self.len() - 1))
    }

    /// Dot products of `queries[n, dim]` with all items: `[n_items, n]`, item by item.
    ///
    /// # Panics
    /// When `queries` is not `[n, dim]`.
    #[must_use]
    pub fn scores(&self, queries: &[f32]) -> Vec<f32> {
        assert!(queries.len().is_multiple_of(self.dim), "queries are [n, dim]");
        let n = queries.len() / self.dim;
        let mut out = vec![0.0; self.len() * n];
        if n > 0 {
            nn::par_gemm_nt(&mut out, &self.vectors, queries, (self.len(), self.dim, n), 0.0);
        }
        out
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
        let mut best = TopK::new(k);
        for (idx, &score) in self.scores(query).iter().enumerate() {
            let item = ItemId::from_idx(idx);
            if best.admits(item, score) && keep(item) {
                best.push(item, score);
            }
        }
        best.into_sorted()
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
        assert!(queries.len().is_multiple_of(self.dim), "queries are [n, dim]");
        queries
            .par_chunks(self.dim * 32)
            .enumerate()
            .flat_map(|(chunk, queries)| self.search_chunk(queries, k, (chunk * 32, keep)))
            .collect()
    }

    fn search_chunk(
        &self,
        queries: &[f32],
        k: usize,
        (first, keep): (usize, &(dyn Fn(usize, ItemId) -> bool + Sync)),
    ) -> Vec<Vec<(ItemId, f32)>> {
        let n = queries.len() / self.dim;
        let mut best: Vec<TopK> = (0..n).map(|_| TopK::new(k)).collect();
        let mut scores = vec![0.0; BLOCK * n];
        for (block, vectors) in self.vectors.chunks(BLOCK * self.dim).enumerate() {
            let rows = vectors.len() / self.dim;
            let scores = &mut scores[..rows * n];
            nn::gemm_nt(scores, queries, vectors, (n, self.dim, rows), 0.0);
            for (query, (best, scores)) in best.iter_mut().zip(scores.chunks(rows)).enumerate() {
                for (row, &score) in scores.iter().enumerate() {
                    let item = ItemId::from_idx(block * BLOCK + row);
                    if best.admits(item, score) && keep(first + query, item) {
                        best.push(item, score);
                    }
                }
            }
        }
        best.into_iter().map(TopK::into_sorted).collect()
    }

    /// Writes the index into `dir` as `vectors.safetensors`, whole or not at all.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] when the folder cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), RetrievalError> {
        store::save_tensors(
            &dir.join("vectors.safetensors"),
            &[("item_vectors", vec![self.len(), self.dim], &self.vectors)],
        )
    }

    /// Reads what [`ExactIndex::save`] wrote.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] or [`RetrievalError::Format`] when the file is missing or damaged.
    pub fn load(dir: &Path) -> Result<Self, RetrievalError> {
        let path = dir.join("vectors.safetensors");
        let mut tensors = store::load_tensors(&path)?;
        let (shape, vectors) = store::take(&mut tensors, "item_vectors", &path)?;
        match shape[..] {
            [_, dim] => Self::new(vectors, dim),
            _ => Err(RetrievalError::Format {
                path,
                detail: format!("item_vectors has shape {shape:?}, expected [items, dim]"),
            }),
        }
    }

    fn check(&self, what: &'static str, got: &[f32], rows: usize) -> Result<(), RetrievalError> {
        let (expected, got) = (rows * self.dim, got.len());
        if expected == got { Ok(()) } else { Err(RetrievalError::Shape { what, expected, got }) }
    }
}

/// The `k` best of a stream; larger score first, then smaller item number.
#[derive(Debug)]
pub(crate) struct TopK {
    k: usize,
    worst_first: BinaryHeap<Ranked>,
}

#[derive(Debug, PartialEq)]
struct Ranked(f32, ItemId);

impl Eq for Ranked {}

impl Ord for Ranked {
    /// Greater means worse, so that a max-heap shows the worst first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TopK {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, worst_first: BinaryHeap::with_capacity(k.min(4096) + 1) }
    }

    /// Whether [`TopK::push`] would keep it (`+ 0.0` makes the two zeros equal).
    pub(crate) fn admits(&self, item: ItemId, score: f32) -> bool {
        if self.worst_first.len() < self.k {
            return true;
        }
        self.worst_first.peek().is_some_and(|worst| Ranked(score + 0.0, item) < *worst)
    }

    pub(crate) fn push(&mut self, item: ItemId, score: f32) {
        self.worst_first.push(Ranked(score + 0.0, item));
        if self.worst_first.len() > self.k {
            self.worst_first.pop();
        }
    }

    /// Best first.
    pub(crate) fn into_sorted(self) -> Vec<(ItemId, f32)> {
        self.worst_first.into_sorted_vec().into_iter().map(|Ranked(s, item)| (item, s)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::ItemId;

    use super::ExactIndex;

    /// Every score by hand, sorted.
    fn brute_force(
        vectors: &[f32],
        query: &[f32],
        k: usize,
        keep: impl Fn(ItemId) -> bool,
    ) -> Vec<ItemId> {
        let dim = query.len();
        let mut all: Vec<(f32, ItemId)> = vectors
            .chunks(dim)
            .enumerate()
            .map(|(idx, v)| {
                (v.iter().zip(query).map(|(a, b)| a * b).sum::<f32>() + 0.0, ItemId::from_idx(idx))
            })
            .filter(|&(_, item)| keep(item))
            .collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.into_iter().take(k).map(|(_, item)| item).collect()
    }

    fn ids(found: &[(ItemId, f32)]) -> Vec<ItemId> {
        found.iter().map(|&(item, _)| item).collect()
    }

    proptest! {
        // small integers, so that sums are exact and ties are many
        #[test]
        fn search_equals_brute_force_under_filters(
            vectors in prop::collection::vec(-3i8..4, 0..400),
            queries in prop::collection::vec(-3i8..4, 12),
            k in 0usize..12,
            modulus in 1u32..4,
        ) {
            let dim = 4;
            let floats = |x: &[i8]| x.iter().map(|&x| f32::from(x)).collect::<Vec<_>>();
            let vectors = floats(&vectors[..vectors.len() / dim * dim]);
            let queries = floats(&queries);
            let index = ExactIndex::new(vectors.clone(), dim).unwrap();
            let keep = |item: ItemId| item.0.is_multiple_of(modulus);
            let many = index.search_many(&queries, k, &|_, item| keep(item));
            for (query, many) in queries.chunks(dim).zip(&many) {
                let want = brute_force(&vectors, query, k, keep);
                prop_assert_eq!(ids(&index.search(query, k, &keep)), want.clone());
                prop_assert_eq!(ids(many), want);
            }
        }
    }

    #[test]
    fn a_pushed_vector_is_found_and_survives_the_disk() {
        let mut index = ExactIndex::new(vec![1.0, 0.0, 0.0, 1.0], 2).unwrap();
        let item = index.push(&[3.0, 3.0]).unwrap();
        assert_eq!(index.search(&[1.0, 1.0], 2, &|_| true), [(item, 6.0), (ItemId(0), 1.0)]);
        let dir = tempfile::tempdir().unwrap();
        index.save(dir.path()).unwrap();
        assert_eq!(ExactIndex::load(dir.path()).unwrap(), index);
    }

    #[test]
    fn wrong_shapes_and_damaged_files_are_refused() {
        let shape = ExactIndex::new(vec![1.0; 5], 2).unwrap_err().to_string();
        assert_eq!(shape, "index vectors: expected 4 numbers, got 5");
        let dir = tempfile::tempdir().unwrap();
        assert!(ExactIndex::load(dir.path()).unwrap_err().to_string().contains("vectors"));
        let index = ExactIndex::new(vec![1.0; 64], 2).unwrap();
        index.save(dir.path()).unwrap();
        let path = dir.path().join("vectors.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        let message = ExactIndex::load(dir.path()).unwrap_err().to_string();
        assert!(message.contains("vectors.safetensors"), "{message}");
    }
}
