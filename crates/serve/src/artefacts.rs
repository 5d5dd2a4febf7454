//! What answers are made of, as it is handed over, and whether it fits together.

use std::collections::BTreeMap;

use retrieval::{ItemIndex, Merge, Popularity};
use types::{Catalogue, Interaction, InterestProfile, Tag, Taxonomy, Timestamp, UserId};

use crate::{Encoder, Seen, ServeError};

/// How candidates of user and tags become one list, and what a slate holds where the request does not
/// say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// Weight of the user tower where the request names none.
    pub beta: f32,
    /// The same where the request says what is wanted.
    pub wish_beta: f32,
    /// Whether items of history and session may come where the request does not say.
    pub seen: Seen,
    /// What a user's own repeats weigh beside the user score, where a request lets seen items in; see
    /// [`retrieval::repeat_boosts`].
    pub repeat_weight: f32,
    /// Items per tag, for [`Merge::TagQuota`].
    pub quota: usize,
    /// The rule.
    pub merge: Merge,
    /// Items of one category on ten places of a slate; 0 for no limit.
    pub per_category: usize,
    /// Items of one merchant on ten places; 0 for no limit.
    pub per_merchant: usize,
    /// The last places of every ten, for new items.
    pub new_places: usize,
    /// For how many days an item is new.
    pub new_days: u32,
}

/// Everything that answers are made of.
pub struct Artefacts {
    /// The items.
    pub catalogue: Catalogue,
    /// Names of categories.
    pub taxonomy: Taxonomy,
    /// The towers.
    pub encoder: Box<dyn Encoder>,
    /// Item vectors, rows as in `catalogue`.
    pub index: ItemIndex,
    /// User ids, none twice; a [`UserId`] is a row.
    pub user_ids: Vec<String>,
    /// Histories, sorted by (user, time).
    pub histories: Vec<Interaction>,
    /// Mined interests of the users who have them.
    pub interests: BTreeMap<UserId, InterestProfile>,
    /// Tags of the users who have them, likeliest first.
    pub tags: BTreeMap<UserId, Vec<Tag>>,
    /// What is popular, rows as in `catalogue`.
    pub popularity: Popularity,
    /// How to fuse.
    pub fusion: Fusion,
    /// The moment that answers are made for.
    pub now: Timestamp,
    /// Stands in every reply.
    pub model_version: String,
}

pub(crate) fn check_rows(
    table: &'static str,
    expected: usize,
    got: usize,
) -> Result<(), ServeError> {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (format!("{expected} rows"), format!("{got} rows"));
    Err(ServeError::Artefacts { table, expected, got })
}

/// Where each user's history lies, with order and ranges checked.
pub(crate) fn spans(parts: &Artefacts) -> Result<Vec<(usize, usize)>, ServeError> {
    let wrong = |row: usize, expected: &str| ServeError::Artefacts {
        table: "histories",
        expected: expected.to_owned(),
        got: format!("{:?} in row {row}", parts.histories[row]),
    };
    let mut spans = vec![(0, 0); parts.user_ids.len()];
    for (row, i) in parts.histories.iter().enumerate() {
        if i.item.idx() >= parts.catalogue.len() {
            return Err(wrong(row, "items of the catalogue"));
        }
        if row > 0 {
            let before = &parts.histories[row - 1];
            if (i.user, i.timestamp) < (before.user, before.timestamp) {
                return Err(wrong(row, "the order (user, time)"));
            }
        }
        let span = spans.get_mut(i.user.idx()).ok_or_else(|| wrong(row, "known users"))?;
        if span.1 == 0 {
            span.0 = row;
        }
        span.1 = row + 1;
    }
    Ok(spans)
}

/// Whether rows that other tables name are there.
pub(crate) fn check_names(parts: &Artefacts) -> Result<(), ServeError> {
    let n_users = parts.user_ids.len();
    let mut named = parts.interests.keys().chain(parts.tags.keys());
    if let Some(user) = named.find(|user| user.idx() >= n_users) {
        return Err(ServeError::Artefacts {
            table: "interests and tags",
            expected: format!("users 0 to {n_users}"),
            got: format!("{user:?}"),
        });
    }
    let mut categories = parts.catalogue.items().iter().filter_map(|item| item.category);
    if let Some(category) = categories.find(|c| c.idx() >= parts.taxonomy.len()) {
        return Err(ServeError::Artefacts {
            table: "catalogue",
            expected: format!("{} categories", parts.taxonomy.len()),
            got: format!("{category:?}"),
        });
    }
    Ok(())
}
