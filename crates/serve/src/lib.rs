//! Online: from a user id to a slate with reasons, in process and over HTTP.
//!
//! Everything is loaded before the first request; a request for a slate reads, and changes nothing. Items
//! come and whole versions change while requests are answered. This crate trains nothing, mines nothing
//! and reads no file: `recgpt` hands it the artefacts, and keeps what is added.

mod error;
mod seams;

mod request;

mod artefacts;
mod filter;
mod shelf;

mod reasons;
mod recommender;

mod items;
mod live;

mod completions;
mod http;
mod server;

pub use crate::artefacts::{Artefacts, Fusion};
pub use crate::completions::LmConfig;
pub use crate::error::ServeError;
pub use crate::http::openapi_json;
pub use crate::items::check_item;
pub use crate::live::{Keeper, KeeperError, Live, Loaded, Refreshed};
pub use crate::recommender::{ItemsPut, Recommender};
pub use crate::request::{DEFAULT_N, MAX_N, RecommendRequest, RequestFilter, Seen, SessionEvent};
pub use crate::seams::{Encoder, ReasonFn, Reasoner};
pub use crate::server::{
    RunningServer, ServeConfig, run_lm_until_signal, run_until_signal, start, start_lm,
};
