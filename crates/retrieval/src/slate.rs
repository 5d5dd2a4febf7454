//! From candidates to a slate: filters, quotas of categories and merchants, places for new items.
//!
//! Filters act before any cut, quotas on pages of ten, and both are exact: a slate is what walking down
//! the ranking of the whole catalogue would give, however many candidates a quota passes over.

use std::collections::{HashMap, HashSet, VecDeque};

use types::{Candidate, CategoryId, Item, ItemId};

use crate::fusion::{FusionInput, fuse};
use crate::index::ExactIndex;

/// Places that share one allowance.
const PAGE: usize = 10;

/// Candidates per place that are looked at first; more where quotas pass too many over.
pub(crate) const CANDIDATES_PER_PLACE: usize = 10;

/// Whether an item may be shown.
type Keep<'a> = &'a dyn Fn(ItemId) -> bool;

/// What a slate may hold.
#[derive(Clone, Copy)]
pub struct SlateRules<'a> {
    /// Category of an item.
    pub category_of: &'a dyn Fn(ItemId) -> Option<CategoryId>,
    /// Number of an item's merchant.
    pub merchant_of: &'a dyn Fn(ItemId) -> Option<u32>,
    /// Most items of one category on ten places; 0 sets no limit.
    pub per_category: usize,
    /// Most items of one merchant on ten places; 0 sets no limit.
    pub per_merchant: usize,
    /// Places of a page, from its end, that go to the best new items.
    pub new_places: usize,
    /// Whether an item is new.
    pub is_new: &'a dyn Fn(ItemId) -> bool,
}

impl<'a> SlateRules<'a> {
    /// A limit per category alone.
    #[must_use]
    pub fn per_category(
        category_of: &'a dyn Fn(ItemId) -> Option<CategoryId>,
        per_category: usize,
    ) -> Self {
        Self {
            category_of,
            merchant_of: &|_| None,
            per_category,
            per_merchant: 0,
            new_places: 0,
            is_new: &|_| false,
        }
    }
}

/// Which items a request allows; empty lists and none allow everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SlateFilter {
    /// Items to leave out: the request's own list, and what the user has seen.
    pub exclude: HashSet<ItemId>,
    /// Categories of which an item has to be one.
    pub categories: HashSet<CategoryId>,
    /// Merchants of which one has to sell it.
    pub merchants: HashSet<String>,
    /// Least price; an item without price does not pass a bound.
    pub min_price: Option<f64>,
    /// Largest price.
    pub max_price: Option<f64>,
}

impl SlateFilter {
    /// Whether an item may be shown.
    #[must_use]
    pub fn allows(&self, id: ItemId, item: &Item) -> bool {
        let category = self.categories.is_empty()
            || item.category.is_some_and(|category| self.categories.contains(&category));
        let merchant = self.merchants.is_empty()
            || item.merchant_id.as_ref().is_some_and(|name| self.merchants.contains(name));
        let above = self.min_price.is_none_or(|least| item.price.is_some_and(|p| p >= least));
        let below = self.max_price.is_none_or(|most| item.price.is_some_and(|p| p <= most));
        category && merchant && above && below && !self.exclude.contains(&id)
    }
}

/// The slate of `input.n` places under `rules`, of items that `keep` allows; candidates of [`fuse`].
///
/// # Panics
/// As [`fuse`].
#[must_use]
pub fn fuse_slate(
    input: &FusionInput<'_>,
    index: &ExactIndex,
    keep: &dyn Fn(ItemId) -> bool,
    rules: &SlateRules<'_>,
) -> Vec<Candidate> {
    let best =
        |n: usize, keep: &dyn Fn(ItemId) -> bool| fuse(&FusionInput { n, ..*input }, index, keep);
    slate_of(&best, (input.n, index.len()), keep, rules)
}

/// The slate of `n` places under `rules` from any ranking of `n_items` items: `best` gives the first so
/// many candidates that its filter allows.
#[must_use]
pub fn slate_of(
    best: &dyn Fn(usize, Keep<'_>) -> Vec<Candidate>,
    (n, n_items): (usize, usize),
    keep: &dyn Fn(ItemId) -> bool,
    rules: &SlateRules<'_>,
) -> Vec<Candidate> {
    let new_keep = |item: ItemId| keep(item) && (rules.is_new)(item);
    let n_new = n.div_ceil(PAGE) * rules.new_places.min(PAGE);
    let new = if n_new == 0 { Vec::new() } else { best(n_new, &new_keep) };
    let limited = rules.per_category > 0 || rules.per_merchant > 0;
    let mut per_place = if limited { CANDIDATES_PER_PLACE } else { 1 };
    loop {
        // places that new items take leave behind as many candidates that were in both lists
        let n_pool = n.saturating_mul(per_place) + n_new;
        let pool = best(n_pool, keep);
        let is_whole = pool.len() < n_pool || n_pool >= n_items;
        let (slate, is_settled) = fill(pool, new.clone(), rules, n);
        if is_settled || is_whole {
            return slate;
        }
        per_place *= 4;
    }
}

/// [`fuse_slate`] with at most `most` of one category on ten places; 0 sets no limit.
///
/// # Panics
/// As [`fuse`].
#[must_use]
pub fn fuse_spread(
    input: &FusionInput<'_>,
    index: &ExactIndex,
    keep: &dyn Fn(ItemId) -> bool,
    category_of: &dyn Fn(ItemId) -> Option<CategoryId>,
    most: usize,
) -> Vec<Candidate> {
    fuse_slate(input, index, keep, &SlateRules::per_category(category_of, most))
}

/// The first `n` of `candidates` (best first), page by page of ten: first the places of new items are
/// given, then each page takes the best that are left within the quotas, and where too few are left, the
/// best of the others. Items without category or merchant are not limited. Also says whether no place
/// had to be given against a quota or left empty, so that more candidates would change nothing.
fn fill(
    candidates: Vec<Candidate>,
    new: Vec<Candidate>,
    rules: &SlateRules<'_>,
    n: usize,
) -> (Vec<Candidate>, bool) {
    let mut left = VecDeque::from(candidates);
    let mut new = new.into_iter();
    let mut slate: Vec<Candidate> = Vec::with_capacity(n);
    let mut shown: HashSet<ItemId> = HashSet::new();
    let mut is_settled = true;
    while slate.len() < n {
        let places = PAGE.min(n - slate.len());
        // an old page may show a new item by its own score, too
        let explored: Vec<Candidate> = new
            .by_ref()
            .filter(|c| !shown.contains(&c.item))
            .take(rules.new_places.min(places))
            .collect();
        shown.extend(explored.iter().map(|c| c.item));
        let mut allowance = Allowance::new(rules);
        explored.iter().for_each(|c| allowance.count(c.item));
        let (mut page, mut passed) = (Vec::new(), Vec::new());
        while page.len() + explored.len() < places {
            let Some(candidate) = left.pop_front() else { break };
            if shown.contains(&candidate.item) {
                continue; // has a place as a new item
            }
            let list = if allowance.takes(candidate.item) { &mut page } else { &mut passed };
            list.push(candidate);
        }
        let n_missing = places - explored.len() - page.len();
        is_settled &= n_missing == 0;
        let later = passed.split_off(n_missing.min(passed.len()));
        later.into_iter().rev().for_each(|candidate| left.push_front(candidate));
        if page.is_empty() && passed.is_empty() && explored.is_empty() {
            break;
        }
        page.append(&mut passed);
        shown.extend(page.iter().map(|c| c.item));
        slate.extend(page);
        slate.extend(explored);
    }
    (slate, is_settled)
}

/// What one page has taken of each category and merchant.
struct Allowance<'a> {
    rules: &'a SlateRules<'a>,
    categories: HashMap<CategoryId, usize>,
    merchants: HashMap<u32, usize>,
}

impl<'a> Allowance<'a> {
    fn new(rules: &'a SlateRules<'a>) -> Self {
        Self { rules, categories: HashMap::new(), merchants: HashMap::new() }
    }

    /// Counts an item, unless a quota of it is used up.
    fn takes(&mut self, item: ItemId) -> bool {
        let category = (self.rules.category_of)(item);
        let merchant = (self.rules.merchant_of)(item);
        let is_below =
            |used: Option<&usize>, most: usize| most == 0 || used.is_none_or(|&n| n < most);
        let category_free =
            category.is_none_or(|c| is_below(self.categories.get(&c), self.rules.per_category));
        let merchant_free =
            merchant.is_none_or(|m| is_below(self.merchants.get(&m), self.rules.per_merchant));
        if category_free && merchant_free {
            self.count(item);
        }
        category_free && merchant_free
    }

    /// Counts an item that has its place, whatever the quotas say.
    fn count(&mut self, item: ItemId) {
        let category = (self.rules.category_of)(item);
        let merchant = (self.rules.merchant_of)(item);
        category.into_iter().for_each(|c| *self.categories.entry(c).or_default() += 1);
        merchant.into_iter().for_each(|m| *self.merchants.entry(m).or_default() += 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use types::{Candidate, CandidateSource, CategoryId, Item, ItemId};

    use super::{PAGE, SlateFilter, SlateRules, fill, fuse_slate};
    use crate::{ExactIndex, FusionInput, Merge};

    fn candidates(n: usize) -> Vec<Candidate> {
        let candidate = |row: usize| Candidate {
            item: ItemId::from_idx(row),
            score: -(row as f32),
            user_score: 0.0,
            tag_score: None,
            source: CandidateSource::User,
        };
        (0..n).map(candidate).collect()
    }

    fn items(categories: &[u32], most: usize, n: usize) -> Vec<usize> {
        // 9 stands for no category
        let category_of =
            |item: ItemId| Some(categories[item.idx()]).filter(|&c| c != 9).map(CategoryId);
        let rules = SlateRules::per_category(&category_of, most);
        let (slate, _) = fill(candidates(categories.len()), vec![], &rules, n);
        slate.into_iter().map(|c| c.item.idx()).collect()
    }

    #[test]
    fn no_category_takes_more_than_its_share_of_a_page() {
        let check = |categories: &[u32], most, n, expect: &[usize]| {
            assert_eq!(items(categories, most, n), expect, "{categories:?} {most} {n}");
        };
        check(&[1, 1, 1, 2, 3], 2, 4, &[0, 1, 3, 4]);
        check(&[1, 1, 1, 2, 3], 0, 4, &[0, 1, 2, 3]);
        check(&[1, 1, 1, 1], 2, 3, &[0, 1, 2]); // nothing else is left
        check(&[9, 9, 9, 1], 1, 3, &[0, 1, 2]); // no category, no limit
        // the second page has an allowance of its own
        let pages = [1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6];
        check(&pages, 2, 12, &[0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 2, 11]);
    }

    #[test]
    fn the_last_places_of_a_page_go_to_new_items() {
        let is_new = |item: ItemId| item.0 >= 20;
        let rules =
            SlateRules { new_places: 2, is_new: &is_new, ..SlateRules::per_category(&|_| None, 0) };
        let new = candidates(30).split_off(20);
        let (slate, is_settled) = fill(candidates(30), new, &rules, 20);
        let got: Vec<u32> = slate.iter().map(|c| c.item.0).collect();
        let want: Vec<u32> = (0..8).chain([20, 21]).chain(8..16).chain([22, 23]).collect();
        assert_eq!(got, want);
        assert!(is_settled);
    }

    #[test]
    fn a_filter_asks_for_all_that_it_names() {
        let item = Item {
            item_id: "a".to_owned(),
            category: Some(CategoryId(3)),
            merchant_id: Some("Peak".to_owned()),
            price: Some(20.0),
            ..Item::default()
        };
        let check = |filter: SlateFilter, expect: bool| {
            assert_eq!(filter.allows(ItemId(5), &item), expect, "{filter:?}");
        };
        let all = SlateFilter::default();
        check(all.clone(), true);
        check(SlateFilter { exclude: [ItemId(5)].into(), ..all.clone() }, false);
        check(SlateFilter { categories: [CategoryId(3)].into(), ..all.clone() }, true);
        check(SlateFilter { categories: [CategoryId(4)].into(), ..all.clone() }, false);
        check(SlateFilter { merchants: ["Peak".to_owned()].into(), ..all.clone() }, true);
        check(SlateFilter { merchants: ["Dale".to_owned()].into(), ..all.clone() }, false);
        check(SlateFilter { min_price: Some(20.0), max_price: Some(20.0), ..all.clone() }, true);
        check(SlateFilter { max_price: Some(19.9), ..all.clone() }, false);
        check(SlateFilter { min_price: Some(20.1), ..all }, false);
        let free = SlateFilter { max_price: Some(9.0), ..SlateFilter::default() };
        assert!(!free.allows(ItemId(5), &Item::default()), "no price passes no bound");
    }

    /// Walks down the ranking of the whole catalogue, page by page.
    fn brute_force(
        scores: &[f32],
        (categories, merchants): (&[u32], &[u32]),
        (per_category, per_merchant, n): (usize, usize, usize),
        keep: &dyn Fn(ItemId) -> bool,
    ) -> Vec<usize> {
        let mut left: Vec<usize> =
            (0..scores.len()).filter(|&i| keep(ItemId::from_idx(i))).collect();
        left.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let mut slate: Vec<usize> = Vec::new();
        while slate.len() < n && !left.is_empty() {
            let places = PAGE.min(n - slate.len());
            let mut page: Vec<usize> = Vec::new();
            for &item in &left {
                let same = |of: &[u32]| page.iter().filter(|&&p| of[p] == of[item]).count();
                let fits = (per_category == 0 || same(categories) < per_category)
                    && (per_merchant == 0 || same(merchants) < per_merchant);
                if fits && page.len() < places {
                    page.push(item);
                }
            }
            left.retain(|item| !page.contains(item));
            let missing = (places - page.len()).min(left.len());
            page.extend(left.drain(..missing));
            slate.extend(page);
        }
        slate
    }

    proptest! {
        // small whole numbers, so that sums are exact and ties are many
        #[test]
        fn a_slate_equals_the_brute_force_under_filters_and_quotas(
            rows in prop::collection::vec((0i8..6, 0u32..3, 0u32..4), 0..300),
            per_category in 0usize..4,
            per_merchant in 0usize..4,
            modulus in 1u32..4,
            n in 0usize..25,
        ) {
            let scores: Vec<f32> = rows.iter().map(|r| f32::from(r.0)).collect();
            let categories: Vec<u32> = rows.iter().map(|r| r.1).collect();
            let merchants: Vec<u32> = rows.iter().map(|r| r.2).collect();
            let index = ExactIndex::new(scores.clone(), 1).unwrap();
            let keep = |item: ItemId| item.0.is_multiple_of(modulus);
            let input = FusionInput {
                user_vector: &[1.0], boosts: &[], tags: &[], beta: 0.6, quota: 2, merge: Merge::default(), n,
            };
            let category_of = |item: ItemId| Some(CategoryId(categories[item.idx()]));
            let merchant_of = |item: ItemId| Some(merchants[item.idx()]);
            let rules = SlateRules {
                merchant_of: &merchant_of,
                per_merchant,
                ..SlateRules::per_category(&category_of, per_category)
            };
            let slate = fuse_slate(&input, &index, &keep, &rules);
            let got: Vec<usize> = slate.iter().map(|c| c.item.idx()).collect();
            let limits = (per_category, per_merchant, n);
            let want = brute_force(&scores, (&categories, &merchants), limits, &keep);
            prop_assert_eq!(got, want);
        }

        #[test]
        fn a_slate_is_never_shorter_and_holds_nothing_twice(
            categories in prop::collection::vec(1_u32..5, 0..60), most in 0_usize..4, n in 0_usize..40,
        ) {
            let mut found = items(&categories, most, n);
            prop_assert_eq!(found.len(), n.min(categories.len()));
            found.sort_unstable();
            found.dedup();
            prop_assert_eq!(found.len(), n.min(categories.len()));
        }
    }
}
