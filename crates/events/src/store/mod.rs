//! The event store: `events/bucket=0007/part-HASH.parquet`, sorted by (user, time, event id), with a
//! manifest that states the hash, the number of buckets, the schema version, and for every bucket its
//! file, rows, users and first and last time.
//!
//! A user lies whole in bucket `fnv1a64(user_id) % n_buckets`, so any engine that can write sorted
//! Parquet can feed us: a manifest without `buckets` means that all Parquet files of a bucket's folder
//! count, in the order of their names. [`EventStore::fold`] hands over one user at a time and checks
//! the order itself: a sort can vanish in a query engine without a word.
//!
//! What the store holds is a set: of the events of one user with the same id, the one that is first in
//! the order of the store is kept, whichever came first. So the bytes of a store depend on the events
//! alone, not on how many imports brought them or in which order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Catalogue, Event, EventType, Interaction, Timestamp, UserId, fnv1a64};

pub(crate) mod encoding;
mod read;
mod rows;
mod write;

pub(crate) use self::write::{Counts, StoreWriter};
use crate::{EventsError, recover};

/// Version of the columns; raised when a reader of the old ones would go wrong.
pub const SCHEMA_VERSION: u32 = 1;

/// Name of the hash in the manifest.
pub const HASH: &str = "fnv1a64";

/// The rule for the bucket of a user, as the manifest states it for people.
pub const BUCKET_RULE: &str = "FNV-1a, 64 bits (offset basis 14695981039346656037, prime 1099511628211), \
     of the UTF-8 bytes of user_id, modulo n_buckets";

/// What `manifest.json` states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the columns.
    pub schema_version: u32,
    /// Name of the hash that picks the bucket.
    pub hash: String,
    /// That hash in words.
    #[serde(default)]
    pub bucket_rule: String,
    /// Number of buckets.
    pub n_buckets: u32,
    /// Events in all buckets.
    pub rows: u64,
    /// Users in all buckets.
    pub users: u64,
    /// Hash (xxh3, hexadecimal) of the buckets' hashes in their order.
    pub content_hash: String,
    /// The log has an order but no clock; the times are made up, one day apart.
    pub ordered_only: bool,
    /// The first event; none in an empty store.
    pub first: Option<Timestamp>,
    /// The last event; none in an empty store.
    pub last: Option<Timestamp>,
    /// Events per type.
    pub event_types: BTreeMap<EventType, u64>,
    /// Every bucket in order; none where another program wrote the store.
    #[serde(default)]
    pub buckets: Vec<BucketEntry>,
}

/// What the manifest states of one bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BucketEntry {
    /// Its number.
    pub bucket: u32,
    /// Its files in the order of their rows; others in its folder do not count.
    pub files: Vec<String>,
    /// Events.
    pub rows: u64,
    /// Users.
    pub users: u64,
    /// Users with one event.
    pub single_event_users: u64,
    /// Events of the longest history.
    pub longest_history: u64,
    /// The first event; none in an empty bucket.
    pub first: Option<Timestamp>,
    /// The last event; none in an empty bucket.
    pub last: Option<Timestamp>,
    /// Events per type.
    pub event_types: BTreeMap<EventType, u64>,
    /// Hash (xxh3, hexadecimal) of the events in order, whatever the encoding of the files.
    pub content_hash: String,
}

impl Manifest {
    /// What is stated of a bucket.
    #[must_use]
    pub fn entry(&self, bucket: u32) -> Option<&BucketEntry> {
        self.buckets.get(bucket as usize).filter(|entry| entry.bucket == bucket)
    }

    fn lists_every_bucket(&self) -> bool {
        let plain = |name: &String| Path::new(name).file_name() == Some(name.as_ref());
        self.buckets.len() == self.n_buckets as usize
            && (0u32..).zip(&self.buckets).all(|(n, b)| b.bucket == n && b.files.iter().all(plain))
    }

    /// Events of the longest history.
    #[must_use]
    pub fn longest_history(&self) -> u64 {
        self.buckets.iter().map(|b| b.longest_history).max().unwrap_or(0)
    }
}

/// All events of one user, by time.
#[derive(Debug, Clone, PartialEq)]
pub struct UserHistory {
    /// Whose.
    pub user_id: String,
    /// Sorted by (time, event id).
    pub events: Vec<Event>,
}

/// A store on disk; opening reads the manifest only.
#[derive(Debug, Clone)]
pub struct EventStore {
    dir: PathBuf,
    manifest: Manifest,
}

impl EventStore {
    /// Opens the folder that holds `manifest.json`.
    ///
    /// # Errors
    /// [`EventsError`] when there is no manifest, or it is of another version or hash.
    pub fn open(dir: &Path) -> Result<Self, EventsError> {
        if let Some(root) = dir.parent() {
            recover(root)?;
        }
        let path = dir.join("manifest.json");
        let text = fs::read_to_string(&path).map_err(EventsError::io("open", &path))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| {
            EventsError::Manifest { path: path.clone(), detail: format!("unreadable: {e}") }
        })?;
        let fault = if manifest.schema_version != SCHEMA_VERSION {
            format!(
                "schema version {}, but this program reads {SCHEMA_VERSION}",
                manifest.schema_version
            )
        } else if manifest.hash != HASH {
            format!("hash {:?}, but the layout is by {HASH:?}", manifest.hash)
        } else if manifest.n_buckets == 0 {
            "n_buckets is 0".to_owned()
        } else if !(manifest.buckets.is_empty() || manifest.lists_every_bucket()) {
            "buckets lists others than 0 to n_buckets - 1, or a file outside its folder".to_owned()
        } else {
            return Ok(Self { dir: dir.to_owned(), manifest });
        };
        Err(EventsError::Manifest { path, detail: fault })
    }

    /// What the manifest states.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Number of buckets.
    #[must_use]
    pub fn n_buckets(&self) -> u32 {
        self.manifest.n_buckets
    }

    /// The bucket of a user.
    #[must_use]
    pub fn bucket_of(&self, user_id: &str) -> u32 {
        bucket_of(user_id, self.manifest.n_buckets)
    }

    /// Hands over the users of one bucket, in order of their ids.
    ///
    /// # Errors
    /// What `each` returns; [`EventsError::WrongOrder`] when rows are out of order, a user is split,
    /// lies in the wrong bucket, or an event id repeats; [`EventsError`] when a file is unreadable.
    pub fn fold<E: From<EventsError>>(
        &self,
        bucket: u32,
        each: &mut dyn FnMut(UserHistory) -> Result<(), E>,
    ) -> Result<(), E> {
        read::fold_bucket(&self.parts(bucket)?, bucket, self.manifest.n_buckets, each)
    }

    /// Computes one value per user, buckets in parallel; results are sorted by user id.
    ///
    /// # Errors
    /// The first error of the lowest bucket.
    pub fn fold_all<T, E, F>(&self, each: F) -> Result<Vec<T>, E>
    where
        T: Send,
        E: From<EventsError> + Send,
        F: Fn(UserHistory) -> Result<T, E> + Sync,
    {
        let buckets: Vec<Result<Vec<(String, T)>, E>> = (0..self.n_buckets())
            .into_par_iter()
            .map(|bucket| {
                let mut rows = Vec::new();
                self.fold(bucket, &mut |history: UserHistory| {
                    let user_id = history.user_id.clone();
                    rows.push((user_id, each(history)?));
                    Ok::<(), E>(())
                })?;
                Ok(rows)
            })
            .collect();
        let mut all = Vec::new();
        for bucket in buckets {
            all.extend(bucket?);
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all.into_iter().map(|(_, value)| value).collect())
    }

    /// All user ids, sorted: a `UserId` is a row of this list.
    ///
    /// # Errors
    /// [`EventsError`] when a file is unreadable.
    pub fn user_ids(&self) -> Result<Vec<String>, EventsError> {
        let buckets: Vec<Result<Vec<String>, EventsError>> = (0..self.n_buckets())
            .into_par_iter()
            .map(|bucket| read::users_of_bucket(&self.parts(bucket)?))
            .collect();
        let mut users = Vec::new();
        for bucket in buckets {
            users.extend(bucket?);
        }
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// The history of one user, where the store knows them; reads only their bucket, up to them.
    ///
    /// # Errors
    /// As [`Self::fold`].
    pub fn history(&self, user_id: &str) -> Result<Option<UserHistory>, EventsError> {
        let bucket = self.bucket_of(user_id);
        read::find_user(&self.parts(bucket)?, bucket, self.manifest.n_buckets, user_id)
    }

    /// The files of a bucket, in the order of their rows.
    ///
    /// # Errors
    /// [`EventsError::Io`] when its folder cannot be listed.
    pub fn parts(&self, bucket: u32) -> Result<Vec<PathBuf>, EventsError> {
        let folder = self.dir.join(bucket_folder(bucket));
        match self.manifest.entry(bucket) {
            Some(entry) => Ok(entry.files.iter().map(|file| folder.join(file)).collect()),
            None => read::parquet_files(&folder),
        }
    }

    /// The columns of its files, as this program writes them.
    #[must_use]
    pub fn schema() -> SchemaRef {
        rows::batch_of(&[]).schema()
    }

    /// Events on items of the catalogue before `until`, sorted by (user, time) and otherwise in
    /// store order; users are rows of `user_ids`, which must be sorted. Other users and items of no
    /// catalogue are left out.
    ///
    /// # Errors
    /// As [`Self::fold`].
    pub fn interactions(
        &self,
        catalogue: &Catalogue,
        user_ids: &[String],
        until: Timestamp,
    ) -> Result<Vec<Interaction>, EventsError> {
        let users = self.fold_all(|history| {
            let Ok(row) = user_ids.binary_search(&history.user_id) else {
                return Ok::<_, EventsError>(Vec::new());
            };
            let before = history.events.iter().filter(|e| e.timestamp < until);
            Ok(before
                .filter_map(|e| {
                    let item = catalogue.find(e.item_id.as_deref()?)?;
                    Some(Interaction {
                        user: UserId::from_idx(row),
                        timestamp: e.timestamp,
                        item,
                        event_type: e.event_type,
                    })
                })
                .collect())
        })?;
        Ok(users.concat())
    }
}

/// The bucket of a user: `fnv1a64(user_id) % n_buckets`.
#[must_use]
pub fn bucket_of(user_id: &str, n_buckets: u32) -> u32 {
    let bucket = fnv1a64(user_id.as_bytes()) % u64::from(n_buckets.max(1));
    u32::try_from(bucket).expect("a remainder of a u32")
}

/// The folder of a bucket, relative to its store.
pub(crate) fn bucket_folder(bucket: u32) -> PathBuf {
    format!("bucket={bucket:04}").into()
}

#[cfg(test)]
mod tests;
