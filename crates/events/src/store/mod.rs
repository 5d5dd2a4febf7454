//! The event store: `events/bucket=0007/part-0.parquet`, sorted by (user, time, event id), with a
//! manifest that states the hash, the number of buckets and the schema version.
//!
//! A user lies whole in bucket `fnv1a64(user_id) % n_buckets`, so any engine that can write sorted
//! Parquet can feed us. [`EventStore::fold`] hands over one user at a time and checks the order
//! itself: a sort can vanish in a query engine without a word.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use types::{Catalogue, Event, EventType, Interaction, Timestamp, UserId, fnv1a64};

mod read;
mod rows;
mod spill;
mod write;

pub(crate) use self::write::{Counts, StoreWriter};
use crate::EventsError;

/// Version of the columns; raised when a reader of the old ones would go wrong.
pub const SCHEMA_VERSION: u32 = 1;

/// Name of the hash in the manifest.
pub const HASH: &str = "fnv1a64";

/// What `manifest.json` states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the columns.
    pub schema_version: u32,
    /// Name of the hash that picks the bucket.
    pub hash: String,
    /// Number of buckets.
    pub n_buckets: u32,
    /// Events in all buckets.
    pub rows: u64,
    /// Users in all buckets.
    pub users: u64,
    /// Hash (xxh3, hexadecimal) of the events in bucket order, whatever the encoding of the files.
    pub content_hash: String,
    /// The log has an order but no clock; the times are made up, one day apart.
    pub ordered_only: bool,
    /// The first event; none in an empty store.
    pub first: Option<Timestamp>,
    /// The last event; none in an empty store.
    pub last: Option<Timestamp>,
    /// Events per type.
    pub event_types: BTreeMap<EventType, u64>,
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
        write::recover(dir)?;
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

    /// Files of a bucket in name order.
    pub(crate) fn parts(&self, bucket: u32) -> Result<Vec<PathBuf>, EventsError> {
        read::parts(&self.dir, bucket)
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
        read::fold_bucket(&self.dir, bucket, self.manifest.n_buckets, each)
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
            .map(|bucket| read::users_of_bucket(&self.dir, bucket))
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
        read::find_user(&self.dir, self.bucket_of(user_id), self.manifest.n_buckets, user_id)
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

/// The folder of a bucket within a store.
pub(crate) fn bucket_dir(store: &Path, bucket: u32) -> PathBuf {
    store.join(format!("bucket={bucket:04}"))
}

#[cfg(test)]
mod tests;
