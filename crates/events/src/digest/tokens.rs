//! Token counts that are asked for once and remembered.
//!
//! Levels before the lines are sums over parts (a time and behaviour, an item's text): joining
//! texts can move a token or two per event, which is the price of not writing out 37,000 lines.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use types::{Catalogue, EventType, Item, ItemId, Timestamp, TokenCounter};

use super::ItemCores;
use super::entities::{Cell, Entity, History, Kept};
use super::facts::NONE;
use super::lines::{Group, Groups, bucket_of};

const SHARDS: usize = 16;
const MOST_PHRASES: usize = 1 << 16; // per shard; beyond it, phrases are counted each time

/// Counts, with a memory per item and per phrase; shared by threads, and the same whatever they do.
pub(super) struct Tokens<'a> {
    cores: &'a ItemCores,
    catalogue: &'a Catalogue,
    counter: &'a TokenCounter<'a>,
    raw: Vec<AtomicU32>,    // count + 1 of an item's record; 0: not asked yet
    core: Vec<AtomicU32>,   // count + 1 of an item's core words
    joined: Vec<AtomicU32>, // count + 1 of `;` and the core words
    parts: Option<Parts>,
    phrases: Vec<Mutex<HashMap<String, u32>>>,
    prefix: Vec<(EventType, u64)>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(
        cores: &'a ItemCores,
        catalogue: &'a Catalogue,
        now: Timestamp,
        counter: &'a TokenCounter<'a>,
    ) -> Self {
        let zeros = || (0..cores.len()).map(|_| AtomicU32::new(0)).collect();
        // every time of day has the same shape, so one stands for all
        let prefix =
            |kind: EventType| counter(&format!("{} 10:22 {} | ", now.date(), kind.as_str())) as u64;
        Self {
            cores,
            catalogue,
            counter,
            raw: zeros(),
            core: zeros(),
            joined: zeros(),
            parts: None,
            phrases: (0..SHARDS).map(|_| Mutex::default()).collect(),
            prefix: EventType::ALL.into_iter().map(|kind| (kind, prefix(kind))).collect(),
        }
    }

    /// Counts lines by their parts from here on: exact where no token spans a letter or digit and what
    /// separates in a line.
    pub(super) fn count_parts(&mut self) {
        self.parts = Some(Parts::new(self.counter));
    }

    /// Exact count of a text, not remembered.
    pub(super) fn exact(&self, text: &str) -> usize {
        if text.is_empty() { 0 } else { (self.counter)(text) }
    }

    /// Count of a phrase that will be asked for again.
    pub(super) fn phrase(&self, text: &str) -> u64 {
        let shard = types::fnv1a64(text.as_bytes()) as usize % SHARDS;
        let lock = || self.phrases[shard].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(n) = lock().get(text) {
            return u64::from(*n);
        }
        let n = u32::try_from((self.counter)(text)).unwrap_or(u32::MAX);
        let mut phrases = lock();
        if phrases.len() < MOST_PHRASES {
            phrases.insert(text.to_owned(), n);
        }
        u64::from(n)
    }

    /// Tokens of an entity's text.
    pub(super) fn entity(&self, entity: &Entity<'_>) -> u64 {
        match entity.item {
            Some(id) => remembered(&self.core, id, |id| (self.counter)(self.cores.of(id))),
            None => self.phrase(&entity.text),
        }
    }

    /// Tokens of the contexts of a group, without the bar behind.
    pub(super) fn head(&self, groups: &Groups<'_, '_>, group: &Group) -> u64 {
        if let Some(parts) = &self.parts
            && let Some(units) = self.head_units(parts, groups, group)
        {
            return units + parts.close;
        }
        let mut head = String::new();
        groups.write_head(group, &mut head);
        self.phrase(&head)
    }

    /// Tokens of lines as text, exactly.
    pub(super) fn of_lines(&self, groups: &Groups<'_, '_>, lines: &[(usize, Vec<u32>)]) -> usize {
        let Some(parts) = &self.parts else {
            let mut text = String::new();
            for (idx, (row, entities)) in lines.iter().enumerate() {
                if idx > 0 {
                    text.push('\n');
                }
                groups.write_line(&groups.groups[*row], entities, &mut text);
            }
            return self.exact(&text);
        };
        let mut n = 0;
        for (idx, (row, entities)) in lines.iter().enumerate() {
            let is_last = idx + 1 == lines.len();
            let group = &groups.groups[*row];
            n += self.line_of_parts(parts, groups, group, entities).map_or_else(
                || {
                    let mut line = String::new();
                    groups.write_line(group, entities, &mut line);
                    if !is_last {
                        line.push('\n');
                    }
                    (self.counter)(&line) as u64
                },
                |n| n + u64::from(!is_last) * parts.newline,
            );
        }
        n as usize
    }

    fn line_of_parts(
        &self,
        parts: &Parts,
        groups: &Groups<'_, '_>,
        group: &Group,
        entities: &[u32],
    ) -> Option<u64> {
        let units = self.head_units(parts, groups, group)?;
        let mut n = units + parts.bar;
        for (idx, &entity) in entities.iter().enumerate() {
            let entity = groups.entity(entity);
            if !is_closed(&entity.text) {
                return None;
            }
            n += if idx == 0 { self.entity(entity) } else { self.joined(entity) };
        }
        Some(n)
    }

    /// The atoms of a head and what stands between its contexts; `None` where a query begins or ends with
    /// what may run into the characters beside it.
    fn head_units(&self, parts: &Parts, groups: &Groups<'_, '_>, group: &Group) -> Option<u64> {
        let (mut n, mut contexts) = (0_u64, 0_u64);
        for (bucket, kind, query, opens) in groups.atoms(group) {
            if opens {
                contexts += 1;
                n += parts.opening(bucket, kind, self.counter);
            } else {
                n += parts.next[kind as usize];
            }
            if let Some(query) = query {
                if !is_closed(query) {
                    return None;
                }
                n += self.prefixed(':', query);
            }
        }
        Some(n + contexts.saturating_sub(1) * parts.between)
    }

    /// Tokens of `;` and an entity's text.
    fn joined(&self, entity: &Entity<'_>) -> u64 {
        match entity.item {
            Some(id) => remembered(&self.joined, id, |id| {
                (self.counter)(&format!(";{}", self.cores.of(id)))
            }),
            None => self.prefixed(';', &entity.text),
        }
    }

    fn prefixed(&self, first: char, text: &str) -> u64 {
        let mut phrase = String::with_capacity(text.len() + 1);
        phrase.push(first);
        phrase.push_str(text);
        self.phrase(&phrase)
    }

    /// The raw level (a line per event with the whole record) and the item level (core words).
    pub(super) fn of_history(&self, history: History<'_>) -> (usize, usize) {
        let facts = history.facts;
        let prefixes: u64 =
            EventType::ALL.iter().map(|&k| self.prefix(k) * facts.n_by_type[k as usize]).sum();
        let queries = facts.queries.iter().zip(history.queries);
        let queries: u64 = queries.map(|(f, query)| self.phrase(query) * f.n).sum();
        let (mut raw, mut item) = (prefixes + queries, prefixes + queries);
        for (name, facts) in history.items.iter().zip(&facts.items).filter(|(_, f)| f.n > 0) {
            if let Some(id) = name.row {
                let record = |id| (self.counter)(&record(self.catalogue.item(id)));
                raw += facts.n * remembered(&self.raw, id, record);
                let core = |id| (self.counter)(self.cores.of(id));
                item += facts.n * remembered(&self.core, id, core);
            } else {
                let n = facts.n * self.phrase(name.id);
                raw += n;
                item += n;
            }
        }
        (raw as usize, item as usize)
    }

    /// The behaviour level: a line per kept event with core words.
    pub(super) fn of_kept(&self, kept: &Kept<'_>) -> usize {
        let of = |entity: &Entity<'_>| -> u64 {
            let text = self.entity(entity);
            let cell = |cell: &Cell| {
                let text = match cell.query {
                    NONE => text,
                    query => self.phrase(kept.history.queries[query as usize]),
                };
                cell.n * (self.prefix(cell.kind) + text)
            };
            kept.cells(entity).iter().map(cell).sum()
        };
        kept.entities.iter().map(of).sum::<u64>() as usize
    }

    fn prefix(&self, kind: EventType) -> u64 {
        self.prefix.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n)
    }
}

/// Counts of what stands between the texts of a line.
struct Parts {
    /// `3d(cart`, by bucket code and kind; count + 1.
    opening: Vec<AtomicU32>,
    /// `,cart`
    next: Vec<u64>,
    /// `)`
    close: u64,
    /// `),`
    between: u64,
    /// `)|`
    bar: u64,
    newline: u64,
}

const BUCKET_CODES: usize = 0x300;

impl Parts {
    fn new(counter: &TokenCounter<'_>) -> Self {
        let count = |text: &str| counter(text) as u64;
        Self {
            opening: (0..BUCKET_CODES * EventType::ALL.len()).map(|_| AtomicU32::new(0)).collect(),
            next: EventType::ALL.iter().map(|k| count(&format!(",{}", k.digest_word()))).collect(),
            close: count(")"),
            between: count("),"),
            bar: count(")|"),
            newline: count("\n"),
        }
    }

    fn opening(&self, bucket: u32, kind: EventType, counter: &TokenCounter<'_>) -> u64 {
        let text = || format!("{}({}", bucket_of(bucket), kind.digest_word());
        let row = bucket as usize * EventType::ALL.len() + kind as usize;
        match self.opening.get(row) {
            Some(cell) => once(cell, || counter(&text())),
            None => counter(&text()) as u64,
        }
    }
}

/// Begins and ends with a letter or digit, for sure: of scripts without combining marks.
fn is_closed(text: &str) -> bool {
    let plain = |c: Option<char>| {
        c.is_some_and(|c| {
            c.is_ascii_alphanumeric()
                || c.is_alphabetic()
                    && matches!(c, '\u{c0}'..='\u{24f}' | '\u{386}'..='\u{3ff}' | '\u{400}'..='\u{481}'
                        | '\u{48a}'..='\u{52f}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
        })
    };
    plain(text.chars().next()) && plain(text.chars().next_back())
}

/// The count of a row, asked for once.
fn remembered(memory: &[AtomicU32], id: ItemId, count: impl Fn(ItemId) -> usize) -> u64 {
    once(&memory[id.idx()], || count(id))
}

fn once(cell: &AtomicU32, count: impl FnOnce() -> usize) -> u64 {
    match cell.load(Ordering::Relaxed) {
        0 => {
            let n = u32::try_from(count()).unwrap_or(u32::MAX).min(u32::MAX - 1);
            cell.store(n + 1, Ordering::Relaxed);
            u64::from(n)
        }
        n => u64::from(n - 1),
    }
}

/// An item's record as a raw log line writes it: title, category, brand, price.
fn record(item: &Item) -> String {
    let price = item.price.map(|p| format!("{p:.2}")).unwrap_or_default();
    let brand = item.brand.as_deref().unwrap_or_default();
    [item.title.as_str(), &item.category_path, brand, &price]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}
