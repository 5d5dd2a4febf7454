//! What only a world with a truth can tell: how much of it a budget leaves to mine, by policy, and how
//! much of a prompt stays the same from one day to the next.

use std::collections::HashMap;
use std::fmt;

use align::{InterestCounts, acts_by_category};
use anyhow::{Context as _, Result};
use events::{BudgetPolicy, DigestConfig, Digester, ItemCores, LineOrder, UserHistory};
use rayon::prelude::*;
use serde::Serialize;
use types::{Catalogue, CategoryId, Digest, Timestamp, UserTruth, normalise_text};
use world::{World, WorldConfig};

use crate::cli::BenchDigestArgs;
use crate::progress::say;
use crate::settings::IntentSettings;
use crate::steps::model::builtin_tokenizer;
use crate::steps::worlds::pooled_counts;

/// Tokens of the digests whose interests are counted.
const BUDGETS: [usize; 4] = [600, 2_000, 8_000, 32_000];
/// People of other worlds behind the counting miner.
const COUNTED: usize = 600;
/// Pairs of days, spread over a year.
const DAYS: i64 = 12;

/// Truth that is left, and prompts that stay.
#[derive(Debug, Serialize)]
pub(super) struct Worlds {
    users: usize,
    events_per_user: f64,
    policies: Vec<PolicyLine>,
    /// Share of a day's digest that is the beginning of the day before, in the stable order.
    pub(super) stable_share: f64,
    /// The same with the newest first.
    newest_first_share: f64,
    /// Budget of both.
    stable_budget: usize,
}

#[derive(Debug, Serialize)]
struct PolicyLine {
    policy: String,
    budget: usize,
    tokens: f64,
    /// Share of true interests among those that the counting miner ranks highest.
    mined: f64,
    /// Share of true interests with a text of their categories in the digest.
    supported: f64,
    dropped_events: f64,
}

struct Person {
    history: UserHistory,
    truth: UserTruth,
}

pub(super) fn measure(args: &BenchDigestArgs) -> Result<Worlds> {
    let config = WorldConfig {
        users: args.world_users,
        items: 4_000,
        seed: args.seed + 7,
        years: 6,
        holdout_days: 14,
        events_per_user: args.world_events,
        heavy_user_events: None,
        end: Timestamp::from_date(2026, 3, 20).context("a date")?,
    };
    say(&format!(
        "{} lives of {} events over {} years",
        config.users, config.events_per_user, config.years
    ));
    let world = World::generate(&config, &|_, _| {});
    let now = world.cut();
    let people: Vec<Person> = (0..config.users)
        .into_par_iter()
        .map(|idx| {
            let (mut events, truth) = world.life(idx, now);
            events.retain(|e| e.timestamp < now);
            events.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
            let user_id = world.users()[idx].user_id.clone();
            Person { history: UserHistory { user_id, events }, truth }
        })
        .collect();
    let catalogue = Catalogue::new(world.items().to_vec())?;
    let cores = ItemCores::new(&catalogue, world.taxonomy());
    let tokenizer = builtin_tokenizer()?;
    let count = |text: &str| tokenizer.count(text);
    let digester = |budget, policy, order| {
        let config = DigestConfig { policy, order, ..DigestConfig::new(now, budget) };
        Digester::new(&cores, &catalogue, config, &count).counting_parts()
    };
    let counts = pooled_counts(COUNTED)?;
    let category_of: HashMap<String, CategoryId> = catalogue
        .items()
        .iter()
        .filter_map(|i| Some((normalise_text(cores.core(&i.item_id)), i.category?)))
        .collect();
    let miner = Miner { world: &world, counts: &counts, category_of: &category_of };
    let mut policies = Vec::new();
    for budget in BUDGETS {
        for (name, policy, order) in variants() {
            let digester = digester(budget, policy, order);
            policies.push(miner.line(name, budget, &people, &digester)?);
        }
    }
    let stable_budget = args.world_budget;
    let share = |order| {
        let digester = digester(stable_budget, BudgetPolicy::CoarserTime, order);
        stable_share(&people, &digester, now)
    };
    let n_events: usize = people.iter().map(|p| p.history.events.len()).sum();
    Ok(Worlds {
        users: people.len(),
        events_per_user: n_events as f64 / people.len().max(1) as f64,
        policies,
        stable_share: share(LineOrder::Stable)?,
        newest_first_share: share(LineOrder::NewestFirst)?,
        stable_budget,
    })
}

fn variants() -> [(&'static str, BudgetPolicy, LineOrder); 4] {
    let newest = LineOrder::NewestFirst;
    [
        ("oldest first", BudgetPolicy::OldestFirst, newest),
        ("coarser time", BudgetPolicy::CoarserTime, newest),
        ("least informative first", BudgetPolicy::LeastInformative, newest),
        ("stable order, folded by year", BudgetPolicy::CoarserTime, LineOrder::Stable),
    ]
}

struct Miner<'a> {
    world: &'a World,
    counts: &'a InterestCounts,
    category_of: &'a HashMap<String, CategoryId>,
}

impl Miner<'_> {
    fn line(
        &self,
        policy: &str,
        budget: usize,
        people: &[Person],
        digester: &Digester<'_>,
    ) -> Result<PolicyLine> {
        let digests: Vec<Digest> =
            people.par_iter().map(|p| digester.digest(&p.history)).collect::<Result<_, _>>()?;
        let n = people.len().max(1) as f64;
        let (mut mined, mut supported, mut truths) = (0, 0, 0);
        for (digest, person) in digests.iter().zip(people) {
            let category_of = |text: &str| {
                let known = self.category_of.get(&normalise_text(text)).copied();
                known.or_else(|| self.world.category_of_core(text))
            };
            let acts = acts_by_category(digest, self.world.taxonomy(), &category_of);
            let keep = IntentSettings::default().min_interests;
            let ranked = self.counts.rank(&acts);
            let best: Vec<&str> = ranked.iter().take(keep).map(|(name, _)| *name).collect();
            for interest in &person.truth.interests {
                truths += 1;
                mined += usize::from(best.contains(&interest.text.as_str()));
                let acted = |c: &String| acts.iter().any(|(path, _)| path == c);
                supported += usize::from(interest.categories.iter().any(acted));
            }
        }
        let share = |n: usize| n as f64 / truths.max(1) as f64;
        Ok(PolicyLine {
            policy: policy.to_owned(),
            budget,
            tokens: digests.iter().map(|d| d.tokens.budget as f64).sum::<f64>() / n,
            mined: share(mined),
            supported: share(supported),
            dropped_events: digests.iter().map(|d| d.n_dropped_budget as f64).sum::<f64>() / n,
        })
    }
}

/// Mean share of a day's text that begins the text of the day before, over people and days.
fn stable_share(people: &[Person], digester: &Digester<'_>, now: Timestamp) -> Result<f64> {
    let shares: Vec<f64> = people
        .par_iter()
        .map(|person| {
            let mut sum = 0.0;
            for pair in 0..DAYS {
                // another day of the month each time, month ends and a turn of the year among them
                let next = now.plus_days(-pair * 365 / DAYS);
                let before = digester.digest_at(&person.history, next.plus_days(-1))?.text();
                let after = digester.digest_at(&person.history, next)?.text();
                let same = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
                sum += same as f64 / after.len().max(1) as f64;
            }
            Ok(sum / DAYS as f64)
        })
        .collect::<Result<_>>()?;
    Ok(shares.iter().sum::<f64>() / shares.len().max(1) as f64)
}

impl fmt::Display for Worlds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} simulated users of {:.0} events", self.users, self.events_per_user)?;
        writeln!(
            f,
            "{:30} {:>7} {:>8} {:>7} {:>9} {:>9}",
            "policy", "budget", "tokens", "mined", "supported", "dropped"
        )?;
        for p in &self.policies {
            writeln!(
                f,
                "{:30} {:>7} {:>8.0} {:>7.3} {:>9.3} {:>9.0}",
                p.policy, p.budget, p.tokens, p.mined, p.supported, p.dropped_events
            )?;
        }
        write!(
            f,
            "of a day's digest ({} tokens at most) the beginning of the day before: {:.3} in the stable order, {:.3} newest first",
            self.stable_budget, self.stable_share, self.newest_first_share
        )
    }
}
