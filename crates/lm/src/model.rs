//! The seam to any language model: one trait of five methods and the data that cross it.
//!
//! Knows text only: no users, items or prompts' wording, and no back end. The back ends live in `engine`
//! (built-in), `openai` (any OpenAI-compatible server) and `scripted` (tests).

use serde::{Deserialize, Serialize};

use crate::error::LmError;

/// A language model that completes prompts and scores continuations.
pub trait LanguageModel: Send + Sync {
    /// A short name for reports and caches, such as `builtin` or `openai:qwen3-8b`.
    fn name(&self) -> &str;

    /// Which of the two families of prompts this model reads.
    fn style(&self) -> PromptStyle;

    /// Completes every request; answer `i` belongs to request `i`. One failure leaves the others alone.
    /// With equal requests, weights and seeds the answers are equal, however they are batched.
    fn generate(&self, requests: &[Request]) -> Vec<Result<Completion, LmError>>;

    /// The natural logarithm of the probability of each continuation after the prompt, summed over
    /// its tokens.
    fn score(&self, prompt: &Prompt, continuations: &[&str]) -> Result<Vec<f64>, LmError>;

    /// How many tokens the text takes. Remote models without a tokenizer answer an estimate.
    fn count_tokens(&self, text: &str) -> usize;
}

/// The family of prompts that a model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptStyle {
    /// Instructions in prose with a JSON schema: large, instruction-tuned models.
    Prose,
    /// Special tokens and terse lines: the built-in model.
    Terse,
}

/// What the model is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Prompt {
    /// The system message; for [`PromptStyle::Terse`] it simply stands before `user`.
    pub system: Option<String>,
    /// The user message. For terse prompts `<|name|>` in it is a special token: build it with
    /// [`crate::PromptBuilder`] or pass foreign text through [`crate::defuse`] first.
    pub user: String,
}

impl Prompt {
    /// A prompt without a system message.
    pub fn user(user: impl Into<String>) -> Self {
        Self { system: None, user: user.into() }
    }
}

/// How the next token is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token always (greedy).
    pub temperature: f32,
    /// Draws only from the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Seed of this request's own random stream.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, seed: 0 };
}

/// One completion to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What is asked.
    pub prompt: Prompt,
    /// The answer ends with [`Finish::Length`] after this many tokens.
    pub max_tokens: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The answer ends before the first of these strings.
    pub stop: Vec<String>,
    /// The form that the answer must have.
    pub constraint: Option<Constraint>,
    /// Fields that the answer should not repeat; a model behind a server is not told.
    #[serde(default)]
    pub distinct: Option<Distinct>,
    /// Goes on to `max_tokens` where the model would end the answer: for benches.
    #[serde(default)]
    pub ignore_eos: bool,
}

impl Request {
    /// A greedy request without stop strings or constraint.
    pub fn greedy(prompt: Prompt, max_tokens: usize) -> Self {
        let (sampling, stop) = (Sampling::GREEDY, Vec::new());
        Self {
            prompt,
            max_tokens,
            sampling,
            stop,
            constraint: None,
            distinct: None,
            ignore_eos: false,
        }
    }
}

/// Fields of an answer, of which none should be said twice. Our engine goes back to the beginning of a field
/// that repeats an earlier one and takes another way, a bounded number of times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    /// ASCII characters behind each of which a field begins, anew where one is open.
    pub begins: Vec<u8>,
    /// ASCII characters before each of which a field ends.
    pub ends: Vec<u8>,
}

/// The form that an answer must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// JSON that satisfies this schema.
    JsonSchema(serde_json::Value),
    /// Text of this grammar, in llguidance's dialect of Lark, with the rule `start`.
    Lark(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// The text, without the stop string and without special tokens.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub completion_tokens: usize,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it, a stop string came, or the grammar was complete.
    Stop,
    /// `max_tokens` was reached; the text may be cut anywhere.
    Length,
}
