//! Tags of every user who has interests, under the five constraints.

use anyhow::{Context as _, Result};
use events::tables::{self, UserInterests, UserTags};
use intent::{BatchOptions, TagInput, TagLexicon, TagToCategory, tag_batch};
use serde::{Deserialize, Serialize};
use types::{Digest, User};

use super::Context;
use super::mine::{INTERESTS, LmPart, PROMPT_DIGESTS};
use super::model::{language, open};
use super::shop::Shop;
use crate::progress::Progress;
use crate::workspace::hash_inputs;

/// Tags per user.
pub(crate) const TAGS: &str = "intent/tags.parquet";
pub(crate) const PART: &str = "reports/parts/tag.json";

/// One batch's results, kept so that a stopped run continues.
#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    inputs: u64,
    users: Vec<UserTags>,
    part: LmPart,
}

/// What all batches share.
struct Tagger<'a> {
    model: &'a dyn lm::LanguageModel,
    lexicon: &'a TagLexicon,
    to_category: &'a TagToCategory,
    options: &'a BatchOptions,
}

pub(crate) fn run(ctx: &Context, bar: &Progress) -> Result<String> {
    let interests =
        tables::read_interests(&ctx.ws.path(INTERESTS)).context("run `recgpt mine` first")?;
    let digests = tables::read_digests(&ctx.ws.path(PROMPT_DIGESTS))?;
    if digests.is_empty() {
        let mined: LmPart = ctx.ws.read_json(super::mine::PART)?;
        tables::write_tags(&ctx.ws.path_for_writing(TAGS)?, &[])?;
        ctx.ws.write_json(PART, &mined)?;
        return Ok(format!("skipped: {}", mined.absent_because.unwrap_or_default()));
    }
    let shop = Shop::load(ctx)?;
    let users: Vec<User> = digests.iter().map(|d| shop.user(&d.user_id)).collect();
    let options = options(ctx)?;
    let (model, lexicon, to_category) = (open(ctx)?, shop.lexicon(), shop.tag_to_category());
    let tagger = Tagger {
        model: model.as_ref(),
        lexicon: &lexicon,
        to_category: &to_category,
        options: &options,
    };
    let size = ctx.settings.intent.batch.max(1);
    let mut all = LmPart { model: model.name().to_owned(), ..LmPart::default() };
    let mut tags = Vec::new();
    for row in 0..digests.len().div_ceil(size) {
        let rows = row * size..digests.len().min((row + 1) * size);
        let chunk = (&digests[rows.clone()], &interests[rows.clone()], &users[rows]);
        let inputs = hash_inputs(&(chunk.0, chunk.1, &options, ctx.ws.stamp("mine")), &[])?;
        let file = format!("intent/parts/tag-{row:05}.json");
        let batch = match ctx.ws.read_json::<Batch>(&file).ok().filter(|b| b.inputs == inputs) {
            Some(batch) => batch,
            None => {
                let batch = tag_chunk(&tagger, chunk, inputs)?;
                ctx.ws.write_json(&file, &batch)?;
                batch
            }
        };
        all.add(&batch.part);
        tags.extend(batch.users);
        bar.set(tags.len() as u64, digests.len() as u64);
    }
    all.check()?;
    tables::write_tags(&ctx.ws.path(TAGS), &tags)?;
    ctx.ws.write_json(PART, &all)?;
    let found: usize = tags.iter().map(|u| u.tags.len()).sum();
    Ok(format!(
        "{found} tags of {} users ({:.1} each) by {}",
        tags.len(),
        found as f64 / tags.len().max(1) as f64,
        all.model
    ))
}

/// How tags are asked for.
pub(super) fn options(ctx: &Context) -> Result<BatchOptions> {
    let settings = &ctx.settings.intent;
    Ok(BatchOptions {
        lang: language(ctx)?,
        rounds: settings.rounds,
        enough: settings.min_tags,
        ..BatchOptions::tagging(560, ctx.settings.seed)
    })
}

fn tag_chunk(
    tagger: &Tagger<'_>,
    (digests, interests, users): (&[Digest], &[UserInterests], &[User]),
    hash: u64,
) -> Result<Batch> {
    let inputs: Vec<TagInput<'_>> = digests
        .iter()
        .zip(interests)
        .zip(users)
        .map(|((digest, mined), user)| TagInput { user, digest, profile: &mined.profile })
        .collect();
    let shop = (tagger.lexicon, Some(tagger.to_category));
    let outcomes = tag_batch(tagger.model, &inputs, shop, tagger.options, &|_, _| {});
    let mut part = LmPart::default();
    let mut users = Vec::new();
    for (outcome, digest) in outcomes.into_iter().zip(digests) {
        part.count(outcome.tokens, outcome.error.as_ref());
        let issues = outcome.issues.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        users.push(UserTags {
            user_id: outcome.user_id,
            now: digest.now,
            tags: outcome.tags,
            breaches: outcome.breaches,
            issues,
        });
    }
    Ok(Batch { inputs: hash, users, part })
}
