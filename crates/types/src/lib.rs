//! The nouns of RecGPT: ids, events, items, taxonomy, digests, interests, tags, judgements, slates, time.
//!
//! This crate does no I/O, starts no thread, and knows neither tensors nor text models. Every stage
//! crate speaks these types to every other; none of them sees another stage crate.

mod ids;
mod time;

mod event;
mod item;
mod taxonomy;
mod user;

mod digest;

mod interest;
mod judgement;
mod tag;

mod slate;

mod truth;

pub use crate::digest::{
    Digest, DigestContext, DigestLine, DigestTokens, NoDigestLine, TimeBucket, TokenCounter,
};
pub use crate::event::{Event, EventType, Interaction, UnknownEventType};
pub use crate::ids::{CategoryId, ItemId, UserId, fnv1a64};
pub use crate::interest::{Interest, InterestProfile, InterestSource, InterestStage};
pub use crate::item::{Catalogue, DuplicateItem, Item};
pub use crate::judgement::{Criterion, Judge, Judgement};
pub use crate::slate::{Candidate, CandidateSource, Fallback, Signal, Slate, SlateItem};
pub use crate::tag::{ConstraintBreach, Tag, TagConstraint, normalise_text};
pub use crate::taxonomy::{Category, Taxonomy, TaxonomyError};
pub use crate::time::{Clock, DAY_MS, FixedClock, Season, Timestamp};
pub use crate::truth::{TrueInterest, TrueNeed, UserTruth};
pub use crate::user::User;
