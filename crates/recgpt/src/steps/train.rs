//! Trains the towers on what lies before the cut.

use anyhow::Result;
use retrieval::{TowerConfig, TowerData, train_towers};

use super::Context;
use super::shop::Shop;
use crate::progress::Progress;

pub(crate) const PART: &str = "reports/parts/train.json";

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
    towers.save(&ctx.ws.path("models/towers"))?;
    ctx.ws.write_json(PART, &curve)?;
    let best = curve.epochs.iter().find(|e| e.epoch == curve.best_epoch);
    Ok(format!(
        "{} examples, epoch {} of {} kept, validation recall@20 {:.4}",
        curve.examples,
        curve.best_epoch,
        curve.epochs.len(),
        best.map_or(0.0, |e| e.validation_recall_at_20)
    ))
}
