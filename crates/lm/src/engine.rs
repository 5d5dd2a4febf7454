//! The built-in engine: runs a decoder of the Qwen3 family on the cores of this machine.
//!
//! Answers depend on the request alone: not on the batch around it, the number of threads, or what the
//! prefix cache still holds. Training is elsewhere (crate `align`).

mod answer;
mod batch;
mod chat;
mod grammar;
mod prefix;
mod sampler;
mod sequence;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock};

use rayon::prelude::*;

use crate::checkpoint::{load_decoder, load_decoder_bytes};
use crate::decoder::{Decoder, KvCache};
use crate::engine::batch::Task;
use crate::engine::chat::ChatFormat;
use crate::engine::grammar::Grammars;
use crate::engine::prefix::PrefixCache;
use crate::error::LmError;
use crate::model::{Completion, Finish, LanguageModel, Prompt, PromptStyle, Request};
use crate::tokenizer::Tokenizer;

/// Limits of an [`Engine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Sequences that one thread decodes together.
    pub batch_size: usize,
    /// Bytes of keys and values kept for prompts that begin like earlier ones; 0 keeps none.
    pub prefix_cache_bytes: usize,
}

impl EngineConfig {
    /// What suits a model of a few million parameters on a small machine.
    pub const STANDARD: Self = Self { batch_size: 32, prefix_cache_bytes: 256 << 20 };
}

/// A decoder, its tokenizer, and what makes them fast together.
pub struct Engine {
    name: String,
    decoder: Decoder,
    tokenizer: Tokenizer,
    config: EngineConfig,
    chat: ChatFormat,
    prefixes: Mutex<PrefixCache>,
    grammars: OnceLock<Result<Grammars, LmError>>,
}

impl Engine {
    /// An engine with [`EngineConfig::STANDARD`] limits, named `builtin`.
    ///
    /// # Errors
    /// [`LmError::BadModel`] when the decoder has fewer tokens than the tokenizer.
    pub fn new(decoder: Decoder, tokenizer: Tokenizer) -> Result<Self, LmError> {
        let (rows, tokens) = (decoder.config().vocab_size, tokenizer.vocab_size());
        if rows < tokens {
            return Err(LmError::BadModel {
                path: "tokenizer.json".into(),
                problem: format!("it has {tokens} tokens, the decoder only {rows}"),
                mend: "give the tokenizer and the weights of one model".to_owned(),
            });
        }
        let (chat, config) = (ChatFormat::of(&tokenizer), EngineConfig::STANDARD);
        let prefixes = Mutex::new(PrefixCache::new(config.prefix_cache_bytes));
        let (name, grammars) = ("builtin".to_owned(), OnceLock::new());
        Ok(Self { name, decoder, tokenizer, config, chat, prefixes, grammars })
    }

    /// Loads a folder in the Hugging Face layout: `config.json`, `tokenizer.json`, `model.safetensors`.
    /// The engine bears the folder's name.
    pub fn load(dir: &Path) -> Result<Self, LmError> {
        let tokenizer = Tokenizer::load(&dir.join("tokenizer.json"))?;
        let mut engine = Self::new(load_decoder(dir)?, tokenizer)?;
        if let Some(name) = dir.file_name() {
            engine.name = name.to_string_lossy().into_owned();
        }
        Ok(engine)
    }

    /// Reads the bytes of the three files of a model.
    pub fn from_bytes(config: &[u8], tokenizer: &[u8], weights: &[u8]) -> Result<Self, LmError> {
        Self::new(load_decoder_bytes(config, weights)?, Tokenizer::from_bytes(tokenizer)?)
    }

    /// The same engine under other limits; its prefix cache begins empty.
    pub fn with_config(mut self, config: EngineConfig) -> Self {
        self.config = config;
        self.prefixes = Mutex::new(PrefixCache::new(config.prefix_cache_bytes));
        self
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Tokens that prompt and answer may have together.
    pub fn window(&self) -> usize {
        self.decoder.config().max_position_embeddings
    }

    /// Bytes that the prefix cache holds now.
    pub fn prefix_cache_bytes(&self) -> usize {
        self.prefixes().n_bytes()
    }

    /// Encodes the prompt and checks that it and `max_tokens` fit.
    fn encode(&self, prompt: &Prompt, max_tokens: usize) -> Result<Vec<u32>, LmError> {
        let tokens = self.chat.encode(prompt, &self.tokenizer);
        let (prompt_tokens, window) = (tokens.len(), self.window());
        if tokens.is_empty() {
            return Err(LmError::EmptyPrompt);
        }
        if prompt_tokens.saturating_add(max_tokens) > window {
            return Err(LmError::ContextTooLong { prompt_tokens, max_tokens, window });
        }
        Ok(tokens)
    }

    /// The logits that belong to tokens; a decoder may have more rows than its tokenizer has tokens.
    fn in_vocab<'a>(&self, logits: &'a [f32]) -> &'a [f32] {
        &logits[..self.tokenizer.vocab_size()]
    }

    fn prefixes(&self) -> MutexGuard<'_, PrefixCache> {
        self.prefixes.lock().expect("no panic happens under this lock")
    }

    fn grammars(&self) -> Result<&Grammars, LmError> {
        let ends = ["<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>"];
        let make = || {
            let ends: Vec<u32> =
                ends.iter().filter_map(|end| self.tokenizer.special(end)).collect();
            Grammars::new(&self.tokenizer, &ends)
        };
        self.grammars.get_or_init(make).as_ref().map_err(Clone::clone)
    }
}

impl LanguageModel for Engine {
    fn name(&self) -> &str {
        &self.name
    }

    fn style(&self) -> PromptStyle {
        self.chat.style()
    }

    fn generate(&self, requests: &[Request]) -> Vec<Result<Completion, LmError>> {
        let encode = |request: &Request| self.encode(&request.prompt, request.max_tokens);
        let encoded: Vec<_> = requests.par_iter().map(encode).collect();
        let (mut tasks, mut answers) = (Vec::new(), Vec::with_capacity(requests.len()));
        for (idx, (request, tokens)) in requests.iter().zip(encoded).enumerate() {
            match tokens {
                Ok(tokens) if request.max_tokens == 0 => {
                    let (text, prompt_tokens) = (String::new(), tokens.len());
                    let finish = Finish::Length;
                    let empty = Completion { text, finish, prompt_tokens, completion_tokens: 0 };
                    answers.push((idx, Ok(empty)));
                }
                Ok(tokens) => {
                    // Claimed for all prompts at once, before this call's own sequences push them out.
                    let known = Mutex::new(self.prefixes().fork(&tokens));
                    tasks.push(Task { idx, request, tokens, known });
                }
                Err(error) => answers.push((idx, Err(error))),
            }
        }
        // Prompts that begin alike come one after another, so that the later can use the earlier.
        tasks.sort_by(|a, b| a.tokens.cmp(&b.tokens));
        answers.extend(batch::run(self, &tasks));
        answers.sort_unstable_by_key(|&(idx, _)| idx);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Continuations are read as text, without special tokens; the prompt is computed once.
    fn score(&self, prompt: &Prompt, continuations: &[&str]) -> Result<Vec<f64>, LmError> {
        let texts: Vec<_> = continuations.iter().map(|text| self.tokenizer.encode(text)).collect();
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let tokens = self.encode(prompt, longest)?;
        let known = self.prefixes().fork(&tokens);
        let mut kv = known.unwrap_or_else(|| KvCache::new(self.decoder.config(), self.window()));
        let unread = &tokens[kv.len()..];
        let after_prompt = self.decoder.prefill(&mut kv, unread)?;
        let score = |text: &Vec<u32>| self.score_one(&kv, &after_prompt, text);
        let scores = texts.par_iter().map(score).collect();
        self.prefixes().insert(tokens, kv);
        scores
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.tokenizer.count(text)
    }
}

impl Engine {
    /// `sum over i of ln p(text[i] | prompt, text[..i])`.
    fn score_one(&self, prompt: &KvCache, first: &[f32], text: &[u32]) -> Result<f64, LmError> {
        let Some((_, but_last)) = text.split_last() else { return Ok(0.0) };
        let rest = match but_last.is_empty() {
            true => Vec::new(),
            false => self.decoder.prefill_all(&mut prompt.fork(prompt.len()), but_last)?,
        };
        let vocab = self.decoder.config().vocab_size;
        let rows = std::iter::once(first).chain(rest.chunks_exact(vocab));
        Ok(rows.zip(text).map(|(row, &token)| log_probability(self.in_vocab(row), token)).sum())
    }
}

/// `ln softmax(logits)[token]`.
fn log_probability(logits: &[f32], token: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    f64::from(logits[token as usize] - max) - sum.ln()
}

#[cfg(test)]
mod tests;
