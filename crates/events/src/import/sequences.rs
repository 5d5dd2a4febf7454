//! Sets of sequences: users with their items in order, without clock. Times are made up: one day
//! apart, the last one at a fixed date.

use std::fmt;
use std::io::BufReader;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use types::{Event, EventType, Item, Timestamp};

use super::input;
use super::mapper::check_id;
use super::rows::{BadRow, Row};
use crate::EventsError;
use crate::tables::RejectReason;

/// The last review of the Amazon 2014 sets: 2014-07-23.
const LAST_DAY: Timestamp = Timestamp(1_406_073_600_000);

type Sink<'a> = dyn FnMut(Result<Event, BadRow>) -> Result<(), EventsError> + 'a;

/// Hands over one purchase per place of a sequence; "line" is the number of the user, from 1.
pub(super) fn read_users(path: &Path, sink: &mut Sink<'_>) -> Result<(), EventsError> {
    let mut line = 0;
    each_entry(path, &mut |user, items| {
        line += 1;
        let last = items.len().saturating_sub(1);
        for (place, item) in items.into_iter().enumerate() {
            let days = (last - place) as i64;
            sink(purchase(line, &user, place, item).map(|mut event| {
                event.timestamp = LAST_DAY.plus_days(-days);
                event
            }))?;
        }
        Ok(())
    })
}

fn purchase(line: u64, user: &str, place: usize, item: Value) -> Result<Event, BadRow> {
    let mut row = Row::default();
    row.clear(line);
    row.raw = format!("{user}: {item}");
    let item = match item {
        Value::String(id) => id.trim().to_owned(),
        Value::Number(id) => id.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    if item.is_empty() || user.is_empty() {
        let message = format!("place {place}: expected an id as text or number");
        return Err(row.bad("item_id", RejectReason::MissingValue, message));
    }
    check_id(&row, "user_id", user)?;
    check_id(&row, "item_id", &item)?;
    let id = format!("{user}-{place}");
    let mut event = Event::new(&id, EventType::Purchase, user, Timestamp(0));
    event.item_id = Some(item);
    Ok(event)
}

/// Items of `.item.json` (id to title, description, brand, categories), or lines of `id words`.
pub(super) fn read_items(path: &Path) -> Result<Vec<Item>, EventsError> {
    let text = input::read_to_string(path)?;
    if text.trim().is_empty() {
        return Err(EventsError::EmptyFile { path: path.to_owned() });
    }
    if is_text(path) {
        let lines = text.lines().filter_map(|line| {
            let (id, title) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            let (item_id, title) = (id.to_owned(), title.trim().to_owned());
            (!id.is_empty()).then(|| Item { item_id, title, ..Item::default() })
        });
        return Ok(lines.collect());
    }
    let object: serde_json::Map<String, Value> = serde_json::from_str(&text)
        .map_err(|e| EventsError::Json { path: path.to_owned(), detail: e.to_string() })?;
    let mut items: Vec<Item> = object
        .into_iter()
        .map(|(id, record)| {
            let text = |name: &str| record[name].as_str().unwrap_or_default().trim().to_owned();
            Item {
                item_id: id.trim().to_owned(),
                title: text("title"),
                category_path: super::catalogue::category_path(&match &record["categories"] {
                    Value::String(path) => path.clone(),
                    Value::Null => String::new(),
                    list @ (Value::Bool(_)
                    | Value::Number(_)
                    | Value::Array(_)
                    | Value::Object(_)) => list.to_string(),
                }),
                brand: Some(text("brand")).filter(|b| !b.is_empty()),
                price: record["price"].as_f64(),
                description: text("description"),
                ..Item::default()
            }
        })
        .collect();
    items.sort_by(|a, b| natural(&a.item_id).cmp(&natural(&b.item_id)));
    Ok(items)
}

/// Numbers in their own order, before words.
fn natural(id: &str) -> (u64, &str) {
    (id.parse().unwrap_or(u64::MAX), id)
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt"))
}

fn each_entry(
    path: &Path,
    each: &mut dyn FnMut(String, Vec<Value>) -> Result<(), EventsError>,
) -> Result<(), EventsError> {
    if is_text(path) {
        let text = input::read_to_string(path)?;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let Some(user) = words.next() {
                each(user.to_owned(), words.map(|w| Value::String(w.to_owned())).collect())?;
            }
        }
        return Ok(());
    }
    if input::stat(path)?.bytes == 0 {
        return Err(EventsError::EmptyFile { path: path.to_owned() });
    }
    let file = input::reader(path)?;
    let mut failed = None;
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(file));
    let outcome = json.deserialize_map(Entries { each, failed: &mut failed });
    match (failed, outcome.and_then(|()| json.end())) {
        (Some(e), _) => Err(e),
        (None, Err(e)) => Err(EventsError::Json { path: path.to_owned(), detail: e.to_string() }),
        (None, Ok(())) => Ok(()),
    }
}

/// Streams the object, so that one user is held at a time.
struct Entries<'a> {
    each: &'a mut dyn FnMut(String, Vec<Value>) -> Result<(), EventsError>,
    failed: &'a mut Option<EventsError>,
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from user id to a list of item ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(user) = map.next_key::<String>()? {
            let items = map.next_value_seed(Ids)?;
            if self.failed.is_some() {
                continue;
            }
            if let Err(e) = (self.each)(user.trim().to_owned(), items) {
                *self.failed = Some(e);
            }
        }
        Ok(())
    }
}

/// A list of ids of any kind; what is no list counts as one bad id.
struct Ids;

impl<'de> DeserializeSeed<'de> for Ids {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<Value>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Ids {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of item ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Value>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Value>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(vec![Value::Null])
    }
}
