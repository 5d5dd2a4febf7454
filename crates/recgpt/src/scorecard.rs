//! How well a model folder mines and tags, on worlds that it has never seen.

use std::collections::BTreeSet;
use std::path::Path;

use align::supported_profile;
use anyhow::{Context, Result};
use intent::{BatchOptions, MineInput, TagInput, TagToCategory, mine_batch, tag_batch};
use lm::{Engine, EngineConfig, LanguageModel, Tokenizer, load_packed};
use serde::Serialize;
use types::{CategoryId, Digest, User, UserTruth};

use crate::progress::Progress;
use crate::steps::worlds::TrainingWorld;

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct ScorecardPlan {
    pub(crate) worlds: usize,
    pub(crate) users: usize,
    /// First seed; neither a training seed nor one that a demo can have by default.
    pub(crate) seed: u64,
    /// Tokens of a digest.
    pub(crate) digest_budget: usize,
}

/// Means over users.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Scorecard {
    users: usize,
    /// Share of mined interests that the truth holds, by exact or half word overlap.
    interest_precision: f64,
    /// Share of true interests that were mined.
    interest_recall: f64,
    /// The same recall over those true interests that the digest supports at all.
    interest_recall_supported: f64,
    chance_precision: f64,
    interests_per_user: f64,
    tags_per_user: f64,
    categories_per_user: f64,
    /// Share of tags in a category of the user's true needs.
    tag_category_precision: f64,
    /// Share of categories of the true needs that some tag names.
    tag_category_recall: f64,
    /// Parse issues over lines of both answers.
    parse_issue_rate: f64,
    /// Tags refused by a constraint, over all proposed.
    tag_breach_rate: f64,
    completion_tokens_per_second: f64,
}

/// Measures the model folder `dir` (`model/` and `tokenizer.json`).
pub(crate) fn scorecard(dir: &Path, plan: &ScorecardPlan) -> Result<Scorecard> {
    let (limits, tokenizer) =
        (EngineConfig::STANDARD, Tokenizer::load(&dir.join("tokenizer.json"))?);
    let decoder = load_packed(&dir.join("model"), limits.weights, limits.window)?;
    let engine = Engine::new(decoder, tokenizer, limits)?;
    let mut sums = Sums::default();
    for idx in 0..plan.worlds {
        let world = TrainingWorld::new(plan.users, plan.seed + idx as u64)?;
        measure(&engine, &world, plan, &mut sums)?;
    }
    Ok(sums.means())
}

#[derive(Debug, Default)]
struct Sums {
    mined: Vec<Vec<String>>,
    truth: Vec<Vec<String>>,
    supported: Vec<Vec<String>>,
    tags: usize,
    categories: usize,
    precision: Vec<f64>,
    recall: Vec<f64>,
    issues: usize,
    lines: usize,
    breaches: usize,
    tokens: usize,
    seconds: f64,
}

fn measure(
    engine: &Engine,
    world: &TrainingWorld,
    plan: &ScorecardPlan,
    sums: &mut Sums,
) -> Result<()> {
    let cut = world.world.cut();
    let users: &[User] = world.world.users();
    let count = |text: &str| engine.count_tokens(text);
    let lives: Vec<(Digest, UserTruth)> = (0..users.len())
        .map(|idx| world.digest(idx, cut, plan.digest_budget, &count))
        .collect::<Result<_>>()?;
    let active: Vec<usize> = (0..users.len()).filter(|&i| lives[i].0.lines.len() >= 8).collect();
    let start = std::time::Instant::now();
    let inputs: Vec<MineInput<'_>> =
        active.iter().map(|&i| MineInput { user: &users[i], digest: &lives[i].0 }).collect();
    let pool = world.world.interest_pool();
    let bar = Progress::new("scorecard");
    let show = |done, total| bar.set(done, total);
    let mining = BatchOptions { rounds: 4, enough: 11, vote: true, ..BatchOptions::mining(320, 1) };
    let mined = mine_batch(engine, &inputs, pool, &mining, &show);
    let pairs: Vec<_> = world
        .catalogue
        .items()
        .iter()
        .filter_map(|i| Some((world.cores.core(&i.item_id), i.category?)))
        .collect();
    let to_category = TagToCategory::train(pairs);
    let tag_inputs: Vec<TagInput<'_>> = active
        .iter()
        .zip(&mined)
        .map(|(&i, m)| TagInput { user: &users[i], digest: &lives[i].0, profile: &m.profile })
        .collect();
    let shop = (&world.lexicon, Some(&to_category));
    let tagged = tag_batch(engine, &tag_inputs, shop, &BatchOptions::tagging(640, 1), &show);
    bar.finish();
    sums.seconds += start.elapsed().as_secs_f64();
    for ((&i, mined), tagged) in active.iter().zip(&mined).zip(&tagged) {
        let (digest, truth) = &lives[i];
        let category_of = |text: &str| world.category_of_text(text);
        let shop = world.truth_shop(&category_of);
        let texts = |list: &[types::Interest]| list.iter().map(|i| i.text.clone()).collect();
        sums.mined.push(texts(&mined.profile.interests));
        sums.supported.push(texts(&supported_profile(digest, truth, &shop).interests));
        sums.truth.push(truth.interests.iter().map(|i| i.text.clone()).collect());
        let needed: BTreeSet<CategoryId> =
            truth.needs.iter().filter_map(|n| world.world.taxonomy().find(&n.category)).collect();
        let found: Vec<CategoryId> = tagged.tags.iter().filter_map(|t| t.category).collect();
        let distinct: BTreeSet<CategoryId> = found.iter().copied().collect();
        if !found.is_empty() && !needed.is_empty() {
            let hits = found.iter().filter(|c| needed.contains(c)).count();
            sums.precision.push(hits as f64 / found.len() as f64);
            sums.recall.push(needed.intersection(&distinct).count() as f64 / needed.len() as f64);
        }
        sums.tags += tagged.tags.len();
        sums.categories += distinct.len();
        sums.issues += mined.issues.len() + tagged.issues.len();
        sums.lines += mined.profile.interests.len() + tagged.tags.len() + tagged.breaches.len();
        sums.breaches += tagged.breaches.iter().filter(|b| !b.tag.is_empty()).count();
        sums.tokens += mined.tokens.1 + tagged.tokens.1;
        if let Some(error) = mined.error.as_ref().or(tagged.error.as_ref()) {
            return Err(anyhow::anyhow!("{error}")).context("the model failed on the scorecard");
        }
    }
    Ok(())
}

impl Sums {
    fn means(&self) -> Scorecard {
        let n = self.mined.len();
        let whole = eval::interest_match(&self.mined, &self.truth, 10);
        let supported = eval::interest_match(&self.mined, &self.supported, 0);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let per_user = |sum: usize| sum as f64 / n.max(1) as f64;
        let share = |part: usize, rest: usize| part as f64 / (part + rest).max(1) as f64;
        Scorecard {
            users: n,
            interest_precision: whole.precision,
            interest_recall: whole.recall,
            interest_recall_supported: supported.recall,
            chance_precision: whole.chance_precision.unwrap_or(0.0),
            interests_per_user: per_user(self.mined.iter().map(Vec::len).sum()),
            tags_per_user: per_user(self.tags),
            categories_per_user: per_user(self.categories),
            tag_category_precision: mean(&self.precision),
            tag_category_recall: mean(&self.recall),
            parse_issue_rate: share(self.issues, self.lines),
            tag_breach_rate: share(self.breaches, self.tags),
            completion_tokens_per_second: self.tokens as f64 / self.seconds.max(1e-9),
        }
    }
}
