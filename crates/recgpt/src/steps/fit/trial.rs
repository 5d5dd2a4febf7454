//! Whether a fit serves the shop better than the model as shipped: both predict tags for users whom the fit
//! has not read, and what these users took up later decides.

use std::collections::BTreeSet;

use anyhow::Result;
use lm::{Decoder, Engine, LanguageModel, save_decoder};
use nn::Dtype;
use serde::{Deserialize, Serialize};
use types::{CategoryId, Digest, User};

use super::Moment;
use crate::settings::LmSettings;
use crate::steps::Context;
use crate::steps::evaluate::TAGS_ASKED;
use crate::steps::model::{builtin, builtin_folder};
use crate::steps::shop::Shop;
use crate::steps::tag::predict;

/// Where the fitted model lies while it is tried.
const TRIED: &str = "models/trial";

/// Mean share of the categories taken up later that are among those of a user's first tags.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) users: usize,
    pub(super) shipped: f64,
    pub(super) fitted: f64,
}

impl Trial {
    /// A tie is none: the shipped model is the one that worlds have measured.
    pub(super) fn is_won(&self) -> bool {
        self.fitted > self.shipped
    }

    /// Asks both models; none without a moment that has a category behind it.
    pub(super) fn run(
        ctx: &Context,
        shop: &Shop,
        fitted: &Decoder,
        moments: &[Moment],
    ) -> Result<Option<Self>> {
        let LmSettings::Builtin { engine, .. } = &ctx.settings.lm else { return Ok(None) };
        let truths: Vec<BTreeSet<CategoryId>> = moments.iter().map(|m| later(shop, m)).collect();
        if truths.iter().all(BTreeSet::is_empty) {
            return Ok(None);
        }
        let recall = |model: &dyn LanguageModel| recall(ctx, shop, model, (moments, &truths));
        let shipped = recall(&builtin(engine.config())?)?;
        let dir = ctx.ws.path_for_writing(&format!("{TRIED}/config.json"))?.with_file_name("");
        builtin_folder(&dir)?;
        save_decoder(fitted, &dir, Dtype::F16)?;
        let fitted = recall(&Engine::load(&dir, engine.config())?)?;
        std::fs::remove_dir_all(&dir)?;
        let users = truths.iter().filter(|truth| !truth.is_empty()).count();
        Ok(Some(Self { users, shipped, fitted }))
    }
}

fn later(shop: &Shop, moment: &Moment) -> BTreeSet<CategoryId> {
    moment.after.iter().filter_map(|item| shop.catalogue.item(*item).category).collect()
}

fn recall(
    ctx: &Context,
    shop: &Shop,
    model: &dyn LanguageModel,
    (moments, truths): (&[Moment], &[BTreeSet<CategoryId>]),
) -> Result<f64> {
    let users: Vec<User> = moments.iter().map(|m| m.user.clone()).collect();
    let digests: Vec<Digest> = moments.iter().map(|m| m.digest.clone()).collect();
    let tags = predict(ctx, shop, model, (&users, &digests))?;
    let shares = tags.iter().zip(truths).filter(|(_, truth)| !truth.is_empty());
    let shares = shares.map(|(user, truth)| {
        let first = user.tags.iter().take(TAGS_ASKED);
        let named: BTreeSet<CategoryId> = first.filter_map(|tag| tag.category).collect();
        truth.intersection(&named).count() as f64 / truth.len() as f64
    });
    let shares: Vec<f64> = shares.collect();
    Ok(shares.iter().sum::<f64>() / shares.len().max(1) as f64)
}
