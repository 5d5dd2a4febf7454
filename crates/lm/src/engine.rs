//! The built-in engine: runs a decoder of the Qwen3 or Llama family on the cores of this machine.
//!
//! Answers depend on the request alone: not on the batch around it, the number of threads, or what the
//! prefix cache still holds. Training is elsewhere (crate `align`).
//!
//! Requests wait in a [`queue`]; each [`lane`], one thread, advances a batch of them together; finished
//! prompts stay in a radix tree ([`prefix`]) whose pages come from one bounded pool. Scores and searches
//! run on the threads of who asks ([`direct`]).

mod answer;
mod beam;
mod config;
mod direct;
mod fields;
mod grammar;
mod lane;
mod prefix;
mod queue;
mod sampler;
mod sequence;
mod stats;

use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;

use nn::KV_PAGE;
use rayon::prelude::*;

pub use self::beam::{Beam, BeamSearch};
pub use self::config::EngineConfig;
pub use self::direct::log_probability;
pub use self::queue::{Event, Ticket};
pub use self::stats::EngineStats;
use crate::chat::ChatFormat;
use crate::checkpoint::{load_packed, load_packed_bytes};
use crate::decoder::{KvPool, PackedDecoder, Page};
use crate::engine::grammar::Grammars;
use crate::engine::lane::Lane;
use crate::engine::prefix::PrefixTree;
use crate::engine::queue::{Job, Queue};
use crate::engine::stats::Totals;
use crate::error::LmError;
use crate::model::{Completion, Finish, LanguageModel, Prompt, PromptStyle, Request};
use crate::tokenizer::Tokenizer;

/// A decoder, its tokenizer, and what makes them fast together.
pub struct Engine {
    shared: Arc<Shared>,
    /// Started with the first request.
    lanes: OnceLock<Vec<JoinHandle<()>>>,
}

/// What all lanes and callers use.
struct Shared {
    name: String,
    decoder: PackedDecoder,
    tokenizer: Tokenizer,
    config: EngineConfig,
    n_lanes: usize,
    chat: ChatFormat,
    pool: Arc<KvPool>,
    prefixes: Mutex<PrefixTree<Arc<Page>>>,
    grammars: OnceLock<Result<Grammars, LmError>>,
    queue: Queue,
    stats: Totals,
}

impl Engine {
    /// An engine named `builtin`, for a model without a chat template of its own.
    ///
    /// # Errors
    /// [`LmError::BadModel`] when the decoder has fewer tokens than the tokenizer.
    pub fn new(
        decoder: PackedDecoder,
        tokenizer: Tokenizer,
        config: EngineConfig,
    ) -> Result<Self, LmError> {
        let chat = ChatFormat::of(&tokenizer);
        Self::build("builtin".to_owned(), decoder, tokenizer, chat, config)
    }

    /// Loads a folder in the Hugging Face layout: `config.json`, `tokenizer.json`, weights in one or many
    /// files, and the chat template if there is one. The engine bears the folder's name.
    pub fn load(dir: &Path, config: EngineConfig) -> Result<Self, LmError> {
        let tokenizer = Tokenizer::load(&dir.join("tokenizer.json"))?;
        let decoder = load_packed(dir, config.weights, config.window)?;
        let chat = ChatFormat::load(dir, &tokenizer)?;
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
        Self::build(name.unwrap_or_default(), decoder, tokenizer, chat, config)
    }

    /// Reads the bytes of the three files of a model.
    pub fn from_bytes(
        config_json: &[u8],
        tokenizer: &[u8],
        weights: &[u8],
        config: EngineConfig,
    ) -> Result<Self, LmError> {
        let decoder = load_packed_bytes(config_json, weights, config.weights, config.window)?;
        Self::new(decoder, Tokenizer::from_bytes(tokenizer)?, config)
    }

    fn build(
        name: String,
        decoder: PackedDecoder,
        tokenizer: Tokenizer,
        chat: ChatFormat,
        config: EngineConfig,
    ) -> Result<Self, LmError> {
        let (rows, tokens) = (decoder.config().vocab_size, tokenizer.vocab_size());
        if rows < tokens {
            return Err(LmError::BadModel {
                path: "tokenizer.json".into(),
                problem: format!("it has {tokens} tokens, the decoder only {rows}"),
                mend: "give the tokenizer and the weights of one model".to_owned(),
            });
        }
        let n_lanes = if config.lanes == 0 { rayon::current_num_threads() } else { config.lanes };
        let pool = KvPool::new(decoder.config(), config.kv_format, config.kv_bytes);
        let shared = Shared {
            name,
            decoder,
            tokenizer,
            config,
            n_lanes,
            chat,
            pool,
            prefixes: Mutex::new(PrefixTree::new(KV_PAGE)),
            grammars: OnceLock::new(),
            queue: Queue::default(),
            stats: Totals::default(),
        };
        Ok(Self { shared: Arc::new(shared), lanes: OnceLock::new() })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }

    /// The decoder.
    pub fn decoder(&self) -> &PackedDecoder {
        &self.shared.decoder
    }

    /// The chat format of its prompts.
    pub fn chat(&self) -> &ChatFormat {
        &self.shared.chat
    }

    /// Its formats and limits.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// Tokens that prompt and answer may have together.
    pub fn window(&self) -> usize {
        self.shared.window()
    }

    /// What it has done so far and does now.
    pub fn stats(&self) -> EngineStats {
        let load = self.shared.queue.load();
        self.shared.stats.fill(EngineStats {
            waiting: load.waiting,
            running: load.running,
            kv_pages: self.shared.pool.live(),
            kv_pages_limit: self.shared.pool.limit(),
            ..EngineStats::default()
        })
    }

    /// Forgets all earlier prompts.
    pub fn clear_prefixes(&self) {
        while self.shared.prefixes().evict() {}
    }

    /// Hands a request in, its prompt given as tokens; `sink` hears the answer as it comes, on a thread
    /// of the engine, and must not block.
    ///
    /// # Errors
    /// [`LmError::EmptyPrompt`], [`LmError::ContextTooLong`], [`LmError::CacheTooSmall`], or
    /// [`LmError::Overloaded`] when too many requests wait.
    pub fn submit(
        &self,
        request: Request,
        tokens: Vec<u32>,
        sink: impl FnMut(Event) + Send + 'static,
    ) -> Result<Ticket, LmError> {
        let waiting = self.shared.queue.load().waiting;
        if waiting >= self.shared.config.max_waiting {
            return Err(LmError::Overloaded { waiting });
        }
        let pages = self.shared.pages_for(tokens.len(), request.max_tokens)?;
        let (job, ticket) = Job::new(request, tokens, pages, Box::new(sink));
        self.start(vec![job]);
        Ok(ticket)
    }

    /// Encodes the prompt and checks that it and `max_tokens` fit.
    pub(crate) fn encode(&self, prompt: &Prompt, max_tokens: usize) -> Result<Vec<u32>, LmError> {
        self.fit(prompt, max_tokens).map(|(tokens, _)| tokens)
    }

    /// As [`Self::encode`], with the pages that prompt and answer may need.
    fn fit(&self, prompt: &Prompt, max_tokens: usize) -> Result<(Vec<u32>, usize), LmError> {
        let tokens = self.shared.chat.encode(prompt, &self.shared.tokenizer)?;
        let pages = self.shared.pages_for(tokens.len(), max_tokens)?;
        Ok((tokens, pages))
    }

    /// Queues the jobs, and starts the lanes if these are the first.
    fn start(&self, jobs: Vec<Job>) {
        self.lanes.get_or_init(|| {
            let spawn = |_| {
                let shared = Arc::clone(&self.shared);
                std::thread::spawn(move || Lane::run(&shared))
            };
            (0..self.shared.n_lanes).map(spawn).collect()
        });
        self.shared.queue.push(jobs);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.queue.stop();
        for lane in self.lanes.take().into_iter().flatten() {
            // A lane that panicked has told its own story.
            drop(lane.join());
        }
        for mut job in self.shared.queue.drain() {
            job.tell(Event::Done(Err(LmError::Cancelled)));
        }
    }
}

impl Shared {
    fn window(&self) -> usize {
        self.decoder.config().max_position_embeddings
    }

    /// Pages that a prompt and its answer may need.
    fn pages_for(&self, prompt_tokens: usize, max_tokens: usize) -> Result<usize, LmError> {
        let window = self.window();
        if prompt_tokens == 0 {
            return Err(LmError::EmptyPrompt);
        }
        let tokens = prompt_tokens.saturating_add(max_tokens);
        if tokens > window {
            return Err(LmError::ContextTooLong { prompt_tokens, max_tokens, window });
        }
        let (pages, limit) = (tokens.div_ceil(KV_PAGE), self.pool.limit());
        if pages > limit {
            return Err(LmError::CacheTooSmall { tokens, limit: limit * KV_PAGE });
        }
        Ok(pages)
    }

    /// Sets `n` pages aside, forgetting earlier prompts for it if need be.
    fn make_room(&self, n: usize) -> bool {
        while !self.pool.promise(n) {
            if !self.prefixes().evict() {
                return false;
            }
        }
        true
    }

    /// The logits that belong to tokens; a decoder may have more rows than its tokenizer has tokens.
    fn in_vocab<'a>(&self, logits: &'a [f32]) -> &'a [f32] {
        &logits[..self.tokenizer.vocab_size()]
    }

    fn prefixes(&self) -> MutexGuard<'_, PrefixTree<Arc<Page>>> {
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
        &self.shared.name
    }

    fn style(&self) -> PromptStyle {
        self.shared.chat.style()
    }

    fn generate(&self, requests: &[Request]) -> Vec<Result<Completion, LmError>> {
        let fit = |request: &Request| self.fit(&request.prompt, request.max_tokens);
        let encoded: Vec<_> = requests.par_iter().map(fit).collect();
        let (sender, receiver) = mpsc::channel();
        let (mut jobs, mut answers) = (Vec::new(), Vec::with_capacity(requests.len()));
        for (idx, (request, tokens)) in requests.iter().zip(encoded).enumerate() {
            match tokens {
                Ok((tokens, _)) if request.max_tokens == 0 => {
                    let (text, prompt_tokens) = (String::new(), tokens.len());
                    let finish = Finish::Length;
                    let empty = Completion { text, finish, prompt_tokens, completion_tokens: 0 };
                    answers.push((idx, Ok(empty)));
                }
                Ok((tokens, pages)) => {
                    let sender = sender.clone();
                    let sink = move |event| {
                        if let Event::Done(answer) = event {
                            // Who asked may have panicked meanwhile; then nobody listens.
                            drop(sender.send((idx, answer)));
                        }
                    };
                    jobs.push(Job::new(request.clone(), tokens, pages, Box::new(sink)).0);
                }
                Err(error) => answers.push((idx, Err(error))),
            }
        }
        drop(sender);
        // Prompts that begin alike come one after another, so that the later can use the earlier.
        jobs.sort_by(|a, b| a.tokens.cmp(&b.tokens));
        if !jobs.is_empty() {
            self.start(jobs);
        }
        answers.extend(receiver);
        answers.sort_unstable_by_key(|&(idx, _)| idx);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Continuations are read as text, without special tokens; the prompt is computed once.
    fn score(&self, prompt: &Prompt, continuations: &[&str]) -> Result<Vec<f64>, LmError> {
        let tokenizer = &self.shared.tokenizer;
        let texts: Vec<_> = continuations.iter().map(|text| tokenizer.encode(text)).collect();
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        self.shared.score(&self.encode(prompt, longest)?, &texts)
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.shared.tokenizer.count(text)
    }
}

#[cfg(test)]
mod tests;
