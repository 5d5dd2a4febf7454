//! Training samples from simulated worlds: their logs through our own digests, their truth as targets.
//!
//! Reads no workspace and writes nothing. The worlds of training share neither seed nor catalogue with
//! the worlds that evaluation uses (`TRAINING_SEEDS`).

use std::collections::HashMap;

use align::{
    Cleaned, CleaningReport, CleaningRules, InterestCounts, JudgeWorld, ModifierIndex,
    ReasonExample, Sample, Taught, TeacherAnswer, TruthShop, clean, interest_judge_sample,
    samples_from_needs, samples_from_products, samples_from_reasons, samples_from_truth,
    tag_judge_sample,
};
use anyhow::{Context, Result};
use events::{DigestConfig, ItemCores, UserHistory, digest};
use intent::{TagLexicon, TagToCategory};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use serde::Serialize;
use types::{
    Catalogue, CategoryId, Digest, ItemId, Timestamp, TokenCounter, User, UserTruth, normalise_text,
};
use world::{World, WorldConfig};

use super::lexicon::tag_lexicon;

/// Seeds from here on are for training alone; `recgpt demo` refuses them.
pub(crate) const TRAINING_SEEDS: u64 = 1 << 40;

/// Most tags of one answer: with two or three answers a user has at least 50.
pub(crate) const MAX_TAGS: usize = 40;

/// Fewest tags that are worth an answer of a simulated user.
const MIN_TAUGHT_TAGS: usize = 12;

/// Tokens of a training sequence at most.
const WINDOW: usize = 2048;

/// How many samples to draw, and from how many worlds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct WorldPlan {
    /// Worlds; each has its own catalogue.
    pub(crate) worlds: usize,
    /// Users per world.
    pub(crate) users: usize,
    /// Moments per user at which the log is cut.
    pub(crate) cuts: usize,
    /// Sentences per user and moment for the reason task.
    pub(crate) reasons: usize,
    /// People of other worlds, 150 of each, who tell with those of no one world which interests a product
    /// speaks for; 0 asks each world's own.
    pub(crate) counted: usize,
    /// Moments per user of which a judge sees cases.
    pub(crate) judged: usize,
    /// Whether the teacher's answers are cleaned before they are taught.
    pub(crate) cleaned: bool,
    /// First seed.
    pub(crate) seed: u64,
    /// Tokens of a digest.
    pub(crate) digest_budget: usize,
}

impl WorldPlan {
    /// One of the worlds, and its seed.
    pub(crate) fn world(&self, idx: usize) -> Result<(TrainingWorld, u64)> {
        let seed = self.seed + idx as u64;
        Ok((TrainingWorld::new(self.users, seed)?, seed))
    }

    /// The counts of other worlds' people; none where each world's own are asked.
    pub(crate) fn pooled(&self) -> Result<Option<InterestCounts>> {
        match self.counted {
            0 => Ok(None),
            people => pooled_counts(people).map(Some),
        }
    }
}

/// Samples of all worlds of a plan, in order of world, user and moment.
pub(crate) fn world_samples(
    plan: &WorldPlan,
    count_tokens: &TokenCounter<'_>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<Sample>> {
    Ok(reported_samples(plan, count_tokens, progress)?.0)
}

/// The samples of each of several plans that pool the same people, who are counted once.
pub(crate) fn samples_of_plans<const N: usize>(
    plans: [WorldPlan; N],
    count_tokens: &TokenCounter<'_>,
) -> Result<[Vec<Sample>; N]> {
    let pooled = plans.first().map_or(Ok(None), WorldPlan::pooled)?;
    let mut all = plans.map(|_| Vec::new());
    for (samples, plan) in all.iter_mut().zip(&plans) {
        *samples = drawn_samples(plan, pooled.as_ref(), count_tokens, &|_, _| {})?.0;
    }
    Ok(all)
}

/// The same with what cleaning rejected.
pub(crate) fn reported_samples(
    plan: &WorldPlan,
    count_tokens: &TokenCounter<'_>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Vec<Sample>, CleaningReport)> {
    drawn_samples(plan, plan.pooled()?.as_ref(), count_tokens, progress)
}

fn drawn_samples(
    plan: &WorldPlan,
    pooled: Option<&InterestCounts>,
    count_tokens: &TokenCounter<'_>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Vec<Sample>, CleaningReport)> {
    let (mut samples, mut report) = (Vec::new(), CleaningReport::default());
    for idx in 0..plan.worlds {
        progress(idx as u64, plan.worlds as u64);
        let (world, seed) = plan.world(idx)?;
        let drawing = Drawing::new(&world, plan, seed, pooled, count_tokens);
        let part = drawing.samples(true)?;
        samples.extend(part.samples);
        report.add(&part.report);
    }
    progress(plan.worlds as u64, plan.worlds as u64);
    Ok((samples, report))
}

/// One world with what digests and samples need of it.
pub(crate) struct TrainingWorld {
    pub(crate) world: World,
    pub(crate) catalogue: Catalogue,
    pub(crate) cores: ItemCores,
    pub(crate) lexicon: TagLexicon,
    category_of: HashMap<String, CategoryId>,
    truths: Vec<UserTruth>,
    counts: InterestCounts,
    modifiers: ModifierIndex,
}

impl TrainingWorld {
    /// Makes the world of a seed; its last moment lies anywhere in a year, so that all seasons occur.
    pub(crate) fn new(users: usize, seed: u64) -> Result<Self> {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let end = Timestamp::from_date(2025, 1, 1).context("a date")?;
        let config = WorldConfig {
            users,
            items: 4_000,
            seed,
            years: 3,
            holdout_days: 14,
            events_per_user: 450,
            heavy_user_events: None,
            end: end.plus_days(rng.random_range(0..720)),
        };
        let world = World::generate(&config, &|_, _| {});
        let catalogue = Catalogue::new(world.items().to_vec())?;
        let cores = ItemCores::new(&catalogue, world.taxonomy());
        let lexicon = tag_lexicon(&catalogue, &cores);
        let category_of = catalogue
            .items()
            .iter()
            .filter_map(|i| Some((normalise_text(cores.core(&i.item_id)), i.category?)))
            .collect();
        let cut = world.cut();
        let truths: Vec<UserTruth> =
            (0..users).into_par_iter().map(|idx| world.truth(idx, cut)).collect();
        let counts = InterestCounts::new(&truths);
        let products: Vec<(&str, CategoryId)> = catalogue
            .items()
            .iter()
            .filter_map(|i| Some((cores.core(&i.item_id), i.category?)))
            .collect();
        let modifiers = ModifierIndex::new(&products, &lexicon.cores);
        Ok(Self { world, catalogue, cores, lexicon, category_of, truths, counts, modifiers })
    }

    /// The digest of a user at a moment, and the truth then.
    pub(crate) fn digest(
        &self,
        user_idx: usize,
        now: Timestamp,
        budget: usize,
        count_tokens: &TokenCounter<'_>,
    ) -> Result<(Digest, UserTruth)> {
        let (mut events, truth) = self.world.life(user_idx, now);
        events.retain(|e| e.timestamp < now);
        let user_id = self.world.users()[user_idx].user_id.clone();
        let history = UserHistory { user_id, events };
        let config = DigestConfig::new(now, budget);
        let digest = digest(&history, &self.cores, &self.catalogue, &config, count_tokens)?;
        Ok((digest, truth))
    }

    /// The Tag-to-Category model of the world's catalogue.
    pub(crate) fn to_category(&self) -> TagToCategory {
        let items = self.catalogue.items().iter();
        let pairs = items.filter_map(|i| Some((self.cores.core(&i.item_id), i.category?)));
        TagToCategory::train(pairs.collect::<Vec<_>>())
    }

    /// What every user wants at the world's cut, in their order.
    pub(crate) fn truths(&self) -> &[UserTruth] {
        &self.truths
    }

    /// What samples read of the world; `category_of` is [`Self::category_of_text`].
    pub(crate) fn truth_shop<'a>(
        &'a self,
        category_of: &'a (dyn Fn(&str) -> Option<CategoryId> + Sync),
    ) -> TruthShop<'a> {
        TruthShop {
            taxonomy: self.world.taxonomy(),
            lexicon: &self.lexicon,
            category_of_core: category_of,
            counts: &self.counts,
            max_tags: MAX_TAGS,
        }
    }

    /// The teacher's answers about one user, without what cleaning rejects.
    fn cleaned(
        &self,
        user: &User,
        digest: &Digest,
        taught: &[Sample],
        count_tokens: &TokenCounter<'_>,
    ) -> Cleaned {
        let answers: Vec<TeacherAnswer> = taught
            .iter()
            .map(|sample| TeacherAnswer::from_sample(sample, digest, (&self.lexicon, None)))
            .collect();
        let taught: Vec<Taught<'_>> =
            answers.iter().map(|answer| Taught { user, digest, answer, judgements: &[] }).collect();
        // One answer holds at most MAX_TAGS tags, and tags have no categories here. The teacher's
        // interests are strongly supported already: one telling act may be all of it.
        let rules = CleaningRules {
            min_tags: MIN_TAUGHT_TAGS,
            min_categories: 0,
            min_actions: 1,
            ..CleaningRules::new(WINDOW, count_tokens)
        };
        clean(&taught, &rules)
    }

    /// What a judge's labels are read from.
    pub(crate) fn judge_world<'a>(&'a self, shop: TruthShop<'a>) -> JudgeWorld<'a> {
        JudgeWorld { shop, modifiers: &self.modifiers, truths: &self.truths }
    }

    /// The category of an item's core words, or of a query.
    pub(crate) fn category_of_text(&self, text: &str) -> Option<CategoryId> {
        self.category_of
            .get(&normalise_text(text))
            .copied()
            .or_else(|| self.world.category_of_core(text))
    }
}

/// People of one world whose truths are pooled.
const POOLED_PEOPLE: usize = 150;

/// Which interests go with which categories, counted over `people` of training worlds that nothing else is
/// made of.
pub(crate) fn pooled_counts(people: usize) -> Result<InterestCounts> {
    let mut truths = Vec::new();
    for idx in 0..people.div_ceil(POOLED_PEOPLE) {
        let n = POOLED_PEOPLE.min(people - truths.len());
        let world = TrainingWorld::new(n, TRAINING_SEEDS + (1 << 21) + idx as u64)?;
        truths.extend(world.truths().iter().cloned());
    }
    Ok(InterestCounts::new(&truths))
}

/// A user of a world at a moment.
pub(crate) struct Moment {
    /// Row among the world's users.
    pub(crate) user_idx: usize,
    pub(crate) digest: Digest,
}

/// What is drawn from a world.
#[derive(Default)]
pub(crate) struct WorldPart {
    pub(crate) samples: Vec<Sample>,
    /// What cleaning rejected of the embedded teacher's answers.
    pub(crate) report: CleaningReport,
    /// In order of user and moment.
    pub(crate) moments: Vec<Moment>,
}

impl WorldPart {
    fn extend(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.report.add(&other.report);
        self.moments.extend(other.moments);
    }
}

/// A world from which samples are drawn.
pub(crate) struct Drawing<'a> {
    world: &'a TrainingWorld,
    plan: &'a WorldPlan,
    seed: u64,
    pooled: Option<&'a InterestCounts>,
    count_tokens: &'a TokenCounter<'a>,
    by_category: HashMap<CategoryId, Vec<ItemId>>,
}

impl<'a> Drawing<'a> {
    pub(crate) fn new(
        world: &'a TrainingWorld,
        plan: &'a WorldPlan,
        seed: u64,
        pooled: Option<&'a InterestCounts>,
        count_tokens: &'a TokenCounter<'a>,
    ) -> Self {
        let mut by_category: HashMap<CategoryId, Vec<ItemId>> = HashMap::new();
        for (idx, item) in world.catalogue.items().iter().enumerate() {
            if let Some(category) = item.category {
                by_category.entry(category).or_default().push(ItemId::from_idx(idx));
            }
        }
        Self { world, plan, seed, pooled, count_tokens, by_category }
    }

    /// All samples; those of mining and tagging only where the embedded teacher writes them.
    pub(crate) fn samples(&self, embedded: bool) -> Result<WorldPart> {
        let rows = (0..self.plan.users).into_par_iter();
        let parts: Vec<WorldPart> =
            rows.map(|row| self.of_user(row, embedded)).collect::<Result<_>>()?;
        let mut all = WorldPart::default();
        parts.into_iter().for_each(|part| all.extend(part));
        let counts = self.pooled.unwrap_or(&self.world.counts);
        all.samples.extend(knowledge(self.world, counts));
        Ok(all)
    }

    fn of_user(&self, user_idx: usize, embedded: bool) -> Result<WorldPart> {
        let (world, plan) = (self.world, self.plan);
        let mut rng = Pcg64Mcg::seed_from_u64(self.seed ^ ((user_idx as u64 + 1) << 20));
        let mut part = WorldPart::default();
        let category_of = |text: &str| world.category_of_text(text);
        let user = &world.world.users()[user_idx];
        for cut in 0..plan.cuts {
            let now = world.world.config().end.plus_days(-rng.random_range(0..400));
            let (digest, truth) =
                world.digest(user_idx, now, plan.digest_budget, self.count_tokens)?;
            let shop = world.truth_shop(&category_of);
            if embedded {
                let taught = samples_from_truth(user, &digest, &truth, &shop);
                self.teach((user, &digest), taught, &mut part);
            }
            let examples = reasons(world, &self.by_category, &truth, plan.reasons, &mut rng);
            part.samples.extend(samples_from_reasons(&examples, now).0);
            if cut < plan.judged {
                let judge = world.judge_world(shop);
                let cases = judge.interest_cases(&digest, &truth, &mut rng);
                part.samples.extend(interest_judge_sample(user, &digest, &cases));
                let cases = judge.tag_cases(&digest, &truth, &mut rng);
                part.samples.extend(tag_judge_sample(user, &digest, &cases));
            }
            part.moments.push(Moment { user_idx, digest });
        }
        Ok(part)
    }

    /// Adds the embedded teacher's samples, cleaned where the plan says so.
    fn teach(&self, (user, digest): (&User, &Digest), taught: Vec<Sample>, part: &mut WorldPart) {
        if !self.plan.cleaned {
            part.samples.extend(taught);
            return;
        }
        let cleaned = self.world.cleaned(user, digest, &taught, self.count_tokens);
        part.report.add(&cleaned.report);
        part.samples.extend(cleaned.kept.into_iter().map(|answer| answer.sample));
    }
}

/// Every how many-th item is asked about.
const PRODUCT_STRIDE: usize = 4;

/// What the world's interests and products have to do with each other.
fn knowledge(world: &TrainingWorld, counts: &InterestCounts) -> Vec<Sample> {
    let items = world.catalogue.items().iter().step_by(PRODUCT_STRIDE);
    let products: Vec<(&str, &str)> =
        items.map(|i| (world.cores.core(&i.item_id), i.category_path.as_str())).collect();
    let mut samples = samples_from_products(&products, counts);
    samples.extend(samples_from_needs(world.truths()));
    samples
}

/// Sentences that link needs of the user to items of their categories.
fn reasons(
    world: &TrainingWorld,
    by_category: &HashMap<CategoryId, Vec<ItemId>>,
    truth: &UserTruth,
    n: usize,
    rng: &mut Pcg64Mcg,
) -> Vec<ReasonExample> {
    let mut examples = Vec::new();
    for _ in 0..n.min(truth.needs.len()) {
        let need = &truth.needs[rng.random_range(0..truth.needs.len())];
        let category = world.world.taxonomy().find(&need.category);
        let Some(items) = category.and_then(|c| by_category.get(&c)) else { continue };
        let item = world.catalogue.item(items[rng.random_range(0..items.len())]);
        examples.push(ReasonExample {
            interest: need.interest.clone(),
            rationale: need.rationale.clone(),
            title: item.title.clone(),
            sentence: world.world.reason(&need.interest, &need.rationale, item, rng.random()),
        });
    }
    examples
}
