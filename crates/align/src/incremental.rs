//! Samples from the last days of a log: what users turned to, the interest behind it, and why
//! (RECGPT.md 1.2, incremental learning).
//!
//! Four steps per user: intake (events of the window, one candidate per item), purification (relevance
//! and timeliness), completion (the item's words as a tag, the interest behind it and a rationale),
//! balancing. Nothing at or after the window's end is read, and the digest ends before the window begins.

mod balance;
mod complete;
mod purify;
mod report;

use types::{CategoryId, Digest, EventType, InterestProfile, Tag, Taxonomy, Timestamp, User};

use intent::{TagLexicon, TagToCategory};

pub use self::report::{DropReason, IncrementalReport, IncrementalStep, StepCount};
use crate::error::AlignError;
use crate::sample::Sample;
use crate::scope::{Ground, Scope};
use crate::truth::mine_tag_sample;

/// One event on an item.
#[derive(Debug, Clone, Copy)]
pub struct WindowEvent<'a> {
    /// On which item.
    pub item_id: &'a str,
    /// What happened.
    pub event_type: EventType,
    /// When.
    pub timestamp: Timestamp,
    /// Seconds of a dwell.
    pub value: Option<f64>,
    /// The item's core words, as digests write them; empty where they are unknown.
    pub core: &'a str,
    /// The item's title, read where there are no core words.
    pub title: &'a str,
    /// The item's category, where known.
    pub category: Option<CategoryId>,
}

/// One user, before and in the window.
#[derive(Clone, Copy)]
pub struct WindowUser<'a> {
    /// Who.
    pub user: &'a User,
    /// What they did before the window; its `now` is no later than the window's beginning.
    pub digest: &'a Digest,
    /// Interests mined from that digest.
    pub profile: &'a InterestProfile,
    /// Events in any order; those outside of the window are not read.
    pub events: &'a [WindowEvent<'a>],
}

/// What all users of a shop share, learnt before the window.
pub struct IncrementalShop<'a> {
    /// The tree of categories.
    pub taxonomy: &'a Taxonomy,
    /// Core phrases and brands, as at inference.
    pub lexicon: &'a TagLexicon,
    /// The category of an item's core words or of a query.
    pub category_of_core: &'a (dyn Fn(&str) -> Option<CategoryId> + Sync),
    /// Whether a text of a digest and an item's core words stand in the same histories more often than
    /// chance.
    pub goes_with: &'a (dyn Fn(&str, &str) -> bool + Sync),
    /// The model that balancing counts categories with.
    pub to_category: &'a TagToCategory,
}

/// The window and the balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncrementalConfig {
    /// Beginning of the window.
    pub from: Timestamp,
    /// Its length in days.
    pub days: i64,
    /// Most tags per user before categories are counted.
    pub per_user: usize,
    /// Most tags per user and category.
    pub per_category: usize,
    /// Most clauses of a rationale.
    pub clauses: usize,
    /// Seed of the choice among a user's tags.
    pub seed: u64,
}

impl IncrementalConfig {
    /// The published sizes: 14 days, 80 tags per user, 2 per category.
    #[must_use]
    pub fn new(from: Timestamp, seed: u64) -> Self {
        Self { from, days: 14, per_user: 80, per_category: 2, clauses: 2, seed }
    }

    /// The first moment behind the window.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.from.plus_days(self.days)
    }
}

/// What a window teaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incremental {
    /// One per user who has a tag, in the form of mining and tagging.
    pub samples: Vec<Sample>,
    /// Tags with interests and rationales, by user, in the order of the users given.
    pub triples: Vec<(String, Vec<Tag>)>,
    /// What each step kept and dropped.
    pub report: IncrementalReport,
}

/// Purified, completed and balanced samples of a window.
///
/// # Errors
/// [`AlignError::Config`] when a digest or a profile was made after the window's beginning: the answer
/// would be among what the model reads.
pub fn incremental_samples(
    users: &[WindowUser<'_>],
    shop: &IncrementalShop<'_>,
    config: &IncrementalConfig,
) -> Result<Incremental, AlignError> {
    let mut report = IncrementalReport::default();
    let (mut samples, mut triples) = (Vec::new(), Vec::new());
    for user in users {
        check_time(user, config)?;
        let tags = user_tags(user, shop, config, &mut report);
        report.users += 1;
        if tags.is_empty() {
            continue;
        }
        let sample = mine_tag_sample("incremental", user.user, user.digest, user.profile, &tags);
        samples.push(sample);
        triples.push((user.user.user_id.clone(), tags));
    }
    report.samples = samples.len();
    Ok(Incremental { samples, triples, report })
}

/// The four steps of one user.
fn user_tags(
    user: &WindowUser<'_>,
    shop: &IncrementalShop<'_>,
    config: &IncrementalConfig,
    report: &mut IncrementalReport,
) -> Vec<Tag> {
    let ground = shop.ground();
    let interests = &user.profile.interests;
    let scopes: Vec<Scope> =
        interests.iter().map(|interest| Scope::new(interest, user.digest, &ground)).collect();
    let candidates = purify::intake(user.events, config, report);
    let kept = purify::purify(candidates, &scopes, shop, report);
    let tags = complete::complete(kept, user, &scopes, (shop, config), report);
    balance::balance(tags, &user.user.user_id, config, report)
}

fn check_time(user: &WindowUser<'_>, config: &IncrementalConfig) -> Result<(), AlignError> {
    let read = user.digest.now.max(user.profile.now);
    if read <= config.from {
        return Ok(());
    }
    let detail = format!(
        "user {:?} was read up to {}, the window begins at {}: make digest and interests at the \
         window's beginning",
        user.user.user_id,
        read.rfc3339(),
        config.from.rfc3339()
    );
    Err(AlignError::Config { what: "digest", detail })
}

impl<'a> IncrementalShop<'a> {
    fn ground(&self) -> Ground<'a> {
        let Self { taxonomy, lexicon, category_of_core, .. } = *self;
        Ground { taxonomy, lexicon, category_of_core }
    }
}
