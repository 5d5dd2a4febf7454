//! Whether a fit serves the shop better than the model as shipped: both predict tags for users whom the fit
//! has not read, and what these users took up later decides.

use std::collections::BTreeSet;

use anyhow::Result;
use eval::recall_at;
use lm::{Decoder, Engine, LanguageModel};
use serde::{Deserialize, Serialize};
use types::{CategoryId, Digest, User};

use super::{Moment, write_model};
use crate::settings::LmSettings;
use crate::steps::Context;
use crate::steps::evaluate::TAGS_ASKED;
use crate::steps::model::builtin;
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

/// Who is asked, and the categories that they took up later, none twice.
#[derive(Default)]
struct Cases {
    users: Vec<User>,
    digests: Vec<Digest>,
    truths: Vec<Vec<Option<CategoryId>>>,
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
        let mut cases = Cases::default();
        for moment in moments {
            let truth = later(shop, moment);
            if !truth.is_empty() {
                cases.users.push(moment.user.clone());
                cases.digests.push(moment.digest.clone());
                cases.truths.push(truth);
            }
        }
        if cases.truths.is_empty() {
            return Ok(None);
        }
        let recall = |model: &dyn LanguageModel| recall(ctx, shop, model, &cases);
        let shipped = recall(&builtin(engine.config())?)?;
        let dir = write_model(ctx, TRIED, fitted)?;
        let fitted = recall(&Engine::load(&dir, engine.config())?)?;
        std::fs::remove_dir_all(&dir)?;
        Ok(Some(Self { users: cases.users.len(), shipped, fitted }))
    }
}

fn later(shop: &Shop, moment: &Moment) -> Vec<Option<CategoryId>> {
    let categories = moment.after.iter().filter_map(|item| shop.catalogue.item(*item).category);
    categories.collect::<BTreeSet<_>>().into_iter().map(Some).collect()
}

fn recall(ctx: &Context, shop: &Shop, model: &dyn LanguageModel, cases: &Cases) -> Result<f64> {
    let tags = predict(ctx, shop, model, (&cases.users, &cases.digests))?;
    let shares = tags.iter().zip(&cases.truths).map(|(user, truth)| {
        let named: Vec<Option<CategoryId>> = user.tags.iter().map(|tag| tag.category).collect();
        recall_at(TAGS_ASKED, truth, &named)
    });
    Ok(shares.sum::<f64>() / cases.truths.len() as f64)
}
