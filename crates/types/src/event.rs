//! One thing that happened: what the log says ([`Event`]) and its interned form ([`Interaction`]).

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ItemId, Timestamp, UserId};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// The item was shown.
    Impression,
    /// An ordinary click.
    Click,
    /// The detailed view of the item was opened.
    DetailView,
    /// The item's reviews were read.
    ReviewRead,
    /// The item was saved.
    Favorite,
    /// The item was put into the cart.
    Cart,
    /// The item was bought.
    Purchase,
    /// The item was sent back, or its order cancelled.
    Return,
    /// A search was typed; `query` holds it.
    Search,
    /// The item was shared.
    Share,
    /// The user said no to the item.
    Dislike,
    /// Time spent on the item; `value` holds seconds.
    Dwell,
}

impl EventType {
    /// Every type, in declaration order.
    pub const ALL: [Self; 12] = [
        Self::Impression,
        Self::Click,
        Self::DetailView,
        Self::ReviewRead,
        Self::Favorite,
        Self::Cart,
        Self::Purchase,
        Self::Return,
        Self::Search,
        Self::Share,
        Self::Dislike,
        Self::Dwell,
    ];

    /// The canonical name in logs and in the event store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Impression => "impression",
            Self::Click => "click",
            Self::DetailView => "detail_view",
            Self::ReviewRead => "review_read",
            Self::Favorite => "favorite",
            Self::Cart => "cart",
            Self::Purchase => "purchase",
            Self::Return => "return",
            Self::Search => "search",
            Self::Share => "share",
            Self::Dislike => "dislike",
            Self::Dwell => "dwell",
        }
    }

    /// The short word that a line of a digest writes.
    #[must_use]
    pub fn digest_word(self) -> &'static str {
        match self {
            Self::DetailView => "view",
            Self::ReviewRead => "review",
            Self::Purchase => "buy",
            Self::Impression
            | Self::Click
            | Self::Favorite
            | Self::Cart
            | Self::Return
            | Self::Search
            | Self::Share
            | Self::Dislike
            | Self::Dwell => self.as_str(),
        }
    }

    /// Shows intent: kept by the behaviour level of a digest (RECGPT.md 1.1, reliable behaviour).
    #[must_use]
    pub fn is_reliable(self) -> bool {
        matches!(
            self,
            Self::DetailView
                | Self::ReviewRead
                | Self::Favorite
                | Self::Cart
                | Self::Purchase
                | Self::Search
        )
    }

    /// A positive act on an item, deliberate or not: what the towers learn from.
    #[must_use]
    pub fn is_positive(self) -> bool {
        matches!(
            self,
            Self::Click
                | Self::DetailView
                | Self::ReviewRead
                | Self::Favorite
                | Self::Cart
                | Self::Purchase
                | Self::Share
        )
    }
}

/// The name is no event type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown event type {0:?}; map it in [import.events.event_types]")]
pub struct UnknownEventType(pub String);

impl FromStr for EventType {
    type Err = UnknownEventType;

    /// Reads a canonical name or one of the field's aliases (Tianchi `pv fav buy`, and so on).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let lower = name.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        let alias = match lower.as_str() {
            "pv" | "view" | "page_view" => "click",
            "detail" | "item_view" | "view_item" => "detail_view",
            "fav" | "favourite" | "bookmark" | "wishlist" | "like" => "favorite",
            "add_to_cart" | "addtocart" | "cart_addition" => "cart",
            "buy" | "order" | "conversion" | "transaction" => "purchase",
            "refund" | "cancel" => "return",
            other => other,
        };
        Self::ALL
            .into_iter()
            .find(|t| t.as_str() == alias)
            .ok_or_else(|| UnknownEventType(name.to_owned()))
    }
}

/// One row of the log, with the ids as the log wrote them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Makes intake idempotent; derived from the row where the log has none.
    pub event_id: String,
    /// What happened.
    pub event_type: EventType,
    /// Who did it.
    pub user_id: String,
    /// On which item; absent for a search.
    pub item_id: Option<String>,
    /// When.
    pub timestamp: Timestamp,
    /// Seconds of a dwell, quantity of a purchase, stars of a review.
    pub value: Option<f64>,
    /// What was typed, for a search.
    pub query: Option<String>,
    /// The visit it belongs to.
    pub session_id: Option<String>,
    /// The recommendation it answers.
    pub request_id: Option<String>,
    /// Where the item stood on the slate, from 0.
    pub position: Option<u32>,
    /// The page or slot.
    pub scene: Option<String>,
    /// The shop, where one installation serves several.
    pub tenant: Option<String>,
    /// Everything else the row held.
    pub fields: BTreeMap<String, String>,
}

impl Event {
    /// An event with only the fields that every row has; the others are empty.
    #[must_use]
    pub fn new(event_id: &str, event_type: EventType, user_id: &str, timestamp: Timestamp) -> Self {
        Self {
            event_id: event_id.to_owned(),
            event_type,
            user_id: user_id.to_owned(),
            item_id: None,
            timestamp,
            value: None,
            query: None,
            session_id: None,
            request_id: None,
            position: None,
            scene: None,
            tenant: None,
            fields: BTreeMap::new(),
        }
    }

    /// The order of the event store: user, time, event id.
    #[must_use]
    pub fn sort_key(&self) -> (&str, Timestamp, &str) {
        (&self.user_id, self.timestamp, &self.event_id)
    }
}

/// A user acted on an item: 24 bytes, for towers, baselines and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interaction {
    /// Who.
    pub user: UserId,
    /// When.
    pub timestamp: Timestamp,
    /// On which item.
    pub item: ItemId,
    /// How.
    pub event_type: EventType,
}

#[cfg(test)]
mod tests {
    use super::EventType;

    #[test]
    fn every_canonical_name_reads_back_and_aliases_map() {
        for t in EventType::ALL {
            assert_eq!(t.as_str().parse(), Ok(t));
        }
        for (alias, want) in [
            ("pv", EventType::Click),
            ("Add-To-Cart", EventType::Cart),
            ("buy", EventType::Purchase),
            (" favourite ", EventType::Favorite),
        ] {
            assert_eq!(alias.parse(), Ok(want), "{alias}");
        }
        assert!("frobnicate".parse::<EventType>().is_err());
    }
}
