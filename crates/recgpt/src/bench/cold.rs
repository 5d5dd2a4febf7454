//! `recgpt bench cold`: what is found of items that no training has seen.
//!
//! A share of the items, chosen by their ids, is taken out of the catalogue and of the log; towers are
//! trained on the rest, and then these items are put on sale as a server puts them. Asked are the users
//! who turned to one of them behind the cut. Half of the users choose the settings of content-kNN, the
//! other half is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Result, anyhow};
use comfy_table::{Table, presets};
use eval::{BootstrapConfig, Estimate, bootstrap_mean, paired_bootstrap, recall_at};
use retrieval::baselines::ContentKnn;
use retrieval::{
    ItemKnnConfig, Popularity, Scorer, TowerConfig, TowerData, Towers, top_of, train_towers,
};
use serde_json::{Value, json};
use serve::Encoder;
use types::{Catalogue, CategoryId, Interaction, ItemId, Timestamp, UserId, fnv1a64};

use crate::cli::BenchColdArgs;
use crate::failure::Usage;
use crate::progress::{Progress, print, say};
use crate::steps::Context;
use crate::steps::shop::{Log, Shop};

/// Length of the lists.
const K: usize = 10;

/// A user who turned to cold items.
struct Query {
    user: UserId,
    /// On warm items, before the cut.
    history: Vec<Interaction>,
    truth: Vec<ItemId>,
}

/// The shop with the cold items behind the warm ones.
struct Divided {
    all: Catalogue,
    warm: Catalogue,
    log: Vec<Interaction>,
    queries: Vec<Query>,
}

/// What one model finds for every reported user.
struct Line {
    model: String,
    among_cold: Vec<f64>,
    among_all: Vec<f64>,
}

pub(crate) fn run(args: &BenchColdArgs, json: bool) -> Result<()> {
    let ctx = Context::open(&args.workspace)?;
    let shop = Shop::load(&ctx)?;
    let set = divide(&shop, &shop.log(&ctx.settings)?, args.percent)?;
    let (tuning, asked): (Vec<&Query>, Vec<&Query>) =
        set.queries.iter().partition(|query| query.user.0 % 2 == 0);
    if tuning.is_empty() || asked.is_empty() {
        return Err(anyhow!(Usage("nobody turned to a cold item behind the cut".to_owned())));
    }
    let towers = towers(&ctx, &shop, &set)?;
    let n_warm = set.warm.len();
    let content = content_knn(&set, &tuning);
    let mut lines = vec![
        line("chance", &Chance(set.all.len()), &asked, n_warm),
        line("popularity", &popularity(&set), &asked, n_warm),
        line("popularity of the category", &category_popularity(&set), &asked, n_warm),
        line(&content.0, &content.1, &asked, n_warm),
    ];
    lines.push(line("user tower, items by content", &towers, &asked, n_warm));
    report(&lines, (n_warm, set.all.len() - n_warm), asked.len(), json);
    Ok(())
}

fn divide(shop: &Shop, log: &Log, percent: u64) -> Result<Divided> {
    let is_cold = |id: &str| fnv1a64(id.as_bytes()) % 100 < percent;
    let items = shop.catalogue.items().to_vec();
    let (cold, warm): (Vec<_>, Vec<_>) = items.into_iter().partition(|i| is_cold(&i.item_id));
    let warm = Catalogue::new(warm)?;
    let all = Catalogue::new([warm.items(), &cold].concat())?;
    let moved = |i: &Interaction| {
        let item = all.find(&shop.catalogue.item(i.item).item_id)?;
        Some(Interaction { item, ..*i })
    };
    let is_warm = |i: &Interaction| i.item.idx() < warm.len();
    let train: Vec<Interaction> = log.train.iter().filter_map(moved).filter(is_warm).collect();
    let mut truths: BTreeMap<UserId, BTreeSet<ItemId>> = BTreeMap::new();
    for i in log.test.iter().filter_map(moved).filter(|i| !is_warm(i)) {
        truths.entry(i.user).or_default().insert(i.item);
    }
    let queries = train.chunk_by(|a, b| a.user == b.user).filter_map(|history| {
        let truth = truths.get(&history[0].user)?.iter().copied().collect();
        Some(Query { user: history[0].user, history: history.to_vec(), truth })
    });
    let queries = queries.collect();
    Ok(Divided { all, warm, log: train, queries })
}

/// Towers of the warm items, with the cold ones pushed.
fn towers(ctx: &Context, shop: &Shop, set: &Divided) -> Result<Towers> {
    let data = TowerData {
        catalogue: &set.warm,
        taxonomy: &shop.taxonomy,
        n_users: shop.user_ids.len(),
        interactions: &set.log,
        now: end(&set.log),
    };
    let config = TowerConfig { seed: ctx.settings.seed, ..ctx.settings.towers.clone() };
    let bar = Progress::new("towers");
    let (mut towers, _) = train_towers(&data, &config, &|done, total| bar.set(done, total))?;
    bar.finish();
    let cold = &set.all.items()[set.warm.len()..];
    let start = Instant::now();
    cold.iter().for_each(|item| Encoder::push_item(&mut towers, item));
    let micros = start.elapsed().as_secs_f64() * 1e6 / cold.len().max(1) as f64;
    say(&format!("{} items put on sale, {micros:.0} microseconds each to encode", cold.len()));
    Ok(towers)
}

fn end(log: &[Interaction]) -> Timestamp {
    Timestamp(log.iter().map(|i| i.timestamp.0 + 1).max().unwrap_or(0))
}

/// The best of a grid on the users of tuning, among the cold items.
fn content_knn(set: &Divided, tuning: &[&Query]) -> (String, ContentKnn) {
    let mut best: Option<(f64, String, ContentKnn)> = None;
    for last in [1, 3, 10, 30, 100] {
        for decay in [0.8, 0.95, 1.0] {
            let config = ItemKnnConfig { last, decay, ..ItemKnnConfig::default() };
            let model = ContentKnn::new(set.all.items(), config);
            let recall = mean(&recalls(&model, tuning, &|_, i| i.idx() >= set.warm.len()));
            if best.as_ref().is_none_or(|(most, ..)| recall > *most) {
                best = Some((recall, format!("content-kNN (last {last}, decay {decay})"), model));
            }
        }
    }
    let (_, name, model) = best.expect("the grid is not empty");
    (name, model)
}

/// All items alike, in an order that says nothing.
struct Chance(usize);

impl Scorer for Chance {
    fn n_items(&self) -> usize {
        self.0
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        for ((user, _), row) in users.iter().zip(out.chunks_mut(self.0)) {
            for (item, score) in row.iter_mut().enumerate() {
                let bytes = [user.0.to_le_bytes(), (item as u32).to_le_bytes()].concat();
                *score = (fnv1a64(&bytes) >> 40) as f32;
            }
        }
    }
}

/// The same for everybody.
struct Same(Vec<f32>);

impl Scorer for Same {
    fn n_items(&self) -> usize {
        self.0.len()
    }

    fn scores(&self, _: &[(UserId, &[Interaction])], out: &mut [f32]) {
        out.chunks_mut(self.0.len()).for_each(|row| row.copy_from_slice(&self.0));
    }
}

fn popularity(set: &Divided) -> Popularity {
    Popularity::tuned(&set.log, set.all.len(), end(&set.log))
}

/// How often others of its category were taken.
fn category_popularity(set: &Divided) -> Same {
    let mut counts: BTreeMap<CategoryId, f32> = BTreeMap::new();
    for i in set.log.iter().filter(|i| i.event_type.is_positive()) {
        if let Some(category) = set.all.item(i.item).category {
            *counts.entry(category).or_default() += 1.0;
        }
    }
    let count = |category: Option<CategoryId>| category.and_then(|c| counts.get(&c)).copied();
    Same(set.all.items().iter().map(|item| count(item.category).unwrap_or(0.0)).collect())
}

fn line(name: &str, model: &dyn Scorer, queries: &[&Query], n_warm: usize) -> Line {
    let seen = |query: &Query, item: ItemId| query.history.iter().any(|i| i.item == item);
    Line {
        model: name.to_owned(),
        among_cold: recalls(model, queries, &|_, item| item.idx() >= n_warm),
        among_all: recalls(model, queries, &|query, item| !seen(query, item)),
    }
}

/// Recall of every query among the items that `keep` allows.
fn recalls(
    model: &dyn Scorer,
    queries: &[&Query],
    keep: &dyn Fn(&Query, ItemId) -> bool,
) -> Vec<f64> {
    let mut scores = vec![0.0; model.n_items()];
    let mut one = |query: &&Query| {
        model.scores(&[(query.user, &query.history[..])], &mut scores);
        let list: Vec<ItemId> =
            top_of(&scores, K, &|item| keep(query, item)).into_iter().map(|(i, _)| i).collect();
        recall_at(K, &query.truth, &list)
    };
    queries.iter().map(&mut one).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn report(lines: &[Line], (warm, cold): (usize, usize), users: usize, json: bool) {
    let cfg = BootstrapConfig::new(1);
    let estimate = |values: &[f64]| bootstrap_mean(values, &cfg);
    let [.., content, tower] = lines else { return };
    let difference = paired_bootstrap(&tower.among_cold, &content.among_cold, &cfg);
    if json {
        let line = |l: &Line| json!({ "model": l.model, "among_cold": mean(&l.among_cold), "among_all": mean(&l.among_all) });
        let lines: Vec<Value> = lines.iter().map(line).collect();
        let difference =
            difference.map(|d| json!({ "mean": d.mean, "low": d.low, "high": d.high }));
        let value = json!({ "warm": warm, "cold": cold, "users": users, "models": lines, "tower_less_content": difference });
        print(&format!("{value:#}"));
        return;
    }
    print(&format!(
        "{cold} cold items beside {warm}, {users} users; recall@{K} with 95% intervals"
    ));
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["model", "among the cold items", "among all items"]);
    let cell = |estimate: Option<Estimate>| {
        estimate.map_or(String::new(), |e| format!("{:.4} [{:.4}, {:.4}]", e.mean, e.low, e.high))
    };
    for l in lines {
        let cells = [l.model.clone(), cell(estimate(&l.among_cold)), cell(estimate(&l.among_all))];
        table.add_row(cells);
    }
    print(&table.to_string());
    if let Some(d) = difference {
        print(&format!(
            "user tower less content-kNN, among the cold: {:+.4} [{:+.4}, {:+.4}]",
            d.mean, d.low, d.high
        ));
    }
}
