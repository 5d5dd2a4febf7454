//! Where the server is and how to treat it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::LmError;
use crate::model::PromptStyle;

/// Settings of an OpenAI-compatible server. In files only `base_url` and `model` are required.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Address up to the version, such as `http://127.0.0.1:8000/v1`.
    pub base_url: String,
    /// Name of the model on that server.
    pub model: String,
    /// Key sent as bearer token. Never written out, printed or stored with calls.
    #[serde(default, skip_serializing)]
    pub api_key: Option<String>,
    /// Limit of one HTTP request from connecting to the last byte.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: f64,
    /// Further tries after a failure that may pass.
    #[serde(default = "default_retries")]
    pub max_retries: u32,
    /// Pause before the first retry; it doubles with every further one.
    #[serde(default = "default_backoff")]
    pub backoff_seconds: f64,
    /// Longest pause. A server that asks for a longer one gets no retry.
    #[serde(default = "default_max_backoff")]
    pub max_backoff_seconds: f64,
    /// Calls under way at a time.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Most tokens (prompts and answers) that this client may spend; a call that might exceed it fails.
    #[serde(default)]
    pub token_budget: Option<u64>,
    /// Folder where every call is stored by content; none: nothing is stored.
    #[serde(default)]
    pub cache_dir: Option<PathBuf>,
    /// Kind of server.
    #[serde(default)]
    pub dialect: Dialect,
    /// Which family of prompts the model there reads.
    #[serde(default = "default_style")]
    pub style: PromptStyle,
    /// HTTP proxy; the environment is not consulted.
    #[serde(default)]
    pub proxy: Option<String>,
}

/// Kinds of servers: they differ in the names of what goes beyond the common core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// The common core only; JSON schemas but no grammars.
    #[default]
    Generic,
    /// OpenAI itself: `max_completion_tokens`.
    OpenAi,
    /// vLLM: grammars as `structured_outputs.grammar`; thinking switched off.
    Vllm,
    /// SGLang: thinking switched off; no grammars (its `ebnf` is another notation).
    Sglang,
    /// llama.cpp built with llguidance: grammars as `%llguidance`.
    LlamaCpp,
}

fn default_style() -> PromptStyle {
    PromptStyle::Prose
}

fn default_timeout() -> f64 {
    120.0
}

fn default_retries() -> u32 {
    4
}

fn default_backoff() -> f64 {
    0.5
}

fn default_max_backoff() -> f64 {
    60.0
}

fn default_concurrency() -> usize {
    8
}

impl OpenAiConfig {
    /// The settings that a file with only these two would give.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            timeout_seconds: default_timeout(),
            max_retries: default_retries(),
            backoff_seconds: default_backoff(),
            max_backoff_seconds: default_max_backoff(),
            concurrency: default_concurrency(),
            token_budget: None,
            cache_dir: None,
            dialect: Dialect::default(),
            style: default_style(),
            proxy: None,
        }
    }

    /// Finds settings that cannot work before any call is made.
    pub(super) fn check(&self) -> Result<(), LmError> {
        let bad = |name, got: String, expected| Err(LmError::BadSetting { name, got, expected });
        let (scheme, rest) = self.base_url.split_once("://").unwrap_or_default();
        if !["http", "https"].contains(&scheme) || rest.is_empty() {
            let expected = "an address such as http://127.0.0.1:8000/v1";
            return bad("base_url", format!("{:?}", self.base_url), expected);
        }
        if self.model.is_empty() {
            return bad("model", "empty".to_owned(), "the name of a model on the server");
        }
        // An upper bound keeps Duration::from_secs_f64 within its range.
        let seconds = |value: f64| value > 0.0 && value <= 1e6;
        if !seconds(self.timeout_seconds) {
            let got = self.timeout_seconds.to_string();
            return bad("timeout_seconds", got, "more than 0 and at most 1000000");
        }
        if !seconds(self.backoff_seconds) {
            let got = self.backoff_seconds.to_string();
            return bad("backoff_seconds", got, "more than 0 and at most 1000000");
        }
        if !seconds(self.max_backoff_seconds) {
            let got = self.max_backoff_seconds.to_string();
            return bad("max_backoff_seconds", got, "more than 0 and at most 1000000");
        }
        if !(1..=1024).contains(&self.concurrency) {
            return bad("concurrency", self.concurrency.to_string(), "1 to 1024");
        }
        Ok(())
    }
}

impl fmt::Debug for OpenAiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| "..."))
            .field("timeout_seconds", &self.timeout_seconds)
            .field("max_retries", &self.max_retries)
            .field("concurrency", &self.concurrency)
            .field("token_budget", &self.token_budget)
            .field("cache_dir", &self.cache_dir)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}
