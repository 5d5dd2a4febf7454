//! Language models: the seam that the rest of RecGPT asks through, and what stands behind it.
//!
//! Knows text and tokens. Knows no users, items or wording of prompts.

mod checkpoint;
#[cfg(test)]
mod conformance;
mod decoder;
mod engine;
mod error;
mod model;
#[cfg(feature = "http-llm")]
mod openai;
mod pool;
mod scripted;
#[cfg(test)]
#[cfg(feature = "http-llm")]
mod stub_server;
#[cfg(test)]
mod testing;
mod tokenizer;

pub use crate::checkpoint::{load_decoder, load_decoder_bytes, save_decoder, write_whole};
pub use crate::decoder::{
    Decoder, DecoderConfig, KvCache, Layout, LossStats, PackedBatch, Tape, TensorPlace,
};
pub use crate::engine::{Engine, EngineConfig};
pub use crate::error::{Fault, LmError};
pub use crate::model::{
    Completion, Constraint, Finish, LanguageModel, Prompt, PromptStyle, Request, Sampling,
};
#[cfg(feature = "http-llm")]
pub use crate::openai::{Dialect, OpenAi, OpenAiConfig, Usage};
pub use crate::pool::{ModelBytes, ModelSource, open_model};
pub use crate::scripted::Scripted;
pub use crate::tokenizer::{PromptBuilder, Tokenizer, defuse};
