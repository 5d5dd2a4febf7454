//! The layouts that need no mapping: each is a [`SourceConfig`] per section, nothing more.

use std::collections::BTreeMap;

use types::EventType;

use super::config::{
    ColumnRef, Encoding, Format, ImportConfig, Preset, Source, SourceConfig, TypeRule,
};
use super::time_format::TimeFormat;
use crate::EventsError;

/// UCI stock codes that are postage, fees, discounts and manual corrections.
const UCI_NO_PRODUCTS: [&str; 11] =
    ["POST", "DOT", "C2", "D", "M", "S", "B", "PADS", "CRUK", "BANK CHARGES", "AMAZONFEE"];

impl ImportConfig {
    /// `[import.events]` with the preset filled in.
    pub(super) fn events_source(&self) -> Result<Source, EventsError> {
        Source::resolve("events", &self.events, events(self.preset))
    }

    /// `[import.items]` with the preset filled in.
    pub(super) fn items_source(&self) -> Result<Source, EventsError> {
        Source::resolve("items", &self.items, items(self.preset))
    }

    /// `[import.users]` with the preset filled in.
    pub(super) fn users_source(&self) -> Result<Source, EventsError> {
        // `UserId` of gorse and `userId` of Recombee are found by the canonical name.
        let preset = if self.preset == Preset::Recbole {
            recbole(SourceConfig::default())
        } else {
            SourceConfig::default()
        };
        Source::resolve("users", &self.users, preset)
    }
}

fn events(preset: Preset) -> SourceConfig {
    match preset {
        Preset::Recgpt => SourceConfig::default(),
        Preset::UciOnlineRetail => uci_events(),
        Preset::TaobaoBehavior => SourceConfig {
            has_header: Some(false),
            columns: indices(&[
                ("user_id", 0),
                ("item_id", 1),
                ("event_type", 3),
                ("timestamp", 4),
            ]),
            time_format: Some(TimeFormat::EpochSeconds),
            // 2017-11-25 to 2017-12-03, nine days in China (UTC+8)
            min_time: Some("2017-11-24T16:00:00Z".to_owned()),
            max_time: Some("2017-12-03T16:00:00Z".to_owned()),
            fields: Some(Vec::new()),
            ..SourceConfig::default()
        },
        Preset::Gorse => SourceConfig {
            event_types: map(&[("star", "favorite"), ("read", "click"), ("like", "favorite")]),
            ..columns(&[
                ("event_type", "FeedbackType"),
                ("user_id", "UserId"),
                ("item_id", "ItemId"),
                ("timestamp", "Timestamp"),
                ("value", "Value"),
            ])
        },
        Preset::Metarank => metarank_events(),
        Preset::Algolia => SourceConfig {
            event_types: map(&[("view", "impression"), ("conversion", "purchase")]),
            explode: Some("objectIDs".to_owned()),
            ..columns(&[
                ("event_type", "eventType"),
                ("user_id", "userToken"),
                ("timestamp", "timestamp"),
                ("request_id", "queryID"),
                ("scene", "index"),
            ])
        },
        Preset::Tianchi => SourceConfig {
            event_types: map(&[
                ("1", "click"),
                ("2", "favorite"),
                ("3", "cart"),
                ("4", "purchase"),
            ]),
            time_format: Some(TimeFormat::Pattern("%Y-%m-%d %H".to_owned())),
            fields: Some(Vec::new()),
            ..columns(&[("event_type", "behavior_type"), ("timestamp", "time")])
        },
        Preset::Recombee => recombee_events(),
        Preset::Recbole => recbole(SourceConfig {
            // A rating or an interaction; the files do not say of which kind.
            constants: map(&[("event_type", "purchase")]),
            ..columns(&[("value", "rating")])
        }),
        Preset::AmazonSequences => {
            SourceConfig { format: Some(Format::Sequences), ..SourceConfig::default() }
        }
    }
}

/// Tab separated, header cells with types.
fn recbole(config: SourceConfig) -> SourceConfig {
    SourceConfig {
        format: Some(Format::Csv),
        delimiter: Some('\t'),
        typed_header: Some(true),
        ..config
    }
}

/// One file per kind of interaction, where `constants` gives the type, or the requests of a batch with
/// the kind in `path`. A rating may be a no, so it is left out unless mapped.
fn recombee_events() -> SourceConfig {
    let column = |name: &str| names(&[name, &format!("params.{name}")]);
    SourceConfig {
        columns: [
            ("event_type", names(&["path", "interactionType", "type"])),
            ("user_id", column("userId")),
            ("item_id", column("itemId")),
            ("timestamp", column("timestamp")),
            ("request_id", column("recommId")),
            ("session_id", column("sessionId")),
            ("value", names(&["amount", "params.amount", "duration", "params.duration"])),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .into(),
        event_types: map(&[
            ("/detailviews/", "detail_view"),
            ("detailviews", "detail_view"),
            ("detailview", "detail_view"),
            ("/cartadditions/", "cart"),
            ("cartadditions", "cart"),
            ("cartaddition", "cart"),
            ("/purchases/", "purchase"),
            ("purchases", "purchase"),
            ("/bookmarks/", "favorite"),
            ("bookmarks", "favorite"),
            ("/viewportions/", "click"),
            ("viewportions", "click"),
            ("viewportion", "click"),
            ("/ratings/", "skip"),
            ("ratings", "skip"),
            ("rating", "skip"),
        ]),
        fields: Some(Vec::new()),
        ..SourceConfig::default()
    }
}

fn uci_events() -> SourceConfig {
    SourceConfig {
        encoding: Some(Encoding::Latin1),
        type_rule: Some(TypeRule {
            column: "InvoiceNo".to_owned(),
            prefix: "C".to_owned(),
            negative: Some("Quantity".to_owned()),
            then: EventType::Return,
            otherwise: EventType::Purchase,
        }),
        fields: Some(vec!["UnitPrice".to_owned()]),
        skip_items: UCI_NO_PRODUCTS.map(str::to_owned).to_vec(),
        skip_without_user: Some(true),
        upper_item_ids: Some(true),
        strip_decimal_user_ids: Some(true),
        ..columns(&[
            ("user_id", "CustomerID"),
            ("item_id", "StockCode"),
            ("timestamp", "InvoiceDate"),
            ("value", "Quantity"),
            ("session_id", "InvoiceNo"),
        ])
    }
}

fn metarank_events() -> SourceConfig {
    SourceConfig {
        columns: [
            ("event_id", names(&["id"])),
            ("event_type", names(&["type", "event"])),
            ("user_id", names(&["user"])),
            ("item_id", names(&["item"])),
            ("timestamp", names(&["timestamp"])),
            ("session_id", names(&["session"])),
            ("request_id", names(&["ranking"])),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .into(),
        event_types: map(&[("ranking", "impression"), ("item", "skip"), ("user", "skip")]),
        explode: Some("items".to_owned()),
        ..SourceConfig::default()
    }
}

fn items(preset: Preset) -> SourceConfig {
    match preset {
        Preset::Recgpt | Preset::Metarank => SourceConfig {
            columns: [
                ("title", names(&["title"])),
                ("category_path", names(&["category_path", "category"])),
            ]
            .map(|(k, v)| (k.to_owned(), v))
            .into(),
            ..SourceConfig::default()
        },
        Preset::UciOnlineRetail => SourceConfig {
            derive: Some(true),
            encoding: Some(Encoding::Latin1),
            skip_items: UCI_NO_PRODUCTS.map(str::to_owned).to_vec(),
            upper_item_ids: Some(true),
            ..columns(&[("item_id", "StockCode"), ("title", "Description"), ("price", "UnitPrice")])
        },
        Preset::TaobaoBehavior => SourceConfig {
            derive: Some(true),
            has_header: Some(false),
            columns: indices(&[("item_id", 1), ("category_path", 2)]),
            category_prefix: Some("c".to_owned()),
            ..SourceConfig::default()
        },
        Preset::Gorse => columns(&[
            ("item_id", "ItemId"),
            ("title", "Comment"),
            ("category_path", "Categories"),
            ("listed_at", "Timestamp"),
        ]),
        Preset::Algolia => SourceConfig {
            columns: [
                ("item_id", names(&["objectID"])),
                ("title", names(&["name", "title"])),
                (
                    "category_path",
                    names(&[
                        "hierarchicalCategories.lvl3",
                        "hierarchicalCategories.lvl2",
                        "hierarchicalCategories.lvl1",
                        "hierarchicalCategories.lvl0",
                        "categories",
                    ]),
                ),
            ]
            .map(|(k, v)| (k.to_owned(), v))
            .into(),
            ..SourceConfig::default()
        },
        Preset::Tianchi => SourceConfig {
            derive: Some(true),
            category_prefix: Some("c".to_owned()),
            ..columns(&[("item_id", "item_id"), ("category_path", "item_category")])
        },
        Preset::Recombee => items_with(&[
            ("item_id", &["itemId", "id"]),
            ("title", &["title", "name"]),
            ("category_path", &["category_path", "category", "categories"]),
            ("merchant_id", &["merchant_id", "seller"]),
        ]),
        Preset::Recbole => recbole(items_with(&[
            ("title", &["title", "name", "movie_title", "item_name"]),
            ("category_path", &["category_path", "categories", "category", "class", "genre"]),
        ])),
        Preset::AmazonSequences => {
            SourceConfig { format: Some(Format::Sequences), ..SourceConfig::default() }
        }
    }
}

fn items_with(columns: &[(&str, &[&str])]) -> SourceConfig {
    let columns = columns.iter().map(|(k, v)| ((*k).to_owned(), names(v))).collect();
    SourceConfig { columns, ..SourceConfig::default() }
}

fn columns(pairs: &[(&str, &str)]) -> SourceConfig {
    let columns = pairs.iter().map(|(k, v)| ((*k).to_owned(), names(&[v]))).collect();
    SourceConfig { columns, ..SourceConfig::default() }
}

fn indices(pairs: &[(&str, usize)]) -> BTreeMap<String, ColumnRef> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), ColumnRef::Index(*v))).collect()
}

fn names(list: &[&str]) -> ColumnRef {
    ColumnRef::Names(list.iter().map(|n| (*n).to_owned()).collect())
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}
