//! Trains the towers on what lies before the cut.

use anyhow::{Result, anyhow};
use retrieval::{TowerConfig, TowerData, train_towers};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::Context;
use super::shop::Shop;
use crate::progress::Progress;

pub(crate) const PART: &str = "reports/parts/train.json";

/// The folder of the towers.
pub(crate) const TOWERS: &str = "models/towers";

/// Whose rows the towers hold: their users and items are places in lists that an import changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrainedOn {
    /// Hash of the ids in order.
    pub(crate) users: u64,
    pub(crate) items: u64,
}

impl TrainedOn {
    pub(crate) const PATH: &str = "models/towers/trained_on.json";

    fn of(shop: &Shop) -> Self {
        let items = shop.catalogue.items().iter().map(|item| item.item_id.as_str());
        Self { users: Self::hash_users(&shop.user_ids), items: hash(items) }
    }

    pub(crate) fn hash_users(user_ids: &[String]) -> u64 {
        hash(user_ids.iter().map(String::as_str))
    }

    /// What the towers of the workspace were trained on; none where there are none, or of a version
    /// that did not say.
    pub(crate) fn read(ctx: &Context) -> Result<Option<Self>> {
        if ctx.ws.path(Self::PATH).exists() {
            ctx.ws.read_json(Self::PATH).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Refuses towers whose rows belong to other users or items.
    pub(crate) fn check(ctx: &Context, shop: &Shop) -> Result<()> {
        match Self::read(ctx)? {
            Some(trained) if trained != Self::of(shop) => Err(anyhow!(
                "the towers were trained before the last import; run `recgpt train` and `recgpt index` \
                 again, or all steps with `recgpt run`"
            )),
            _ => Ok(()),
        }
    }
}

/// The ids behind the rows, in order: what serves a catalogue that has changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrainedIds {
    pub(crate) users: Vec<String>,
    pub(crate) items: Vec<String>,
}

impl TrainedIds {
    pub(crate) const PATH: &str = "models/towers/trained_ids.json";

    pub(crate) fn of(shop: &Shop) -> Self {
        let items = shop.catalogue.items().iter().map(|item| item.item_id.clone());
        Self { users: shop.user_ids.clone(), items: items.collect() }
    }
}

fn hash<'a>(ids: impl Iterator<Item = &'a str>) -> u64 {
    let mut hash = Xxh3::new();
    for id in ids {
        hash.update(&(id.len() as u64).to_le_bytes());
        hash.update(id.as_bytes());
    }
    hash.digest()
}

pub(crate) fn run(ctx: &Context, bar: &Progress) -> Result<String> {
    let shop = Shop::load(ctx)?;
    let log = shop.log(&ctx.settings)?;
    let config = TowerConfig { seed: ctx.settings.seed, ..ctx.settings.towers.clone() };
    let data = TowerData {
        catalogue: &shop.catalogue,
        taxonomy: &shop.taxonomy,
        n_users: shop.user_ids.len(),
        interactions: &log.train,
        // The training part is cut per user already; this moment lies behind all of it.
        now: types::Timestamp(log.train.iter().map(|i| i.timestamp.0 + 1).max().unwrap_or(0)),
    };
    let (towers, curve) = train_towers(&data, &config, &|done, total| bar.set(done, total))?;
    towers.save(&ctx.ws.path(TOWERS))?;
    ctx.ws.write_json(TrainedOn::PATH, &TrainedOn::of(&shop))?;
    ctx.ws.write_json(TrainedIds::PATH, &TrainedIds::of(&shop))?;
    ctx.ws.write_json(PART, &curve)?;
    let best = curve.epochs.iter().find(|e| e.epoch == curve.best_epoch);
    let repeats = match config.repeats {
        true => format!(", weight of repeats {}", curve.repeat_weight),
        false => String::new(),
    };
    Ok(format!(
        "{} examples, epoch {} of {} kept, validation recall@20 {:.4}{repeats}",
        curve.examples,
        curve.best_epoch,
        curve.epochs.len(),
        best.map_or(0.0, |e| e.validation_recall_at_20)
    ))
}
