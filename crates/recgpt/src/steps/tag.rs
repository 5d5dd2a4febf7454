//! Tags of every user who has interests, under the five constraints.

use anyhow::{Context as _, Result};
use events::tables::{self, UserInterests, UserTags};
use intent::{BatchOptions, MineInput, TagInput, TagLexicon, TagToCategory, mine_batch, tag_batch};
use serde::{Deserialize, Serialize};
use types::{Digest, User};

use super::Context;
use super::mine::{self, INTERESTS, LmPart, PROMPT_DIGESTS};
use super::model::{language, open};
use super::shop::{Shop, interest_pool};
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
        let mined: LmPart = ctx.ws.read_json(mine::PART)?;
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

/// Interests and tags of some users from their digests, in the order of these; nothing is written.
///
/// # Errors
/// Where the model could not answer for anybody.
pub(super) fn predict(
    ctx: &Context,
    shop: &Shop,
    model: &dyn lm::LanguageModel,
    (users, digests): (&[User], &[Digest]),
) -> Result<Vec<UserTags>> {
    let pool = interest_pool(ctx.settings.intent.pool.as_deref())?;
    let asked: Vec<MineInput<'_>> =
        users.iter().zip(digests).map(|(user, digest)| MineInput { user, digest }).collect();
    let bar = Progress::new("measure");
    let show = |done, total| bar.set(done, total);
    let mined = mine_batch(model, &asked, &pool, &mine::options(ctx, model)?, &show);
    let asked: Vec<TagInput<'_>> = asked
        .iter()
        .zip(&mined)
        .map(|(m, mined)| TagInput { user: m.user, digest: m.digest, profile: &mined.profile })
        .collect();
    let (lexicon, to_category) = (shop.lexicon(), shop.tag_to_category());
    let shop = (&lexicon, Some(&to_category));
    let tagged = tag_batch(model, &asked, shop, &options(ctx)?, &show);
    bar.finish();
    let mut part = LmPart::default();
    let mut tags = Vec::new();
    for (outcome, digest) in tagged.into_iter().zip(digests) {
        part.count(outcome.tokens, outcome.error.as_ref());
        let (user_id, now) = (outcome.user_id, digest.now);
        let (breaches, issues) = (outcome.breaches, Vec::new());
        tags.push(UserTags { user_id, now, tags: outcome.tags, breaches, issues });
    }
    part.check()?;
    Ok(tags)
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
