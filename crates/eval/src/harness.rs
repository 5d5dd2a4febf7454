//! Runs several systems over the same users and puts every metric in one table.
//!
//! The harness ranks nothing and splits nothing itself: systems are closures that give a list per user,
//! users carry their truth. Whatever a system may not show (items seen before) it leaves out itself.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{CategoryId, Interaction, ItemId, UserId};

use crate::category::{category_diversity, novelty, pairwise_category_diversity};
use crate::exposure::{
    GroupExposure, PopularityRanking, count_exposure, coverage, exposure_by_popularity_group, gini,
    tail_share,
};
use crate::ranking::{hit_rate_at, mrr, ndcg_at, precision_at, recall_at};
use crate::stats::{BootstrapConfig, Estimate, PairedDifference, bootstrap_mean, paired_bootstrap};
use crate::{EvalError, Split};

/// One recommender: the index of a user in [`EvalSet::users`] to a list, best first.
#[derive(Clone, Copy)]
pub struct System<'a> {
    /// Name in the table and in figures.
    pub name: &'a str,
    /// The recommender; called from several threads.
    pub recommend: &'a (dyn Fn(usize) -> Vec<ItemId> + Sync),
}

/// Which held-out items a user has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruthRule {
    /// Every item of a positive act after the cut.
    All,
    /// Only items that the user had not touched before the cut.
    NewItems,
    /// Only items that the user had touched before.
    Repeats,
}

/// One user and what there is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalUser {
    /// Who.
    pub user: UserId,
    /// Held-out items, in time order, none twice, at least one.
    pub truth: Vec<ItemId>,
    /// Categories touched before the cut, sorted.
    pub known_categories: Vec<CategoryId>,
}

/// Users with their truth, and what metrics need to know of the catalogue.
#[derive(Debug, Clone)]
pub struct EvalSet {
    /// Who is asked.
    pub users: Vec<EvalUser>,
    /// Category per item.
    pub item_categories: Vec<Option<CategoryId>>,
    /// Items by training popularity.
    pub popularity: PopularityRanking,
}

impl EvalSet {
    /// Users of `split.test` that have something to find under `rule`, in order of [`UserId`]. Both sides
    /// are sorted by (user, time); popularity counts the positive acts of `split.train`.
    ///
    /// # Errors
    /// [`EvalError::UnknownItem`] when the log names an item without a row in `item_categories`.
    pub fn new(
        split: &Split,
        item_categories: Vec<Option<CategoryId>>,
        rule: TruthRule,
    ) -> Result<Self, EvalError> {
        let n_items = item_categories.len();
        if let Some(i) = split.train.iter().chain(&split.test).find(|i| i.item.idx() >= n_items) {
            let (user, item) = (i.user.0, i.item.0);
            return Err(EvalError::UnknownItem { system: "log".to_owned(), user, item, n_items });
        }
        let mut counts = vec![0u64; n_items];
        for i in split.train.iter().filter(|i| i.event_type.is_positive()) {
            counts[i.item.idx()] += 1;
        }
        let mut train: BTreeMap<UserId, &[Interaction]> = BTreeMap::new();
        for history in split.train.chunk_by(|a, b| a.user == b.user) {
            train.insert(history[0].user, history);
        }
        let users = split.test.chunk_by(|a, b| a.user == b.user).filter_map(|after| {
            let before = train.get(&after[0].user).copied().unwrap_or(&[]);
            eval_user(before, after, &item_categories, rule)
        });
        Ok(Self {
            users: users.collect(),
            popularity: PopularityRanking::new(&counts),
            item_categories,
        })
    }
}

/// Cuts, statistics and the system that the differences are about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalConfig {
    /// Cut of the main metrics.
    pub k: usize,
    /// Cut of the longer recall, and of MRR.
    pub k_long: usize,
    /// Intervals.
    pub bootstrap: BootstrapConfig,
    /// The system to compare with every other; none for no comparison.
    pub reference: Option<String>,
}

impl EvalConfig {
    /// Cuts 10 and 20, 1,000 resamples, `recgpt` against the others.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            k: 10,
            k_long: 20,
            bootstrap: BootstrapConfig::new(seed),
            reference: Some("recgpt".to_owned()),
        }
    }
}

/// Every metric of one system. Keys (with k = 10, `k_long` = 20):
///
/// per user, with intervals: `recall@10 recall@20 precision@10 ndcg@10 hit_rate@10 mrr@20
/// category_diversity@10 category_diversity_pairwise@10 tail_share@10 novelty@10`; over users that took
/// up a category new to them: `new_category_recall@10` (recall over the items of those categories) and
/// `new_category_hit_rate@10` (one of the 10 items lies in one of those categories).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemMetrics {
    /// The system.
    pub name: String,
    /// Metric to mean and interval.
    pub metrics: BTreeMap<String, Estimate>,
    /// Share of the catalogue shown at all in the first k places.
    pub coverage: f64,
    /// Gini index of the exposure over the whole catalogue.
    pub gini: f64,
    /// Who gets the slots.
    pub exposure: Vec<GroupExposure>,
    /// Lists shorter than `k_long`.
    pub short_lists: usize,
}

/// The reference against one other system on one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Which metric.
    pub metric: String,
    /// The reference.
    pub system: String,
    /// The other.
    pub against: String,
    /// Reference minus other, per user.
    pub difference: PairedDifference,
}

/// The table of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Cuts and statistics used.
    pub config: EvalConfig,
    /// Users asked.
    pub n_users: usize,
    /// Users of them who took up a new category.
    pub n_users_new_category: usize,
    /// Catalogue items ranked.
    pub n_items: usize,
    /// Systems in the given order.
    pub systems: Vec<SystemMetrics>,
    /// The reference against each other system, metric by metric.
    pub differences: Vec<Difference>,
}

impl Evaluation {
    /// `<system>.<metric>` to number, as `report.json` lists them.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        let k = self.config.k;
        for system in &self.systems {
            let name = &system.name;
            for (metric, estimate) in &system.metrics {
                figures.insert(format!("{name}.{metric}"), estimate.mean);
            }
            figures.insert(format!("{name}.coverage@{k}"), system.coverage);
            figures.insert(format!("{name}.gini@{k}"), system.gini);
        }
        figures
    }

    /// One system by name.
    #[must_use]
    pub fn system(&self, name: &str) -> Option<&SystemMetrics> {
        self.systems.iter().find(|s| s.name == name)
    }
}

/// Asks every system for every user of `set` (users in parallel) and measures the lists. `progress` gets
/// lists done and lists in all.
///
/// # Errors
/// [`EvalError::SystemName`] for a repeated name or an unknown reference, [`EvalError::UnknownItem`] when
/// a list names an item outside the catalogue.
pub fn evaluate(
    systems: &[System<'_>],
    set: &EvalSet,
    cfg: &EvalConfig,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Evaluation, EvalError> {
    check_names(systems, cfg)?;
    let total = (systems.len() * set.users.len()) as u64;
    let done = std::sync::atomic::AtomicU64::new(0);
    let mut metrics = Vec::with_capacity(systems.len());
    let mut per_user = Vec::with_capacity(systems.len());
    for system in systems {
        let ask = |idx: usize| {
            let list = (system.recommend)(idx);
            let now = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            progress(now, total);
            list
        };
        let lists: Vec<Vec<ItemId>> = (0..set.users.len()).into_par_iter().map(ask).collect();
        check_lists(system.name, &lists, set)?;
        let columns = columns(&lists, set, cfg);
        metrics.push(measure(system.name, &lists, &columns, set, cfg)?);
        per_user.push(columns);
    }
    let new_category =
        per_user.first().and_then(|c| c.get(&format!("new_category_recall@{}", cfg.k)));
    Ok(Evaluation {
        config: cfg.clone(),
        n_users: set.users.len(),
        n_users_new_category: new_category
            .map_or(0, |values| values.iter().filter(|v| v.is_some()).count()),
        n_items: set.item_categories.len(),
        differences: differences(systems, &per_user, cfg),
        systems: metrics,
    })
}

/// Metric to one value per user; `None` where the metric does not ask this user.
type Columns = BTreeMap<String, Vec<Option<f64>>>;

fn eval_user(
    before: &[Interaction],
    after: &[Interaction],
    item_categories: &[Option<CategoryId>],
    rule: TruthRule,
) -> Option<EvalUser> {
    let seen: BTreeSet<ItemId> = before.iter().map(|i| i.item).collect();
    let asked = |item: &ItemId| match rule {
        TruthRule::All => true,
        TruthRule::NewItems => !seen.contains(item),
        TruthRule::Repeats => seen.contains(item),
    };
    let mut taken = BTreeSet::new();
    let positive = after.iter().filter(|i| i.event_type.is_positive()).map(|i| i.item);
    let truth: Vec<ItemId> =
        positive.filter(|item| asked(item)).filter(|&item| taken.insert(item)).collect();
    if truth.is_empty() {
        return None;
    }
    let known: BTreeSet<CategoryId> =
        seen.iter().filter_map(|item| item_categories[item.idx()]).collect();
    Some(EvalUser { user: after[0].user, truth, known_categories: known.into_iter().collect() })
}

fn check_names(systems: &[System<'_>], cfg: &EvalConfig) -> Result<(), EvalError> {
    let known: Vec<String> = systems.iter().map(|s| s.name.to_owned()).collect();
    let repeated =
        systems.iter().enumerate().find(|(i, s)| known[..*i].iter().any(|k| k == s.name));
    if let Some((_, system)) = repeated {
        let name = system.name.to_owned();
        return Err(EvalError::SystemName { problem: "repeated", name, known });
    }
    match &cfg.reference {
        Some(name) if !known.contains(name) => {
            Err(EvalError::SystemName { problem: "unknown reference", name: name.clone(), known })
        }
        Some(_) | None => Ok(()),
    }
}

fn check_lists(system: &str, lists: &[Vec<ItemId>], set: &EvalSet) -> Result<(), EvalError> {
    let n_items = set.item_categories.len();
    for (user, list) in set.users.iter().zip(lists) {
        if let Some(item) = list.iter().find(|item| item.idx() >= n_items) {
            let (system, user, item) = (system.to_owned(), user.user.0, item.0);
            return Err(EvalError::UnknownItem { system, user, item, n_items });
        }
    }
    Ok(())
}

fn measure(
    name: &str,
    lists: &[Vec<ItemId>],
    columns: &Columns,
    set: &EvalSet,
    cfg: &EvalConfig,
) -> Result<SystemMetrics, EvalError> {
    let exposure =
        count_exposure(cfg.k, set.item_categories.len(), lists.iter().map(Vec::as_slice))?;
    let metrics = columns.iter().filter_map(|(metric, values)| {
        let asked: Vec<f64> = values.iter().flatten().copied().collect();
        Some((metric.clone(), bootstrap_mean(&asked, &cfg.bootstrap)?))
    });
    Ok(SystemMetrics {
        name: name.to_owned(),
        metrics: metrics.collect(),
        coverage: coverage(&exposure),
        gini: gini(&exposure),
        exposure: exposure_by_popularity_group(&exposure, &set.popularity)?,
        short_lists: lists.iter().filter(|list| list.len() < cfg.k_long).count(),
    })
}

fn columns(lists: &[Vec<ItemId>], set: &EvalSet, cfg: &EvalConfig) -> Columns {
    let rows: Vec<Vec<(String, Option<f64>)>> =
        set.users.par_iter().zip(lists).map(|(user, list)| row(user, list, set, cfg)).collect();
    let mut columns = Columns::new();
    for (metric, value) in rows.into_iter().flatten() {
        columns.entry(metric).or_default().push(value);
    }
    columns
}

/// Every per-user metric of one list.
fn row(
    user: &EvalUser,
    list: &[ItemId],
    set: &EvalSet,
    cfg: &EvalConfig,
) -> Vec<(String, Option<f64>)> {
    let (k, long, truth) = (cfg.k, cfg.k_long, &user.truth);
    let shown: Vec<Option<CategoryId>> =
        list.iter().take(k).map(|item| set.item_categories[item.idx()]).collect();
    let is_new = |category: &CategoryId| user.known_categories.binary_search(category).is_err();
    let new_truth: Vec<ItemId> = truth
        .iter()
        .copied()
        .filter(|item| set.item_categories[item.idx()].as_ref().is_some_and(is_new))
        .collect();
    let new_categories: Vec<Option<CategoryId>> =
        new_truth.iter().map(|item| set.item_categories[item.idx()]).collect();
    let of_new = |value: f64| (!new_truth.is_empty()).then_some(value);
    vec![
        (format!("recall@{k}"), Some(recall_at(k, truth, list))),
        (format!("recall@{long}"), Some(recall_at(long, truth, list))),
        (format!("precision@{k}"), Some(precision_at(k, truth, list))),
        (format!("ndcg@{k}"), Some(ndcg_at(k, truth, list))),
        (format!("hit_rate@{k}"), Some(hit_rate_at(k, truth, list))),
        (format!("mrr@{long}"), Some(mrr(long, truth, list))),
        (format!("category_diversity@{k}"), Some(category_diversity(k, &shown))),
        (format!("category_diversity_pairwise@{k}"), Some(pairwise_category_diversity(k, &shown))),
        (format!("tail_share@{k}"), Some(tail_share(k, list, &set.popularity))),
        (format!("novelty@{k}"), Some(novelty(k, &shown, &user.known_categories))),
        (format!("new_category_recall@{k}"), of_new(recall_at(k, &new_truth, list))),
        (format!("new_category_hit_rate@{k}"), of_new(hit_rate_at(k, &new_categories, &shown))),
    ]
}

fn differences(systems: &[System<'_>], per_user: &[Columns], cfg: &EvalConfig) -> Vec<Difference> {
    let Some(reference) = &cfg.reference else { return Vec::new() };
    let Some(own) = systems.iter().position(|s| s.name == reference) else { return Vec::new() };
    let mut all = Vec::new();
    for (idx, system) in systems.iter().enumerate().filter(|(idx, _)| *idx != own) {
        for (metric, ours) in &per_user[own] {
            let Some(theirs) = per_user[idx].get(metric) else { continue };
            let pairs = || ours.iter().zip(theirs).filter_map(|(a, b)| a.zip(*b));
            let a: Vec<f64> = pairs().map(|p| p.0).collect();
            let b: Vec<f64> = pairs().map(|p| p.1).collect();
            let Some(difference) = paired_bootstrap(&a, &b, &cfg.bootstrap) else { continue };
            all.push(Difference {
                metric: metric.clone(),
                system: reference.clone(),
                against: system.name.to_owned(),
                difference,
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use types::{CategoryId, EventType, Interaction, ItemId, Timestamp, UserId};

    use super::{EvalConfig, EvalSet, System, TruthRule, evaluate};
    use crate::{EvalError, by_time};

    /// Items 0..10, two per category 0..5; users 0 and 1 know category 0 and 1.
    fn set(rule: TruthRule) -> EvalSet {
        let row = |user, at, item, event_type| Interaction {
            user: UserId(user),
            timestamp: Timestamp(at),
            item: ItemId(item),
            event_type,
        };
        let click = EventType::Click;
        let log = [
            row(0, 1, 0, click),
            row(0, 2, 1, click),
            row(0, 10, 0, click),                 // a repeat
            row(0, 11, 2, click),                 // category 1: new to user 0
            row(0, 12, 2, EventType::Cart),       // the same item again
            row(0, 13, 9, EventType::Impression), // no act
            row(1, 1, 0, click),
            row(1, 2, 2, click),
            row(1, 10, 3, click),
            row(2, 1, 5, click), // nothing after the cut
        ];
        let categories = (0..10).map(|i| Some(CategoryId(i / 2))).collect();
        EvalSet::new(&by_time(&log, Timestamp(10)), categories, rule).unwrap()
    }

    #[test]
    fn the_truth_is_what_came_after_the_cut() {
        let truth =
            |rule| set(rule).users.iter().map(|u| (u.user.0, u.truth.clone())).collect::<Vec<_>>();
        let i = ItemId;
        assert_eq!(truth(TruthRule::All), [(0, vec![i(0), i(2)]), (1, vec![i(3)])]);
        assert_eq!(truth(TruthRule::NewItems), [(0, vec![i(2)]), (1, vec![i(3)])]);
        assert_eq!(truth(TruthRule::Repeats), [(0, vec![i(0)])]);
        assert_eq!(set(TruthRule::All).users[0].known_categories, [CategoryId(0)]);
    }

    #[test]
    fn the_table_by_hand() {
        let set = set(TruthRule::All);
        // "good" finds item 2 at place 1 for user 0 and item 3 at place 2 for user 1
        let good = |idx: usize| {
            if idx == 0 { vec![ItemId(2), ItemId(9)] } else { vec![ItemId(8), ItemId(3)] }
        };
        let bad = |_: usize| vec![ItemId(0), ItemId(1)];
        let systems =
            [System { name: "bad", recommend: &bad }, System { name: "recgpt", recommend: &good }];
        let calls = std::sync::atomic::AtomicU64::new(0);
        let progress = |_: u64, total: u64| {
            assert_eq!(total, 4);
            calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let got = evaluate(&systems, &set, &EvalConfig::new(1), &progress).unwrap();
        assert_eq!(calls.into_inner(), 4);
        let figures = got.figures();
        for (name, expect) in [
            ("recgpt.recall@10", 0.75),
            ("recgpt.hit_rate@10", 1.0),
            ("recgpt.mrr@20", 0.75),
            ("recgpt.precision@10", 0.1),
            ("recgpt.coverage@10", 0.4),
            ("recgpt.gini@10", 0.6),
            ("recgpt.category_diversity@10", 1.0),
            ("recgpt.new_category_recall@10", 1.0),
            ("recgpt.new_category_hit_rate@10", 1.0),
            ("recgpt.novelty@10", 0.75), // 1 and 4 are new to user 0; of 4 and 1 only 4 to user 1
            // training counts: item 0 two, 1 2 5 one; head = items 0 and 1
            ("recgpt.tail_share@10", 1.0),
            ("bad.tail_share@10", 0.0),
            ("bad.recall@10", 0.25),
            ("bad.category_diversity@10", 0.5),
            ("bad.new_category_hit_rate@10", 0.0),
        ] {
            let value = figures[name];
            assert!((value - expect).abs() < 1e-12, "{name}: {value} for {expect}");
        }
        assert_eq!((got.n_users, got.n_users_new_category, got.n_items), (2, 1, 10));
        let recall = got.differences.iter().find(|d| d.metric == "recall@10").unwrap();
        assert_eq!(recall.against, "bad");
        assert!((recall.difference.mean - 0.5).abs() < 1e-12);
        assert_eq!(got, evaluate(&systems, &set, &EvalConfig::new(1), &|_, _| ()).unwrap());
    }

    #[test]
    fn wrong_names_and_items_are_refused() {
        let set = set(TruthRule::All);
        let fine = |_: usize| vec![ItemId(0)];
        let outside = |_: usize| vec![ItemId(99)];
        let run = |names: &[&str], f: &(dyn Fn(usize) -> Vec<ItemId> + Sync)| {
            let systems: Vec<System<'_>> =
                names.iter().map(|&name| System { name, recommend: f }).collect();
            evaluate(&systems, &set, &EvalConfig::new(1), &|_, _| ())
        };
        assert!(matches!(run(&["a", "a"], &fine), Err(EvalError::SystemName { .. })));
        assert!(matches!(run(&["a"], &fine), Err(EvalError::SystemName { .. })));
        let got = run(&["recgpt"], &outside);
        assert!(
            matches!(got, Err(EvalError::UnknownItem { item: 99, n_items: 10, .. })),
            "{got:?}"
        );
    }
}
