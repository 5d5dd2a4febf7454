//! What a model answers about the users of a world: asked as `recgpt run` asks.

use anyhow::{Context, Result};
use intent::{BatchOptions, MineInput, MineOutcome, TagInput, TagOutcome, mine_batch, tag_batch};
use lm::{Engine, LanguageModel};
use types::{Digest, User, UserTruth};

use crate::progress::Progress;
use crate::settings::IntentSettings;
use crate::steps::worlds::TrainingWorld;

/// Fewest lines of a digest that is worth a question.
const MIN_LINES: usize = 8;

/// Most tokens of an answer with tags.
const TAG_TOKENS: usize = 560;

/// A user of a world with enough behaviour to be asked about.
pub(super) struct Life<'a> {
    /// Row among the world's users.
    pub(super) row: usize,
    pub(super) user: &'a User,
    pub(super) digest: Digest,
    /// What self-training does not read.
    pub(super) truth: UserTruth,
}

/// All of them at the world's cut.
pub(super) fn lives<'a>(
    world: &'a TrainingWorld,
    digest_budget: usize,
    model: &Engine,
) -> Result<Vec<Life<'a>>> {
    let count = |text: &str| model.count_tokens(text);
    let mut lives = Vec::new();
    for (row, user) in world.world.users().iter().enumerate() {
        let (digest, truth) = world.digest(row, world.world.cut(), digest_budget, &count)?;
        if digest.lines.len() >= MIN_LINES {
            lives.push(Life { row, user, digest, truth });
        }
    }
    Ok(lives)
}

/// Interests and tags of users; `rounds` answers with tags at most.
///
/// # Errors
/// The first failure of the model.
pub(super) fn ask(
    model: &Engine,
    world: &TrainingWorld,
    lives: &[Life<'_>],
    (rounds, seed): (usize, u64),
) -> Result<Vec<(MineOutcome, TagOutcome)>> {
    let bar = Progress::new("answers");
    let show = |done, total| bar.set(done, total);
    let inputs: Vec<MineInput<'_>> =
        lives.iter().map(|l| MineInput { user: l.user, digest: &l.digest }).collect();
    let mining = BatchOptions::voting(IntentSettings::default().min_interests, seed);
    let mined = mine_batch(model, &inputs, world.world.interest_pool(), &mining, &show);
    let to_category = world.to_category();
    let inputs: Vec<TagInput<'_>> = lives
        .iter()
        .zip(&mined)
        .map(|(l, m)| TagInput { user: l.user, digest: &l.digest, profile: &m.profile })
        .collect();
    let shop = (&world.lexicon, Some(&to_category));
    let tagging = BatchOptions { rounds, ..BatchOptions::tagging(TAG_TOKENS, seed) };
    let tagged = tag_batch(model, &inputs, shop, &tagging, &show);
    bar.finish();
    for (mined, tagged) in mined.iter().zip(&tagged) {
        if let Some(error) = mined.error.as_ref().or(tagged.error.as_ref()) {
            return Err(anyhow::anyhow!("{error}")).context("the model failed to answer");
        }
    }
    Ok(mined.into_iter().zip(tagged).collect())
}
