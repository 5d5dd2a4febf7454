//! Metrics over categories: HR@30 of tags with its baselines, diversity within a list, novelty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{CategoryId, Interaction, ItemId};

use crate::stats::{BootstrapConfig, Estimate, bootstrap_mean};

/// One user of the category hit rate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CategoryCase {
    /// Categories of the user's tags in the order of the tags; `None` where the Tag-to-Category model
    /// is silent (the tag still counts among the first `k`).
    pub predicted: Vec<Option<CategoryId>>,
    /// Category of the first interaction after the cut.
    pub next: Option<CategoryId>,
    /// Category of the first interaction after the cut whose category the user never touched before.
    pub next_new: Option<CategoryId>,
    /// Categories touched before the cut, most recent first, none twice.
    pub recent: Vec<CategoryId>,
}

impl CategoryCase {
    /// A case from a user's interactions before and after the cut, both in time order.
    #[must_use]
    pub fn new(
        predicted: Vec<Option<CategoryId>>,
        before: &[Interaction],
        after: &[Interaction],
        category_of: &dyn Fn(ItemId) -> Option<CategoryId>,
    ) -> Self {
        let recent = recent_categories(before, category_of);
        let mut coming = after.iter().filter_map(|i| category_of(i.item));
        let next = coming.clone().next();
        let next_new = coming.find(|c| !recent.contains(c));
        Self { predicted, next, next_new, recent }
    }
}

/// Whether the categories of the first `k` tags hold `truth`: `1[C_gt in C_pred]` of RECGPT.md 1.2.
#[must_use]
pub fn category_hit(k: usize, predicted: &[Option<CategoryId>], truth: CategoryId) -> bool {
    predicted.iter().take(k).any(|&c| c == Some(truth))
}

/// `HR@k = (1 / |U|) sum_u 1[C_gt(u) in C_pred(u)]` over the users that have a next category: the first
/// `k` tags of each user become categories, the truth is the category of the next interacted item
/// (RECGPT.md 1.2, k = 30). `None` when no user has one.
#[must_use]
pub fn category_hit_rate(k: usize, cases: &[CategoryCase]) -> Option<f64> {
    let hits =
        collect(cases, |case| case.next, |case, truth| category_hit(k, &case.predicted, truth));
    (!hits.is_empty()).then(|| hits.iter().sum::<f64>() / hits.len() as f64)
}

/// HR@k of tags and of two baselines that read no text.
///
/// Thirty tags name fewer than thirty categories, so each baseline is given as many categories as the
/// user's tags named, no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct CategoryHitReport {
    /// Tags per user that count.
    pub k: usize,
    /// Distinct categories that those tags name, mean per user.
    pub categories_per_user: f64,
    /// HR@k of the tags, over users with a next category.
    pub tags: Option<Estimate>,
    /// The most popular categories.
    pub popular: Option<Estimate>,
    /// The user's own most recent categories.
    pub recent: Option<Estimate>,
    /// HR@k of the tags where the truth is the first category that is new to the user.
    pub tags_new: Option<Estimate>,
    /// The most popular categories that are new to the user.
    pub popular_new: Option<Estimate>,
}

/// Measures tags and baselines on the same users; `popular` is every category, most popular first.
#[must_use]
pub fn category_hit_report(
    k: usize,
    cases: &[CategoryCase],
    popular: &[CategoryId],
    cfg: &BootstrapConfig,
) -> CategoryHitReport {
    let next = |case: &CategoryCase| case.next;
    let next_new = |case: &CategoryCase| case.next_new;
    let tags = |case: &CategoryCase, truth: CategoryId| category_hit(k, &case.predicted, truth);
    let size = |case: &CategoryCase| distinct(case.predicted.iter().take(k).flatten()).len();
    let popular_hit = |case: &CategoryCase, truth: CategoryId| {
        popular.iter().take(size(case)).any(|&c| c == truth)
    };
    let recent_hit = |case: &CategoryCase, truth: CategoryId| {
        case.recent.iter().take(size(case)).any(|&c| c == truth)
    };
    let popular_new_hit = |case: &CategoryCase, truth: CategoryId| {
        let mut fresh = popular.iter().filter(|c| !case.recent.contains(c)).take(size(case));
        fresh.any(|&c| c == truth)
    };
    let estimate = |hits: Vec<f64>| bootstrap_mean(&hits, cfg);
    CategoryHitReport {
        k,
        categories_per_user: cases.iter().map(|c| size(c) as f64).sum::<f64>()
            / cases.len().max(1) as f64,
        tags: estimate(collect(cases, next, tags)),
        popular: estimate(collect(cases, next, popular_hit)),
        recent: estimate(collect(cases, next, recent_hit)),
        tags_new: estimate(collect(cases, next_new, tags)),
        popular_new: estimate(collect(cases, next_new, popular_new_hit)),
    }
}

/// All categories that interactions touch, most popular first, equal counts by id.
#[must_use]
pub fn popular_categories(
    interactions: &[Interaction],
    category_of: &dyn Fn(ItemId) -> Option<CategoryId>,
) -> Vec<CategoryId> {
    let mut counts: BTreeMap<CategoryId, u64> = BTreeMap::new();
    for category in interactions.iter().filter_map(|i| category_of(i.item)) {
        *counts.entry(category).or_default() += 1;
    }
    let mut order: Vec<(CategoryId, u64)> = counts.into_iter().collect();
    order.sort_by_key(|&(category, n)| (std::cmp::Reverse(n), category));
    order.into_iter().map(|(category, _)| category).collect()
}

/// Categories of one user's interactions (in time order), most recent first, none twice.
#[must_use]
pub fn recent_categories(
    history: &[Interaction],
    category_of: &dyn Fn(ItemId) -> Option<CategoryId>,
) -> Vec<CategoryId> {
    let mut seen = std::collections::BTreeSet::new();
    let newest_first = history.iter().rev().filter_map(|i| category_of(i.item));
    newest_first.filter(|&c| seen.insert(c)).collect()
}

/// Distinct categories among the first `k` places over the number of places: 1 when no category
/// repeats. A place without a category counts as a place and names none; 0 for an empty list.
#[must_use]
pub fn category_diversity(k: usize, categories: &[Option<CategoryId>]) -> f64 {
    let shown = &categories[..k.min(categories.len())];
    if shown.is_empty() {
        return 0.0;
    }
    distinct(shown.iter().flatten()).len() as f64 / shown.len() as f64
}

/// Share of pairs among the first `k` places whose categories differ (Ziegler et al. 2005, with distance
/// 1 between categories); places without a category are left out, 0 with fewer than two left.
#[must_use]
pub fn pairwise_category_diversity(k: usize, categories: &[Option<CategoryId>]) -> f64 {
    let shown: Vec<CategoryId> =
        categories[..k.min(categories.len())].iter().flatten().copied().collect();
    if shown.len() < 2 {
        return 0.0;
    }
    let mut counts: BTreeMap<CategoryId, usize> = BTreeMap::new();
    for &category in &shown {
        *counts.entry(category).or_default() += 1;
    }
    let pairs = |n: usize| n * (n - 1) / 2;
    let same: usize = counts.values().map(|&n| pairs(n)).sum();
    1.0 - same as f64 / pairs(shown.len()) as f64
}

/// Share of the first `k` places whose category is not among `known` (sorted); a place without a category
/// is not new. 0 for an empty list.
#[must_use]
pub fn novelty(k: usize, categories: &[Option<CategoryId>], known: &[CategoryId]) -> f64 {
    let shown = &categories[..k.min(categories.len())];
    if shown.is_empty() {
        return 0.0;
    }
    let new = shown.iter().flatten().filter(|c| known.binary_search(c).is_err()).count();
    new as f64 / shown.len() as f64
}

fn distinct<'a>(
    categories: impl Iterator<Item = &'a CategoryId>,
) -> std::collections::BTreeSet<CategoryId> {
    categories.copied().collect()
}

/// 1 or 0 for each case that has a truth.
fn collect(
    cases: &[CategoryCase],
    truth: impl Fn(&CategoryCase) -> Option<CategoryId>,
    hit: impl Fn(&CategoryCase, CategoryId) -> bool,
) -> Vec<f64> {
    let one = |case| truth(case).map(|t| if hit(case, t) { 1.0 } else { 0.0 });
    cases.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use types::{CategoryId, EventType, Interaction, ItemId, Timestamp, UserId};

    use super::{
        CategoryCase, category_diversity, category_hit, category_hit_rate, category_hit_report,
        novelty, pairwise_category_diversity, popular_categories, recent_categories,
    };
    use crate::stats::BootstrapConfig;

    fn c(id: u32) -> CategoryId {
        CategoryId(id)
    }

    fn some(ids: &[u32]) -> Vec<Option<CategoryId>> {
        ids.iter().map(|&id| Some(c(id))).collect()
    }

    /// Interactions with the items, one per second; item i is of category i / 10, item 99 of none.
    fn log(items: &[u32]) -> Vec<Interaction> {
        let at = |(idx, &item): (usize, &u32)| Interaction {
            user: UserId(0),
            timestamp: Timestamp(i64::try_from(idx).unwrap() * 1000),
            item: ItemId(item),
            event_type: EventType::Click,
        };
        items.iter().enumerate().map(at).collect()
    }

    fn category_of(item: ItemId) -> Option<CategoryId> {
        (item.0 < 90).then_some(CategoryId(item.0 / 10))
    }

    #[test]
    fn only_the_first_k_tags_count_and_silent_tags_take_a_place() {
        assert!(category_hit(2, &some(&[4, 5, 6]), c(5)));
        assert!(!category_hit(2, &some(&[4, 5, 6]), c(6)));
        assert!(!category_hit(2, &[None, None, Some(c(5))], c(5)));
    }

    #[test]
    fn hit_rate_averages_over_users_with_a_next_item() {
        let case = |predicted: &[u32], next| CategoryCase {
            predicted: some(predicted),
            next,
            ..CategoryCase::default()
        };
        let cases = [
            case(&[1, 2], Some(c(2))),
            case(&[1], Some(c(3))),
            case(&[], Some(c(1))),
            case(&[1], None),
        ];
        assert!((category_hit_rate(30, &cases).unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(category_hit_rate(30, &[]), None);
    }

    #[test]
    fn a_case_takes_the_next_category_and_the_next_new_one() {
        let case = CategoryCase::new(
            some(&[3]),
            &log(&[10, 11, 20, 99]),
            &log(&[99, 12, 21, 30, 40]),
            &category_of,
        );
        assert_eq!(case.recent, [c(2), c(1)]);
        assert_eq!((case.next, case.next_new), (Some(c(1)), Some(c(3))));
    }

    #[test]
    fn baselines_get_as_many_categories_as_the_tags_named() {
        // popular 7 1 3 2; tags name {1, 3}; recent 2 1; next 1, next new 3
        let case = CategoryCase {
            predicted: some(&[1, 3, 1]),
            next: Some(c(1)),
            next_new: Some(c(3)),
            recent: vec![c(2), c(1)],
        };
        let popular = [c(7), c(1), c(3), c(2)];
        let report = category_hit_report(30, &[case], &popular, &BootstrapConfig::new(1));
        let mean = |e: Option<crate::Estimate>| e.unwrap().mean;
        assert!((report.categories_per_user - 2.0).abs() < 1e-12);
        assert!((mean(report.tags) - 1.0).abs() < 1e-12);
        assert!((mean(report.popular) - 1.0).abs() < 1e-12);
        assert!((mean(report.recent) - 1.0).abs() < 1e-12);
        assert!((mean(report.tags_new) - 1.0).abs() < 1e-12);
        assert!((mean(report.popular_new) - 1.0).abs() < 1e-12, "new to the user: 7 and 3");
        let none = category_hit_report(30, &[], &popular, &BootstrapConfig::new(1));
        assert!(none.tags.is_none() && none.popular_new.is_none());
    }

    #[test]
    fn popular_and_recent_orders() {
        assert_eq!(
            popular_categories(&log(&[30, 31, 10, 11, 20, 99]), &category_of),
            [c(1), c(3), c(2)]
        );
        assert_eq!(
            recent_categories(&log(&[10, 20, 11, 99, 30]), &category_of),
            [c(3), c(1), c(2)]
        );
    }

    #[test]
    fn diversity_and_novelty_by_hand() {
        // (categories, k, distinct / places, differing pairs / pairs, share new to {1, 2})
        let with_hole = [some(&[1]), vec![None], some(&[5])].concat();
        for (categories, k, distinct, pairwise, new) in [
            (some(&[1, 1, 2, 3]), 4, 0.75, 5.0 / 6.0, 0.25),
            (some(&[1, 1, 2, 3]), 2, 0.5, 0.0, 0.0),
            (some(&[4]), 10, 1.0, 0.0, 1.0),
            (with_hole, 3, 2.0 / 3.0, 1.0, 1.0 / 3.0),
            (vec![], 3, 0.0, 0.0, 0.0),
        ] {
            assert!((category_diversity(k, &categories) - distinct).abs() < 1e-12);
            assert!((pairwise_category_diversity(k, &categories) - pairwise).abs() < 1e-12);
            assert!((novelty(k, &categories, &[c(1), c(2)]) - new).abs() < 1e-12);
        }
    }
}
