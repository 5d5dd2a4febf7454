//! A simulated marketplace: catalogue, users with latent interests and needs, and what they do.
//!
//! [`World::generate`] makes a catalogue and the latent state of every user from a seed; the log of a
//! user is lived anew at every call of [`World::events`], so that a world of any length needs little
//! memory. What users really want ([`World::truth`]) comes from their latent state and their past,
//! never from the sampled future. The crate knows no language model and no recommender.

mod dice;
mod source;

mod shop;
mod text;

mod person;

mod need;
mod truth;

mod ills;
mod life;
mod raw;

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{CategoryId, Event, Item, Taxonomy, Timestamp, User, UserTruth};

use crate::life::Life;
use crate::person::Person;
use crate::shop::Shop;

pub use crate::ills::Ills;
pub use crate::raw::{RawSummary, WorldError};

/// Reports work done and work in all.
pub type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// Size and seed of a world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldConfig {
    /// Number of users.
    pub users: usize,
    /// Number of items; below about 360 there are fewer leaf categories than 150.
    pub items: usize,
    /// Decides everything random: catalogue, users, behaviour.
    pub seed: u64,
    /// Length of the log, 1 to 100; others are brought into this range.
    pub years: u32,
    /// Days at the end that evaluation holds out.
    pub holdout_days: u32,
    /// Mean number of events of a user (heavy tail).
    pub events_per_user: usize,
    /// Exact number of events of user 0, where given.
    pub heavy_user_events: Option<usize>,
    /// The moment after the last event; brought into 3000 years around 1970.
    pub end: Timestamp,
}

/// Farthest end of a world from 1970, in milliseconds: far from where times overflow.
const FARTHEST: i64 = 3000 * 365 * types::DAY_MS;

/// The marketplace.
pub struct World {
    pub(crate) config: WorldConfig,
    pub(crate) shop: Shop,
    pub(crate) people: Vec<Person>,
    users: Vec<User>,
    pool: Vec<String>,
}

impl World {
    /// Makes the catalogue and the users; events are made on request. `progress` counts users.
    #[must_use]
    pub fn generate(config: &WorldConfig, progress: &Progress<'_>) -> Self {
        let n_users = config.users as u64;
        progress(0, n_users);
        let end = Timestamp(config.end.0.clamp(-FARTHEST, FARTHEST));
        let config = &WorldConfig { years: config.years.clamp(1, 100), end, ..config.clone() };
        let start = end.plus_days(-365 * i64::from(config.years));
        let shop = Shop::generate(config, start);
        let people: Vec<Person> = (0..config.users)
            .into_par_iter()
            .map(|idx| Person::generate(config, &shop, start, idx))
            .collect();
        let users = people.iter().map(|person| person.user.clone()).collect();
        let sold = |leaf: &source::InterestLeaf| shop.leaf_of_spec[leaf.leaf].is_some();
        let interests = source::source().interests.iter().filter(|i| i.leaves.iter().any(sold));
        let pool = interests.map(|i| i.text.clone()).collect();
        progress(n_users, n_users);
        Self { config: config.clone(), shop, people, users, pool }
    }

    /// What it was made from, with years and end brought into their ranges.
    #[must_use]
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// The tree of categories; `Item::category` refers to it.
    #[must_use]
    pub fn taxonomy(&self) -> &Taxonomy {
        &self.shop.taxonomy
    }

    /// All items, in order of id.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.shop.items
    }

    /// All users, in order of id; user 0 is the heavy one.
    #[must_use]
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// The whole log of a user, sorted by time, held-out days included; made anew at every call.
    ///
    /// # Panics
    /// When `user_idx` is not a row of [`World::users`]; so do `truth` and `life`.
    #[must_use]
    pub fn events(&self, user_idx: usize) -> Vec<Event> {
        let person = &self.people[user_idx];
        let (acts, _) = Life::new(&self.shop, person, None).live(self.config.end.0, i64::MAX);
        life::to_events(&self.shop, person, acts)
    }

    /// The truth of a user at a moment: interests held then, strongest first, and what they will
    /// want from then on, likeliest first.
    #[must_use]
    pub fn truth(&self, user_idx: usize, at: Timestamp) -> UserTruth {
        let person = &self.people[user_idx];
        let (_, memory) = Life::new(&self.shop, person, None).live(self.config.end.0, at.0);
        truth::truth_of(&self.shop, person, &memory, at)
    }

    /// [`World::events`] and [`World::truth`] at a moment, in one pass.
    #[must_use]
    pub fn life(&self, user_idx: usize, at: Timestamp) -> (Vec<Event>, UserTruth) {
        let person = &self.people[user_idx];
        let (acts, memory) = Life::new(&self.shop, person, None).live(self.config.end.0, at.0);
        let truth = truth::truth_of(&self.shop, person, &memory, at);
        (life::to_events(&self.shop, person, acts), truth)
    }

    /// Texts of all interests that a user of this world can have.
    #[must_use]
    pub fn interest_pool(&self) -> &[String] {
        &self.pool
    }

    /// Start of the held-out days: `end - holdout_days`.
    #[must_use]
    pub fn cut(&self) -> Timestamp {
        self.config.end.plus_days(-i64::from(self.config.holdout_days))
    }

    /// Modifiers and core word of a tag, a query or a title; `None` where the text holds no core
    /// word of this world. Words before the modifiers (a brand) are left out.
    #[must_use]
    pub fn split_tag(&self, text: &str) -> Option<(Vec<String>, String)> {
        self.shop.split_text(text)
    }

    /// The leaf category of the longest core word that the text holds.
    #[must_use]
    pub fn category_of_core(&self, text: &str) -> Option<CategoryId> {
        self.shop.find_core(text).map(|(_, _, leaf)| self.shop.leaves[leaf].category)
    }

    /// One sentence of at most 12 words that links an interest and an item, from a grammar; it
    /// names no fact that is not in the title, the interest or the rationale.
    #[must_use]
    pub fn reason(&self, interest: &str, rationale: &str, item: &Item, seed: u64) -> String {
        text::reason(&self.shop, interest, rationale, item, seed)
    }

    /// Figures of the two ills; lives every life once.
    #[must_use]
    pub fn ills(&self) -> Ills {
        ills::count(self)
    }

    /// Writes events.csv, items.jsonl, users.jsonl, taxonomy.json, interests.txt and truth.jsonl (at
    /// [`World::cut`]) into a folder, which is made where missing. `progress` counts users.
    ///
    /// # Errors
    /// [`WorldError::Write`] when a file cannot be written.
    pub fn write_raw(&self, dir: &Path, progress: &Progress<'_>) -> Result<RawSummary, WorldError> {
        raw::write(self, dir, progress)
    }
}
