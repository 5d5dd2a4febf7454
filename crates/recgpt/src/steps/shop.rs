//! What most steps read: the catalogue, the users, and where each user's training part ends.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use events::{EventStore, EventsError, ItemCores, UserHistory, tables};
use intent::{TagLexicon, TagToCategory};
use types::{Catalogue, Event, EventType, Interaction, ItemId, Taxonomy, Timestamp, User, UserId};

use super::lexicon::tag_lexicon;
use super::{Context, import};
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
    pub(crate) cuts: Cuts,
}

/// Where each user's training part ends.
#[derive(Debug, Clone)]
pub(crate) struct Cuts {
    /// No later than any cut: the moment for which popularity and towers are made.
    pub(crate) now: Timestamp,
    /// First held-out moment of each user who has one, by [`UserId`].
    by_user: Vec<Option<Timestamp>>,
    all: Timestamp,
}

impl Shop {
    pub(crate) fn load(ctx: &Context) -> Result<Self> {
        let store = EventStore::open(&ctx.ws.path("events"))
            .context("no imported events; run `recgpt import` first")?;
        let catalogue = Catalogue::new(tables::read_items(&ctx.ws.path(import::ITEMS))?)?;
        let taxonomy = tables::read_taxonomy(&ctx.ws.path(import::TAXONOMY))?;
        let users = tables::read_users(&ctx.ws.path(import::USERS))?;
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
        let cuts = self.cuts(settings)?;
        let split = &settings.split;
        let relevant = |i: &Interaction| match split.relevant {
            Relevant::Reliable => i.event_type.is_reliable(),
            Relevant::Positive => i.event_type.is_positive(),
        };
        let held_out = |i: &Interaction| cuts.of(i.user) <= i.timestamp;
        let (test, train): (Vec<_>, Vec<_>) = all.into_iter().partition(held_out);
        let test = test.into_iter().filter(relevant).collect();
        Ok(Log { train, test, cuts })
    }

    /// Where each user's training part ends; holds one history at a time.
    pub(crate) fn cuts(&self, settings: &Settings) -> Result<Cuts> {
        let last = self.store.manifest().last.unwrap_or_default();
        let all = Timestamp(last.0 + 1);
        let split = &settings.split;
        if split.kind == SplitKind::ByTime {
            let cut = last.plus_days(-i64::from(split.days));
            let by_user = vec![Some(cut); self.user_ids.len()];
            return Ok(Cuts { now: if by_user.is_empty() { last } else { cut }, by_user, all });
        }
        let of_user = |history: UserHistory| {
            let known = |e: &&Event| {
                e.item_id.as_deref().is_some_and(|id| self.catalogue.find(id).is_some())
            };
            let events: Vec<&Event> = history.events.iter().filter(known).collect();
            let cut = leave_one_out_cut(&events);
            let before = |e: &&&Event| cut.is_none_or(|cut| e.timestamp < cut);
            let last = events.iter().filter(before).map(|e| e.timestamp).max();
            Ok::<_, EventsError>((cut, last))
        };
        let (by_user, lasts): (Vec<_>, Vec<_>) = self.store.fold_all(of_user)?.into_iter().unzip();
        Ok(Cuts { now: lasts.into_iter().flatten().max().unwrap_or(last), by_user, all })
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
        Self { train, test, cuts: self.cuts.clone() }
    }

    /// Training interactions by user, in order of [`UserId`]; empty for users who have none.
    pub(crate) fn histories(&self) -> Vec<&[Interaction]> {
        let mut histories: Vec<&[Interaction]> = vec![&[]; self.cuts.by_user.len()];
        for history in self.train.chunk_by(|a, b| a.user == b.user) {
            histories[history[0].user.idx()] = history;
        }
        histories
    }
}

impl Cuts {
    /// The moment up to which a user's history may be read: their cut, or the end of the log.
    pub(crate) fn of(&self, user: UserId) -> Timestamp {
        self.by_user[user.idx()].unwrap_or(self.all)
    }
}

/// The last positive interaction of someone who has at least three; as in the published tables.
fn leave_one_out_cut(events: &[&Event]) -> Option<Timestamp> {
    let positive = || events.iter().filter(|e| e.event_type.is_positive());
    if positive().count() < 3 {
        return None;
    }
    positive().next_back().map(|e| e.timestamp)
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
