//! What recgpt has to beat, each in its strong form, one file each.
//!
//! All score the whole catalogue ([`Scorer`]), so that one full ranking measures them alike. Nothing
//! here reads anything but the interactions that it is given; none knows a language model.

mod content_knn;
mod item_knn;
mod personal_frequency;
mod popularity;
mod recent_popularity;

mod bpr;
mod ease;
mod ials;

mod sasrec;
mod text;
mod transition_graph;
mod two_tower;

use types::{Interaction, UserId};

pub use content_knn::ContentKnn;
pub use item_knn::{ItemKnn, ItemKnnConfig};
pub use personal_frequency::PersonalFrequency;
pub use popularity::Popularity;
pub use recent_popularity::RecentPopularity;

pub use bpr::{Bpr, BprConfig};
pub use ease::Ease;
pub use ials::{Ials, IalsConfig};

pub use sasrec::sasrec_config;
pub use transition_graph::{TransitionGraph, TransitionGraphConfig};
pub use two_tower::two_tower_config;

pub use crate::index::top_of;

/// A model that scores every item of the catalogue for a user.
pub trait Scorer: Sync + Send {
    /// Items scored.
    fn n_items(&self) -> usize;

    /// Writes `out[users, n_items]` for users with their histories in time order; larger is better.
    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]);
}

impl<S: Scorer + ?Sized> Scorer for std::sync::Arc<S> {
    fn n_items(&self) -> usize {
        (**self).n_items()
    }

    fn scores(&self, users: &[(UserId, &[Interaction])], out: &mut [f32]) {
        (**self).scores(users, out);
    }
}

/// Writes `out[users, items]` of a model that scores every user alike.
fn same_for_all(scores: &[f32], n_users: usize, out: &mut [f32]) {
    assert_eq!(out.len(), n_users * scores.len(), "out is [users, items]");
    out.chunks_mut(scores.len().max(1)).for_each(|row| row.copy_from_slice(scores));
}

/// Distinct items with a positive act, by user number; `interactions` are sorted by user.
fn baskets(interactions: &[Interaction], n_users: usize) -> Vec<Vec<u32>> {
    let mut baskets = vec![Vec::new(); n_users];
    for events in interactions.chunk_by(|a, b| a.user == b.user) {
        baskets[events[0].user.idx()] = distinct(events);
    }
    baskets
}

/// Distinct items of a history with a positive act, ascending.
fn distinct(history: &[Interaction]) -> Vec<u32> {
    let positive = history.iter().filter(|i| i.event_type.is_positive());
    let mut items: Vec<u32> = positive.map(|i| i.item.0).collect();
    items.sort_unstable();
    items.dedup();
    items
}

#[cfg(test)]
pub(crate) mod testing {
    //! Logs as words: one letter per interaction, one word per user; time in days.

    use types::{EventType, Interaction, ItemId, Timestamp, UserId};

    pub(crate) fn log(users: &[&str]) -> Vec<Interaction> {
        let mut all = Vec::new();
        for (user, items) in (0..).zip(users) {
            for (day, letter) in (0..).zip(items.bytes()) {
                all.push(Interaction {
                    user: UserId(user),
                    timestamp: Timestamp(0).plus_days(day),
                    item: ItemId(u32::from(letter - b'a')),
                    event_type: EventType::Purchase,
                });
            }
        }
        all
    }

    pub(crate) fn letters(found: &[(ItemId, f32)]) -> String {
        found.iter().map(|(i, _)| char::from(b'a' + i.0 as u8)).collect()
    }
}
