//! Fits the built-in model briefly to the shop's own words, on what happened before the cut.

mod trial;

use std::fs;
use std::path::PathBuf;

use align::{
    FitData, Kept, Neighbours, Shop as TeacherShop, ShopUser, fit_config, shop_associations,
    shop_samples,
};
use anyhow::{Context as _, Result};
use events::digest;
use lm::{Decoder, save_decoder, write_whole};
use nn::Dtype;
use serde::{Deserialize, Serialize};
use types::{Digest, ItemId, User, UserId};

use self::trial::Trial;
use super::Context;
use super::model::{
    FITTED, builtin_decoder, builtin_tokenizer, builtin_tokenizer_json, fitted_hash, token_counter,
};
use super::shop::{Log, Shop, positive_items};
use super::worlds::{MAX_TAGS, TRAINING_SEEDS, WorldPlan, samples_of_plans};
use crate::progress::Progress;
use crate::settings::{FitSettings, LmSettings};

/// How the fit went; `reports/parts/fit.json`.
#[derive(Debug, Serialize, Deserialize)]
struct FitPart {
    samples: usize,
    too_long: usize,
    losses: Vec<f64>,
    /// How far towards the trained weights the fit went, so as not to forget.
    #[serde(default)]
    kept: Option<Kept>,
    /// How it did beside the model as shipped; none where it was not tried.
    #[serde(default)]
    trial: Option<Trial>,
    /// Hash of the weights that came out; 0 where they do not answer.
    #[serde(default)]
    weights: u64,
}

/// Products whose interest is taught.
const ASSOCIATIONS: usize = 600;

/// One moment of one user, owned.
struct Moment {
    user: User,
    digest: Digest,
    before: Vec<ItemId>,
    after: Vec<ItemId>,
}

pub(crate) const PART: &str = "reports/parts/fit.json";

pub(crate) fn run(ctx: &Context, bar: &Progress) -> Result<String> {
    let LmSettings::Builtin { fit, .. } = &ctx.settings.lm else {
        return Ok("not needed: the language model is not the built-in one".to_owned());
    };
    if !fit.enabled {
        return without(ctx);
    }
    let shop = Shop::load(ctx)?;
    if !shop.catalogue.has_words() {
        return Ok("skipped: the catalogue has no words".to_owned());
    }
    let log = shop.log(&ctx.settings)?;
    let (read, tried) = divided(&log, fit);
    let samples =
        teach(&shop, &log, &moments(ctx, &shop, &log, (&read, fit.cuts_per_user))?, &tried);
    let generic = Generic::new(ctx)?;
    let config = fit_config(fit.steps as u64, ctx.settings.seed);
    let (model, tokenizer) = (builtin_decoder()?, builtin_tokenizer()?);
    let fitted = align::fit(model, &tokenizer, &generic.beside(&samples), config, &|record| {
        bar.set(record.step, record.steps);
    })?;
    let moments = moments(ctx, &shop, &log, (&tried, 1))?;
    let trial = Trial::run(ctx, &shop, &fitted.decoder, &moments)?;
    let weights = match &trial {
        Some(trial) if !trial.is_won() => {
            without(ctx)?;
            0
        }
        _ => {
            write_model(ctx, FITTED, &fitted.decoder)?;
            fitted_hash(ctx)?.unwrap_or_default()
        }
    };
    let losses: Vec<f64> = fitted.log.records.iter().map(|r| r.loss).collect();
    let (too_long, kept) = (fitted.too_long, Some(fitted.kept));
    let part = FitPart { samples: samples.len(), too_long, losses, kept, trial, weights };
    ctx.ws.write_json(PART, &part)?;
    Ok(part.line())
}

/// Writes a fitted model as a folder of the workspace; gives its path.
fn write_model(ctx: &Context, folder: &str, decoder: &Decoder) -> Result<PathBuf> {
    let tokenizer = ctx.ws.path_for_writing(&format!("{folder}/tokenizer.json"))?;
    write_whole(&tokenizer, builtin_tokenizer_json())?;
    let folder = ctx.ws.path(folder);
    save_decoder(decoder, &folder, Dtype::F16)?;
    Ok(folder)
}

impl FitPart {
    fn line(&self) -> String {
        let loss = |loss: Option<&f64>| loss.copied().unwrap_or(f64::NAN);
        let line = format!(
            "{} samples of the shop, loss {:.3} to {:.3}, {:.0}% of the way kept",
            self.samples,
            loss(self.losses.first()),
            loss(self.losses.last()),
            self.kept.map_or(f64::NAN, |kept| kept.share * 100.0)
        );
        let Some(Trial { users, shipped, fitted, difference }) = self.trial else { return line };
        let verdict = if self.weights == 0 { "not used" } else { "used" };
        format!(
            "{line}; {verdict}: of the categories that {users} other users took up later its tags name \
             {fitted:.3}, those of the model as shipped {shipped:.3} (difference {:.3} to {:.3}, 95%)",
            difference.low, difference.high
        )
    }
}

/// The built-in model as shipped: what an earlier fit left does not answer any more. An increment stays.
fn without(ctx: &Context) -> Result<String> {
    let as_shipped = "not asked for: the built-in model is used as shipped";
    let Some(answering) = fitted_hash(ctx)? else { return Ok(as_shipped.to_owned()) };
    let part: Option<FitPart> =
        ctx.ws.path(PART).exists().then(|| ctx.ws.read_json(PART)).transpose()?;
    if part.is_none_or(|part| part.weights != answering) {
        return Ok("not asked for: models/lm, which no fit made, answers".to_owned());
    }
    let remove = |path: PathBuf| {
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("removing {}", path.display()))
    };
    // The weights first: without them no model is there, with them alone one is.
    for name in [&format!("{FITTED}/model.safetensors"), FITTED, PART] {
        remove(ctx.ws.path(name))?;
    }
    Ok(format!("{as_shipped}, and the fit of before is removed"))
}

/// What the embedded teacher makes of the log: digests at earlier moments, what followed as targets.
fn teach(shop: &Shop, log: &Log, moments: &[Moment], tried: &[UserId]) -> Vec<align::Sample> {
    let cores = shop.cores();
    let core_texts: Vec<String> =
        (0..shop.catalogue.len()).map(|i| cores.of(ItemId::from_idx(i)).to_owned()).collect();
    let mut histories: Vec<Vec<ItemId>> =
        log.histories().iter().map(|history| positive_items(history)).collect();
    tried.iter().for_each(|user| histories[user.idx()].clear()); // their later acts decide the trial
    let neighbours = Neighbours::new(&histories, shop.catalogue.len(), 20);
    let users: Vec<ShopUser<'_>> = moments
        .iter()
        .map(|m| ShopUser { user: &m.user, digest: &m.digest, before: &m.before, after: &m.after })
        .collect();
    let lexicon = shop.lexicon();
    let teacher = TeacherShop {
        catalogue: &shop.catalogue,
        taxonomy: &shop.taxonomy,
        cores: &core_texts,
        lexicon: &lexicon,
        neighbours: &neighbours,
        max_tags: MAX_TAGS,
    };
    let mut samples = shop_samples(&users, &teacher);
    samples.extend(shop_associations(&teacher, ASSOCIATIONS));
    samples
}

/// One of so many users is tried instead of read, until there are enough.
const TRIED_OF: usize = 4;

/// The most active users: as many as the steps can read, and those of the trial.
fn divided(log: &Log, fit: &FitSettings) -> (Vec<UserId>, Vec<UserId>) {
    let mut rows: Vec<(usize, UserId)> = Vec::new();
    for (row, history) in log.histories().iter().enumerate() {
        if positive_items(history).len() >= 5 {
            rows.push((history.len(), UserId::from_idx(row)));
        }
    }
    rows.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let (mut read, mut tried) = (Vec::new(), Vec::new());
    for (place, (_, user)) in rows.into_iter().enumerate() {
        let is_tried = place % TRIED_OF == TRIED_OF - 1 && tried.len() < fit.trial_users;
        if is_tried { tried.push(user) } else { read.push(user) }
    }
    read.truncate(fit.steps * 8 / fit.cuts_per_user.max(1));
    (read, tried)
}

/// Moments spread over the history of each user.
fn moments(
    ctx: &Context,
    shop: &Shop,
    log: &Log,
    (users, cuts): (&[UserId], usize),
) -> Result<Vec<Moment>> {
    let cores = shop.cores();
    let (_, count) = token_counter(ctx)?;
    let histories = log.histories();
    let mut moments = Vec::new();
    for &user in users {
        let user_id = &shop.user_ids[user.idx()];
        let Some(whole) = shop.store.history(user_id)? else { continue };
        let history = histories[user.idx()];
        for cut in 1..=cuts {
            // Between a third and nine tenths of the way.
            let at = history.len() * (4 + 6 * cut / cuts.max(1)).min(9) / 10;
            let Some(now) = history.get(at).map(|i| i.timestamp) else { continue };
            let (before, after) = history.split_at(history.partition_point(|i| i.timestamp < now));
            let mut past = whole.clone();
            past.events.retain(|e| e.timestamp < now);
            let config = events::DigestConfig::new(now, ctx.settings.digest.builtin_budget);
            let digest = digest(&past, &cores, &shop.catalogue, &config, &*count)?;
            moments.push(Moment {
                user: shop.user(user_id),
                digest,
                before: positive_items(before),
                after: positive_items(after),
            });
        }
    }
    Ok(moments)
}

/// Samples of the kind that the model was shipped with.
pub(super) struct Generic {
    /// To be read beside those of the shop, so that the model keeps what it knew.
    pub(super) read: Vec<align::Sample>,
    /// Of a world of their own, to see whether it does.
    pub(super) known: Vec<align::Sample>,
}

impl Generic {
    pub(super) fn new(ctx: &Context) -> Result<Self> {
        let (_, count) = token_counter(ctx)?;
        let read = WorldPlan {
            worlds: 2,
            users: 80,
            cuts: 1,
            reasons: 1,
            counted: 1200,
            judged: 1,
            cleaned: true,
            seed: TRAINING_SEEDS + (1 << 20),
            digest_budget: ctx.settings.digest.builtin_budget,
        };
        let known = WorldPlan { worlds: 1, users: 40, seed: read.seed + 50, ..read };
        let [read, known] = samples_of_plans([read, known], &*count)?;
        Ok(Self { read, known })
    }

    /// With the samples of a shop or a window.
    pub(super) fn beside<'a>(&'a self, shop: &'a [align::Sample]) -> FitData<'a> {
        FitData { shop, generic: &self.read, known: &self.known }
    }
}
