//! Queries on their way through inverted lists.

use std::ops::Range;

use types::ItemId;

use super::{Ask, FRESH, List, Lists};
use crate::index::codes::CodedQuery;
use crate::index::reaching::reaching;
use crate::index::shortlist::{Estimate, Shortlist};
use crate::index::top_k::top_of;

/// Rows of a list, and queries, whose products are computed at a time.
const ROWS: usize = 128;
const BESIDE: usize = 8;

/// One pass of some queries through the lists.
pub(super) struct Probe<'a> {
    lists: &'a Lists,
    ask: &'a Ask<'a>,
    queries: Vec<CodedQuery>,
    bounds: Vec<f32>, // [queries, lists]: what the best item of a list may score
    best: Vec<Shortlist>,
    sums: Vec<i32>,
    scores: Vec<f32>,
}

impl<'a> Probe<'a> {
    pub(super) fn new(lists: &'a Lists, queries: &[f32], ask: &'a Ask<'a>) -> Self {
        let (dim, n_lists) = (lists.dim, lists.len());
        let n = queries.len() / dim;
        let coded: Vec<CodedQuery> = queries.chunks(dim).map(CodedQuery::coarse).collect();
        let (mut bounds, mut sums) = (vec![0.0; n * n_lists], Vec::new());
        let all: Vec<&CodedQuery> = coded.iter().collect();
        lists.coded.scores(0..n_lists, &all, &mut sums, &mut bounds);
        let spreads: Vec<f32> = lists.lists.iter().map(|l| ask.effort * l.spread()).collect();
        for (bounds, query) in bounds.chunks_mut(n_lists).zip(&coded) {
            nn::axpy(bounds, query.norm, &spreads);
            bounds[FRESH] = f32::INFINITY; // always looked into
        }
        // estimates in eight bits may change places near the end, so a few more are scored again
        let spare = ask.k + ask.k / 8 + 8;
        Self {
            lists,
            ask,
            queries: coded,
            bounds,
            best: (0..n).map(|_| Shortlist::new(if ask.k == 0 { 0 } else { spare })).collect(),
            sums,
            scores: vec![0.0; BESIDE * ROWS],
        }
    }

    /// What may be among the best of each query.
    pub(super) fn run(mut self) -> Vec<Shortlist> {
        if self.ask.k == 0 {
            return self.best;
        }
        let n_lists = self.lists.len();
        let n = self.queries.len();
        let firsts: Vec<Vec<u32>> = (0..n).map(|query| self.likeliest(query)).collect();
        self.visit(firsts.iter().enumerate().flat_map(|(q, l)| l.iter().map(move |&l| (l, q))));
        for (query, firsts) in firsts.iter().enumerate() {
            firsts.iter().for_each(|&list| {
                self.bounds[query * n_lists + list as usize] = f32::NEG_INFINITY;
            });
        }
        let mut rest = Vec::new();
        for query in 0..n {
            let floor = self.best[query].kth_score(self.ask.k).max(f32::MIN);
            let bounds = &self.bounds[query * n_lists..][..n_lists];
            let reach = bounds.iter().enumerate().filter(|(_, bound)| **bound >= floor);
            rest.extend(reach.map(|(list, _)| (list as u32, query)));
        }
        self.visit(rest.into_iter());
        self.best
    }

    /// The lists with the highest bounds that together hold twice as many items as are wanted.
    fn likeliest(&self, query: usize) -> Vec<u32> {
        let bounds = &self.bounds[query * self.lists.len()..][..self.lists.len()];
        let mut ahead = 8;
        loop {
            let best = top_of(bounds, ahead, &|_| true);
            let mut order: Vec<u32> = best.into_iter().map(|(place, _)| place.0).collect();
            let mut held = 0;
            for (place, &list) in order.iter().enumerate() {
                let is_fresh = list as usize == FRESH; // looked into beside the likeliest
                held += if is_fresh { 0 } else { self.lists.lists[list as usize].items.len() };
                if held >= 2 * self.ask.k {
                    order.truncate(place + 1);
                    return order;
                }
            }
            if ahead >= bounds.len() {
                return order;
            }
            ahead *= 4;
        }
    }

    /// Looks into lists, each for all its queries at once.
    fn visit(&mut self, pairs: impl Iterator<Item = (u32, usize)>) {
        let mut pairs: Vec<(u32, usize)> = pairs.collect();
        pairs.sort_unstable();
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            let list = &self.lists.lists[group[0].0 as usize];
            for beside in group.chunks(BESIDE) {
                for from in (0..list.items.len()).step_by(ROWS) {
                    self.scan(list, from..(from + ROWS).min(list.items.len()), beside);
                }
            }
        }
    }

    /// Looks at `rows` of a list for the queries of `pairs`.
    fn scan(&mut self, list: &List, rows: Range<usize>, pairs: &[(u32, usize)]) {
        let of_pair = |place: usize| &self.queries[pairs[place.min(pairs.len() - 1)].1];
        let queries: [&CodedQuery; BESIDE] = std::array::from_fn(of_pair);
        let scores = &mut self.scores[..pairs.len() * rows.len()];
        list.codes.scores(rows.clone(), &queries[..pairs.len()], &mut self.sums, scores);
        let items = &list.items[rows];
        for (&(_, query), scores) in pairs.iter().zip(scores.chunks(items.len())) {
            let best = &mut self.best[query];
            reaching(scores, best.floor(), |row, score| {
                let item = ItemId(items[row]);
                if (self.ask.keep)(query, item) {
                    best.push(Estimate { item, score, error: 0.0 });
                }
                best.floor()
            });
        }
    }
}
