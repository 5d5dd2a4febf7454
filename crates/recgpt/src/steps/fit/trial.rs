//! Whether a fit serves the shop better than the model as shipped: both predict tags for users whom the fit
//! has not read, and what these users took up later decides.

use std::collections::BTreeSet;

use anyhow::Result;
use eval::{BootstrapConfig, PairedDifference, paired_bootstrap, recall_at};
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
    /// Of fitted over shipped, user by user.
    pub(super) difference: PairedDifference,
}

/// Who is asked, and the categories that they took up later, none twice.
#[derive(Default)]
struct Cases {
    users: Vec<User>,
    digests: Vec<Digest>,
    truths: Vec<Vec<Option<CategoryId>>>,
}

impl Trial {
    /// Whether the fit is better beyond chance (95%): the shipped model is the one that worlds have
    /// measured, and a few users more or less decide nothing.
    pub(super) fn is_won(&self) -> bool {
        self.difference.low > 0.0
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
        let recalls = |model: &dyn LanguageModel| recalls(ctx, shop, model, &cases);
        let shipped = recalls(&builtin(engine.config())?)?;
        let dir = write_model(ctx, TRIED, fitted)?;
        let fitted = recalls(&Engine::load(&dir, engine.config())?)?;
        std::fs::remove_dir_all(&dir)?;
        Ok(Self::of(&shipped, &fitted, ctx.settings.seed))
    }

    /// From the recall of every user under both models.
    fn of(shipped: &[f64], fitted: &[f64], seed: u64) -> Option<Self> {
        let difference = paired_bootstrap(fitted, shipped, &BootstrapConfig::new(seed))?;
        let mean = |recalls: &[f64]| recalls.iter().sum::<f64>() / recalls.len() as f64;
        Some(Self {
            users: shipped.len(),
            shipped: mean(shipped),
            fitted: mean(fitted),
            difference,
        })
    }
}

fn later(shop: &Shop, moment: &Moment) -> Vec<Option<CategoryId>> {
    let categories = moment.after.iter().filter_map(|item| shop.catalogue.item(*item).category);
    categories.collect::<BTreeSet<_>>().into_iter().map(Some).collect()
}

fn recalls(
    ctx: &Context,
    shop: &Shop,
    model: &dyn LanguageModel,
    cases: &Cases,
) -> Result<Vec<f64>> {
    let tags = predict(ctx, shop, model, (&cases.users, &cases.digests))?;
    let shares = tags.iter().zip(&cases.truths).map(|(user, truth)| {
        let named: Vec<Option<CategoryId>> = user.tags.iter().map(|tag| tag.category).collect();
        recall_at(TAGS_ASKED, truth, &named)
    });
    Ok(shares.collect())
}

#[cfg(test)]
mod tests {
    use super::Trial;

    #[test]
    fn a_fit_wins_by_more_than_chance() {
        let shipped = [0.0, 0.5, 0.0, 0.25, 0.0, 0.5, 0.0, 0.25];
        let with = |gains: [f64; 8]| {
            let fitted: Vec<f64> = shipped.iter().zip(gains).map(|(s, gain)| s + gain).collect();
            Trial::of(&shipped, &fitted, 7).unwrap().is_won()
        };
        for (gains, wins) in [
            ([0.25; 8], true),
            ([0.0; 8], false),
            ([-0.25; 8], false),
            ([0.5, -0.25, 0.0, 0.0, 0.0, -0.25, 0.25, 0.0], false), // better by chance
            ([0.5, 0.25, 0.25, 0.0, 0.25, 0.0, 0.25, 0.25], true),
        ] {
            assert_eq!(with(gains), wins, "{gains:?}");
        }
        assert_eq!(Trial::of(&[], &[], 7), None);
    }
}
