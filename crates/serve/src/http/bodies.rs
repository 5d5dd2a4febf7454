//! Bodies of requests, read strictly: an unknown field is an error that names its path.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use events::import::TimeFormat;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use types::{Item, Taxonomy, Timestamp};
use utoipa::ToSchema;

use super::errors::ApiError;
use crate::{RecommendRequest, RequestFilter, Seen, SessionEvent};

/// Most items of one body.
const MAX_ITEMS: usize = 10_000;

/// What to recommend.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecommendBody {
    /// User id of the log; absent for nobody in particular.
    #[serde(default)]
    user_id: String,
    /// Number of items.
    #[schema(minimum = 1, maximum = 200)]
    n: Option<usize>,
    /// Weight of the user tower against tags or texts.
    #[schema(minimum = 0, maximum = 1)]
    beta: Option<f32>,
    /// What the user says is wanted, such as `waterproof hiking boots`; takes the place of predicted tags.
    #[serde(default)]
    texts: Vec<String>,
    /// The last events, oldest first, as the newest part of the history.
    #[serde(default)]
    session: Vec<SessionEventBody>,
    /// Item ids to leave out.
    #[serde(default)]
    exclude_item_ids: Vec<String>,
    /// Whether items of history and session may come again; where absent, as the shop is configured.
    include_seen: Option<bool>,
    /// Which items may come.
    #[serde(default)]
    filters: FilterBody,
    /// Items of one category on ten places; 0 for no limit.
    per_category: Option<usize>,
    /// Items of one merchant on ten places; 0 for no limit.
    per_merchant: Option<usize>,
    /// The last places of every ten, for new items.
    #[schema(maximum = 10)]
    new_places: Option<usize>,
    /// Whether to give a reason for each item.
    #[serde(default)]
    explain: bool,
}

/// One event of a session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SessionEventBody {
    /// On which item.
    item_id: String,
    /// As in the log: `click` (also where absent), `cart`, `purchase`, and so on.
    event_type: Option<String>,
    /// When; the moment of the slate where absent.
    timestamp: Option<Moment>,
}

/// RFC 3339, or an epoch in seconds or milliseconds.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum Moment {
    /// Its size tells the unit.
    Epoch(f64),
    /// Such as `2025-03-01T12:00:00Z`.
    Text(String),
}

impl Moment {
    fn read(self, name: &str) -> Result<Timestamp, ApiError> {
        let text = match self {
            Self::Epoch(number) => number.to_string(),
            Self::Text(text) => text,
        };
        let expected = "a time as RFC 3339, or an epoch in seconds or milliseconds";
        TimeFormat::Auto.parse(&text).map_err(|_| ApiError::parameter(name, &text, expected))
    }
}

/// Which items may come.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct FilterBody {
    /// Category paths; an item lies in one of them or below.
    categories: Vec<String>,
    /// Merchants of which one sells it.
    merchants: Vec<String>,
    /// Least price.
    min_price: Option<f64>,
    /// Largest price.
    max_price: Option<f64>,
}

impl RecommendBody {
    pub(super) fn into_request(self) -> Result<RecommendRequest, ApiError> {
        let session = self.session.into_iter().map(SessionEventBody::into_event);
        let filter = self.filters;
        let base = RecommendRequest::new(&self.user_id);
        Ok(RecommendRequest {
            n: self.n.unwrap_or(base.n),
            beta: self.beta,
            wishes: self.texts,
            session: session.collect::<Result<_, _>>()?,
            exclude: self.exclude_item_ids,
            seen: self.include_seen.map(Seen::included),
            filter: RequestFilter {
                categories: filter.categories,
                merchants: filter.merchants,
                min_price: filter.min_price,
                max_price: filter.max_price,
            },
            per_category: self.per_category,
            per_merchant: self.per_merchant,
            new_places: self.new_places,
            explain: self.explain,
            ..base
        })
    }
}

impl SessionEventBody {
    fn into_event(self) -> Result<SessionEvent, ApiError> {
        let mut event = SessionEvent::click(&self.item_id);
        event.timestamp = self.timestamp.map(|moment| moment.read("timestamp")).transpose()?;
        if let Some(name) = &self.event_type {
            let expected = "an event type such as click, favorite, cart or purchase";
            let parsed = name.parse();
            event.event_type =
                parsed.map_err(|_| ApiError::parameter("event_type", name, expected))?;
        }
        Ok(event)
    }
}

/// An item, in the fields of the import.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ItemBody {
    /// The id in the log.
    item_id: String,
    /// What the shop calls it.
    #[serde(default)]
    title: String,
    /// Category path, such as `Sports > Hiking > Boots`.
    #[serde(default)]
    category: String,
    /// The brand.
    brand: Option<String>,
    /// Who sells it.
    merchant_id: Option<String>,
    /// In the shop's currency.
    price: Option<f64>,
    /// When it came on sale.
    listed_at: Option<Moment>,
    /// Names and values, such as `{"material": "leather"}`.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// Free text.
    #[serde(default)]
    description: String,
}

impl ItemBody {
    fn into_item(self) -> Result<Item, ApiError> {
        let names = self.category.split('>').map(str::trim).filter(|name| !name.is_empty());
        Ok(Item {
            item_id: self.item_id,
            title: self.title,
            category_path: names.collect::<Vec<_>>().join(Taxonomy::SEPARATOR),
            category: None,
            brand: self.brand,
            merchant_id: self.merchant_id,
            price: self.price,
            listed_at: self.listed_at.map(|moment| moment.read("listed_at")).transpose()?,
            attributes: self.attributes.into_iter().collect(),
            description: self.description,
        })
    }
}

/// One item, or a list.
#[derive(Debug)]
pub(super) struct ItemBodies(Vec<ItemBody>);

impl<'de> Deserialize<'de> for ItemBodies {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> serde::de::Visitor<'de> for OneOrMany {
    type Value = ItemBodies;

    fn expecting(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        text.write_str("an item or a list of items")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<ItemBodies, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(ItemBodies(items))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<ItemBodies, A::Error> {
        let item = ItemBody::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(ItemBodies(vec![item]))
    }
}

impl ItemBodies {
    pub(super) fn into_items(self) -> Result<Vec<Item>, ApiError> {
        if self.0.is_empty() || self.0.len() > MAX_ITEMS {
            let n = self.0.len();
            return Err(ApiError::body(&format!("{n} items, expected 1 to {MAX_ITEMS}")));
        }
        self.0.into_iter().map(ItemBody::into_item).collect()
    }
}

/// Reads a body as JSON.
pub(super) fn parse<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, ApiError> {
    let bytes = body.map_err(|rejection| ApiError::body(&rejection.body_text()))?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|e| ApiError::body(&e.to_string()))?;
    reader.end().map_err(|e| ApiError::body(&e.to_string()))?;
    Ok(value)
}
