//! One row to one event (or several), or to a refusal that names the column.

use serde_json::Value;
use types::{Event, EventType};
use xxhash_rust::xxh3::xxh3_64;

use super::config::{ColumnRef, Source};
use super::rows::{BadRow, Names, Row};
use crate::EventsError;
use crate::tables::RejectReason;

const LONGEST_ID: usize = 256;

/// The canonical fields of an event.
const FIELDS: [&str; 12] = [
    "event_id",
    "event_type",
    "user_id",
    "item_id",
    "timestamp",
    "value",
    "query",
    "session_id",
    "request_id",
    "position",
    "scene",
    "tenant",
];

/// What became of a row.
pub(super) enum Mapped {
    /// Events were added.
    Events,
    /// Left out on purpose, and why.
    Skipped(&'static str),
}

/// Where the canonical fields of one file lie.
pub(super) struct EventMapper<'a> {
    source: &'a Source,
    columns: [Option<usize>; FIELDS.len()],
    rule_columns: (Option<usize>, Option<usize>),
    explode: Option<usize>,
    extra: Vec<(usize, String)>,
    bound: usize,
}

impl<'a> EventMapper<'a> {
    pub(super) fn new(source: &'a Source) -> Result<Self, EventsError> {
        for name in source.config.columns.keys().chain(source.config.constants.keys()) {
            if !FIELDS.contains(&name.as_str()) {
                return Err(super::config::fault(
                    &format!("import.events.columns.{name}"),
                    format!("an event has no such field; it has {}", FIELDS.join(", ")),
                ));
            }
        }
        Ok(Self {
            source,
            columns: [None; FIELDS.len()],
            rule_columns: (None, None),
            explode: None,
            extra: Vec::new(),
            bound: usize::MAX,
        })
    }

    /// Finds the columns; cheap when nothing changed since the last row.
    pub(super) fn bind(
        &mut self,
        names: &Names,
        path: &std::path::Path,
    ) -> Result<(), EventsError> {
        if self.bound == names.list.len() && self.bound != 0 {
            return Ok(());
        }
        self.bound = names.list.len();
        let config = &self.source.config;
        for (place, field) in FIELDS.iter().enumerate() {
            let default = ColumnRef::Name((*field).to_owned());
            let column = config.columns.get(*field).unwrap_or(&default);
            self.columns[place] = names.find(column);
            let constant = config.constants.contains_key(*field);
            let typed = *field == "event_type" && config.type_rule.is_some();
            let required = matches!(*field, "event_type" | "user_id" | "timestamp") && !typed
                || self.source.explicit.iter().any(|e| e == field);
            if self.columns[place].is_none() && names.complete && required && !constant {
                return Err(self.unknown(names, path, field, column));
            }
        }
        if let Some(rule) = &config.type_rule {
            let find = |name: &str| match names.find_name(name) {
                None if names.complete => {
                    let column = ColumnRef::Name(name.to_owned());
                    Err(self.unknown(names, path, "event_type", &column))
                }
                found => Ok(found),
            };
            let negative = rule.negative.as_deref().map(find).transpose()?.flatten();
            self.rule_columns = (find(&rule.column)?, negative);
        }
        self.explode = config.explode.as_ref().and_then(|name| names.find_name(name));
        let used = |idx: &usize| self.columns.contains(&Some(*idx)) || self.explode == Some(*idx);
        let wanted = |name: &String| config.fields.as_ref().is_none_or(|f| f.contains(name));
        let extra = names.list.iter().enumerate().filter(|(i, n)| !used(i) && wanted(n));
        self.extra = extra.map(|(idx, name)| (idx, name.clone())).collect();
        Ok(())
    }

    /// Maps one row; adds to `out`.
    pub(super) fn map(&self, row: &Row, out: &mut Vec<Event>) -> Result<Mapped, BadRow> {
        let config = &self.source.config;
        let Some(user_id) = self.text(row, "user_id") else {
            return if config.skip_without_user == Some(true) {
                Ok(Mapped::Skipped("no user"))
            } else {
                Err(missing(row, "user_id"))
            };
        };
        let user_id = match user_id.strip_suffix(".0") {
            Some(whole) if config.strip_decimal_user_ids == Some(true) => whole,
            _ => user_id,
        };
        check_id(row, "user_id", user_id)?;
        let Some(event_type) = self.event_type(row)? else {
            return Ok(Mapped::Skipped("event type mapped to skip"));
        };
        let time = self.text(row, "timestamp").ok_or_else(|| missing(row, "timestamp"))?;
        let timestamp = self
            .source
            .time_format
            .parse(time)
            .map_err(|e| row.bad("timestamp", RejectReason::BadTime, e))?;
        if !(self.source.min_time..self.source.max_time).contains(&timestamp) {
            let (from, to) = (self.source.min_time.rfc3339(), self.source.max_time.rfc3339());
            let message = format!("{} is not in {from} .. {to}", timestamp.rfc3339());
            return Err(row.bad("timestamp", RejectReason::ImplausibleTime, message));
        }
        let mut event = Event::new("", event_type, user_id, timestamp);
        self.fill(row, &mut event)?;
        if let Some(list) = self.explode.and_then(|idx| row.get(idx)) {
            return self.explode(row, list, &event, out);
        }
        event.item_id = match self.item_id(row)? {
            Some(id) if skips(&config.skip_items, &id) => {
                return Ok(Mapped::Skipped("item is no product (skip_items)"));
            }
            None if event_type != EventType::Search => return Err(missing(row, "item_id")),
            id => id,
        };
        out.push(event);
        Ok(Mapped::Events)
    }

    /// Everything but user, type, time and item.
    fn fill(&self, row: &Row, event: &mut Event) -> Result<(), BadRow> {
        event.event_id = match self.text(row, "event_id") {
            Some(id) => id.to_owned(),
            None => derived_id(row),
        };
        check_text(row, "event_id", &event.event_id)?;
        if let Some(value) = self.text(row, "value") {
            let number = value.parse::<f64>().ok().filter(|v| v.is_finite());
            let number = number.ok_or_else(|| bad_number(row, "value", value))?;
            let signed = self.source.config.type_rule.is_none();
            event.value = Some(if signed { number } else { number.abs() });
        }
        event.query = self.text(row, "query").map(str::to_owned);
        if event.event_type == EventType::Search && event.query.is_none() {
            return Err(missing(row, "query"));
        }
        event.session_id = self.text(row, "session_id").map(str::to_owned);
        event.request_id = self.text(row, "request_id").map(str::to_owned);
        event.scene = self.text(row, "scene").map(str::to_owned);
        event.tenant = self.text(row, "tenant").map(str::to_owned);
        if let Some(position) = self.text(row, "position") {
            let number = position.parse().map_err(|_| bad_number(row, "position", position))?;
            event.position = Some(number);
        }
        for (idx, name) in &self.extra {
            if let Some(value) = row.get(*idx) {
                // a row of the exported store carries its own extra fields under `fields.`
                let name = name.strip_prefix("fields.").unwrap_or(name);
                event.fields.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }

    fn explode(
        &self,
        row: &Row,
        list: &str,
        event: &Event,
        out: &mut Vec<Event>,
    ) -> Result<Mapped, BadRow> {
        let name = self.source.config.explode.as_deref().unwrap_or_default();
        let bad = |message: String| row.bad(name, RejectReason::BadJson, message);
        let Ok(Value::Array(items)) = serde_json::from_str(list) else {
            return Err(bad(format!("expected a JSON list of items, got {list:?}")));
        };
        for (idx, item) in items.iter().enumerate() {
            let id = match item.get("id").unwrap_or(item) {
                Value::String(id) => id.trim().to_owned(),
                Value::Number(id) => id.to_string(),
                other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                    return Err(bad(format!("item {idx} has no id: {other}")));
                }
            };
            check_id(row, name, &id)?;
            let mut event = event.clone();
            event.event_id = format!("{}-{idx}", event.event_id);
            event.position = event.position.or(u32::try_from(idx).ok());
            event.item_id = Some(id);
            out.push(event);
        }
        Ok(if items.is_empty() { Mapped::Skipped("empty list of items") } else { Mapped::Events })
    }

    fn event_type(&self, row: &Row) -> Result<Option<EventType>, BadRow> {
        let config = &self.source.config;
        if let Some(rule) = &config.type_rule {
            let cell = |idx: Option<usize>| idx.and_then(|idx| row.get(idx));
            let prefixed = cell(self.rule_columns.0).is_some_and(|v| v.starts_with(&rule.prefix));
            let negative = cell(self.rule_columns.1).is_some_and(|v| v.starts_with('-'));
            return Ok(Some(if prefixed || negative { rule.then } else { rule.otherwise }));
        }
        let name = self.text(row, "event_type").ok_or_else(|| missing(row, "event_type"))?;
        let name = match config.event_types.get(name).or_else(|| {
            let lower = name.to_lowercase();
            config.event_types.get(&lower)
        }) {
            Some(mapped) if mapped == "skip" => return Ok(None),
            Some(mapped) => mapped,
            None => name,
        };
        name.parse().map(Some).map_err(|_| {
            let message = format!("{name:?} is no event type");
            row.bad("event_type", RejectReason::UnknownEventType, message)
        })
    }

    fn item_id(&self, row: &Row) -> Result<Option<String>, BadRow> {
        let Some(id) = self.text(row, "item_id") else { return Ok(None) };
        check_id(row, "item_id", id)?;
        let upper = self.source.config.upper_item_ids == Some(true);
        Ok(Some(if upper { id.to_uppercase() } else { id.to_owned() }))
    }

    /// The value of a canonical field: the column, or else the constant.
    fn text<'r>(&'r self, row: &'r Row, field: &str) -> Option<&'r str> {
        let place = FIELDS.iter().position(|f| *f == field).expect("asked by its canonical name");
        let cell = self.columns[place].and_then(|idx| row.get(idx));
        cell.or_else(|| self.source.config.constants.get(field).map(String::as_str))
    }

    fn unknown(
        &self,
        names: &Names,
        path: &std::path::Path,
        field: &str,
        column: &ColumnRef,
    ) -> EventsError {
        unknown_column(self.source.section, names, path, field, column)
    }
}

/// The error for a column that a header lacks.
pub(super) fn unknown_column(
    section: &'static str,
    names: &Names,
    path: &std::path::Path,
    field: &str,
    column: &ColumnRef,
) -> EventsError {
    EventsError::UnknownColumn {
        path: path.to_owned(),
        section,
        canonical: field.to_owned(),
        column: match column {
            ColumnRef::Index(idx) => idx.to_string(),
            ColumnRef::Name(name) => name.clone(),
            ColumnRef::Names(names) => names.join(" | "),
        },
        available: names.list.clone(),
    }
}

/// Refuses ids that are empty or would break paths, URLs or lines.
pub(super) fn check_id(row: &Row, column: &str, id: &str) -> Result<(), BadRow> {
    if id.is_empty() {
        return Err(missing(row, column));
    }
    if id.contains('/') {
        let message = format!("{id:?} holds a slash");
        return Err(row.bad(column, RejectReason::BadId, message));
    }
    check_text(row, column, id)
}

fn check_text(row: &Row, column: &str, id: &str) -> Result<(), BadRow> {
    let fault = if id.chars().any(char::is_control) {
        "holds a control character"
    } else if id.len() > LONGEST_ID {
        "is longer than 256 bytes"
    } else {
        return Ok(());
    };
    Err(row.bad(column, RejectReason::BadId, format!("{id:?} {fault}")))
}

pub(super) fn missing(row: &Row, column: &str) -> BadRow {
    row.bad(column, RejectReason::MissingValue, format!("{column} is empty"))
}

pub(super) fn bad_number(row: &Row, column: &str, value: &str) -> BadRow {
    row.bad(column, RejectReason::BadNumber, format!("{value:?} is no number for {column}"))
}

/// Whether the id is one that is no product, in any case.
pub(super) fn skips(skip_items: &[String], id: &str) -> bool {
    skip_items.iter().any(|skip| skip.eq_ignore_ascii_case(id))
}

/// The same row always gets the same id, so that reading it twice changes nothing.
fn derived_id(row: &Row) -> String {
    let cells: Vec<&str> = (0..row.width()).map(|idx| row.get(idx).unwrap_or_default()).collect();
    format!("{:016x}", xxh3_64(cells.join("\u{1f}").as_bytes()))
}
