//! Measures recgpt against popularity, item-kNN and the user tower alone on what was held out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use eval::{
    BootstrapConfig, CategoryCase, CategoryHitReport, EvalConfig, EvalSet, Evaluation,
    InterestMatch, Segment, Split, SweepPoint, System, TruthRule, category_hit_report, evaluate,
    interest_match, popular_categories,
};
use events::tables::{self, UserInterests, UserTags};
use retrieval::baselines::PersonalFrequency;
use retrieval::{
    ExactIndex, FusionInput, ItemKnn, ItemKnnConfig, Popularity, Scorer as _, Towers, fuse_spread,
    repeat_boosts, top_of,
};
use serde::{Deserialize, Serialize};
use types::{CategoryId, Interaction, ItemId, Tag, UserId, UserTruth};

use super::Context;
use super::mine::INTERESTS;
use super::shop::{Log, Shop};
use super::tag::TAGS;
use crate::progress::Progress;

/// What the report shows of an evaluation; `reports/parts/evaluate.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EvaluatePart {
    pub(crate) main: Evaluation,
    pub(crate) segments: Vec<Segment>,
    pub(crate) sweep: Vec<SweepPoint>,
    /// Ways to make one list of many tags, for users with tags.
    #[serde(default)]
    pub(crate) fusion: Vec<FusionRow>,
    pub(crate) hit_rate: Option<CategoryHitReport>,
    pub(crate) truth: Option<InterestMatch>,
    /// Recall at 30 over categories that were new to the user; see [`Bench::new_categories`].
    pub(crate) new_category_recall_at_30: BTreeMap<String, f64>,
}

/// One way to fuse, for users with tags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FusionRow {
    pub(crate) name: String,
    /// What `[fusion]` of the workspace says.
    #[serde(default)]
    pub(crate) in_use: bool,
    pub(crate) recall_at_10: f64,
    pub(crate) new_category_hit_rate_at_10: f64,
    pub(crate) tail_share_at_10: f64,
    pub(crate) gini_at_10: f64,
    pub(crate) category_diversity_at_10: f64,
}

pub(crate) const PART: &str = "reports/parts/evaluate.json";

/// Items per list.
const LIST: usize = 20;
/// Tags per user whose categories count.
pub(super) const TAGS_ASKED: usize = 30;
/// Items that rank the categories.
const LONG_LIST: usize = 20_000;

/// Everything that a system may ask.
struct Bench<'a> {
    log: &'a Log,
    /// Whether what a user has seen stays out of their lists, where a set does not say.
    exclude_seen: bool,
    popularity: Popularity,
    knn: ItemKnn,
    personal: PersonalFrequency,
    index: ExactIndex,
    towers: Towers,
    tags: HashMap<UserId, Vec<(Tag, Vec<f32>)>>,
    quota: usize,
    merge: retrieval::Merge,
    repeat_weight: f32,
    per_category: usize,
    categories: Vec<Option<CategoryId>>,
}

/// One system by name.
#[derive(Debug, Clone, Copy)]
enum Ranker {
    Popularity,
    ItemKnn,
    PersonalFrequency,
    /// At most `per_category` items of one category on ten places; 0 for no limit.
    Fused {
        beta: f32,
        per_category: usize,
        merge: retrieval::Merge,
        repeat_weight: f32,
    },
}

/// The user tower alone, as a baseline.
const USER_TOWER: Ranker = Ranker::Fused {
    beta: 1.0,
    per_category: 0,
    merge: retrieval::Merge::MeanOfTags,
    repeat_weight: 0.0,
};

pub(crate) fn run(ctx: &Context, bar: &Progress) -> Result<String> {
    let shop = Shop::load(ctx)?;
    let log = shop.log(&ctx.settings)?;
    let tags = tables::read_tags(&ctx.ws.path(TAGS)).context("run `recgpt tag` first")?;
    let interests = tables::read_interests(&ctx.ws.path(INTERESTS))?;
    let bench = Bench::new(ctx, &shop, &log, &tags)?;
    let split = Split { train: log.train.clone(), test: log.test.clone() };
    let set = |rule| EvalSet::new(&split, bench.categories.clone(), rule);
    let exclude = ctx.settings.split.exclude_seen;
    let main_set = set(if exclude { TruthRule::NewItems } else { TruthRule::All })?;
    let show = |done, total| bar.set(done, total);
    let beta = ctx.settings.fusion.beta;
    let seed = ctx.settings.seed;
    let main = bench.table((&main_set, exclude), beta, seed, &show)?;
    let mut segments = Vec::new();
    let tagged = with_tags(&main_set, &bench);
    if !tagged.users.is_empty() && tagged.users.len() < main_set.users.len() {
        let evaluation = bench.table((&tagged, exclude), beta, seed, &show)?;
        segments.push(Segment { name: "users with tags".to_owned(), evaluation });
    }
    if !exclude {
        for (name, rule) in [("new items", TruthRule::NewItems), ("repeats", TruthRule::Repeats)] {
            let part = set(rule)?;
            let hide_seen = rule == TruthRule::NewItems;
            if !part.users.is_empty() {
                let evaluation = bench.table((&part, hide_seen), beta, seed, &show)?;
                segments.push(Segment { name: name.to_owned(), evaluation });
            }
        }
    }
    let sweep = bench.sweep(&tagged, seed)?;
    let fusion = bench.fusion(&tagged, beta, seed)?;
    let part = EvaluatePart {
        hit_rate: hit_rate(&category_cases(&tags, &shop, &log), &shop, &log, seed),
        truth: truth(ctx, &interests)?,
        new_category_recall_at_30: bench.new_categories(&main_set, beta),
        main,
        segments,
        sweep,
        fusion,
    };
    ctx.ws.write_json(PART, &part)?;
    let recall = |name: &str| {
        let system = part.main.system(name);
        system.and_then(|s| s.metrics.get("recall@10")).map_or(f64::NAN, |e| e.mean)
    };
    Ok(format!(
        "recall@10 of {} users: popularity {:.4}, itemknn {:.4}, user_tower {:.4}, recgpt {:.4}",
        part.main.n_users,
        recall("popularity"),
        recall("itemknn"),
        recall("user_tower"),
        recall("recgpt")
    ))
}

impl<'a> Bench<'a> {
    fn new(ctx: &Context, shop: &Shop, log: &'a Log, tags: &[UserTags]) -> Result<Self> {
        let fusion = &ctx.settings.fusion;
        let towers = Towers::load(&ctx.ws.path("models/towers"))?;
        let index = ExactIndex::load(&ctx.ws.path("index"))?;
        let n_items = shop.catalogue.len();
        let end = types::Timestamp(log.train.iter().map(|i| i.timestamp.0 + 1).max().unwrap_or(0));
        let mut by_user = HashMap::new();
        for user in tags.iter().filter(|u| !u.tags.is_empty()) {
            let Ok(row) = shop.user_ids.binary_search(&user.user_id) else { continue };
            let vectors =
                user.tags.iter().map(|t| (t.clone(), towers.tag_vector(&t.text))).collect();
            by_user.insert(UserId::from_idx(row), vectors);
        }
        Ok(Self {
            exclude_seen: ctx.settings.split.exclude_seen,
            popularity: Popularity::tuned(&log.train, n_items, end),
            knn: ItemKnn::new(&log.train, n_items, ItemKnnConfig::default()),
            personal: PersonalFrequency::new(&log.train, n_items, 0.95),
            repeat_weight: fusion.repeat_weight.unwrap_or_else(|| towers.repeat_weight()),
            index,
            towers,
            tags: by_user,
            quota: fusion.quota,
            merge: fusion.merge,
            per_category: fusion.per_category,
            categories: shop.catalogue.items().iter().map(|i| i.category).collect(),
            log,
        })
    }

    /// The system that serves: the slate's limit per category is part of it.
    fn recgpt(&self, beta: f32) -> Ranker {
        self.fused(beta, self.merge, self.per_category)
    }

    fn fused(&self, beta: f32, merge: retrieval::Merge, per_category: usize) -> Ranker {
        Ranker::Fused { beta, per_category, merge, repeat_weight: self.repeat_weight }
    }

    /// The best `n` items of one system for one user, with their scores.
    fn rank(
        &self,
        ranker: Ranker,
        user: UserId,
        history: &[Interaction],
        (n, hide_seen): (usize, bool),
    ) -> Vec<(ItemId, f32)> {
        let seen: BTreeSet<ItemId> = match hide_seen {
            true => history.iter().map(|i| i.item).collect(),
            false => BTreeSet::new(),
        };
        let keep = |item: ItemId| !seen.contains(&item);
        match ranker {
            Ranker::Popularity => self.popularity.recommend(history, n, &keep),
            Ranker::ItemKnn => self.knn.recommend(history, n, &keep),
            Ranker::PersonalFrequency => {
                let mut scores = vec![0.0; self.personal.n_items()];
                self.personal.scores(&[(user, history)], &mut scores);
                top_of(&scores, n, &keep)
            }
            Ranker::Fused { beta, per_category, merge, repeat_weight } => {
                let tags = self.tags.get(&user).map_or(&[][..], Vec::as_slice);
                let input = FusionInput {
                    user_vector: &self.towers.user_vector(user, history),
                    boosts: &repeat_boosts(history, repeat_weight),
                    tags: if beta < 1.0 { tags } else { &[] },
                    beta: if tags.is_empty() { 1.0 } else { beta },
                    quota: self.quota,
                    merge,
                    n,
                };
                let category_of = |item: ItemId| self.categories[item.idx()];
                let slate = fuse_spread(&input, &self.index, &keep, &category_of, per_category);
                slate.into_iter().map(|c| (c.item, c.score)).collect()
            }
        }
    }

    /// All systems on a set, whose lists may leave out what the user has seen.
    fn table(
        &self,
        (set, hide_seen): (&EvalSet, bool),
        beta: f32,
        seed: u64,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Evaluation> {
        let histories = self.log.histories();
        let ask = |ranker: Ranker| {
            let histories = &histories;
            move |idx: usize| {
                let user = set.users[idx].user;
                items(self.rank(ranker, user, histories[user.idx()], (LIST, hide_seen)))
            }
        };
        let (popularity, knn) = (ask(Ranker::Popularity), ask(Ranker::ItemKnn));
        let (tower, fused) = (ask(USER_TOWER), ask(self.recgpt(beta)));
        let personal = ask(Ranker::PersonalFrequency);
        let mut systems = vec![
            System { name: "popularity", recommend: &popularity },
            System { name: "itemknn", recommend: &knn },
            System { name: "user_tower", recommend: &tower },
            System { name: "recgpt", recommend: &fused },
        ];
        if !self.exclude_seen {
            systems.insert(2, System { name: "personal_frequency", recommend: &personal });
        }
        Ok(evaluate(&systems, set, &EvalConfig::new(seed), progress)?)
    }

    /// What beta does to the users who have tags.
    fn sweep(&self, set: &EvalSet, seed: u64) -> Result<Vec<SweepPoint>> {
        if set.users.is_empty() {
            return Ok(Vec::new());
        }
        let histories = self.log.histories();
        let mut points = Vec::new();
        for step in 0..=10u8 {
            let beta = f32::from(step) / 10.0;
            let ask = |idx: usize| {
                let user = set.users[idx].user;
                let asked = (LIST, self.exclude_seen);
                items(self.rank(self.recgpt(beta), user, histories[user.idx()], asked))
            };
            let config = EvalConfig { reference: None, ..EvalConfig::new(seed) };
            let system = [System { name: "recgpt", recommend: &ask }];
            let evaluation = evaluate(&system, set, &config, &|_, _| {})?;
            let mean = |metric: &str| {
                let system = &evaluation.systems[0];
                system.metrics.get(metric).map_or(0.0, |e| e.mean)
            };
            points.push(SweepPoint {
                beta: f64::from(step) / 10.0,
                recall: mean("recall@10"),
                new_category_hit_rate: mean("new_category_hit_rate@10"),
                tail_share: mean("tail_share@10"),
                category_diversity: mean("category_diversity@10"),
                gini: evaluation.systems[0].gini,
            });
        }
        Ok(points)
    }

    /// Every way to make one list of many tags at one beta, and beta chosen by the user's activity.
    fn fusion(&self, set: &EvalSet, beta: f32, seed: u64) -> Result<Vec<FusionRow>> {
        if set.users.is_empty() {
            return Ok(Vec::new());
        }
        let histories = self.log.histories();
        let fused = |beta: f32, merge| self.fused(beta, merge, self.per_category);
        let ask = |ranker: Ranker, idx: usize| {
            let user = set.users[idx].user;
            items(self.rank(ranker, user, histories[user.idx()], (LIST, self.exclude_seen)))
        };
        let mut rows = Vec::new();
        for (name, merge) in MERGES {
            let list = |idx: usize| ask(fused(beta, merge), idx);
            let in_use = merge == self.merge;
            rows.push(FusionRow { in_use, ..fusion_row(name, &list, set, seed)? });
        }
        let betas = self.betas_by_activity(set, &|beta, idx| ask(fused(beta, self.merge), idx));
        let list = |idx: usize| ask(fused(betas[idx], self.merge), idx);
        rows.push(fusion_row("that in use, beta by activity (cross-fitted)", &list, set, seed)?);
        rows.push(fusion_row(
            "user tower alone",
            &|idx| ask(fused(1.0, self.merge), idx),
            set,
            seed,
        )?);
        Ok(rows)
    }

    /// For each user the beta with the best recall@10 among users of the same third by activity in the
    /// other half (even and odd places): no user has a say in their own beta.
    fn betas_by_activity(
        &self,
        set: &EvalSet,
        ask: &(dyn Fn(f32, usize) -> Vec<ItemId> + Sync),
    ) -> Vec<f32> {
        use rayon::prelude::*;
        let histories = self.log.histories();
        let mut by_activity: Vec<usize> = (0..set.users.len()).collect();
        by_activity.sort_by_key(|&idx| (histories[set.users[idx].user.idx()].len(), idx));
        let mut third = vec![0; by_activity.len()];
        for (place, &idx) in by_activity.iter().enumerate() {
            third[idx] = place * 3 / by_activity.len();
        }
        let recalls: Vec<Vec<f64>> = BETAS
            .par_iter()
            .map(|&beta| {
                let of = |idx: usize| eval::recall_at(10, &set.users[idx].truth, &ask(beta, idx));
                (0..set.users.len()).map(of).collect()
            })
            .collect();
        let best = |idx: usize| {
            let kin: Vec<usize> = (0..third.len())
                .filter(|&other| third[other] == third[idx] && other % 2 != idx % 2)
                .collect();
            let value = |beta: usize| kin.iter().map(|&other| recalls[beta][other]).sum::<f64>();
            let best = (0..BETAS.len()).max_by(|&a, &b| value(a).total_cmp(&value(b)));
            BETAS[best.unwrap_or(0)]
        };
        (0..third.len()).map(best).collect()
    }

    /// Mean share of a user's new categories among the first 30 categories that are new to them.
    /// Popularity ranks categories by their interactions; the others by the mass of their items: the sum
    /// of the scores of item-kNN, of `e^(score / temperature)` of the towers.
    fn new_categories(&self, set: &EvalSet, beta: f32) -> BTreeMap<String, f64> {
        use rayon::prelude::*;
        let histories = self.log.histories();
        let popular = popular_categories(&self.log.train, &|i| set.item_categories[i.idx()]);
        let rankers = [
            ("popularity", Ranker::Popularity),
            ("itemknn", Ranker::ItemKnn),
            ("user_tower", USER_TOWER),
            ("recgpt", self.fused(beta, self.merge, 0)),
        ];
        let of = |ranker: Ranker| -> f64 {
            let values = set.users.par_iter().filter_map(|user| {
                let new = |c: &CategoryId| user.known_categories.binary_search(c).is_err();
                let truth: BTreeSet<CategoryId> = user
                    .truth
                    .iter()
                    .filter_map(|item| set.item_categories[item.idx()])
                    .filter(new)
                    .collect();
                if truth.is_empty() {
                    return None;
                }
                let ranked = match ranker {
                    Ranker::Popularity => popular.clone(),
                    Ranker::ItemKnn | Ranker::PersonalFrequency | Ranker::Fused { .. } => {
                        let history = histories[user.user.idx()];
                        let asked = (LONG_LIST, self.exclude_seen);
                        let scored = self.rank(ranker, user.user, history, asked);
                        self.categories_by_mass(ranker, &scored, &set.item_categories)
                    }
                };
                let first = ranked.into_iter().filter(new).take(30);
                let hits = first.filter(|c| truth.contains(c)).count();
                Some(hits as f64 / truth.len() as f64)
            });
            let values: Vec<f64> = values.collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        rankers.into_iter().map(|(name, ranker)| (name.to_owned(), of(ranker))).collect()
    }

    fn categories_by_mass(
        &self,
        ranker: Ranker,
        scored: &[(ItemId, f32)],
        category_of: &[Option<CategoryId>],
    ) -> Vec<CategoryId> {
        let top = scored.first().map_or(0.0, |s| s.1);
        let mut mass: BTreeMap<CategoryId, f64> = BTreeMap::new();
        for &(item, score) in scored {
            let weight = match ranker {
                Ranker::Popularity | Ranker::ItemKnn | Ranker::PersonalFrequency => score,
                Ranker::Fused { .. } => (self.towers.scale() * (score - top)).exp(),
            };
            if let Some(category) = category_of[item.idx()] {
                *mass.entry(category).or_default() += f64::from(weight);
            }
        }
        let mut ranked: Vec<(CategoryId, f64)> = mass.into_iter().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable: ids break ties
        ranked.into_iter().map(|(category, _)| category).collect()
    }
}

/// Ways to make one list of many tags, by name in the table.
const MERGES: [(&str, retrieval::Merge); 5] = [
    ("soft maximum over tags", retrieval::Merge::SoftTag { temperature: 0.2 }),
    ("a query and a quota per tag (published)", retrieval::Merge::TagQuota),
    ("mean of tags", retrieval::Merge::MeanOfTags),
    ("maximum over tags", retrieval::Merge::MaxTag { rank_penalty: 0.0 }),
    ("reciprocal rank fusion", retrieval::Merge::ReciprocalRank),
];

/// What a user's beta may be.
const BETAS: [f32; 6] = [0.2, 0.4, 0.6, 0.8, 0.9, 1.0];

fn fusion_row(
    name: &str,
    list: &(dyn Fn(usize) -> Vec<ItemId> + Sync),
    set: &EvalSet,
    seed: u64,
) -> Result<FusionRow> {
    let config = EvalConfig { reference: None, ..EvalConfig::new(seed) };
    let system = [System { name: "recgpt", recommend: list }];
    let evaluation = evaluate(&system, set, &config, &|_, _| {})?;
    let system = &evaluation.systems[0];
    let mean = |metric: &str| system.metrics.get(metric).map_or(0.0, |e| e.mean);
    Ok(FusionRow {
        name: name.to_owned(),
        in_use: false,
        recall_at_10: mean("recall@10"),
        new_category_hit_rate_at_10: mean("new_category_hit_rate@10"),
        tail_share_at_10: mean("tail_share@10"),
        gini_at_10: system.gini,
        category_diversity_at_10: mean("category_diversity@10"),
    })
}

fn items(scored: Vec<(ItemId, f32)>) -> Vec<ItemId> {
    scored.into_iter().map(|(item, _)| item).collect()
}

fn with_tags(set: &EvalSet, bench: &Bench<'_>) -> EvalSet {
    let mut tagged = set.clone();
    tagged.users.retain(|u| bench.tags.contains_key(&u.user));
    tagged
}

/// What tags named and what came after the cut, for every user with tags.
pub(super) fn category_cases(tags: &[UserTags], shop: &Shop, log: &Log) -> Vec<CategoryCase> {
    let category_of = |item: ItemId| shop.catalogue.item(item).category;
    let histories = log.histories();
    let mut after: HashMap<UserId, Vec<Interaction>> = HashMap::new();
    for i in &log.test {
        after.entry(i.user).or_default().push(*i);
    }
    tags.iter()
        .filter(|u| !u.tags.is_empty())
        .filter_map(|user| {
            let row = UserId::from_idx(shop.user_ids.binary_search(&user.user_id).ok()?);
            let predicted = user.tags.iter().map(|t| t.category).collect();
            let after = after.get(&row).map_or(&[][..], Vec::as_slice);
            Some(CategoryCase::new(predicted, histories[row.idx()], after, &category_of))
        })
        .collect()
}

/// HR@30 of the tags; none without a case.
pub(super) fn hit_rate(
    cases: &[CategoryCase],
    shop: &Shop,
    log: &Log,
    seed: u64,
) -> Option<CategoryHitReport> {
    let category_of = |item: ItemId| shop.catalogue.item(item).category;
    let popular = popular_categories(&log.train, &category_of);
    (!cases.is_empty())
        .then(|| category_hit_report(TAGS_ASKED, cases, &popular, &BootstrapConfig::new(seed)))
}

/// Interests against the truth of a simulated world, where the settings name one.
fn truth(ctx: &Context, interests: &[UserInterests]) -> Result<Option<InterestMatch>> {
    let Some(path) = &ctx.settings.truth else { return Ok(None) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut truths: HashMap<String, Vec<String>> = HashMap::new();
    for (row, line) in text.lines().enumerate() {
        let truth: UserTruth = serde_json::from_str(line)
            .with_context(|| format!("{}, line {}", path.display(), row + 1))?;
        truths.insert(truth.user_id, truth.interests.into_iter().map(|i| i.text).collect());
    }
    let mined: Vec<Vec<String>> = interests
        .iter()
        .map(|u| u.profile.interests.iter().map(|i| i.text.clone()).collect())
        .collect();
    let known: Vec<Vec<String>> = interests
        .iter()
        .map(|u| truths.get(&u.profile.user_id).cloned().unwrap_or_default())
        .collect();
    Ok((!mined.is_empty()).then(|| interest_match(&mined, &known, 20)))
}
