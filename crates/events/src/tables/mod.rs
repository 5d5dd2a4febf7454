//! Readers and writers of the workspace's Parquet tables: items, users, taxonomy, quarantine and
//! `intent/{digests,interests,tags,explanations}`.
//!
//! Every write goes to a file beside the final one, is synced and renamed, so a stopped run never
//! leaves half a table. Errors name file and column. The event store has its own module.

pub(crate) mod batches;
pub(crate) mod columns;

mod catalogue;
mod digests;
mod forget;
mod intent;
mod quarantine;

pub use self::catalogue::{
    read_items, read_taxonomy, read_users, write_items, write_taxonomy, write_users,
};
pub use self::columns::rows_per_batch;
pub use self::digests::{
    DIGESTS_VERSION, DigestCounts, DigestWriter, find_digest, read_digest_counts, read_digests,
    write_digests,
};
pub use self::forget::write_without;
pub use self::intent::{
    Explanation, UserInterests, UserTags, read_explanations, read_interests, read_tags,
    write_explanations, write_interests, write_tags,
};
pub(crate) use self::quarantine::QuarantineWriter;
pub use self::quarantine::{RejectReason, RejectedRow, read_quarantine};
