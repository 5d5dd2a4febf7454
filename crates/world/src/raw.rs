//! Writes a world as the raw files that any shop could have: the import reads them like a user's.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use types::{Event, Item, User};

use crate::{Progress, World};

/// What can go wrong with a world: only writing can.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A file could not be written.
    #[error("cannot write {}: {source}; check that the folder exists, is writable and has room", path.display())]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What [`World::write_raw`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawSummary {
    /// Rows of events.csv without the header.
    pub events: u64,
    /// Rows of users.jsonl, and of truth.jsonl.
    pub users: u64,
    /// Rows of items.jsonl.
    pub items: u64,
}

/// The header of events.csv.
pub(crate) const EVENT_COLUMNS: &str =
    "event_id,event_type,user_id,item_id,timestamp,value,query,session_id";

/// Users that are simulated together before their rows are written in order.
const CHUNK: usize = 64;

/// A file being written, which names itself in errors.
struct Out {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Out {
    fn create(dir: &Path, name: &str) -> Result<Self, WorldError> {
        let path = dir.join(name);
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file: BufWriter::with_capacity(1 << 20, file) }),
            Err(source) => Err(WorldError::Write { path, source }),
        }
    }

    fn put(&mut self, text: &str) -> Result<(), WorldError> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|source| WorldError::Write { path: self.path.clone(), source })
    }

    fn finish(mut self) -> Result<(), WorldError> {
        self.file.flush().map_err(|source| WorldError::Write { path: self.path.clone(), source })
    }
}

/// Writes all six files; `progress` counts users.
pub(crate) fn write(
    world: &World,
    dir: &Path,
    progress: &Progress<'_>,
) -> Result<RawSummary, WorldError> {
    std::fs::create_dir_all(dir)
        .map_err(|source| WorldError::Write { path: dir.to_owned(), source })?;
    write_whole(dir, "items.jsonl", world.items().iter().map(|item| item_row(item).to_string()))?;
    write_whole(dir, "users.jsonl", world.users().iter().map(|user| user_row(user).to_string()))?;
    write_whole(dir, "interests.txt", world.interest_pool().iter().cloned())?;
    write_whole(dir, "taxonomy.json", [taxonomy_text(world)].into_iter())?;
    let events = write_lives(world, dir, progress)?;
    Ok(RawSummary { events, users: world.users().len() as u64, items: world.items().len() as u64 })
}

fn write_whole(
    dir: &Path,
    name: &str,
    lines: impl Iterator<Item = String>,
) -> Result<(), WorldError> {
    let mut out = Out::create(dir, name)?;
    for line in lines {
        out.put(&line)?;
        out.put("\n")?;
    }
    out.finish()
}

fn write_lives(world: &World, dir: &Path, progress: &Progress<'_>) -> Result<u64, WorldError> {
    let mut events = Out::create(dir, "events.csv")?;
    let mut truths = Out::create(dir, "truth.jsonl")?;
    events.put(EVENT_COLUMNS)?;
    events.put("\n")?;
    let users: Vec<usize> = (0..world.users().len()).collect();
    let mut n_events = 0;
    for chunk in users.chunks(CHUNK) {
        let rows: Vec<(u64, String, String)> = chunk
            .par_iter()
            .map(|&idx| {
                let (log, truth) = world.life(idx, world.cut());
                let mut csv = String::with_capacity(log.len() * 90);
                log.iter().for_each(|event| event_row(event, &mut csv));
                let truth = serde_json::to_string(&truth).expect("the truth holds plain values");
                (log.len() as u64, csv, truth)
            })
            .collect();
        for (n, csv, truth) in rows {
            n_events += n;
            events.put(&csv)?;
            truths.put(&truth)?;
            truths.put("\n")?;
        }
        let done = chunk.last().map_or(0, |idx| idx + 1);
        progress(done as u64, users.len() as u64);
    }
    events.finish()?;
    truths.finish()?;
    Ok(n_events)
}

fn event_row(event: &Event, csv: &mut String) {
    let value = event.value.map_or_else(String::new, |v| v.to_string());
    // only a query holds free text; every other field is made of letters, digits and - :
    let query = event.query.as_deref().map_or_else(String::new, quoted);
    let _ = writeln!(
        csv,
        "{},{},{},{},{},{value},{query},{}",
        event.event_id,
        event.event_type.as_str(),
        event.user_id,
        event.item_id.as_deref().unwrap_or(""),
        event.timestamp.rfc3339(),
        event.session_id.as_deref().unwrap_or(""),
    );
}

/// A CSV field, in quotes where RFC 4180 wants them.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn attributes(all: &[(String, String)]) -> Value {
    Value::Object(all.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
}

fn item_row(item: &Item) -> Value {
    json!({
        "item_id": item.item_id,
        "title": item.title,
        "category": item.category_path,
        "brand": item.brand,
        "merchant_id": item.merchant_id,
        "price": item.price,
        "listed_at": item.listed_at.map(types::Timestamp::rfc3339),
        "attributes": attributes(&item.attributes),
        "description": item.description,
    })
}

fn user_row(user: &User) -> Value {
    let mut row = Map::new();
    row.insert("user_id".to_owned(), json!(user.user_id));
    row.insert("attributes".to_owned(), attributes(&user.attributes));
    Value::Object(row)
}

/// `[{"id": 0, "parent_id": null, "name": "...", "path": "..."}]`, parents first.
fn taxonomy_text(world: &World) -> String {
    let taxonomy = world.taxonomy();
    let nodes: Vec<Value> = taxonomy
        .categories()
        .iter()
        .enumerate()
        .map(|(row, category)| {
            let path = taxonomy.path(types::CategoryId::from_idx(row));
            let parent = category.parent.map(|p| p.0);
            json!({"id": row, "parent_id": parent, "name": category.name, "path": path})
        })
        .collect();
    let lines: Vec<String> = nodes.iter().map(Value::to_string).collect();
    format!("[\n{}\n]", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn fields_are_quoted_where_the_format_wants_it() {
        assert_eq!(quoted("hiking boots"), "hiking boots");
        assert_eq!(quoted("chef's \"best\", 20-cm"), "\"chef's \"\"best\"\", 20-cm\"");
    }
}
