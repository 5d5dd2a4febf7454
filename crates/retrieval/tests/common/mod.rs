//! Reads an Amazon set from the shared folder, and measures full ranking under leave-one-out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use retrieval::{Scorer, TowerData, Towers, top_of};
use types::{Catalogue, EventType, Interaction, Item, ItemId, Taxonomy, Timestamp, UserId};

/// A set with the last item of every user apart.
pub(crate) struct LeaveOneOut {
    pub(crate) catalogue: Catalogue,
    /// All but the last item of every user; time is the place in the sequence.
    pub(crate) before: Vec<Interaction>,
    /// The last item, by user.
    pub(crate) last: Vec<ItemId>,
}

impl LeaveOneOut {
    /// `amazon_office`; `None` with a printed line where the shared folder is missing.
    pub(crate) fn office() -> Option<Self> {
        let dir =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/amazon_office");
        let read = |name: &str| std::fs::read(dir.join(name)).ok();
        let Some((inter, item)) =
            read("Office_Products.inter.json").zip(read("Office_Products.item.json"))
        else {
            let line = format!("skipped: {} is missing\n", dir.display());
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).ok()?;
            return None;
        };
        let inter: BTreeMap<String, Vec<u32>> =
            serde_json::from_slice(&inter).expect("user to items");
        let texts: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_slice(&item).expect("item to texts");
        let n_items = 1 + *inter.values().flatten().max().expect("some item");
        let items = (0..n_items).map(|idx| {
            let text = texts.get(&idx.to_string());
            let field = |name: &str| text.and_then(|t| t.get(name)).cloned().unwrap_or_default();
            Item {
                item_id: idx.to_string(),
                title: field("title"),
                brand: Some(field("brand")).filter(|b| !b.is_empty()),
                ..Item::default()
            }
        });
        let mut users: Vec<(u32, Vec<u32>)> = inter
            .into_iter()
            .map(|(user, items)| (user.parse().expect("users are numbers"), items))
            .collect();
        users.sort_unstable();
        let mut set = Self {
            catalogue: Catalogue::new(items.collect()).expect("numbers are distinct"),
            before: vec![],
            last: vec![],
        };
        for (user, (_, items)) in (0..).zip(users) {
            let (last, before) = items.split_last().expect("no user is empty");
            set.last.push(ItemId(*last));
            set.before.extend(before.iter().zip(0..).map(|(item, place)| Interaction {
                user: UserId(user),
                timestamp: Timestamp(place),
                item: ItemId(*item),
                event_type: EventType::Purchase,
            }));
        }
        Some(set)
    }

    /// Histories by user.
    pub(crate) fn histories(&self) -> Vec<&[Interaction]> {
        self.before.chunk_by(|a, b| a.user == b.user).collect()
    }

    /// All but the last two items of every user.
    pub(crate) fn without_validation(&self) -> Vec<Interaction> {
        self.histories().iter().flat_map(|h| &h[..h.len() - 1]).copied().collect()
    }

    /// Lists of the ten nearest unseen items for every user's whole history.
    pub(crate) fn user_tower_lists(&self, towers: &Towers) -> Vec<Vec<ItemId>> {
        let histories = self.histories();
        let users: Vec<_> = (0..).zip(&histories).map(|(u, h)| (UserId(u), *h)).collect();
        let n_items = towers.n_items();
        let list = |(user, scores): (&(UserId, &[Interaction]), &[f32])| -> Vec<ItemId> {
            let seen: BTreeSet<ItemId> = user.1.iter().map(|i| i.item).collect();
            let best = top_of(scores, 10, &|item| !seen.contains(&item));
            best.into_iter().map(|(item, _)| item).collect()
        };
        let lists = users.chunks(256).flat_map(|users| {
            let mut scores = vec![0.0; users.len() * n_items];
            towers.scores(users, &mut scores);
            users.iter().zip(scores.chunks(n_items)).map(list).collect::<Vec<_>>()
        });
        lists.collect()
    }

    /// What towers learn from: everything but the last item, or `interactions` in its place.
    pub(crate) fn tower_data<'a>(
        &'a self,
        taxonomy: &'a Taxonomy,
        interactions: &'a [Interaction],
    ) -> TowerData<'a> {
        TowerData {
            catalogue: &self.catalogue,
            taxonomy,
            n_users: self.last.len(),
            interactions,
            now: Timestamp(i64::MAX),
        }
    }

    /// Recall and NDCG at 10 of lists of at least ten unseen items.
    pub(crate) fn figures(&self, lists: &[Vec<ItemId>]) -> (f64, f64) {
        let mut sum = (0.0, 0.0);
        for (list, last) in lists.iter().zip(&self.last) {
            if let Some(rank) = list.iter().take(10).position(|item| item == last) {
                sum.0 += 1.0;
                sum.1 += 1.0 / (rank as f64 + 2.0).log2();
            }
        }
        let n = self.last.len() as f64;
        (sum.0 / n, sum.1 / n)
    }
}
