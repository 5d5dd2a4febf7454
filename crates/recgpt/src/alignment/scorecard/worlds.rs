//! Mining and tagging on unseen worlds, held against their truth and against what users did next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use align::{InterestCounts, supported_profile};
use anyhow::Result;
use eval::{BootstrapConfig, CategoryCase, category_hit_report};
use intent::{MineOutcome, TagOutcome};
use lm::Engine;
use types::{CategoryId, EventType, Interaction, TagConstraint, Timestamp, UserId};

use super::counts::counted;
use super::judge::{JUDGED_USERS, JudgeCard, Judged, Thresholds, Verdicts};
use super::{Scorecard, ScorecardPlan};
use crate::alignment::answers::{Life, ask, lives};
use crate::steps::worlds::{TRAINING_SEEDS, TrainingWorld, pooled_counts};

/// Measures on the worlds of a plan, with the answers judged by `judge`; the fields of other test sets are left
/// empty.
pub(crate) fn measure_worlds(
    engine: &Engine,
    plan: &ScorecardPlan,
    judge: Option<&Engine>,
) -> Result<Scorecard> {
    let (mut sums, counts) = (Sums::default(), pooled_counts(plan.counted)?);
    for idx in 0..plan.worlds {
        let world = TrainingWorld::new(plan.users, plan.seed + idx as u64)?;
        measure((engine, judge), (&world, &counts), plan, &mut sums)?;
    }
    let mut card = sums.means();
    if let Some(judge) = judge {
        card.judge = Some(sums.verdicts.card(&thresholds(engine, judge, plan)?));
    }
    Ok(card)
}

/// The judge of a model's answers alone.
pub(crate) fn measure_judge(
    engine: &Engine,
    judge: &Engine,
    plan: &ScorecardPlan,
) -> Result<JudgeCard> {
    let mut verdicts = Verdicts::default();
    for idx in 0..plan.worlds {
        let world = TrainingWorld::new(plan.users, plan.seed + idx as u64)?;
        judged((engine, judge), &world, plan, JUDGED_USERS, &mut verdicts)?;
    }
    Ok(verdicts.card(&thresholds(engine, judge, plan)?))
}

/// A world that only the judge's thresholds are chosen on.
const THRESHOLD_SEED: u64 = TRAINING_SEEDS + (1 << 23);

fn thresholds(engine: &Engine, judge: &Engine, plan: &ScorecardPlan) -> Result<Thresholds> {
    let world = TrainingWorld::new(plan.users.min(2 * JUDGED_USERS), THRESHOLD_SEED)?;
    let mut verdicts = Verdicts::default();
    judged((engine, judge), &world, plan, 2 * JUDGED_USERS, &mut verdicts)?;
    Ok(verdicts.thresholds(plan.judge_accuracy))
}

/// Adds the verdicts on answers about the first `users` of a world.
fn judged(
    (engine, judge): (&Engine, &Engine),
    world: &TrainingWorld,
    plan: &ScorecardPlan,
    users: usize,
    verdicts: &mut Verdicts,
) -> Result<()> {
    let mut lives = lives(world, plan.digest_budget, engine)?;
    lives.retain(|life| life.row < users);
    for (life, (mined, tagged)) in lives.iter().zip(ask(engine, world, &lives, ASKED)?) {
        verdicts.add(judge, world, &life.judged(&mined, &tagged), life.row as u64)?;
    }
    Ok(())
}

/// Answers with tags, as `recgpt run` asks for them, and the seed of the later ones.
const ASKED: (usize, u64) = (3, 1);

#[derive(Debug, Default)]
struct Sums {
    verdicts: Verdicts,
    mined: Vec<Vec<String>>,
    counted: Vec<Vec<String>>,
    truth: Vec<Vec<String>>,
    supported: Vec<Vec<String>>,
    tag_texts: BTreeSet<String>,
    tags: usize,
    categories: usize,
    precision: Vec<f64>,
    recall: Vec<f64>,
    cases: Vec<CategoryCase>,
    issues: usize,
    lines: usize,
    breaches: BTreeMap<TagConstraint, usize>,
    tokens: usize,
    seconds: f64,
}

impl Life<'_> {
    fn judged<'a>(&'a self, mined: &'a MineOutcome, tagged: &'a TagOutcome) -> Judged<'a> {
        Judged {
            user: self.user,
            digest: &self.digest,
            truth: &self.truth,
            profile: &mined.profile,
            tags: &tagged.tags,
        }
    }
}

fn measure(
    (engine, judge): (&Engine, Option<&Engine>),
    (world, counts): (&TrainingWorld, &InterestCounts),
    plan: &ScorecardPlan,
    sums: &mut Sums,
) -> Result<()> {
    let lives = lives(world, plan.digest_budget, engine)?;
    let start = Instant::now();
    let answers = ask(engine, world, &lives, ASKED)?;
    sums.seconds += start.elapsed().as_secs_f64();
    for (life, (mined, tagged)) in lives.iter().zip(&answers) {
        sums.counted.push(counted(counts, world, &life.digest));
        sums.add_interests(world, life, mined);
        sums.add_tags(world, life, tagged);
        if let Some(judge) = judge.filter(|_| life.row < JUDGED_USERS) {
            sums.verdicts.add(judge, world, &life.judged(mined, tagged), life.row as u64)?;
        }
        sums.tokens += mined.tokens.1 + tagged.tokens.1;
        sums.issues += mined.issues.len() + tagged.issues.len();
        sums.lines += mined.profile.interests.len() + tagged.tags.len() + tagged.breaches.len();
    }
    Ok(())
}

impl Sums {
    fn add_interests(&mut self, world: &TrainingWorld, life: &Life<'_>, mined: &MineOutcome) {
        let category_of = |text: &str| world.category_of_text(text);
        let shop = world.truth_shop(&category_of);
        let texts = |list: &[types::Interest]| list.iter().map(|i| i.text.clone()).collect();
        self.mined.push(texts(&mined.profile.interests));
        self.supported.push(texts(&supported_profile(&life.digest, &life.truth, &shop).interests));
        self.truth.push(life.truth.interests.iter().map(|i| i.text.clone()).collect());
    }

    fn add_tags(&mut self, world: &TrainingWorld, life: &Life<'_>, tagged: &TagOutcome) {
        let find = |path: &str| world.world.taxonomy().find(path);
        let needed: BTreeSet<CategoryId> =
            life.truth.needs.iter().filter_map(|n| find(&n.category)).collect();
        let found: Vec<CategoryId> = tagged.tags.iter().filter_map(|t| t.category).collect();
        let distinct: BTreeSet<CategoryId> = found.iter().copied().collect();
        if !found.is_empty() && !needed.is_empty() {
            let hits = found.iter().filter(|c| needed.contains(c)).count();
            self.precision.push(hits as f64 / found.len() as f64);
            self.recall.push(needed.intersection(&distinct).count() as f64 / needed.len() as f64);
        }
        self.tags += tagged.tags.len();
        self.categories += distinct.len();
        for breach in tagged.breaches.iter().filter(|b| !b.tag.is_empty()) {
            *self.breaches.entry(breach.constraint).or_default() += 1;
        }
        self.tag_texts.extend(tagged.tags.iter().map(|t| t.text.clone()));
        let (before, after) = acts(world, life.row, world.world.cut());
        let category_of = |item: types::ItemId| world.catalogue.item(item).category;
        let predicted = tagged.tags.iter().map(|t| t.category).collect();
        self.cases.push(CategoryCase::new(predicted, &before, &after, &category_of));
    }

    fn means(&self) -> Scorecard {
        let n = self.mined.len();
        let whole = eval::interest_match(&self.mined, &self.truth, 10);
        let supported = eval::interest_match(&self.mined, &self.supported, 0);
        let counted = eval::interest_match(&self.counted, &self.truth, 0);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let per_user = |sum: usize| sum as f64 / n.max(1) as f64;
        let n_breaches: usize = self.breaches.values().sum();
        let proposed = (self.tags + n_breaches).max(1) as f64;
        let held = |c: TagConstraint| {
            (
                c.as_str().to_owned(),
                1.0 - self.breaches.get(&c).copied().unwrap_or(0) as f64 / proposed,
            )
        };
        let hits = category_hit_report(30, &self.cases, &[], &BootstrapConfig::new(1));
        let interests: BTreeSet<&String> = self.mined.iter().flatten().collect();
        Scorecard {
            users: n,
            interest_precision: whole.precision,
            interest_recall: whole.recall,
            interest_recall_supported: supported.recall,
            chance_precision: whole.chance_precision.unwrap_or(0.0),
            counts_precision: counted.precision,
            counts_recall: counted.recall,
            interests_per_user: per_user(self.mined.iter().map(Vec::len).sum()),
            tags_per_user: per_user(self.tags),
            categories_per_user: per_user(self.categories),
            tag_category_precision: mean(&self.precision),
            tag_category_recall: mean(&self.recall),
            tag_valid_share: self.tags as f64 / proposed,
            tag_valid_by_constraint: TagConstraint::ALL.into_iter().map(held).collect(),
            hr30: hits.tags,
            hr30_new_categories: hits.tags_new,
            distinct_interests: interests.len(),
            distinct_tags: self.tag_texts.len(),
            parse_issue_rate: self.issues as f64 / (self.issues + self.lines).max(1) as f64,
            completion_tokens_per_second: self.tokens as f64 / self.seconds.max(1e-9),
            ..Scorecard::default()
        }
    }
}

/// Positive acts on items before and from a moment on.
fn acts(world: &TrainingWorld, row: usize, cut: Timestamp) -> (Vec<Interaction>, Vec<Interaction>) {
    let events = world.world.events(row);
    let positive =
        events.iter().filter(|e| e.event_type.is_positive() && e.event_type != EventType::Share);
    let act = |e: &types::Event| {
        let item = world.catalogue.find(e.item_id.as_deref()?)?;
        let (user, event_type) = (UserId::from_idx(row), e.event_type);
        Some(Interaction { user, timestamp: e.timestamp, item, event_type })
    };
    positive.filter_map(act).partition(|act| act.timestamp < cut)
}
