//! `[import]` of the configuration file: where the raw files lie and how their columns are named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use types::{EventType, Timestamp};

use super::files::{self, expand_files};
use super::input::is_url;
use super::time_format::TimeFormat;
use crate::EventsError;

/// Everything that an import needs; what is left out comes from the preset.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportConfig {
    /// The layout of the raw files.
    pub preset: Preset,
    /// Number of buckets of the event store, 1 to 9999; 16 when left out.
    pub n_buckets: Option<u32>,
    /// Memory that the sort of an import may hold, in MiB; 1024 when left out.
    pub memory_mib: Option<u32>,
    /// The log.
    pub events: SourceConfig,
    /// The catalogue; without files, some presets derive it from the log.
    pub items: SourceConfig,
    /// What users said about themselves; may have no files.
    pub users: SourceConfig,
    /// The tree of categories (JSON, CSV, or a text of paths).
    pub taxonomy: Option<PathBuf>,
}

/// A known layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Columns carry the names of [`types::Event`], [`types::Item`] and [`types::User`].
    #[default]
    Recgpt,
    /// Invoice lines of the UCI Online Retail set; items are derived from them.
    UciOnlineRetail,
    /// Taobao UserBehavior: user, item, category, behaviour, seconds; no header.
    TaobaoBehavior,
    /// gorse: feedback, items and users as exported.
    Gorse,
    /// Metarank: ranking and interaction events, items as metadata events.
    Metarank,
    /// Algolia: Insights events and records.
    Algolia,
    /// Tianchi mobile recommendation: user_id, item_id, behavior_type, item_category, time.
    Tianchi,
    /// Recombee: interactions with `userId` and `itemId`, or the requests of a batch.
    Recombee,
    /// RecBole atomic files: tab separated, header cells `name:type`.
    Recbole,
    /// Amazon sequences: a JSON object from user to items in order, without clock.
    AmazonSequences,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 10] = [
        Self::Recgpt,
        Self::UciOnlineRetail,
        Self::TaobaoBehavior,
        Self::Gorse,
        Self::Metarank,
        Self::Algolia,
        Self::Tianchi,
        Self::Recombee,
        Self::Recbole,
        Self::AmazonSequences,
    ];

    /// The name in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recgpt => "recgpt",
            Self::UciOnlineRetail => "uci_online_retail",
            Self::TaobaoBehavior => "taobao_behavior",
            Self::Gorse => "gorse",
            Self::Metarank => "metarank",
            Self::Algolia => "algolia",
            Self::Tianchi => "tianchi",
            Self::Recombee => "recombee",
            Self::Recbole => "recbole",
            Self::AmazonSequences => "amazon_sequences",
        }
    }
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma (or other delimiter) separated, RFC 4180 quoting.
    Csv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// One JSON object from user to a list of items, or lines of `user item item ...`.
    Sequences,
}

/// How bytes become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// UTF-8; other bytes reject the row.
    Utf8,
    /// A row that is no UTF-8 is read as Latin-1.
    Latin1,
}

/// Which column: by name, by place from 0, or the first of several names that the file has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ColumnRef {
    /// Place from 0, for files without header.
    Index(usize),
    /// Name in the header; case, `_`, `-` and spaces do not matter.
    Name(String),
    /// The first that exists.
    Names(Vec<String>),
}

/// Makes the event type from other columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeRule {
    /// This column ...
    pub column: String,
    /// ... starts with this, or ...
    pub prefix: String,
    /// ... this column is negative (its absolute value is kept): ...
    pub negative: Option<String>,
    /// ... then it is this ...
    pub then: EventType,
    /// ... else this.
    pub otherwise: EventType,
}

/// One kind of raw files. Keys that only events or only items read are refused elsewhere.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Files, folders, patterns and URLs (see [`super::expand_files`]); `.gz` and `.zst` are unpacked for CSV
    /// and JSONL.
    pub files: Vec<PathBuf>,
    /// By extension when left out.
    pub format: Option<Format>,
    /// Whether a CSV file starts with names.
    pub has_header: Option<bool>,
    /// Header cells of a CSV file are `name:type`; the types are dropped.
    pub typed_header: Option<bool>,
    /// Between the cells of a CSV file; a comma (tab for `.tsv`) when left out.
    pub delimiter: Option<char>,
    /// UTF-8 when left out.
    pub encoding: Option<Encoding>,
    /// Canonical field to column of the file.
    pub columns: BTreeMap<String, ColumnRef>,
    /// Canonical field to a value for every row.
    pub constants: BTreeMap<String, String>,
    /// How times are written; `auto` when left out.
    pub time_format: Option<TimeFormat>,
    /// No time before this can be (date or RFC 3339); 1990 when left out.
    pub min_time: Option<String>,
    /// No time from this on can be; 2100 when left out.
    pub max_time: Option<String>,
    /// Share of rows that may be refused; 0.05 when left out.
    pub max_reject_rate: Option<f64>,
    /// Events: name in the file to event type, or to `skip`.
    pub event_types: BTreeMap<String, String>,
    /// Events: the type follows from other columns.
    pub type_rule: Option<TypeRule>,
    /// Events: unmapped columns to keep in `fields`; all of them when left out.
    pub fields: Option<Vec<String>>,
    /// Events: a JSON list of items, each of which becomes an event of its own.
    pub explode: Option<String>,
    /// Events, derived items: ids that are no products (fees, postage); any case.
    pub skip_items: Vec<String>,
    /// Events: rows without a user are skipped and counted, not refused.
    pub skip_without_user: Option<bool>,
    /// Events, derived items: item ids in upper case.
    pub upper_item_ids: Option<bool>,
    /// Events: a user id such as `17850.0` loses its `.0`.
    pub strip_decimal_user_ids: Option<bool>,
    /// Items: derive them from the event files.
    pub derive: Option<bool>,
    /// Items: put before the category, so that a number becomes a name.
    pub category_prefix: Option<String>,
}

impl ImportConfig {
    /// Makes relative paths relative to `base`, the folder of the configuration file.
    pub fn rebase(&mut self, base: &Path) {
        let sources = [&mut self.events, &mut self.items, &mut self.users];
        let files = sources.into_iter().flat_map(|s| &mut s.files).chain(&mut self.taxonomy);
        for file in files {
            if file.is_relative() && !is_url(file) {
                *file = base.join(&file);
            }
        }
    }

    /// The memory of the sort in bytes, checked.
    pub(super) fn memory_bytes(&self) -> Result<usize, EventsError> {
        match self.memory_mib.unwrap_or(1024) {
            0 => Err(fault("import.memory_mib", "is 0")),
            mib => Ok((mib as usize) << 20),
        }
    }

    /// The number of buckets, checked.
    pub(super) fn buckets(&self) -> Result<u32, EventsError> {
        match self.n_buckets.unwrap_or(16) {
            n @ 1..=9999 => Ok(n),
            n => Err(fault("import.n_buckets", format!("{n} is not in 1..=9999"))),
        }
    }
}

/// A source with everything filled in and checked.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) section: &'static str,
    pub(super) config: SourceConfig,
    /// Canonical fields that the user mapped, so that a missing column is an error.
    pub(super) explicit: Vec<String>,
    pub(super) min_time: Timestamp,
    pub(super) max_time: Timestamp,
    pub(super) max_reject_rate: f64,
    pub(super) time_format: TimeFormat,
}

impl Source {
    /// Fills `user` with what the preset says.
    pub(super) fn resolve(
        section: &'static str,
        user: &SourceConfig,
        preset: SourceConfig,
    ) -> Result<Self, EventsError> {
        let explicit = user.columns.keys().cloned().collect();
        let mut config = merge(user.clone(), preset);
        config.files = expand_files(section, &config.files)?;
        check_section(section, &config)?;
        let time = |key: &str, value: &Option<String>, default: &str| {
            let text = value.as_deref().unwrap_or(default);
            TimeFormat::Auto.parse(text).map_err(|e| fault(&format!("import.{section}.{key}"), e))
        };
        let min_time = time("min_time", &config.min_time, "1990-01-01")?;
        let max_time = time("max_time", &config.max_time, "2100-01-01")?;
        let max_reject_rate = config.max_reject_rate.unwrap_or(0.05);
        if !(0.0..=1.0).contains(&max_reject_rate) {
            let field = format!("import.{section}.max_reject_rate");
            return Err(fault(&field, format!("{max_reject_rate} is not in 0..=1")));
        }
        let time_format = config.time_format.clone().unwrap_or_default();
        Ok(Self { section, config, explicit, min_time, max_time, max_reject_rate, time_format })
    }

    /// How one file is written.
    pub(super) fn format_of(&self, path: &Path) -> Result<Format, EventsError> {
        if let Some(format) = self.config.format {
            return Ok(format);
        }
        match files::extension(path).as_deref() {
            Some("csv" | "tsv") => Ok(Format::Csv),
            Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
            Some("parquet" | "pq") => Ok(Format::Parquet),
            _ => Err(fault(
                &format!("import.{}.format", self.section),
                format!("{} has no known extension; set csv, jsonl or parquet", path.display()),
            )),
        }
    }

    /// The delimiter of one CSV file.
    pub(super) fn delimiter_of(&self, path: &Path) -> Result<u8, EventsError> {
        let tsv = files::extension(path).as_deref() == Some("tsv");
        let delimiter = self.config.delimiter.unwrap_or(if tsv { '\t' } else { ',' });
        match u8::try_from(delimiter) {
            Ok(byte) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(byte),
            _ => Err(fault(
                &format!("import.{}.delimiter", self.section),
                format!("{delimiter:?} is not one ASCII character other than a quote"),
            )),
        }
    }
}

/// A fault in the configuration.
pub(super) fn fault(field: &str, detail: impl ToString) -> EventsError {
    EventsError::Config { field: field.to_owned(), detail: detail.to_string() }
}

fn merge(user: SourceConfig, preset: SourceConfig) -> SourceConfig {
    let mut columns = preset.columns;
    columns.extend(user.columns);
    let mut constants = preset.constants;
    constants.extend(user.constants);
    let mut event_types = preset.event_types;
    event_types.extend(user.event_types);
    SourceConfig {
        files: user.files,
        format: user.format.or(preset.format),
        has_header: user.has_header.or(preset.has_header),
        typed_header: user.typed_header.or(preset.typed_header),
        delimiter: user.delimiter.or(preset.delimiter),
        encoding: user.encoding.or(preset.encoding),
        columns,
        constants,
        time_format: user.time_format.or(preset.time_format),
        min_time: user.min_time.or(preset.min_time),
        max_time: user.max_time.or(preset.max_time),
        max_reject_rate: user.max_reject_rate.or(preset.max_reject_rate),
        event_types,
        type_rule: user.type_rule.or(preset.type_rule),
        fields: user.fields.or(preset.fields),
        explode: user.explode.or(preset.explode),
        skip_items: if user.skip_items.is_empty() { preset.skip_items } else { user.skip_items },
        skip_without_user: user.skip_without_user.or(preset.skip_without_user),
        upper_item_ids: user.upper_item_ids.or(preset.upper_item_ids),
        strip_decimal_user_ids: user.strip_decimal_user_ids.or(preset.strip_decimal_user_ids),
        derive: user.derive.or(preset.derive),
        category_prefix: user.category_prefix.or(preset.category_prefix),
    }
}

fn check_section(section: &'static str, config: &SourceConfig) -> Result<(), EventsError> {
    let events_only = [
        ("event_types", !config.event_types.is_empty()),
        ("type_rule", config.type_rule.is_some()),
        ("fields", config.fields.is_some()),
        ("explode", config.explode.is_some()),
    ];
    let items_only = [
        ("derive", config.derive.is_some()),
        ("category_prefix", config.category_prefix.is_some()),
    ];
    let refused = match section {
        "events" => items_only.to_vec(),
        "items" => events_only.to_vec(),
        _ => [events_only.to_vec(), items_only.to_vec()].concat(),
    };
    for (key, set) in refused {
        if set {
            return Err(fault(
                &format!("import.{section}.{key}"),
                "has no meaning in this section",
            ));
        }
    }
    for (name, kind) in &config.event_types {
        if kind != "skip" && kind.parse::<EventType>().is_err() {
            let names = EventType::ALL.map(EventType::as_str).join(", ");
            return Err(fault(
                &format!("import.{section}.event_types.{name}"),
                format!("{kind:?} is neither `skip` nor one of {names}"),
            ));
        }
    }
    Ok(())
}
