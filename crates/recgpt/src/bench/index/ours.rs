//! Our index, measured as the peers are.

use std::time::Instant;

use anyhow::Result;
use retrieval::{IndexKind, ItemIndex};

use super::vectors::Vectors;
use super::{Build, K, Latency, Search, percentiles};
use crate::machine::memory_bytes;

/// What our lists are tried with; see [`ItemIndex::set_effort`].
pub(super) const EFFORTS: [f32; 15] =
    [-1.0, -0.5, 0.0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.22, 0.26, 0.3, 0.35, 0.42, 0.5];

pub(super) fn build(vectors: &Vectors, kind: IndexKind) -> Result<(ItemIndex, Build)> {
    let items = vectors.items.clone();
    let (before, start) = (memory_bytes(), Instant::now());
    let index = ItemIndex::build(items, vectors.dim, kind)?;
    let seconds = start.elapsed().as_secs_f64();
    let grown =
        memory_bytes().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
    // the copy of the vectors was there before, and belongs to the index
    let bytes = grown + 4 * vectors.items.len() as u64;
    Ok((index, Build { seconds, bytes }))
}

/// All queries at once.
pub(super) fn search(index: &ItemIndex, vectors: &Vectors, truth: &[u32]) -> Search {
    let start = Instant::now();
    let found = index.search_many(&vectors.queries, K, &|_, _| true);
    let seconds = start.elapsed().as_secs_f64();
    let hits: usize = found
        .iter()
        .zip(truth.chunks(K))
        .map(|(found, truth)| found.iter().filter(|(item, _)| truth.contains(&item.0)).count())
        .sum();
    Search { seconds, recall: hits as f64 / truth.len() as f64 }
}

/// The first `n` queries one at a time, on one thread.
pub(super) fn single(index: &ItemIndex, vectors: &Vectors, n: usize) -> Result<Latency> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let queries: Vec<&[f32]> = vectors.queries.chunks(vectors.dim).take(n).collect();
    Ok(pool.install(|| {
        percentiles(queries.into_iter().map(|query| {
            let start = Instant::now();
            let found = index.search(query, K, &|_| true);
            (start.elapsed().as_secs_f64(), found.len()).0
        }))
    }))
}

/// Until a new vector can be found. It must be the answer to itself, and is half as long again as the queries, so
/// that it is; that search is not counted.
pub(super) fn insert(index: &mut ItemIndex, vectors: &Vectors, n: usize) -> Result<Latency> {
    let mut seconds = Vec::new();
    for query in vectors.queries.chunks(vectors.dim).take(n) {
        let new: Vec<f32> = query.iter().map(|x| 1.5 * x).collect();
        let start = Instant::now();
        let item = index.insert(&new)?;
        seconds.push(start.elapsed().as_secs_f64());
        let found = index.search(&new, K, &|_| true);
        if found.first().is_none_or(|first| first.0 != item) {
            anyhow::bail!("the new vector {} is not the answer to itself", item.0);
        }
    }
    Ok(percentiles(seconds.into_iter()))
}
