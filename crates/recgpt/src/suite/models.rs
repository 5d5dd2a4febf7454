//! The models of the suite: what is tried on validation, and how each is made.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::Result;
use retrieval::baselines::{
    Bpr, BprConfig, ContentKnn, Ease, Ials, IalsConfig, ItemKnn, ItemKnnConfig, PersonalFrequency,
    Popularity, RecentPopularity, TransitionGraph, TransitionGraphConfig, sasrec_config,
    two_tower_config,
};
use retrieval::{
    Blend, BlendCase, Component, Scale, Scorer, SequenceConfig, SequenceData, SequenceModel,
    TowerConfig, TowerData, Towers, train_sequence, train_towers,
};
use serde::{Deserialize, Serialize};
use types::{Interaction, UserId};

use super::measure::{mean_recall, thinned};
use super::sets::{Query, Set, SetName, end_of};
use crate::progress::Progress;

/// Users of validation by whom an epoch is chosen.
const EPOCH_USERS: usize = 1500;
/// Epochs without a better value of validation before an encoder's training ends.
const EPOCHS_WITHOUT_GAIN: usize = 3;
/// Users of validation by whom the weights of a blend are chosen.
const BLEND_USERS: usize = 3000;

/// A row of the table.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub(crate) enum ModelName {
    Popularity,
    RecentPopularity,
    PersonalFrequency,
    Itemknn,
    ContentKnn,
    TransitionGraph,
    Ease,
    Ials,
    Bpr,
    Sasrec,
    TwoTower,
    Recgpt,
}

/// One way to make a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "model")]
pub(crate) enum Recipe {
    Popularity,
    RecentPopularity {
        half_life_days: f64,
    },
    PersonalFrequency {
        decay: f32,
    },
    Itemknn(ItemKnnConfig),
    ContentKnn(ItemKnnConfig),
    TransitionGraph(TransitionGraphConfig),
    Ease {
        l2: f32,
    },
    Ials(IalsConfig),
    Bpr(BprConfig),
    Sequence {
        config: SequenceConfig,
        until: Option<usize>,
    },
    Towers(Box<TowerConfig>),
    Recgpt {
        towers: Box<TowerConfig>,
        sequence: SequenceConfig,
        until: Option<usize>,
        /// Penalties of the EASE models beside them.
        #[serde(default)]
        ease: Vec<f32>,
        /// Confidence and regularization of the iALS models beside them.
        #[serde(default)]
        ials: Vec<(f32, f32)>,
        weights: Vec<(String, f32)>,
    },
    /// User and tag tower as published: `beta` and its rest.
    Fused {
        towers: Box<TowerConfig>,
        beta: f32,
    },
}

impl ModelName {
    pub(crate) const ALL: [Self; 12] = [
        Self::Popularity,
        Self::RecentPopularity,
        Self::PersonalFrequency,
        Self::Itemknn,
        Self::ContentKnn,
        Self::TransitionGraph,
        Self::TwoTower,
        Self::Recgpt,
        Self::Ials,
        Self::Bpr,
        Self::Ease,
        Self::Sasrec,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Popularity => "popularity",
            Self::RecentPopularity => "recent_popularity",
            Self::PersonalFrequency => "personal_frequency",
            Self::Itemknn => "itemknn",
            Self::ContentKnn => "content_knn",
            Self::TransitionGraph => "transition_graph",
            Self::Ease => "ease",
            Self::Ials => "ials",
            Self::Bpr => "bpr",
            Self::Sasrec => "sasrec",
            Self::TwoTower => "two_tower",
            Self::Recgpt => "recgpt",
        }
    }

    /// Whether a seed changes anything.
    pub(crate) fn is_random(self) -> bool {
        match self {
            Self::Ials | Self::Bpr | Self::Sasrec | Self::TwoTower | Self::Recgpt => true,
            Self::Popularity
            | Self::RecentPopularity
            | Self::PersonalFrequency
            | Self::Itemknn
            | Self::ContentKnn
            | Self::TransitionGraph
            | Self::Ease => false,
        }
    }

    /// Whether the model makes sense on a set.
    pub(crate) fn fits(self, set: &Set) -> bool {
        match self {
            Self::RecentPopularity => set.has_clock,
            Self::PersonalFrequency => set.has_repeats,
            Self::ContentKnn => set.catalogue.has_words(),
            Self::Popularity
            | Self::Itemknn
            | Self::TransitionGraph
            | Self::Ease
            | Self::Ials
            | Self::Bpr
            | Self::Sasrec
            | Self::TwoTower
            | Self::Recgpt => true,
        }
    }

    /// The grid of a set.
    pub(crate) fn grid(self, set: &Set) -> Vec<Recipe> {
        match self {
            Self::Popularity => vec![Recipe::Popularity],
            Self::RecentPopularity => [0.5, 2.0, 7.0, 30.0, 90.0]
                .map(|half_life_days| Recipe::RecentPopularity { half_life_days })
                .to_vec(),
            Self::PersonalFrequency => {
                [1.0, 0.95, 0.8].map(|decay| Recipe::PersonalFrequency { decay }).to_vec()
            }
            Self::Itemknn => knn_grid(set).map(Recipe::Itemknn).to_vec(),
            Self::ContentKnn => knn_grid(set).map(Recipe::ContentKnn).to_vec(),
            Self::TransitionGraph => transition_grid(set),
            Self::Ease => {
                let l2: &[f32] = if is_large(set) {
                    &[30.0, 100.0, 300.0, 1000.0]
                } else {
                    &[3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0]
                };
                l2.iter().map(|&l2| Recipe::Ease { l2 }).collect()
            }
            Self::Ials => IALS_GRID.map(|one| Recipe::Ials(ials_config(one))).to_vec(),
            Self::Bpr => BPR_GRID
                .map(|(learning_rate, regularization)| {
                    Recipe::Bpr(BprConfig { learning_rate, regularization, ..BprConfig::default() })
                })
                .to_vec(),
            Self::Sasrec => {
                let base = sasrec_config(&sequence_config(set));
                let dropouts: &[f32] = if is_large(set) { &[0.3] } else { &[0.2, 0.4] };
                dropouts
                    .iter()
                    .map(|&dropout| Recipe::Sequence {
                        config: SequenceConfig { dropout, ..base.clone() },
                        until: None,
                    })
                    .collect()
            }
            Self::TwoTower => tower_grid(set)
                .into_iter()
                .map(|config| Recipe::Towers(Box::new(two_tower_config(&config))))
                .collect(),
            Self::Recgpt if set.name == SetName::World => tower_grid(set)
                .into_iter()
                .map(|towers| Recipe::Fused { towers: Box::new(towers), beta: 0.6 })
                .collect(),
            Self::Recgpt => {
                let own_rows: &[bool] = if set.has_clock { &[true] } else { &[true, false] };
                let with = |towers: TowerConfig| {
                    own_rows.iter().map(move |&own| recgpt_recipe(set, towers.clone(), own))
                };
                tower_grid(set).into_iter().flat_map(with).collect()
            }
        }
    }
}

/// recgpt with these towers; the rows of its encoder's history side are its own or those of the items.
fn recgpt_recipe(set: &Set, towers: TowerConfig, own_history_ids: bool) -> Recipe {
    Recipe::Recgpt {
        towers: Box::new(towers),
        sequence: SequenceConfig {
            content: set.catalogue.has_words(),
            own_history_ids,
            negatives: Some(1024),
            dropout: 0.3,
            ..sequence_config(set)
        },
        until: None,
        ease: if is_large(set) { vec![300.0] } else { vec![30.0, 1000.0] },
        ials: if is_large(set) { vec![(50.0, 50.0)] } else { vec![(2.0, 8.0), (100.0, 200.0)] },
        weights: Vec::new(),
    }
}

/// Confidence and regularization.
const IALS_GRID: [(f32, f32); 11] = [
    (1.0, 0.5),
    (1.0, 2.0),
    (2.0, 2.0),
    (2.0, 8.0),
    (10.0, 5.0),
    (10.0, 20.0),
    (20.0, 20.0),
    (50.0, 50.0),
    (100.0, 200.0),
    (100.0, 800.0),
    (300.0, 800.0),
];

fn ials_config((alpha, regularization): (f32, f32)) -> IalsConfig {
    IalsConfig { alpha, regularization, ..IalsConfig::default() }
}

/// Learning rate and regularization.
const BPR_GRID: [(f32, f32); 6] =
    [(0.02, 0.003), (0.05, 0.003), (0.05, 0.01), (0.05, 0.05), (0.1, 0.03), (0.2, 0.02)];

/// Sets on which a training takes minutes.
fn is_large(set: &Set) -> bool {
    set.catalogue.len() > 8000
}

fn knn_grid(set: &Set) -> [ItemKnnConfig; 4] {
    let neighbours = set.catalogue.len().min(2000);
    [(10, 0.8), (10, 0.5), (20, 0.9), (50, 0.97)].map(|(last, decay)| ItemKnnConfig {
        last,
        decay,
        neighbours,
        ..ItemKnnConfig::default()
    })
}

fn transition_grid(set: &Set) -> Vec<Recipe> {
    let texts: &[f32] = if set.catalogue.has_words() { &[1.0, 0.5] } else { &[0.0] };
    let mut grid = Vec::new();
    for (last, hops) in [(1, 2), (2, 2)] {
        for &text in texts {
            grid.push(Recipe::TransitionGraph(TransitionGraphConfig { last, hops, text }));
        }
    }
    grid
}

fn sequence_config(set: &Set) -> SequenceConfig {
    let base = SequenceConfig::default();
    match set.name {
        SetName::Beauty | SetName::VideoGames => SequenceConfig { epochs: 12, ..base },
        SetName::Office => SequenceConfig { epochs: 20, ..base },
        SetName::Uci => SequenceConfig { epochs: 12, max_len: 150, batch: 32, ..base },
        SetName::Taobao => SequenceConfig { epochs: 16, max_len: 150, batch: 32, ..base },
        SetName::World => SequenceConfig { epochs: 12, max_len: 100, batch: 32, ..base },
    }
}

/// What a tag tower learns costs the user tower (docs/LOG.md): it learns little where tags are asked, and
/// nothing where there are none.
fn tower_grid(set: &Set) -> Vec<TowerConfig> {
    let plain = TowerConfig { patience: 2, ..TowerConfig::default() };
    let base = if set.name == SetName::World {
        TowerConfig { semantic_weight: 1.0, tags_move_items: false, ..plain }
    } else {
        two_tower_config(&plain)
    };
    match set.name {
        SetName::Beauty | SetName::VideoGames => {
            vec![TowerConfig { epochs: 6, max_steps: 10_000, ..base }]
        }
        SetName::Office => vec![TowerConfig { epochs: 10, ..base }],
        SetName::Uci => [true, false]
            .map(|repeats| TowerConfig {
                dim: 128,
                epochs: 5,
                max_steps: 1200,
                repeats,
                history_gap_ms: types::DAY_MS,
                ..base.clone()
            })
            .to_vec(),
        SetName::Taobao => [true, false]
            .map(|repeats| TowerConfig { dim: 128, epochs: 6, repeats, ..base.clone() })
            .to_vec(),
        SetName::World => vec![TowerConfig { dim: 128, max_steps: 2000, ..base }],
    }
}

/// Makes a model from `log`. `validation` chooses the epoch and the weights of a blend where the recipe
/// leaves them open; the recipe that comes back says what was chosen.
pub(crate) fn fit<'a>(
    recipe: &Recipe,
    set: &'a Set,
    log: &'a [Interaction],
    (seed, validation, k): (u64, &[Query], usize),
    bar: &Progress,
) -> Result<(Box<dyn Scorer + 'a>, Recipe)> {
    let (n_items, items) = (set.catalogue.len(), set.catalogue.items());
    let sizes = (set.n_users, n_items);
    let end = end_of(log);
    let model: Box<dyn Scorer> = match recipe {
        Recipe::Popularity => Box::new(Popularity::new(log, n_items, end, None)),
        Recipe::RecentPopularity { half_life_days } => {
            Box::new(RecentPopularity::new(log, n_items, end, *half_life_days))
        }
        Recipe::PersonalFrequency { decay } => {
            Box::new(PersonalFrequency::new(log, n_items, *decay))
        }
        Recipe::Itemknn(config) => Box::new(ItemKnn::new(log, n_items, *config)),
        Recipe::ContentKnn(config) => Box::new(ContentKnn::new(items, *config)),
        Recipe::TransitionGraph(config) => Box::new(TransitionGraph::new(log, items, *config)),
        Recipe::Ease { l2 } => Box::new(ease(set, log, *l2)?),
        Recipe::Ials(config) => Box::new(ials(set, log, IalsConfig { seed, ..*config })?),
        Recipe::Bpr(config) => Box::new(Bpr::new(log, sizes, BprConfig { seed, ..*config })),
        Recipe::Sequence { config, until } => {
            let (model, epoch) = sequence(
                &SequenceConfig { seed, ..config.clone() },
                *until,
                set,
                log,
                (validation, k),
                bar,
            )?;
            return Ok((model, Recipe::Sequence { config: config.clone(), until: Some(epoch) }));
        }
        Recipe::Towers(config) => Box::new(towers(config, set, log, seed, bar)?),
        Recipe::Fused { towers: config, beta } => {
            Box::new(fused(towers(config, set, log, seed, bar)?, set, log, *beta))
        }
        Recipe::Recgpt { .. } => return recgpt(recipe, set, log, (seed, validation, k), bar),
    };
    Ok((model, recipe.clone()))
}

fn towers(
    config: &TowerConfig,
    set: &Set,
    log: &[Interaction],
    seed: u64,
    bar: &Progress,
) -> Result<Arc<Towers>> {
    let data = TowerData {
        catalogue: &set.catalogue,
        taxonomy: &set.taxonomy,
        n_users: set.n_users,
        interactions: log,
        now: end_of(log),
    };
    let config = TowerConfig { seed, ..config.clone() };
    let train = || Ok(train_towers(&data, &config, &|done, total| bar.set(done, total))?.0);
    set.made.towers.get(&config, log, |_| true, train)
}

fn ease(set: &Set, log: &[Interaction], l2: f32) -> Result<Arc<Ease>> {
    let sizes = (set.n_users, set.catalogue.len());
    set.made.ease.get(&l2, log, |_| true, || Ok(Ease::new(log, sizes, l2)))
}

fn ials(set: &Set, log: &[Interaction], config: IalsConfig) -> Result<Arc<Ials>> {
    let sizes = (set.n_users, set.catalogue.len());
    set.made.ials.get(&config, log, |_| true, || Ok(Ials::new(log, sizes, config)))
}

/// The encoder after the given epoch, or after the one that is best on validation, and that epoch.
fn sequence<'a>(
    config: &SequenceConfig,
    until: Option<usize>,
    set: &'a Set,
    log: &[Interaction],
    (validation, k): (&[Query], usize),
    bar: &Progress,
) -> Result<(Box<dyn Scorer + 'a>, usize)> {
    let asked = thinned(validation, EPOCH_USERS);
    let epochs = epochs(config, until, set, log, bar)?;
    let epoch = match until {
        Some(until) => until,
        None => {
            let values = epochs.iter().map(|model| mean_recall(model, &asked, k));
            let best = (1..).zip(values).reduce(|a, b| if b.1 > a.1 { b } else { a });
            best.map_or(epochs.len(), |(epoch, _)| epoch)
        }
    };
    Ok((Box::new(epochs[epoch - 1].clone()), epoch))
}

/// The encoder after each epoch: up to the given one, or until no view has gained for some epochs.
fn epochs(
    config: &SequenceConfig,
    until: Option<usize>,
    set: &Set,
    log: &[Interaction],
    bar: &Progress,
) -> Result<Arc<Vec<SequenceModel>>> {
    let data =
        SequenceData { catalogue: &set.catalogue, taxonomy: &set.taxonomy, interactions: log };
    let train = || {
        let mut models: Vec<SequenceModel> = Vec::new();
        let mut best = vec![(f64::NEG_INFINITY, 0); set.views.len()];
        train_sequence(&data, config, &mut |model, point| {
            bar.set(point.epoch as u64, until.unwrap_or(config.epochs) as u64);
            models.push(model.clone());
            if until.is_none() {
                for (view, best) in set.views.iter().zip(&mut best) {
                    let asked = thinned(&view.validation, EPOCH_USERS);
                    let value = mean_recall(model, &asked, view.k);
                    tracing::info!(
                        epoch = point.epoch,
                        loss = point.loss,
                        view = view.name,
                        recall = value,
                        "sequence"
                    );
                    if value > best.0 {
                        *best = (value, point.epoch);
                    }
                }
            }
            let stale = best.iter().all(|(_, epoch)| point.epoch - epoch >= EPOCHS_WITHOUT_GAIN);
            let done = until.map_or(stale, |until| point.epoch >= until);
            if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(models)
    };
    let enough = |models: &Vec<SequenceModel>| until.is_none_or(|until| models.len() >= until);
    set.made.epochs.get(config, log, enough, train)
}

/// User tower, sequence encoder, neighbours, transitions and text, in one score.
fn recgpt<'a>(
    recipe: &Recipe,
    set: &'a Set,
    log: &'a [Interaction],
    (seed, validation, k): (u64, &[Query], usize),
    bar: &Progress,
) -> Result<(Box<dyn Scorer + 'a>, Recipe)> {
    let Recipe::Recgpt { towers: config, sequence: encoder, until, ease, ials, weights } = recipe
    else {
        anyhow::bail!("not a recipe of recgpt");
    };
    let (n_items, items) = (set.catalogue.len(), set.catalogue.items());
    let tower = towers(config, set, log, seed, bar)?;
    let with_seed = SequenceConfig { seed, ..encoder.clone() };
    let (attention, epoch) = sequence(&with_seed, *until, set, log, (validation, k), bar)?;
    let weight_of = |name: &str| {
        weights.iter().find(|(known, _)| known == name).map_or(0.0, |(_, weight)| *weight)
    };
    let component = |name: &str, model: Box<dyn Scorer + 'a>, scale: Scale| Component {
        weight: if name == "user_tower" { 1.0 } else { weight_of(name) },
        name: name.to_owned(),
        model,
        scale,
    };
    let knn = ItemKnnConfig { neighbours: n_items.min(2000), ..ItemKnnConfig::default() };
    let graph = TransitionGraphConfig { last: 2, hops: 2, text: 0.0 };
    let mut parts = vec![
        component("user_tower", Box::new(tower), Scale::Standard),
        component("attention", attention, Scale::Standard),
        component("itemknn", Box::new(ItemKnn::new(log, n_items, knn)), Scale::OfMost),
        component("transitions", Box::new(TransitionGraph::new(log, items, graph)), Scale::OfMost),
    ];
    for &l2 in ease {
        let model = Box::new(self::ease(set, log, l2)?);
        parts.push(component(&format!("ease_{l2}"), model, Scale::OfMost));
    }
    for &one in ials {
        let config = IalsConfig { seed, ..ials_config(one) };
        let model = Box::new(self::ials(set, log, config)?);
        parts.push(component(&format!("ials_{}", one.0), model, Scale::Standard));
    }
    if set.catalogue.has_words() {
        let texts = ContentKnn::new(items, ItemKnnConfig { last: 5, ..knn });
        parts.push(component("text", Box::new(texts), Scale::OfMost));
    }
    if set.has_clock {
        let popular = RecentPopularity::new(log, n_items, end_of(log), 30.0);
        parts.push(component("recent", Box::new(popular), Scale::OfMost));
    }
    if set.has_repeats {
        let own = PersonalFrequency::new(log, n_items, 0.95);
        parts.push(component("own", Box::new(own), Scale::OfMost));
    }
    let mut blend = Blend::new(parts);
    if weights.is_empty() {
        let cases: Vec<BlendCase<'_>> = thinned(validation, BLEND_USERS)
            .into_iter()
            .map(|q| BlendCase {
                user: q.user,
                history: &q.history,
                truth: &q.truth,
                hidden: q.hidden.clone(),
            })
            .collect();
        blend = blend.tuned(&cases, k);
    }
    let chosen = Recipe::Recgpt {
        towers: config.clone(),
        sequence: encoder.clone(),
        until: Some(epoch),
        ease: ease.clone(),
        ials: ials.clone(),
        weights: blend.weights(),
    };
    Ok((Box::new(blend), chosen))
}

/// User and tag tower in one score, as `recgpt run` serves them but without limits per category. The tags
/// were predicted right before the test: what is learned for validation may not see them.
fn fused<'a>(towers: Arc<Towers>, set: &Set, log: &[Interaction], beta: f32) -> Blend<'a> {
    let part = |name: &str, model: Box<dyn Scorer + 'a>, weight: f32| Component {
        name: name.to_owned(),
        model,
        scale: Scale::AsIs,
        weight,
    };
    let is_test = set.refit.as_deref().is_some_and(|refit| std::ptr::eq(refit, log));
    let tags = is_test.then(|| Box::new(TagScores::new(&towers, set)));
    let mut parts = vec![part("user_tower", Box::new(towers), beta)];
    parts.extend(tags.map(|tags| part("tags", tags, 1.0 - beta)));
    Blend::new(parts)
}

/// The tag tower as the default fusion asks it: items by the mean cosine with a user's tags, which is the
/// product with the mean of their vectors; nothing for users without tags.
struct TagScores {
    dim: usize,
    items: Vec<f32>,
    means: HashMap<UserId, Vec<f32>>,
}

impl TagScores {
    fn new(towers: &Towers, set: &Set) -> Self {
        let mean = |tags: &[types::Tag]| {
            let mut mean = vec![0.0; towers.dim()];
            for tag in tags {
                let vector = towers.tag_vector(&tag.text);
                mean.iter_mut().zip(vector).for_each(|(m, x)| *m += x / tags.len() as f32);
            }
            mean
        };
        Self {
            dim: towers.dim(),
            items: towers.item_vectors().to_vec(),
            means: set.tags.iter().map(|(user, tags)| (*user, mean(tags))).collect(),
        }
    }
}

impl Scorer for TagScores {
    fn n_items(&self) -> usize {
        self.items.len() / self.dim
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        let n = self.items.len() / self.dim;
        out.fill(0.0);
        for ((user, _), row) in users.iter().zip(out.chunks_mut(n.max(1))) {
            if let Some(mean) = self.means.get(user) {
                nn::par_gemm_nt(row, &self.items, mean, (n, self.dim, 1), 0.0);
            }
        }
    }
}
