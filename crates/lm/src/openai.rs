//! A language model behind any OpenAI-compatible server: vLLM, SGLang, llama.cpp, or a hosted one.
//!
//! Blocking calls of `chat/completions` on a few threads, retried with back-off, stored by content so
//! that a rerun costs nothing. Does not stream, and cannot score: chat APIs give no log-probabilities
//! of a given text.

mod config;
mod retry;
mod store;
mod wire;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

pub use crate::openai::config::{Dialect, OpenAiConfig};

use crate::error::LmError;
use crate::model::{Completion, LanguageModel, Prompt, PromptStyle, Request};
use crate::openai::store::CallStore;
use crate::tokenizer::Tokenizer;

/// Longest reply that is read, in bytes.
const REPLY_LIMIT: u64 = 32 << 20;

/// A client of one model on one server.
pub struct OpenAi {
    config: OpenAiConfig,
    name: String,
    url: String,
    agent: ureq::Agent,
    store: Option<CallStore>,
    tokenizer: Option<Tokenizer>,
    counters: Counters,
}

/// What the calls of a client have cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// HTTP requests sent, retries included.
    pub requests: u64,
    /// Completions taken from the store.
    pub stored: u64,
    /// Prompt tokens that the server counted.
    pub prompt_tokens: u64,
    /// Completion tokens that the server counted.
    pub completion_tokens: u64,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    stored: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    /// Tokens spent, and those reserved by calls under way.
    committed: AtomicU64,
}

impl OpenAi {
    /// Checks the configuration; connects to nothing yet.
    pub fn new(config: OpenAiConfig) -> Result<Self, LmError> {
        config.check()?;
        let store = config.cache_dir.as_deref().map(CallStore::open).transpose()?;
        let proxy = match &config.proxy {
            Some(proxy) => Some(ureq::Proxy::new(proxy).map_err(|_| LmError::BadSetting {
                name: "proxy",
                got: proxy.clone(),
                expected: "an address such as http://host:3128",
            })?),
            None => None,
        };
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs_f64(config.timeout_seconds)))
            .proxy(proxy)
            .max_idle_connections_per_host(config.concurrency)
            .build()
            .new_agent();
        let url = format!("{}/chat/completions", config.base_url.trim_end_matches('/'));
        let name = format!("openai:{}", config.model);
        let counters = Counters::default();
        Ok(Self { config, name, url, agent, store, tokenizer: None, counters })
    }

    /// Counts tokens with the model's own `tokenizer.json` instead of the estimate.
    pub fn with_tokenizer(mut self, path: &Path) -> Result<Self, LmError> {
        self.tokenizer = Some(Tokenizer::load(path)?);
        Ok(self)
    }

    /// What the calls have cost so far.
    pub fn usage(&self) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            requests: read(&self.counters.requests),
            stored: read(&self.counters.stored),
            prompt_tokens: read(&self.counters.prompt_tokens),
            completion_tokens: read(&self.counters.completion_tokens),
        }
    }

    /// One completion: from the store, or from the server within the budget.
    fn complete(&self, request: &Request, down: &AtomicBool) -> Result<Completion, LmError> {
        let prompt = &request.prompt;
        if prompt.user.is_empty() && prompt.system.as_deref().unwrap_or_default().is_empty() {
            return Err(LmError::EmptyPrompt);
        }
        let body = wire::body(request, &self.config)?;
        if let Some(completion) = self.store.as_ref().and_then(|store| store.get(&body)) {
            self.counters.stored.fetch_add(1, Ordering::Relaxed);
            return Ok(completion);
        }
        let reserved = self.reserve(request)?;
        let result = self.with_retries(&body, down);
        let spent = result.as_ref().map_or(0, |reply| {
            let (prompt, answer) = (reply.prompt_tokens as u64, reply.completion_tokens as u64);
            self.counters.prompt_tokens.fetch_add(prompt, Ordering::Relaxed);
            self.counters.completion_tokens.fetch_add(answer, Ordering::Relaxed);
            prompt + answer
        });
        self.counters.committed.fetch_add(spent, Ordering::Relaxed);
        self.counters.committed.fetch_sub(reserved, Ordering::Relaxed);
        let completion = result?;
        if let Some(store) = &self.store {
            store.put(&body, &completion)?;
        }
        Ok(completion)
    }

    /// Sets the most that the call can cost aside, so that calls under way together keep the budget.
    fn reserve(&self, request: &Request) -> Result<u64, LmError> {
        let Some(budget) = self.config.token_budget else { return Ok(0) };
        let prompt = &request.prompt;
        let prompt_tokens = self.count_tokens(prompt.system.as_deref().unwrap_or_default())
            + self.count_tokens(&prompt.user);
        let cost = (prompt_tokens + request.max_tokens) as u64;
        let fits = |used: u64| (used + cost <= budget).then_some(used + cost);
        match self.counters.committed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(cost),
            Err(used) => Err(LmError::BudgetExhausted { budget, used, asked: cost }),
        }
    }

    fn with_retries(&self, body: &Value, down: &AtomicBool) -> Result<Completion, LmError> {
        let mut attempt = 0;
        loop {
            let error = match self.call(body) {
                Ok(completion) => return Ok(completion),
                Err(error) => error,
            };
            let give_up = attempt >= self.config.max_retries || down.load(Ordering::Relaxed);
            let pause = retry::pause(&error, attempt, body, &self.config);
            let (Some(pause), false) = (pause, give_up) else {
                // Once nothing listens there, the other requests need not wait for it one by one.
                down.fetch_or(matches!(error, LmError::Unreachable { .. }), Ordering::Relaxed);
                return Err(error);
            };
            tracing::debug!(attempt, ?pause, %error, "retry");
            std::thread::sleep(pause);
            attempt += 1;
        }
    }

    fn call(&self, body: &Value) -> Result<Completion, LmError> {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let mut call = self.agent.post(&self.url);
        if let Some(key) = &self.config.api_key {
            call = call.header("authorization", format!("Bearer {key}"));
        }
        let mut reply = call.send_json(body).map_err(|error| self.network_error(error))?;
        let retry_after = reply.headers().get("retry-after").and_then(|v| v.to_str().ok());
        let retry_after = retry_after.and_then(retry::parse_retry_after);
        let status = reply.status().as_u16();
        let text = reply.body_mut().with_config().limit(REPLY_LIMIT).read_to_string();
        let text = text.map_err(|error| self.network_error(error))?;
        if !(200..300).contains(&status) {
            let body = wire::beginning(&text);
            return Err(LmError::HttpStatus { url: self.url.clone(), status, body, retry_after });
        }
        wire::parse(&text).map_err(|reason| LmError::BadReply {
            url: self.url.clone(),
            reason,
            body: wire::beginning(&text),
        })
    }

    fn network_error(&self, error: ureq::Error) -> LmError {
        let url = self.url.clone();
        let timed_out = matches!(&error, ureq::Error::Timeout(_))
            || matches!(&error, ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::TimedOut);
        if timed_out {
            LmError::Timeout { url, seconds: self.config.timeout_seconds }
        } else if matches!(error, ureq::Error::BodyExceedsLimit(_) | ureq::Error::Protocol(_)) {
            LmError::BadReply { url, reason: error.to_string(), body: String::new() }
        } else {
            LmError::Unreachable { url, reason: error.to_string() }
        }
    }
}

impl LanguageModel for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    fn style(&self) -> PromptStyle {
        self.config.style
    }

    fn generate(&self, requests: &[Request]) -> Vec<Result<Completion, LmError>> {
        let (next, down) = (AtomicUsize::new(0), AtomicBool::new(false));
        let worker = || {
            let mut done = Vec::new();
            while let Some((idx, request)) = take(&next, requests) {
                done.push((idx, self.complete(request, &down)));
            }
            done
        };
        let n_workers = self.config.concurrency.min(requests.len());
        let mut answers: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..n_workers).map(|_| scope.spawn(worker)).collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<_>>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().flat_map(join).collect()
        });
        answers.sort_unstable_by_key(|&(idx, _)| idx);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Chat APIs cannot do this: [`LmError::Unsupported`].
    fn score(&self, _prompt: &Prompt, _continuations: &[&str]) -> Result<Vec<f64>, LmError> {
        Err(LmError::Unsupported {
            model: self.name.clone(),
            operation: "score continuations, for chat APIs give no log-probabilities of given text",
        })
    }

    /// A quarter of the bytes, rounded up, as is usual for English; exact with [`Self::with_tokenizer`].
    fn count_tokens(&self, text: &str) -> usize {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.count(text),
            None => text.len().div_ceil(4),
        }
    }
}

/// The next request that no worker has taken.
fn take<'a>(next: &AtomicUsize, requests: &'a [Request]) -> Option<(usize, &'a Request)> {
    let idx = next.fetch_add(1, Ordering::Relaxed);
    requests.get(idx).map(|request| (idx, request))
}

#[cfg(test)]
mod tests;
