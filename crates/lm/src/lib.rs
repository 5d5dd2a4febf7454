//! Language models: the seam that the rest of RecGPT asks through, and what stands behind it.
//!
//! Knows text and tokens. Knows no users, items or wording of prompts.

mod chat;
mod checkpoint;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod decoder;
mod engine;
mod error;
mod model;
#[cfg(feature = "http-llm")]
mod openai;
mod scripted;
#[cfg(test)]
#[cfg(feature = "http-llm")]
mod stub_server;
#[cfg(test)]
mod testing;
mod tokenizer;

pub use crate::chat::{ChatFormat, ChatTemplate, Message};
pub use crate::checkpoint::{
    load_decoder, load_decoder_bytes, load_packed, load_packed_bytes, save_decoder,
    save_decoder_fp8, write_whole,
};
pub use crate::decoder::{
    Chunk, Decoder, DecoderConfig, KvCache, KvFormat, KvPool, Layout, LossStats, PackedBatch,
    PackedDecoder, RopeScaling, Scratch, Tape, Tensor, TensorPlace, TensorSource, Wanted,
};
pub use crate::engine::{
    Beam, BeamSearch, Engine, EngineConfig, EngineStats, Event, Ticket, log_probability,
};
pub use crate::error::{Fault, LmError};
pub use crate::model::{
    Completion, Constraint, Distinct, Finish, LanguageModel, Prompt, PromptStyle, Request, Sampling,
};
#[cfg(feature = "http-llm")]
pub use crate::openai::{Dialect, OpenAi, OpenAiConfig, Usage};
pub use crate::scripted::Scripted;
pub use nn::{Kernel, WeightFormat};

pub use crate::tokenizer::{PromptBuilder, Tokenizer, defuse};
