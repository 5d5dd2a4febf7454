//! Full rankings of a model, and what they are worth per user.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use retrieval::{Scorer, top_of};
use types::{CategoryId, Interaction, ItemId, UserId};

use super::sets::{Query, Set, View};

/// Users scored at a time.
const CHUNK: usize = 64;

/// Metric to one value per user of the view; none where the metric does not ask this user.
pub(crate) type Columns = BTreeMap<String, Vec<Option<f64>>>;

/// Recall and NDCG at `k`, the share of the tail, and whether a category new to the user was hit (only
/// over users who took one up).
pub(crate) fn columns(model: &dyn Scorer, set: &Set, view: &View) -> Columns {
    let queries: Vec<&Query> = view.test.iter().collect();
    let lists = lists(model, &queries, view.k);
    let mut columns = Columns::new();
    let mut put = |name: String, values: Vec<Option<f64>>| columns.insert(name, values);
    let each = |of: &dyn Fn(&Query, &[ItemId]) -> f64| -> Vec<Option<f64>> {
        queries.iter().zip(&lists).map(|(q, list)| Some(of(q, list))).collect()
    };
    let k = view.k;
    put(format!("recall@{k}"), each(&|q, list| eval::recall_at(k, &q.truth, list)));
    put(format!("ndcg@{k}"), each(&|q, list| eval::ndcg_at(k, &q.truth, list)));
    put(format!("tail_share@{k}"), each(&|_, list| eval::tail_share(k, list, &set.popularity)));
    let category = |item: &ItemId| set.catalogue.item(*item).category;
    if set.catalogue.items().iter().any(|i| i.category.is_some()) {
        let hit = |q: &Query, list: &[ItemId]| {
            let known: BTreeSet<CategoryId> =
                q.history.iter().filter_map(|i| category(&i.item)).collect();
            let new = |item: &ItemId| category(item).filter(|c| !known.contains(c));
            let truth: BTreeSet<CategoryId> = q.truth.iter().filter_map(new).collect();
            let is_hit = list.iter().filter_map(new).any(|c| truth.contains(&c));
            (!truth.is_empty()).then_some(f64::from(u8::from(is_hit)))
        };
        let values = queries.iter().zip(&lists).map(|(q, list)| hit(q, list)).collect();
        put(format!("new_category_hit_rate@{k}"), values);
    }
    columns
}

/// Mean recall at `k`.
pub(crate) fn mean_recall(model: &dyn Scorer, queries: &[&Query], k: usize) -> f64 {
    let lists = lists(model, queries, k);
    let recall = queries.iter().zip(&lists).map(|(q, list)| eval::recall_at(k, &q.truth, list));
    recall.sum::<f64>() / queries.len().max(1) as f64
}

/// At most `most` queries, evenly spread.
pub(crate) fn thinned(queries: &[Query], most: usize) -> Vec<&Query> {
    let n = queries.len();
    if n <= most {
        return queries.iter().collect();
    }
    (0..most).map(|i| &queries[i * n / most]).collect()
}

/// The best `k` items of each query among all that are not hidden.
fn lists(model: &dyn Scorer, queries: &[&Query], k: usize) -> Vec<Vec<ItemId>> {
    let n = model.n_items();
    queries
        .par_chunks(CHUNK)
        .flat_map_iter(|queries| {
            let users: Vec<(UserId, &[Interaction])> =
                queries.iter().map(|q| (q.user, &q.history[..])).collect();
            let mut scores = vec![0.0; users.len() * n];
            model.scores(&users, &mut scores);
            let list = |(q, scores): (&&Query, &[f32])| -> Vec<ItemId> {
                let keep = |item: ItemId| q.hidden.binary_search(&item).is_err();
                top_of(scores, k, &keep).into_iter().map(|(item, _)| item).collect()
            };
            queries.iter().zip(scores.chunks(n)).map(list).collect::<Vec<_>>()
        })
        .collect()
}
