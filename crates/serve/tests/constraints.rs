//! What may stand on a slate: the served path against a walk down the ranking of the whole catalogue.

#![expect(clippy::unwrap_used, reason = "a test stops where its support does")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use retrieval::{IndexKind, ItemIndex, Merge, Popularity};
use serve::{Artefacts, Encoder, Fusion, RecommendRequest, Recommender, RequestFilter, Seen};
use types::{Catalogue, EventType, Interaction, Item, ItemId, Taxonomy, Timestamp, UserId};

/// Number of an item, and of nothing else, is its score: the user tower asks for the first dimension.
struct Script;

impl Encoder for Script {
    fn user_vector(&self, _: UserId, _: &[Interaction]) -> Vec<f32> {
        vec![1.0, 0.0]
    }

    fn tag_vector(&self, _: &str) -> Vec<f32> {
        vec![0.0, 1.0]
    }

    fn item_vector(&self, _: &Item) -> Vec<f32> {
        vec![0.0, 0.0]
    }

    fn push_item(&mut self, _: &Item) {}
}

/// What an item that was seen most gains.
const REPEATS: f32 = 0.25;

const PATHS: [&str; 5] = ["A > B > C", "A > B", "A > D", "E", "E > F"];

/// One item: scores of both towers, category, merchant, price, whether it is new.
type Row = (u8, u8, usize, usize, Option<u8>, bool);

fn shop(rows: &[Row], seen: &[usize], by_default: Seen, kind: IndexKind) -> Recommender {
    let taxonomy = Taxonomy::from_paths(PATHS);
    let now = Timestamp(0).plus_days(100);
    let item = |(row, &(_, _, path, merchant, price, is_new)): (usize, &Row)| Item {
        item_id: row.to_string(),
        title: "a thing".to_owned(),
        category_path: PATHS.get(path).map_or("", |path| path).to_owned(),
        category: PATHS.get(path).and_then(|path| taxonomy.find(path)),
        merchant_id: (merchant < 3).then(|| format!("m{merchant}")),
        price: price.map(f64::from),
        listed_at: Some(now.plus_days(if is_new { -3 } else { -30 })),
        ..Item::default()
    };
    let vectors = rows.iter().flat_map(|r| [f32::from(r.0) / 255.0, f32::from(r.1) / 255.0]);
    let histories: Vec<Interaction> = seen
        .iter()
        .map(|&row| Interaction {
            user: UserId(0),
            timestamp: Timestamp(0),
            item: ItemId::from_idx(row % rows.len()),
            event_type: EventType::Click,
        })
        .collect();
    Recommender::new(Artefacts {
        catalogue: Catalogue::new(rows.iter().enumerate().map(item).collect()).unwrap(),
        taxonomy,
        encoder: Box::new(Script),
        index: ItemIndex::build(vectors.collect(), 2, kind).unwrap(),
        user_ids: vec!["u".to_owned()],
        popularity: Popularity::new(&histories, rows.len(), now, None),
        histories,
        interests: BTreeMap::new(),
        tags: BTreeMap::new(),
        fusion: Fusion {
            beta: 0.6,
            wish_beta: 0.5,
            seen: by_default,
            repeat_weight: REPEATS,
            quota: 2,
            merge: Merge::MeanOfTags,
            per_category: 0,
            per_merchant: 0,
            new_places: 0,
            new_days: 14,
        },
        now,
        model_version: "1".to_owned(),
    })
    .unwrap()
}

/// Whether an item passes, in plain words.
fn passes(row: &Row, filter: &RequestFilter) -> bool {
    let path = PATHS.get(row.2);
    let within = |root: &String| {
        path.is_some_and(|path| path == root || path.starts_with(&format!("{root} > ")))
    };
    let merchant = format!("m{}", row.3);
    let price = row.4.map(f64::from);
    (filter.categories.is_empty() || filter.categories.iter().any(within))
        && (filter.merchants.is_empty() || row.3 < 3 && filter.merchants.contains(&merchant))
        && filter.min_price.is_none_or(|least| price.is_some_and(|price| price >= least))
        && filter.max_price.is_none_or(|most| price.is_some_and(|price| price <= most))
}

/// Page by page of ten: places for new items at the end, the others down the ranking within the quotas,
/// then the best of what was passed over.
fn brute_force(
    rows: &[Row],
    scores: &[f32],
    request: &RecommendRequest,
    keep: &dyn Fn(usize) -> bool,
) -> Vec<usize> {
    let mut ranking: Vec<usize> = (0..rows.len()).filter(|&row| keep(row)).collect();
    ranking.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let new_places = request.new_places.unwrap_or(0);
    let n_new = request.n.div_ceil(10) * new_places;
    let mut new: Vec<usize> = ranking.iter().copied().filter(|&r| rows[r].5).take(n_new).collect();
    let mut slate: Vec<usize> = Vec::new();
    loop {
        let places = 10.min(request.n - slate.len());
        new.retain(|row| !slate.contains(row));
        let explored: Vec<usize> = new.iter().copied().take(new_places.min(places)).collect();
        new.retain(|row| !explored.contains(row));
        ranking.retain(|row| !explored.contains(row) && !slate.contains(row));
        let mut page: Vec<usize> = Vec::new();
        let full = |page: &[usize], row: usize| {
            let on_page = || page.iter().chain(&explored).copied();
            let most = |limit: Option<usize>| limit.filter(|&most| most > 0).unwrap_or(usize::MAX);
            let category = rows[row].2 < PATHS.len()
                && on_page().filter(|&p| rows[p].2 == rows[row].2).count()
                    >= most(request.per_category);
            let merchant = rows[row].3 < 3
                && on_page().filter(|&p| rows[p].3 == rows[row].3).count()
                    >= most(request.per_merchant);
            category || merchant
        };
        for &row in &ranking {
            if page.len() + explored.len() < places && !full(&page, row) {
                page.push(row);
            }
        }
        let left = places - page.len() - explored.len();
        let rest: Vec<usize> =
            ranking.iter().copied().filter(|row| !page.contains(row)).take(left).collect();
        let before = slate.len();
        slate.extend(page.into_iter().chain(rest).chain(explored));
        if slate.len() == request.n || slate.len() == before {
            return slate;
        }
    }
}

fn filters() -> impl Strategy<Value = RequestFilter> {
    let categories = prop::sample::subsequence(vec!["A", "A > B", "A > D", "E", "E > F"], 0..3);
    let merchants = prop::sample::subsequence(vec!["m0", "m1", "m2"], 0..3);
    let price = prop::option::of(0u8..60);
    (categories, merchants, price.clone(), price).prop_map(|(categories, merchants, a, b)| {
        let (least, most) = match (a, b) {
            (Some(a), Some(b)) => (Some(a.min(b)), Some(a.max(b))),
            bounds => bounds,
        };
        RequestFilter {
            categories: categories.into_iter().map(str::to_owned).collect(),
            merchants: merchants.into_iter().map(str::to_owned).collect(),
            min_price: least.map(f64::from),
            max_price: most.map(f64::from),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_slate_is_what_a_walk_down_the_whole_ranking_gives(
        rows in prop::collection::vec(
            (any::<u8>(), any::<u8>(), 0usize..6, 0usize..4, prop::option::of(0u8..60), any::<bool>()),
            30..120,
        ),
        seen in prop::collection::vec(0usize..120, 1..10),
        excluded in prop::collection::vec(0usize..120, 0..10),
        filter in filters(),
        quotas in (0usize..4, 0usize..4, 0usize..4),
        n in 1usize..35,
        (wished, include_seen, asked, lists) in any::<(bool, bool, bool, bool)>(),
    ) {
        let kind = if lists { IndexKind::Lists(5) } else { IndexKind::Exact };
        // a rule of the shop counts where the request has none
        let by_default = Seen::included(include_seen != asked);
        let shop = shop(&rows, &seen, by_default, kind);
        // a merchant of a filter has to be one of the shop
        let there = |merchant: &String| rows.iter().any(|r| format!("m{}", r.3) == *merchant);
        prop_assume!(filter.merchants.iter().all(there));
        let request = RecommendRequest {
            n,
            wishes: if wished { vec!["something".to_owned()] } else { vec![] },
            exclude: excluded.iter().map(ToString::to_string).collect(),
            seen: asked.then_some(Seen::included(include_seen)),
            filter: filter.clone(),
            per_category: Some(quotas.0),
            per_merchant: Some(quotas.1),
            new_places: Some(quotas.2),
            ..RecommendRequest::new("u")
        };
        let beta = if wished { 0.5 } else { 1.0 };
        let times = |row: usize| seen.iter().filter(|s| **s % rows.len() == row).count() as f32;
        let most = (0..rows.len()).map(times).fold(0.0, f32::max);
        let score = |(row, r): (usize, &Row)| {
            let (user, tag) = (f32::from(r.0) / 255.0, f32::from(r.1) / 255.0);
            let own = REPEATS * times(row) / most;
            if wished { beta * user + (1.0 - beta) * tag } else { user + own }
        };
        let scores: Vec<f32> = rows.iter().enumerate().map(score).collect();
        let hidden = |row: usize| {
            excluded.contains(&row) || !include_seen && seen.iter().any(|s| s % rows.len() == row)
        };
        let keep = |row: usize| passes(&rows[row], &filter) && !hidden(row);
        let slate = shop.recommend(&request, None).unwrap();
        let got: Vec<usize> = slate.items.iter().map(|i| i.item_id.parse().unwrap()).collect();
        let want = brute_force(&rows, &scores, &request, &keep);
        prop_assert_eq!(got, want);
    }
}
