//! What most steps read: the catalogue, the users, and where each user's training part ends.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use events::{EventStore, ItemCores, tables};
use intent::{TagLexicon, TagToCategory};
use types::{Catalogue, EventType, Interaction, ItemId, Taxonomy, Timestamp, User, UserId};

use super::Context;
use super::lexicon::tag_lexicon;
use crate::settings::{Relevant, Settings, SplitKind};

/// The shop as imported.
pub(crate) struct Shop {
    pub(crate) store: EventStore,
    pub(crate) catalogue: Catalogue,
    pub(crate) taxonomy: Taxonomy,
    /// Sorted; a [`UserId`] is a row.
    pub(crate) user_ids: Vec<String>,
    users: HashMap<String, User>,
}

/// Everything that happened, divided at the cut.
pub(crate) struct Log {
    /// Before the cut, sorted by (user, time).
    pub(crate) train: Vec<Interaction>,
    /// Behind the cut and relevant, sorted by (user, time).
    pub(crate) test: Vec<Interaction>,
    /// No later than any cut: the moment for which popularity and towers are made.
    pub(crate) now: Timestamp,
    /// First held-out moment of each user who has one, by [`UserId`].
    cuts: Vec<Option<Timestamp>>,
    all: Timestamp,
}

impl Shop {
    pub(crate) fn load(ctx: &Context) -> Result<Self> {
        let store = EventStore::open(&ctx.ws.path("events"))
            .context("no imported events; run `recgpt import` first")?;
        let catalogue = Catalogue::new(tables::read_items(&ctx.ws.path("items.parquet"))?)?;
        let taxonomy = tables::read_taxonomy(&ctx.ws.path("taxonomy.parquet"))?;
        let users = tables::read_users(&ctx.ws.path("users.parquet"))?;
        let users = users.into_iter().map(|u| (u.user_id.clone(), u)).collect();
        let user_ids = store.user_ids()?;
        Ok(Self { store, catalogue, taxonomy, user_ids, users })
    }

    /// The user of an id; without attributes where the shop gave none.
    pub(crate) fn user(&self, user_id: &str) -> User {
        let anonymous = || User { user_id: user_id.to_owned(), attributes: Vec::new() };
        self.users.get(user_id).cloned().unwrap_or_else(anonymous)
    }

    pub(crate) fn cores(&self) -> ItemCores {
        ItemCores::new(&self.catalogue, &self.taxonomy)
    }

    pub(crate) fn lexicon(&self) -> TagLexicon {
        tag_lexicon(&self.catalogue, &self.cores())
    }

    /// Tag-to-Category from the titles of this catalogue.
    pub(crate) fn tag_to_category(&self) -> TagToCategory {
        let cores = self.cores();
        let items = self.catalogue.items().iter();
        let pairs: Vec<_> =
            items.filter_map(|i| Some((cores.core(&i.item_id).to_owned(), i.category?))).collect();
        TagToCategory::train(pairs.iter().map(|(text, category)| (text.as_str(), *category)))
    }

    /// All interactions on items of the catalogue, divided as the settings say.
    pub(crate) fn log(&self, settings: &Settings) -> Result<Log> {
        let end = Timestamp(i64::MAX);
        let all = self.store.interactions(&self.catalogue, &self.user_ids, end)?;
        let last = self.store.manifest().last.unwrap_or_default();
        let split = &settings.split;
        let relevant = |i: &Interaction| match split.relevant {
            Relevant::Reliable => i.event_type.is_reliable(),
            Relevant::Positive => i.event_type.is_positive(),
        };
        let cuts = match split.kind {
            SplitKind::ByTime => {
                let cut = last.plus_days(-i64::from(split.days));
                vec![Some(cut); self.user_ids.len()]
            }
            SplitKind::LeaveOneOut => leave_one_out_cuts(&all, self.user_ids.len()),
        };
        let held_out = |i: &Interaction| cuts[i.user.idx()].is_some_and(|cut| i.timestamp >= cut);
        let (test, train): (Vec<_>, Vec<_>) = all.into_iter().partition(held_out);
        let now = match split.kind {
            SplitKind::ByTime => cuts.first().copied().flatten().unwrap_or(last),
            SplitKind::LeaveOneOut => train.iter().map(|i| i.timestamp).max().unwrap_or(last),
        };
        let test = test.into_iter().filter(relevant).collect();
        Ok(Log { train, test, now, cuts, all: Timestamp(last.0 + 1) })
    }
}

impl Log {
    /// The same log over other items: `map` by item; interactions with an item that has none are left out.
    pub(crate) fn map_items(&self, map: &[Option<ItemId>]) -> Self {
        let mapped = |list: &[Interaction]| {
            let one = |i: &Interaction| Some(Interaction { item: map[i.item.idx()]?, ..*i });
            list.iter().filter_map(one).collect()
        };
        let (train, test) = (mapped(&self.train), mapped(&self.test));
        Self { train, test, cuts: self.cuts.clone(), ..*self }
    }

    /// The moment up to which a user's history may be read: their cut, or the end of the log.
    pub(crate) fn cut_of(&self, user: UserId) -> Timestamp {
        self.cuts[user.idx()].unwrap_or(self.all)
    }

    /// Training interactions by user, in order of [`UserId`]; empty for users who have none.
    pub(crate) fn histories(&self) -> Vec<&[Interaction]> {
        let mut histories: Vec<&[Interaction]> = vec![&[]; self.cuts.len()];
        for history in self.train.chunk_by(|a, b| a.user == b.user) {
            histories[history[0].user.idx()] = history;
        }
        histories
    }
}

/// The last positive interaction of everyone who has at least three; as in the published tables.
fn leave_one_out_cuts(all: &[Interaction], n_users: usize) -> Vec<Option<Timestamp>> {
    let mut cuts = vec![None; n_users];
    for history in all.chunk_by(|a, b| a.user == b.user) {
        let positive = || history.iter().filter(|i| i.event_type.is_positive());
        if positive().count() >= 3 {
            cuts[history[0].user.idx()] = positive().next_back().map(|i| i.timestamp);
        }
    }
    cuts
}

/// The preset pool of interests: one per line; none without a file.
pub(crate) fn interest_pool(path: Option<&Path>) -> Result<Vec<String>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect())
}

/// Items that were bought, and how often each was seen before: what "popular" counts.
pub(crate) fn positive_items(history: &[Interaction]) -> Vec<ItemId> {
    history
        .iter()
        .filter(|i| i.event_type.is_positive() && i.event_type != EventType::Share)
        .map(|i| i.item)
        .collect()
}
