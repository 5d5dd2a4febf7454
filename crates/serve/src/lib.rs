//! Online: from a user id to a slate with reasons, in process and over HTTP.
//!
//! Everything is loaded before the first request; a request reads, and changes nothing. This crate
//! trains nothing, mines nothing and reads no file: `recgpt` hands it the artefacts.

mod error;
mod seams;

mod reasons;
mod recommender;

mod completions;
mod http;
mod server;

pub use crate::completions::LmConfig;
pub use crate::error::ServeError;
pub use crate::http::openapi_json;
pub use crate::recommender::{
    Artefacts, DEFAULT_N, Fusion, MAX_N, RecommendRequest, Recommender, Seen,
};
pub use crate::seams::{Encoder, ReasonFn, Reasoner};
pub use crate::server::{
    RunningServer, ServeConfig, run_lm_until_signal, run_until_signal, start, start_lm,
};
