//! The fast way from a bucket on disk to histories in numbers: only the columns that a digest needs,
//! ids as dictionary keys, no text per event but the event id.
//!
//! Checks the order as [`crate::EventStore::fold`] does, and holds one user at a time.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ahash::AHashMap;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, RecordBatch, StringArray, StringViewArray};
use arrow_schema::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use types::{EventType, ItemId, Timestamp};

use super::ItemCores;
use super::entities::{History, ItemName};
use super::facts::{Facts, NONE, Row};
use super::names::EventIds;
use super::safe::query_words;
use super::state::{session_key, tie_key};
use crate::tables::batches::{Batches, guarded};
use crate::tables::columns::Batch;
use crate::{EventStore, EventsError};

/// What a digest reads of an event.
const COLUMNS: [&str; 7] =
    ["event_id", "event_type", "user_id", "item_id", "timestamp", "query", "session_id"];

/// Text columns with few distinct values, read as keys.
const KEYED: [&str; 4] = ["event_type", "user_id", "item_id", "query"];

const ROWS_PER_BATCH: usize = 8192;

/// Rows and compressed bytes of the columns that a digest reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scan {
    /// Events.
    pub rows: u64,
    /// Compressed bytes on disk of the columns read.
    pub bytes: u64,
}

/// Decodes the columns that a digest reads and does nothing with them: what the fold is measured
/// against.
///
/// # Errors
/// [`EventsError`] when a file is unreadable.
pub fn scan_bucket(store: &EventStore, bucket: u32) -> Result<Scan, EventsError> {
    let mut scan = Scan::default();
    for path in store.parts(bucket)? {
        let (reader, bytes) = open(&path)?;
        scan.bytes += bytes;
        for batch in reader {
            let batch = batch?;
            scan.rows += batch.num_rows() as u64;
        }
    }
    Ok(scan)
}

/// Takes one user; whether to go on. No type of error of its own: the fold is compiled once, here.
pub(super) type Each<'e> = dyn for<'h> FnMut(History<'h>, Timestamp) -> bool + 'e;

/// Hands over the users of one bucket with what happened before their cut, in order of their ids; those
/// with nothing before it are left out.
pub(super) fn fold_bucket(
    store: &EventStore,
    bucket: u32,
    cores: &ItemCores,
    min_reliable: u64,
    cut_of: &dyn Fn(&str) -> Timestamp,
    each: &mut Each<'_>,
) -> Result<(), EventsError> {
    let mut fold = Fold {
        bucket,
        n_buckets: store.n_buckets(),
        row: 0,
        min_reliable,
        cut_of,
        user: None,
        last_id: String::new(),
        facts: Facts::default(),
        ids: EventIds::default(),
        items: Items::new(cores),
        queries: Queries::default(),
    };
    for path in store.parts(bucket)? {
        for batch in open(&path)?.0 {
            let batch = batch?;
            if !fold.take(&path, &batch, each)? {
                return Ok(());
            }
        }
    }
    fold.close(each);
    Ok(())
}

/// A reader of the columns, and their compressed size.
fn open(path: &Path) -> Result<(Batches, u64), EventsError> {
    let file = File::open(path).map_err(EventsError::io("open", path))?;
    let plain = guarded(path, || ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()))?;
    let fields = plain.schema().fields().iter().map(|field| {
        let keys = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let name = field.name().as_str();
        let is_text = matches!(
            field.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(_, _)
        );
        if !is_text {
            return Arc::clone(field);
        }
        let to = if KEYED.contains(&name) { keys } else { DataType::Utf8View };
        Arc::new(field.as_ref().clone().with_data_type(to))
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    let metadata =
        guarded(path, || ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options))?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let groups = builder.metadata().row_groups().iter().flat_map(|g| g.columns());
    let wanted = groups.filter(|c| COLUMNS.contains(&c.column_path().string().as_str()));
    let bytes = wanted.map(|c| c.compressed_size().max(0) as u64).sum();
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let builder = builder.with_projection(mask).with_batch_size(ROWS_PER_BATCH);
    Ok((Batches::new(path, builder)?, bytes))
}

/// The user that is being read.
struct Open {
    user_id: String,
    cut: i64,
    last: i64,
    n_reliable: u64,
}

struct Fold<'a> {
    bucket: u32,
    n_buckets: u32,
    row: u64,
    min_reliable: u64,
    cut_of: &'a dyn Fn(&str) -> Timestamp,
    user: Option<Open>,
    last_id: String,
    facts: Facts,
    ids: EventIds,
    items: Items<'a>,
    queries: Queries,
}

impl Fold<'_> {
    /// Reads a batch; whether to go on.
    fn take(
        &mut self,
        path: &Path,
        batch: &RecordBatch,
        each: &mut Each<'_>,
    ) -> Result<bool, EventsError> {
        let table = Batch { path, batch };
        let (users, kinds) = (keyed(&table, "user_id")?, keyed(&table, "event_type")?);
        let (items, queries) = (keyed(&table, "item_id")?, keyed(&table, "query")?);
        let (ids, sessions) = (viewed(&table, "event_id")?, viewed(&table, "session_id")?);
        let times = table.time("timestamp")?;
        for (name, array) in
            [("user_id", users.array as &dyn Array), ("event_type", kinds.array), ("event_id", ids)]
        {
            whole(path, name, array)?;
        }
        let types: Vec<Option<EventType>> = (0..kinds.values.len())
            .map(|at| EventType::ALL.into_iter().find(|t| t.as_str() == kinds.values.value(at)))
            .collect();
        self.items.look_up(&items);
        self.queries.look_up(&queries);
        let mut open_key = None;
        for row in 0..batch.num_rows() {
            let key = users.key(row);
            if open_key != Some(key) {
                open_key = Some(key);
                let user_id = users.values.value(key);
                if self.user.as_ref().is_none_or(|open| open.user_id != user_id) {
                    if !self.close(each) {
                        return Ok(false);
                    }
                    self.start(user_id)?;
                }
            }
            let time = times.get(row)?;
            let id = ids.value(row);
            let before = if row == 0 { self.last_id.as_str() } else { ids.value(row - 1) };
            let open = self.user.as_mut().expect("started above");
            if time <= open.last && (time < open.last || id <= before) {
                let detail = "events are not in order of (time, event id)";
                let user = open.user_id.clone();
                return Err(fault(self.bucket, self.row, &user, detail));
            }
            open.last = time;
            self.row += 1;
            if time >= open.cut {
                continue;
            }
            let kind = types[kinds.key(row)].ok_or_else(|| EventsError::Table {
                path: path.to_owned(),
                column: "event_type".to_owned(),
                detail: format!(
                    "row {row} holds {:?}, which is no event type",
                    kinds.values.value(kinds.key(row))
                ),
            })?;
            let reliable = kind.is_reliable();
            open.n_reliable += u64::from(reliable);
            let (mut item, mut query, mut key) = (NONE, NONE, 0);
            if kind == EventType::Search && queries.is_valid(row) {
                (query, key) = self.queries.row(queries.key(row));
            } else if items.is_valid(row) {
                (item, key) = self.items.row(items.key(row));
            }
            // clicks stand in a digest only where there is little else
            let shown = reliable || kind == EventType::Click && open.n_reliable < self.min_reliable;
            let shown = shown && (item != NONE || query != NONE);
            let session = if reliable && sessions.is_valid(row) {
                session_key(Some(sessions.value(row)))
            } else {
                0
            };
            let event = if shown { self.ids.push(id, time) } else { NONE };
            self.facts.push(Row { time, kind, item, query, session, event, key });
        }
        if batch.num_rows() > 0 {
            self.last_id.clear();
            self.last_id.push_str(ids.value(batch.num_rows() - 1));
        }
        Ok(true)
    }

    /// Begins a user; fails where the layout is not kept.
    fn start(&mut self, user_id: &str) -> Result<(), EventsError> {
        if self.user.as_ref().is_some_and(|open| open.user_id.as_str() > user_id) {
            let detail = "users are not in order, or one user is split";
            return Err(fault(self.bucket, self.row, user_id, detail));
        }
        if crate::store::bucket_of(user_id, self.n_buckets) != self.bucket {
            let detail = "the user belongs to another bucket";
            return Err(fault(self.bucket, self.row, user_id, detail));
        }
        self.user = Some(Open {
            user_id: user_id.to_owned(),
            cut: (self.cut_of)(user_id).0,
            last: i64::MIN,
            n_reliable: 0,
        });
        Ok(())
    }

    /// Hands over the user that was read, and forgets the numbers; who it was stays for the order.
    fn close(&mut self, each: &mut Each<'_>) -> bool {
        let Some(open) = &self.user else { return true };
        let mut go_on = true;
        self.facts.settle();
        if self.facts.n_events > 0 {
            let names: Vec<ItemName<'_>> = self.items.names();
            let queries = self.queries.texts();
            let history = History {
                user_id: &open.user_id,
                facts: &self.facts,
                items: &names,
                queries: &queries,
                ids: &self.ids,
                cores: self.items.cores,
            };
            go_on = each(history, Timestamp(open.cut));
        }
        self.facts.clear();
        self.ids.clear();
        self.items.forget();
        self.queries.forget();
        go_on
    }
}

fn fault(bucket: u32, row: u64, user: &str, detail: &str) -> EventsError {
    EventsError::WrongOrder { bucket, row, user: user.to_owned(), detail: detail.to_owned() }
}

/// A column of keys into a list of texts.
struct Keyed<'b> {
    array: &'b DictionaryArray<Int32Type>,
    keys: &'b [i32],
    values: &'b StringArray,
}

impl Keyed<'_> {
    #[inline]
    fn key(&self, row: usize) -> usize {
        self.keys[row] as usize
    }

    #[inline]
    fn is_valid(&self, row: usize) -> bool {
        self.array.is_valid(row)
    }
}

fn keyed<'b>(table: &Batch<'b>, name: &str) -> Result<Keyed<'b>, EventsError> {
    let array = table.column(name)?.as_dictionary_opt::<Int32Type>();
    let found = array.and_then(|array| Some((array, array.values().as_string_opt::<i32>()?)));
    let (array, values) = found.ok_or_else(|| no_text(table, name))?;
    Ok(Keyed { array, keys: array.keys().values(), values })
}

fn viewed<'b>(table: &Batch<'b>, name: &str) -> Result<&'b StringViewArray, EventsError> {
    table.column(name)?.as_string_view_opt().ok_or_else(|| no_text(table, name))
}

fn no_text(table: &Batch<'_>, name: &str) -> EventsError {
    EventsError::Table {
        path: table.path.to_owned(),
        column: name.to_owned(),
        detail: "is no column of text".to_owned(),
    }
}

/// Fails where a value is missing.
fn whole(path: &Path, name: &str, array: &dyn Array) -> Result<(), EventsError> {
    if array.null_count() == 0 {
        return Ok(());
    }
    match (0..array.len()).find(|&row| array.is_null(row)) {
        Some(row) => Err(EventsError::Table {
            path: path.to_owned(),
            column: name.to_owned(),
            detail: format!("row {row} is null, but a value is required"),
        }),
        None => Ok(()),
    }
}

/// Items of the bucket by number: rows of the catalogue, and behind them those that it lacks; and of
/// the open user by order of appearance.
struct Items<'a> {
    cores: &'a ItemCores,
    others: Vec<String>,
    by_id: AHashMap<String, u32>,
    /// Of the dictionary at hand.
    values: Option<ArrayRef>,
    numbers: Vec<(u32, u32)>,
    seen: Seen,
}

impl<'a> Items<'a> {
    fn new(cores: &'a ItemCores) -> Self {
        Self {
            cores,
            others: Vec::new(),
            by_id: AHashMap::new(),
            values: None,
            numbers: Vec::new(),
            seen: Seen { rows: vec![NONE; cores.len()], numbers: Vec::new() },
        }
    }

    /// Takes a dictionary, unless it is the one before; its texts are numbered as they are met.
    fn look_up(&mut self, column: &Keyed<'_>) {
        if !same_texts(&mut self.values, column) {
            self.numbers.clear();
            self.numbers.resize(column.values.len(), (NONE, 0));
        }
    }

    #[cold]
    fn number(&mut self, key: usize) -> (u32, u32) {
        let values = Arc::clone(self.values.as_ref().expect("looked up before"));
        let id = values.as_string::<i32>().value(key);
        self.numbers[key] = match self.cores.find(id) {
            Some(row) => (row.0, self.cores.tie_key(row)),
            None => (self.number_of_other(id), tie_key(id)),
        };
        self.numbers[key]
    }

    fn number_of_other(&mut self, id: &str) -> u32 {
        if let Some(number) = self.by_id.get(id) {
            return *number;
        }
        let number = (self.cores.len() + self.others.len()) as u32;
        self.others.push(id.to_owned());
        self.by_id.insert(id.to_owned(), number);
        self.seen.rows.push(NONE);
        number
    }

    #[inline]
    fn row(&mut self, key: usize) -> (u32, u32) {
        let (mut number, mut tie) = self.numbers[key];
        if number == NONE {
            (number, tie) = self.number(key);
        }
        (self.seen.row(number), tie)
    }

    fn names(&self) -> Vec<ItemName<'_>> {
        let name = |&number: &u32| match (number as usize).checked_sub(self.cores.len()) {
            None => ItemName { row: Some(ItemId(number)), id: self.cores.id(ItemId(number)) },
            Some(other) => ItemName { row: None, id: &self.others[other] },
        };
        self.seen.numbers.iter().map(name).collect()
    }

    fn forget(&mut self) {
        self.seen.forget();
    }
}

/// Which numbers the open user has, in order of appearance.
#[derive(Default)]
struct Seen {
    /// By number: the row of the open user.
    rows: Vec<u32>,
    /// By row of the open user.
    numbers: Vec<u32>,
}

impl Seen {
    #[inline]
    fn row(&mut self, number: u32) -> u32 {
        let row = &mut self.rows[number as usize];
        if *row == NONE {
            *row = self.numbers.len() as u32;
            self.numbers.push(number);
        }
        *row
    }

    fn forget(&mut self) {
        for number in self.numbers.drain(..) {
            self.rows[number as usize] = NONE;
        }
    }
}

/// Whether a dictionary lies in the very memory of the one before, which is kept so that no other can take
/// its place; the reader gives every batch of a row group a new array over the same texts.
fn same_texts(before: &mut Option<ArrayRef>, column: &Keyed<'_>) -> bool {
    let place = |texts: &StringArray| (texts.value_data().as_ptr(), texts.value_offsets().as_ptr());
    let same = before.as_ref().is_some_and(|before| {
        let before = before.as_string::<i32>();
        before.len() == column.values.len() && place(before) == place(column.values)
    });
    if !same {
        *before = Some(Arc::clone(column.array.values()));
    }
    same
}

/// Queries of the bucket by number, those with the same words by one; and of the open user by order of
/// appearance.
#[derive(Default)]
struct Queries {
    /// By number: the words, and what orders them.
    words: Vec<(String, u32)>,
    by_words: AHashMap<String, u32>,
    /// Of the dictionary at hand.
    values: Option<ArrayRef>,
    numbers: Vec<u32>,
    seen: Seen,
}

/// The number of a query of which no word is left.
const NO_WORDS: u32 = NONE - 1;
/// Distinct words that are remembered from one user to the next; with more all are forgotten.
const MOST_WORDS: usize = 1 << 18;

impl Queries {
    fn look_up(&mut self, column: &Keyed<'_>) {
        if !same_texts(&mut self.values, column) {
            self.numbers.clear();
            self.numbers.resize(column.values.len(), NONE);
        }
    }

    #[cold]
    fn number(&mut self, key: usize) -> u32 {
        let values = Arc::clone(self.values.as_ref().expect("looked up before"));
        let words = query_words(values.as_string::<i32>().value(key));
        self.numbers[key] = match self.by_words.get(&words) {
            Some(number) => *number,
            None if words.is_empty() => NO_WORDS,
            None => {
                let number = self.words.len() as u32;
                self.words.push((words.clone(), tie_key(&words)));
                self.by_words.insert(words, number);
                self.seen.rows.push(NONE);
                number
            }
        };
        self.numbers[key]
    }

    /// The row of a key's words and what orders it; no row where no word is left.
    fn row(&mut self, key: usize) -> (u32, u32) {
        let number = match self.numbers[key] {
            NONE => self.number(key),
            known => known,
        };
        if number == NO_WORDS {
            return (NONE, 0);
        }
        (self.seen.row(number), self.words[number as usize].1)
    }

    fn texts(&self) -> Vec<&str> {
        self.seen.numbers.iter().map(|&number| self.words[number as usize].0.as_str()).collect()
    }

    fn forget(&mut self) {
        self.seen.forget();
        if self.words.len() > MOST_WORDS {
            self.words.clear();
            self.by_words.clear();
            self.seen.rows.clear();
            self.numbers.fill(NONE);
        }
    }
}
