//! What can go wrong with a language model, with the values needed to mend it.

use std::path::PathBuf;
use std::time::Duration;

/// An error of any back end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LmError {
    /// The prompt leaves no room in the context window.
    #[error(
        "the prompt has {prompt_tokens} tokens and may be answered with up to {max_tokens}, but the \
         context window of the model holds {window}: shorten the digest budget or lower max_tokens"
    )]
    ContextTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens asked for (for scores: of the longest continuation).
        max_tokens: usize,
        /// Tokens that the window holds.
        window: usize,
    },
    /// The cache of keys and values is too small for the prompt and its answer, even when it is empty.
    #[error(
        "prompt and answer may take {tokens} tokens, but the cache of keys and values holds {limit}: raise \
         kv_bytes, shorten the digest budget or lower max_tokens"
    )]
    CacheTooSmall {
        /// Tokens of the prompt and asked for.
        tokens: usize,
        /// Tokens that the cache holds.
        limit: usize,
    },
    /// More requests wait than the engine lets wait.
    #[error(
        "{waiting} requests wait already and no more may: try again later, or raise max_waiting"
    )]
    Overloaded {
        /// Requests that wait.
        waiting: usize,
    },
    /// The request was cancelled, or the engine ended before it was answered.
    #[error("the request was cancelled")]
    Cancelled,
    /// The prompt has no tokens, so there is nothing to continue.
    #[error("the prompt is empty: give the model at least one token")]
    EmptyPrompt,
    /// A setting outside its range.
    #[error("{name} is {got}, expected {expected}")]
    BadSetting {
        /// The setting, such as `temperature` or `base_url`.
        name: &'static str,
        /// Its value.
        got: String,
        /// The allowed range.
        expected: &'static str,
    },
    /// The server answered with an HTTP status that is not success.
    #[error("{url} answered HTTP {status}: {body}")]
    HttpStatus {
        /// Address of the call.
        url: String,
        /// HTTP status code.
        status: u16,
        /// Beginning of the body.
        body: String,
        /// Pause that the server asked for.
        retry_after: Option<Duration>,
    },
    /// The server did not answer in time.
    #[error(
        "{url} did not answer within {seconds} s: raise timeout_seconds, or lower concurrency if the \
         server is busy"
    )]
    Timeout {
        /// Address of the call.
        url: String,
        /// The limit.
        seconds: f64,
    },
    /// No connection to the server.
    #[error(
        "cannot reach the language model at {url} ({reason}): start the server there, correct base_url, \
         or use the built-in model"
    )]
    Unreachable {
        /// Address of the call.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The token budget of the run is used up.
    #[error(
        "the token budget of {budget} is used up ({used} used or set aside, {asked} more needed): raise \
         token_budget; stored calls cost nothing when the run is repeated"
    )]
    BudgetExhausted {
        /// Tokens allowed.
        budget: u64,
        /// Tokens used by prompts and completions, or set aside for calls under way.
        used: u64,
        /// The most that the refused call could have cost.
        asked: u64,
    },
    /// The server answered something that is not a chat completion.
    #[error("{url} gave a reply that cannot be read ({reason}): {body}")]
    BadReply {
        /// Address of the call.
        url: String,
        /// What is wrong with it.
        reason: String,
        /// Beginning of the body.
        body: String,
    },
    /// The grammar or schema cannot be compiled, or cannot be continued.
    #[error("constraint cannot be met: {reason}")]
    Constraint {
        /// What llguidance said.
        reason: String,
    },
    /// A model folder or file that cannot be used.
    #[error("{}: {problem}: {mend}", path.display())]
    BadModel {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it, with expected and got.
        problem: String,
        /// What to do.
        mend: String,
    },
    /// This back end cannot do what was asked.
    #[error("{model} cannot {operation}")]
    Unsupported {
        /// Name of the model.
        model: String,
        /// What was asked.
        operation: &'static str,
    },
    /// A file operation of the store of calls failed.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// Who must act to make an [`LmError`] go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request or the configuration.
    Caller,
    /// The remote server or the network.
    Server,
    /// A file on this machine.
    Files,
}

impl LmError {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::ContextTooLong { .. }
            | Self::CacheTooSmall { .. }
            | Self::Cancelled
            | Self::EmptyPrompt
            | Self::BadSetting { .. }
            | Self::BudgetExhausted { .. }
            | Self::Constraint { .. }
            | Self::Unsupported { .. } => Fault::Caller,
            Self::HttpStatus { status, .. } if is_caller_status(*status) => Fault::Caller,
            Self::HttpStatus { .. }
            | Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::Overloaded { .. }
            | Self::BadReply { .. } => Fault::Server,
            Self::BadModel { .. } | Self::Io { .. } => Fault::Files,
        }
    }

    /// Whether the same call may succeed a little later: busy or failing servers, time-outs, broken
    /// connections and garbled replies.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::HttpStatus { status, .. } => !is_caller_status(*status),
            Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::Overloaded { .. }
            | Self::BadReply { .. } => true,
            Self::ContextTooLong { .. }
            | Self::CacheTooSmall { .. }
            | Self::Cancelled
            | Self::EmptyPrompt
            | Self::BadSetting { .. }
            | Self::BudgetExhausted { .. }
            | Self::Constraint { .. }
            | Self::BadModel { .. }
            | Self::Unsupported { .. }
            | Self::Io { .. } => false,
        }
    }
}

/// Statuses that another try cannot change: 4xx but for 408 (time-out), 425 (too early) and 429 (busy).
fn is_caller_status(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 425 | 429)
}

#[cfg(test)]
mod tests {
    use super::{Fault, LmError};

    #[test]
    fn status_decides_fault_and_retry() {
        let check = |status: u16, fault: Fault, retry: bool| {
            let error = LmError::HttpStatus {
                url: "http://h".to_owned(),
                status,
                body: String::new(),
                retry_after: None,
            };
            assert_eq!((error.fault(), error.is_retryable()), (fault, retry), "status {status}");
        };
        check(400, Fault::Caller, false);
        check(401, Fault::Caller, false);
        check(408, Fault::Server, true);
        check(429, Fault::Server, true);
        check(500, Fault::Server, true);
        check(503, Fault::Server, true);
    }

    #[test]
    fn messages_name_place_and_mend() {
        let long = LmError::ContextTooLong { prompt_tokens: 900, max_tokens: 200, window: 1024 };
        let text = long.to_string();
        for part in ["900", "200", "1024", "shorten"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let bad = LmError::BadModel {
            path: "m/config.json".into(),
            problem: "no field hidden_size".to_owned(),
            mend: "give a Qwen3 folder".to_owned(),
        };
        assert_eq!(bad.to_string(), "m/config.json: no field hidden_size: give a Qwen3 folder");
        assert_eq!(bad.fault(), Fault::Files);
    }
}
