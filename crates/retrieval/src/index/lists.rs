//! Inverted lists: items by their nearest centroid, in eight bits.
//!
//! A query looks into the lists whose best item may be among its `k` best. What the best item of a list
//! may score is `q . c + effort * |q| * spread`, with `spread` the root mean square distance of the
//! list's items from its centroid `c`; `effort` is the one dial between speed and recall. It looks into
//! the likeliest lists first, and then into every list whose bound reaches the k-th best score found
//! there, so that hard queries get more work than easy ones, and a filter that lets little pass makes
//! the search go on. What the lists give is scored again from the items' own vectors.
//!
//! A new item goes to the nearest list if it is as near as the list's own, give or take. Items unlike all
//! that was there wait in list 0, which every query looks into; when it is full they become lists around
//! centroids of their own, so that centroids follow the drift. Items leave in place.

mod probe;

use rayon::prelude::*;
use types::ItemId;

use self::probe::Probe;
use super::codes::Codes;
use super::exact::ExactIndex;
use super::kmeans::{KMeans, assign};

/// Queries that go through the lists together.
const QUERIES: usize = 128;

/// The list of new items, and how many it holds before they get lists of their own, of about so many.
const FRESH: usize = 0;
const FRESH_LIMIT: usize = 512;
const FRESH_LIST: usize = 16;

/// An item is like those of a list up to so many times their mean square distance from the centroid.
const ALIKE: f64 = 2.0;

/// Not in any list.
const NOWHERE: Place = Place { list: u32::MAX, row: 0 };

/// Inverted lists over the vectors of an [`ExactIndex`], which every call gets beside them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lists {
    dim: usize,
    centroids: Vec<f32>, // [lists, dim]; that of the new items is zero
    coded: Codes,        // of the centroids
    lists: Vec<List>,
    places: Vec<Place>, // by item
}

#[derive(Debug, Clone, PartialEq)]
struct List {
    items: Vec<u32>,
    codes: Codes,
    squares: f64, // sum of |v - c|^2
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    list: u32,
    row: u32,
}

/// What is asked of the lists.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) k: usize,
    pub(super) effort: f32,
    /// By the query's row and the item.
    pub(super) keep: &'a dyn Fn(usize, ItemId) -> bool,
}

impl Lists {
    /// Lists for all items of `vectors` that were not removed.
    pub(super) fn build(vectors: &ExactIndex, n_lists: usize, seed: u64) -> Self {
        let dim = vectors.dim();
        let fit = KMeans { n: n_lists.max(1), sample: 48, rounds: 8, seed };
        let fitted = fit.fit(vectors.vectors(), dim);
        let mut list_of = assign(vectors.vectors(), &fitted, dim);
        list_of.iter_mut().for_each(|list| *list += 1); // behind the list of new items
        let mut centroids = vec![0.0; dim];
        centroids.extend(fitted);
        Self::from_parts(vectors, centroids, &list_of)
    }

    /// Lists with known members: `list_of` has a list for every item, the first being that of new items.
    pub(super) fn from_parts(vectors: &ExactIndex, centroids: Vec<f32>, list_of: &[u32]) -> Self {
        let dim = vectors.dim();
        let n_lists = centroids.len() / dim;
        let mut members = vec![Vec::new(); n_lists];
        for (item, &list) in (0..).map(ItemId).zip(list_of) {
            if vectors.holds(item) {
                members[list as usize].push(item.0);
            }
        }
        let filled = members.into_par_iter().zip(centroids.par_chunks(dim));
        let lists: Vec<List> = filled.map(|(items, c)| List::of(items, c, vectors)).collect();
        let coded = Codes::of(&centroids, dim);
        let places = vec![NOWHERE; vectors.len()];
        let mut all = Self { dim, centroids, coded, lists, places };
        (0..n_lists).for_each(|list| all.note_places(list));
        all
    }

    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }

    pub(super) fn centroids(&self) -> &[f32] {
        &self.centroids
    }

    /// The list of every item; that of a removed one has no meaning.
    pub(super) fn list_of(&self) -> Vec<u32> {
        self.places.iter().map(|p| if *p == NOWHERE { 0 } else { p.list }).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        let lists: usize = self.lists.iter().map(|l| l.codes.bytes() + 4 * l.items.len()).sum();
        lists + 4 * self.centroids.len() + self.coded.bytes() + 8 * self.places.len()
    }

    /// Puts an item of `vectors` into the nearest list, or among the new ones.
    pub(super) fn insert(&mut self, item: ItemId, vectors: &ExactIndex) {
        self.remove(item, vectors);
        self.places.resize(vectors.len().max(self.places.len()), NOWHERE);
        let vector = vectors.vector(item);
        let at = self.home_of(vector);
        let list = &mut self.lists[at];
        self.places[item.idx()] = Place { list: at as u32, row: list.items.len() as u32 };
        list.push(item.0, vector, &self.centroids[at * self.dim..][..self.dim]);
        if at == FRESH && list.items.len() >= FRESH_LIMIT {
            self.settle(vectors);
        }
    }

    /// The nearest list if its items are about as far from its centroid, else that of new items.
    fn home_of(&self, vector: &[f32]) -> usize {
        let nearest = assign(vector, &self.centroids[self.dim..], self.dim)[0] as usize + 1;
        let Some(list) = self.lists.get(nearest) else { return FRESH };
        let centroid = &self.centroids[nearest * self.dim..][..self.dim];
        let usual = f64::from(list.spread()).powi(2);
        if square_distance(vector, centroid) <= ALIKE * usual { nearest } else { FRESH }
    }

    /// Takes an item out of its list; nothing happens where it is in none. `vectors` still has the
    /// vector with which it came.
    pub(super) fn remove(&mut self, item: ItemId, vectors: &ExactIndex) {
        let Some(&place) = self.places.get(item.idx()).filter(|&&p| p != NOWHERE) else { return };
        self.places[item.idx()] = NOWHERE;
        let (at, row) = (place.list as usize, place.row as usize);
        let list = &mut self.lists[at];
        let centroid = &self.centroids[at * self.dim..][..self.dim];
        list.squares = (list.squares - square_distance(vectors.vector(item), centroid)).max(0.0);
        list.items.swap_remove(row);
        list.codes.swap_remove(row);
        if let Some(&moved) = list.items.get(row) {
            self.places[moved as usize].row = row as u32;
        }
    }

    /// Makes lists of the new items.
    fn settle(&mut self, vectors: &ExactIndex) {
        let dim = self.dim;
        let fresh = std::mem::replace(&mut self.lists[FRESH], List::empty(dim)).items;
        let members: Vec<f32> =
            fresh.iter().flat_map(|&item| vectors.vector(ItemId(item))).copied().collect();
        let (n, seed) = (fresh.len().div_ceil(FRESH_LIST), self.lists.len() as u64);
        let means = KMeans { n, sample: FRESH_LIST, rounds: 6, seed }.fit(&members, dim);
        let nearest = assign(&members, &means, dim);
        for (mean, centroid) in (0..).zip(means.chunks(dim)) {
            let of_mean = fresh.iter().zip(&nearest).filter(|(_, list)| **list == mean);
            let items: Vec<u32> = of_mean.map(|(&item, _)| item).collect();
            if !items.is_empty() {
                self.lists.push(List::of(items, centroid, vectors));
                self.centroids.extend_from_slice(centroid);
                self.coded.push(centroid);
                self.note_places(self.lists.len() - 1);
            }
        }
    }

    fn note_places(&mut self, list: usize) {
        for (row, &item) in (0..).zip(&self.lists[list].items) {
            self.places[item as usize] = Place { list: list as u32, row };
        }
    }

    /// The `k` best of each of `queries[n, dim]`, on the calling thread.
    pub(super) fn search(
        &self,
        queries: &[f32],
        ask: &Ask<'_>,
        vectors: &ExactIndex,
    ) -> Vec<Vec<(ItemId, f32)>> {
        let mut all = Vec::with_capacity(queries.len() / self.dim);
        for (chunk, queries) in queries.chunks(QUERIES * self.dim).enumerate() {
            let keep = |query: usize, item| (ask.keep)(chunk * QUERIES + query, item);
            let best = Probe::new(self, queries, &Ask { keep: &keep, ..*ask }).run();
            let with_query = best.into_iter().zip(queries.chunks(self.dim));
            all.extend(with_query.map(|(best, q)| best.rescore(ask.k, q, vectors.vectors())));
        }
        all
    }

    /// Queries that go together, for callers that split the work.
    pub(super) const fn together() -> usize {
        QUERIES
    }
}

impl List {
    fn empty(dim: usize) -> Self {
        Self { items: Vec::new(), codes: Codes::new(dim), squares: 0.0 }
    }

    fn of(items: Vec<u32>, centroid: &[f32], vectors: &ExactIndex) -> Self {
        let mut list = Self::empty(centroid.len());
        items.iter().for_each(|&item| list.push(item, vectors.vector(ItemId(item)), centroid));
        list
    }

    fn push(&mut self, item: u32, vector: &[f32], centroid: &[f32]) {
        self.items.push(item);
        self.codes.push(vector);
        self.squares += square_distance(vector, centroid);
    }

    fn spread(&self) -> f32 {
        (self.squares / self.items.len().max(1) as f64).sqrt() as f32
    }
}

/// `|a - b|^2`
fn square_distance(a: &[f32], b: &[f32]) -> f64 {
    f64::from(a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>())
}
