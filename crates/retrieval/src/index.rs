//! The index of item vectors: what the rest of the program searches.
//!
//! A small catalogue is scanned; a large one has inverted lists, and the scan stays their oracle of
//! recall. Items come, change and go without building anything again. Scores are plain dot products of
//! the vectors in single precision, equal scores are ordered by item, and neither threads nor other
//! queries change a result.

mod codes;
mod exact;
mod file;
mod kmeans;
mod lists;
mod reaching;
mod rescore;
mod scan;
mod shortlist;
mod top_k;

use std::path::Path;

use rayon::prelude::*;
use types::ItemId;

pub use self::exact::ExactIndex;
use self::lists::{Ask, Lists};
pub(crate) use self::top_k::TopK;
pub use self::top_k::top_of;
use crate::RetrievalError;

/// Raised with every change of the index's files.
pub const INDEX_VERSION: u32 = file::VERSION;

/// Items from which on [`IndexKind::Auto`] makes inverted lists.
///
/// Measured by `recgpt bench index` on clustered vectors of 256 numbers, recall@100, in milliseconds of
/// one slow core per query asked alone: 20,000 vectors .6 (scan) and .09 (lists, .99), 200,000 vectors
/// 6.7 and .21 (with AVX-512 .11 and .03, 2.1 and .06). A scan is exact, needs no tuning and takes .03 ms
/// per 1,000 vectors (.01), so it is kept up to 1.5 ms.
pub const LISTS_FROM: usize = 50_000;

/// How far the search goes where nothing was tuned; see [`ItemIndex::tune`].
const EFFORT: f32 = 0.15;

/// The shares of recall that an effort is chosen for are tried in these steps.
const EFFORTS: [f32; 16] =
    [-1.0, 0.0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.21, 0.25, 0.3, 0.35, 0.42, 0.5, 0.7, 1.0];

/// Seed of the lists' centroids.
const SEED: u64 = 17;

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// The scan, from [`LISTS_FROM`] items on inverted lists.
    Auto,
    /// The scan.
    Exact,
    /// So many inverted lists; 0 for a number that fits the catalogue.
    Lists(usize),
}

/// Vectors of all items, ready to be searched, row = [`ItemId`].
#[derive(Debug, Clone, PartialEq)]
pub struct ItemIndex {
    exact: ExactIndex,
    lists: Option<Lists>,
    effort: f32,
}

impl ItemIndex {
    /// An index over `vectors[n_items, dim]`.
    ///
    /// # Errors
    /// As [`ExactIndex::new`].
    pub fn build(vectors: Vec<f32>, dim: usize, kind: IndexKind) -> Result<Self, RetrievalError> {
        let exact = ExactIndex::new(vectors, dim)?;
        let n_lists = match kind {
            IndexKind::Exact => None,
            IndexKind::Auto if exact.len() < LISTS_FROM => None,
            IndexKind::Auto | IndexKind::Lists(0) => Some(lists_for(exact.len())),
            IndexKind::Lists(n) => Some(n),
        };
        let n_lists = n_lists.filter(|_| !exact.is_empty());
        let lists = n_lists.map(|n| Lists::build(&exact, n.min(exact.len()), SEED));
        Ok(Self { exact, lists, effort: EFFORT })
    }

    /// The scan over the same items: the oracle of recall.
    #[must_use]
    pub fn exact(&self) -> &ExactIndex {
        &self.exact
    }

    /// Number of items, removed ones included: the next new item gets this number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    /// Length of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.exact.dim()
    }

    /// The number of inverted lists, beside that of new items; 0 where the index is a scan.
    #[must_use]
    pub fn n_lists(&self) -> usize {
        self.lists.as_ref().map_or(0, |lists| lists.len() - 1)
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.exact.bytes() + self.lists.as_ref().map_or(0, Lists::bytes)
    }

    /// Adds an item; it is found by the next search.
    ///
    /// # Errors
    /// As [`ExactIndex::push`].
    pub fn insert(&mut self, vector: &[f32]) -> Result<ItemId, RetrievalError> {
        let item = self.exact.push(vector)?;
        if let Some(lists) = &mut self.lists {
            lists.insert(item, &self.exact);
        }
        Ok(item)
    }

    /// Gives an item another vector; a removed one comes back.
    ///
    /// # Errors
    /// As [`ExactIndex::replace`].
    pub fn replace(&mut self, item: ItemId, vector: &[f32]) -> Result<(), RetrievalError> {
        let before = self.lists.is_some() && self.exact.holds(item);
        if let (Some(lists), true) = (&mut self.lists, before) {
            lists.remove(item, &self.exact);
        }
        let done = self.exact.replace(item, vector);
        if let (Some(lists), true) = (&mut self.lists, before || done.is_ok()) {
            lists.insert(item, &self.exact);
        }
        done
    }

    /// Takes an item out of every later search; whether it was there.
    pub fn remove(&mut self, item: ItemId) -> bool {
        if let Some(lists) = &mut self.lists {
            lists.remove(item, &self.exact);
        }
        self.exact.remove(item)
    }

    /// The `k` items with the largest dot product with `query[dim]` among those that `keep` allows,
    /// best first: all of them right in a scan, nearly all with inverted lists. `k` items come back
    /// whenever so many pass the filter.
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
        let Some(lists) = &self.lists else { return self.exact.search(query, k, keep) };
        assert_eq!(query.len(), self.dim(), "the query has the index's dimension");
        let keep = |_: usize, item: ItemId| keep(item);
        let ask = Ask { k, effort: self.effort, keep: &keep };
        lists.search(query, &ask, &self.exact).pop().unwrap_or_default()
    }

    /// [`ItemIndex::search`] for `queries[n, dim]` at once; `keep` also gets the query's row.
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
        let Some(lists) = &self.lists else { return self.exact.search_many(queries, k, keep) };
        assert!(queries.len().is_multiple_of(self.dim()), "queries are [n, dim]");
        let together = Lists::together();
        queries
            .par_chunks(together * self.dim())
            .enumerate()
            .flat_map_iter(|(chunk, queries)| {
                let keep = |query: usize, item: ItemId| keep(chunk * together + query, item);
                lists.search(queries, &Ask { k, effort: self.effort, keep: &keep }, &self.exact)
            })
            .collect()
    }

    /// How far the search with inverted lists goes; a scan has no use for it.
    #[must_use]
    pub fn effort(&self) -> f32 {
        self.effort
    }

    /// Sets how far the search with inverted lists goes: -1 for the fewest lists, 1 for nearly all.
    pub fn set_effort(&mut self, effort: f32) {
        self.effort = effort;
    }

    /// Chooses the least effort that finds the share `recall` of the true `k` best of
    /// `queries[n, dim]`, and returns what it finds of them; 1 for a scan.
    ///
    /// # Panics
    /// As [`ItemIndex::search_many`].
    pub fn tune(&mut self, queries: &[f32], k: usize, recall: f32) -> f32 {
        if self.lists.is_none() || queries.is_empty() {
            return 1.0;
        }
        let truth = self.exact.search_many(queries, k, &|_, _| true);
        let mut found = 0.0;
        // what lies within two standard deviations in any direction is always looked at, so that the choice
        // holds for queries and items to come as well
        let least = 2.0 / (self.dim() as f32).sqrt();
        for effort in EFFORTS.map(|effort| effort.max(least)) {
            if found > 0.0 && effort <= self.effort {
                continue; // tried already
            }
            self.effort = effort;
            found = recall_of(&self.search_many(queries, k, &|_, _| true), &truth);
            if found >= recall {
                break;
            }
        }
        found
    }

    /// The `per_query` best items of each of `queries[n, dim]`, in order of the items: what a rule that
    /// weighs several queries needs to see of a large catalogue. `None` where the index is a scan, so that
    /// nothing is left out.
    pub(crate) fn best_of(
        &self,
        queries: &[f32],
        per_query: usize,
        keep: &dyn Fn(ItemId) -> bool,
    ) -> Option<Vec<ItemId>> {
        let lists = self.lists.as_ref()?;
        let keep = |_: usize, item: ItemId| keep(item);
        let ask = Ask { k: per_query, effort: self.effort, keep: &keep };
        let found = lists.search(queries, &ask, &self.exact);
        let mut items: Vec<ItemId> = found.into_iter().flatten().map(|(item, _)| item).collect();
        items.sort_unstable();
        items.dedup();
        Some(items)
    }

    /// Writes the index into `dir`, whole or not at all.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] when the folder cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), RetrievalError> {
        file::save(dir, &self.exact, self.lists.as_ref().map(|lists| (lists, self.effort)))
    }

    /// Reads what [`ItemIndex::save`] wrote.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] or [`RetrievalError::Index`] when the file is missing, damaged or of
    /// another version.
    pub fn load(dir: &Path) -> Result<Self, RetrievalError> {
        let (exact, lists) = file::load(dir)?;
        let (lists, effort) = lists.map_or((None, EFFORT), |(lists, e)| (Some(lists), e));
        Ok(Self { exact, lists, effort })
    }
}

/// Four times the root of the number of items, as is usual.
fn lists_for(n_items: usize) -> usize {
    (4.0 * (n_items as f64).sqrt()) as usize
}

/// The share of the true items that were found.
fn recall_of(found: &[Vec<(ItemId, f32)>], truth: &[Vec<(ItemId, f32)>]) -> f32 {
    let (mut hits, mut all) = (0, 0);
    for (found, truth) in found.iter().zip(truth) {
        let mut ids: Vec<ItemId> = found.iter().map(|f| f.0).collect();
        ids.sort_unstable();
        hits += truth.iter().filter(|t| ids.binary_search(&t.0).is_ok()).count();
        all += truth.len();
    }
    hits as f32 / all.max(1) as f32
}

#[cfg(test)]
mod tests;
