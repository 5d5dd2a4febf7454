//! The scan for many queries at once.
//!
//! A block of queries goes through all items, by codes or in single precision; each query keeps what can
//! be among its best. Where there are fewer blocks than threads, the items are split as well.

use std::ops::Range;

use rayon::prelude::*;
use types::ItemId;

use super::codes::{CodedQuery, Codes, norm, rounding};
use super::exact::ExactIndex;
use super::reaching::reaching;
use super::shortlist::{Estimate, Shortlist};

/// Queries that go together.
const QUERIES: usize = 256;

/// Items whose products are computed at a time: by codes that stay in the nearest cache, and in single
/// precision.
const CODED_ROWS: usize = 64;
const ROWS: usize = 512;

/// Items of a part are a multiple of these.
const PART: usize = 4096;

/// What is searched, and for what.
pub(super) struct Scan<'a> {
    pub(super) vectors: &'a ExactIndex,
    /// The codes of the vectors; without them products are in single precision.
    pub(super) codes: Option<&'a Codes>,
    pub(super) k: usize,
    /// By the query's row and the item.
    pub(super) keep: &'a (dyn Fn(usize, ItemId) -> bool + Sync),
}

impl Scan<'_> {
    /// The best items of each of `queries[n, dim]`.
    pub(super) fn run(&self, queries: &[f32]) -> Vec<Vec<(ItemId, f32)>> {
        let (dim, len) = (self.vectors.dim(), self.vectors.len());
        let blocks = (queries.len() / dim).div_ceil(QUERIES).max(1);
        let parts = (2 * rayon::current_num_threads()).div_ceil(blocks);
        let parts = if blocks >= rayon::current_num_threads() { 1 } else { parts };
        let part = len.div_ceil(parts).next_multiple_of(PART).max(PART);
        let starts: Vec<usize> = (0..len).step_by(part).collect();
        queries
            .par_chunks(dim * QUERIES)
            .enumerate()
            .flat_map(|(block, queries)| {
                let first = block * QUERIES;
                let parts = starts
                    .par_iter()
                    .map(|&from| self.block(first, queries, from..(from + part).min(len)))
                    .collect();
                self.join(queries, parts)
            })
            .collect()
    }

    /// What of `rows` can be among the best of each query of a block, whose first is query `first`.
    fn block(&self, first: usize, queries: &[f32], rows: Range<usize>) -> Vec<Shortlist> {
        let n = queries.len() / self.vectors.dim();
        let mut best: Vec<Shortlist> = (0..n).map(|_| Shortlist::new(self.k)).collect();
        match self.codes {
            Some(codes) => self.by_codes(codes, first, queries, rows, &mut best),
            None => self.by_vectors(first, queries, rows, &mut best),
        }
        best.iter_mut().for_each(Shortlist::tighten);
        best
    }

    fn by_codes(
        &self,
        codes: &Codes,
        first: usize,
        queries: &[f32],
        rows: Range<usize>,
        best: &mut [Shortlist],
    ) {
        let coded: Vec<CodedQuery> =
            queries.chunks(self.vectors.dim()).map(CodedQuery::coarse).collect();
        let coded: Vec<&CodedQuery> = coded.iter().collect();
        let mut sums = Vec::new();
        let mut most = vec![0.0; CODED_ROWS * coded.len()];
        for block in blocks(rows, CODED_ROWS) {
            let (from, len) = (block.start, block.len());
            let most = &mut most[..len * coded.len()];
            codes.highest(block, &coded, &mut sums, most);
            for (query, (best, most)) in best.iter_mut().zip(most.chunks(len)).enumerate() {
                reaching(most, best.floor(), |row, most| {
                    let item = ItemId::from_idx(from + row);
                    if self.allows(first + query, item) {
                        best.push(codes.estimate(coded[query], item, most));
                    }
                    best.floor()
                });
            }
        }
    }

    fn by_vectors(
        &self,
        first: usize,
        queries: &[f32],
        rows: Range<usize>,
        best: &mut [Shortlist],
    ) {
        let (dim, n) = (self.vectors.dim(), best.len());
        let share = rounding(dim) * self.vectors.largest();
        let errors: Vec<f32> = queries.chunks(dim).map(|q| share * norm(q)).collect();
        let mut scores = vec![0.0; ROWS * n];
        for block in blocks(rows, ROWS) {
            let (from, len) = (block.start, block.len());
            let vectors = &self.vectors.vectors()[from * dim..block.end * dim];
            let scores = &mut scores[..len * n];
            nn::gemm_nt(scores, queries, vectors, (n, dim, len), 0.0);
            for (query, (best, scores)) in best.iter_mut().zip(scores.chunks(len)).enumerate() {
                let error = errors[query];
                reaching(scores, best.floor() - error, |row, score| {
                    let item = ItemId::from_idx(from + row);
                    if self.allows(first + query, item) {
                        best.push(Estimate { item, score, error });
                    }
                    best.floor() - error
                });
            }
        }
    }

    fn allows(&self, query: usize, item: ItemId) -> bool {
        self.vectors.holds(item) && (self.keep)(query, item)
    }

    /// One list per query from those of all parts.
    fn join(&self, queries: &[f32], parts: Vec<Vec<Shortlist>>) -> Vec<Vec<(ItemId, f32)>> {
        let dim = self.vectors.dim();
        let mut best: Vec<Shortlist> =
            queries.chunks(dim).map(|_| Shortlist::new(self.k)).collect();
        for part in parts {
            best.iter_mut().zip(part).for_each(|(best, list)| best.merge(list));
        }
        let with_query = best.into_par_iter().zip(queries.par_chunks(dim));
        let vectors = self.vectors.vectors();
        with_query.map(|(list, query)| list.rescore(self.k, query, vectors)).collect()
    }
}

fn blocks(rows: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    rows.clone().step_by(size).map(move |from| from..(from + size).min(rows.end))
}
