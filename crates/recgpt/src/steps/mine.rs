//! Interests of the most active users, with the events that support them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow};
use events::Digester;
use events::tables::{self, UserInterests};
use intent::{BatchOptions, MineInput, mine_batch};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Digest, User};

use super::Context;
use super::digest::{DIGESTS, cut_of};
use super::model::{fitted_hash, language, open, prompt_config, token_counter};
use super::shop::{Shop, interest_pool};
use crate::progress::{Progress, say};
use crate::workspace::hash_inputs;

/// Digests as the prompts hold them.
pub(crate) const PROMPT_DIGESTS: &str = "intent/prompt_digests.parquet";
/// Interests per user.
pub(crate) const INTERESTS: &str = "intent/interests.parquet";

/// What the language model did in a step; `reports/parts/{mine,tag}.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LmPart {
    pub(crate) model: String,
    pub(crate) users: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    /// Users whom the model could not answer for, by message.
    pub(crate) failures: BTreeMap<String, usize>,
    /// Set where the step had nothing to read.
    pub(crate) absent_because: Option<String>,
}

pub(crate) const PART: &str = "reports/parts/mine.json";

/// One batch's results, kept so that a stopped run continues.
#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    inputs: u64,
    users: Vec<UserInterests>,
    part: LmPart,
}

pub(crate) fn run(ctx: &Context, bar: &Progress) -> Result<String> {
    let shop = Shop::load(ctx)?;
    if !shop.catalogue.has_words() {
        let why = "the catalogue's titles have no words that a language model could read";
        tables::write_interests(&ctx.ws.path_for_writing(INTERESTS)?, &[])?;
        tables::write_digests(&ctx.ws.path(PROMPT_DIGESTS), &[])?;
        ctx.ws.write_json(
            PART,
            &LmPart { absent_because: Some(why.to_owned()), ..LmPart::default() },
        )?;
        return Ok(format!("skipped: {why}; the user tower serves alone"));
    }
    let digests = prompt_digests(ctx, &shop)?;
    tables::write_digests(&ctx.ws.path_for_writing(PROMPT_DIGESTS)?, &digests)?;
    let users: Vec<User> = digests.iter().map(|d| shop.user(&d.user_id)).collect();
    let model = open(ctx)?;
    let pool = interest_pool(ctx.settings.intent.pool.as_deref())?;
    let options = options(ctx, model.as_ref())?;
    let weights: Vec<u64> = fitted_hash(ctx)?.into_iter().collect();
    let size = ctx.settings.intent.batch.max(1);
    let mut all = LmPart { model: model.name().to_owned(), ..LmPart::default() };
    let mut interests = Vec::new();
    for (row, chunk) in digests.chunks(size).enumerate() {
        let inputs = hash_inputs(&(chunk, &pool, &options, ctx.ws.stamp("fit")), &weights)?;
        let file = format!("intent/parts/mine-{row:05}.json");
        let batch = match ctx.ws.read_json::<Batch>(&file).ok().filter(|b| b.inputs == inputs) {
            Some(batch) => batch,
            None => {
                let inputs_of: Vec<MineInput<'_>> = chunk
                    .iter()
                    .zip(&users[row * size..])
                    .map(|(digest, user)| MineInput { user, digest })
                    .collect();
                let batch = mine_chunk(model.as_ref(), &inputs_of, &pool, &options, inputs)?;
                ctx.ws.write_json(&file, &batch)?;
                batch
            }
        };
        all.add(&batch.part);
        interests.extend(batch.users);
        bar.set(interests.len() as u64, digests.len() as u64);
    }
    all.check()?;
    tables::write_interests(&ctx.ws.path(INTERESTS), &interests)?;
    ctx.ws.write_json(PART, &all)?;
    let found: usize = interests.iter().map(|u| u.profile.interests.len()).sum();
    if found == 0 {
        warn_of_nothing(&interests);
    }
    Ok(format!(
        "{found} interests of {} users ({:.1} each) by {}",
        interests.len(),
        found as f64 / interests.len().max(1) as f64,
        all.model
    ))
}

/// How interests are asked for.
pub(super) fn options(ctx: &Context, model: &dyn lm::LanguageModel) -> Result<BatchOptions> {
    Ok(BatchOptions {
        lang: language(ctx)?,
        rounds: ctx.settings.intent.mine_rounds,
        vote: model.style() == lm::PromptStyle::Terse,
        ..BatchOptions::voting(ctx.settings.intent.min_interests, ctx.settings.seed)
    })
}

/// Says what stood in the answers where no interest did.
fn warn_of_nothing(interests: &[UserInterests]) {
    let issue = interests.iter().flat_map(|u| &u.issues).next();
    say(&format!(
        "warning: no interest in the answers for {} users, so the user tower serves alone; try another \
         model in [lm]; the first thing wrong was {}",
        interests.len(),
        issue.map_or("not said", String::as_str)
    ));
}

fn mine_chunk(
    model: &dyn lm::LanguageModel,
    inputs: &[MineInput<'_>],
    pool: &[String],
    options: &BatchOptions,
    hash: u64,
) -> Result<Batch> {
    let mut part = LmPart::default();
    let mut users = Vec::new();
    for outcome in mine_batch(model, inputs, pool, options, &|_, _| {}) {
        part.count(outcome.tokens, outcome.error.as_ref());
        let issues = outcome.issues.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        users.push(UserInterests { profile: outcome.profile, issues });
    }
    Ok(Batch { inputs: hash, users, part })
}

impl LmPart {
    pub(crate) fn count(&mut self, tokens: (usize, usize), error: Option<&lm::LmError>) {
        self.users += 1;
        self.prompt_tokens += tokens.0;
        self.completion_tokens += tokens.1;
        if let Some(error) = error {
            *self.failures.entry(error.to_string()).or_insert(0) += 1;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.users += other.users;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        for (message, n) in &other.failures {
            *self.failures.entry(message.clone()).or_insert(0) += n;
        }
    }

    /// Warns of users without an answer; an error where the model answered for nobody.
    pub(crate) fn check(&self) -> Result<()> {
        let failed: usize = self.failures.values().sum();
        let Some((message, _)) = self.failures.iter().max_by_key(|(_, n)| **n) else {
            return Ok(());
        };
        if failed >= self.users {
            return Err(anyhow!(
                "the language model answered for none of {failed} users: {message}"
            ));
        }
        say(&format!("warning: no answer for {failed} of {} users: {message}", self.users));
        Ok(())
    }
}

/// The users with the most deliberate acts before the cut, under the budget of a prompt; in order of
/// user id.
pub(super) fn prompt_digests(ctx: &Context, shop: &Shop) -> Result<Vec<Digest>> {
    let cuts = shop.cuts(&ctx.settings)?;
    let whole = tables::read_digest_counts(&ctx.ws.path(DIGESTS));
    let whole = whole.context("run `recgpt digest` first")?;
    let mut active: Vec<(u64, &str)> = whole
        .iter()
        .filter(|d| d.n_lines > 0)
        .map(|d| (d.n_events - d.n_dropped_behaviour, d.user_id.as_str()))
        .collect();
    active.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let mut chosen: Vec<&str> =
        active.into_iter().take(ctx.settings.intent.users).map(|(_, id)| id).collect();
    chosen.sort_unstable();
    let cores = shop.cores();
    let (_, count) = token_counter(ctx)?;
    let config = prompt_config(ctx, cuts.now);
    let digester = Digester::new(&cores, &shop.catalogue, config, &*count).counting_parts();
    chosen
        .into_par_iter()
        .map(|user_id| {
            let mut history =
                shop.store.history(user_id)?.ok_or_else(|| anyhow!("no events of {user_id}"))?;
            let now = cut_of(shop, &cuts, user_id);
            history.events.retain(|e| e.timestamp < now);
            Ok(digester.digest_at(&history, now)?)
        })
        .collect()
}
