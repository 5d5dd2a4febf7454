//! Requests as OpenAI's clients write them.

use lm::{Constraint, Message, Sampling};
use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::ApiError;

/// `POST /v1/chat/completions`
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    pub(super) messages: Vec<ChatMessage>,
    pub(super) max_completion_tokens: Option<usize>,
    #[serde(flatten)]
    pub(super) common: Common,
}

/// `POST /v1/completions`
#[derive(Debug, Deserialize)]
pub(super) struct CompletionRequest {
    pub(super) prompt: PromptField,
    #[serde(flatten)]
    pub(super) common: Common,
}

/// What both take.
#[derive(Debug, Deserialize)]
pub(super) struct Common {
    pub(super) model: String,
    pub(super) max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<i64>,
    pub(super) n: Option<u32>,
    #[serde(default)]
    stop: Stop,
    #[serde(default)]
    pub(super) stream: bool,
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    pub(super) ignore_eos: bool,
    response_format: Option<Value>,
    structured_outputs: Option<Value>,
    /// Whatever else a request holds.
    #[serde(flatten)]
    other: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatMessage {
    role: String,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// The prompts of a completion.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PromptField {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

#[derive(Debug, Deserialize, Default)]
#[serde(untagged)]
enum Stop {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Fields whose meaning is not supported, with the values that ask for nothing.
const UNSUPPORTED: &[(&str, &[&str])] = &[
    ("tools", &["[]"]),
    ("functions", &["[]"]),
    ("tool_choice", &["\"none\"", "\"auto\""]),
    ("logprobs", &["false", "0"]),
    ("top_logprobs", &["0"]),
    ("prompt_logprobs", &[]),
    ("frequency_penalty", &["0", "0.0"]),
    ("presence_penalty", &["0", "0.0"]),
    ("repetition_penalty", &["1", "1.0"]),
    ("logit_bias", &["{}"]),
    ("echo", &["false"]),
    ("suffix", &["\"\""]),
    ("best_of", &["1"]),
    ("use_beam_search", &["false"]),
    ("top_k", &["-1", "0"]),
    ("min_tokens", &["0"]),
    ("min_p", &["0", "0.0"]),
    ("modalities", &["[\"text\"]"]),
    ("audio", &[]),
];

/// Most answers to one prompt.
const MAX_N: u32 = 128;

impl ChatRequest {
    /// The messages as the engine takes them.
    pub(super) fn messages(&self) -> Result<Vec<Message>, ApiError> {
        if self.messages.is_empty() {
            return Err(ApiError::invalid("messages", "there are none; give at least one"));
        }
        self.messages.iter().map(ChatMessage::message).collect()
    }
}

impl ChatMessage {
    fn message(&self) -> Result<Message, ApiError> {
        let text = match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let text = |part: &Part| match (part.kind.as_str(), &part.text) {
                    ("text", Some(text)) => Ok(text.clone()),
                    (kind, _) => {
                        let problem = format!("a part of kind {kind:?}; only text is read");
                        Err(ApiError::invalid("messages", &problem))
                    }
                };
                parts.iter().map(text).collect::<Result<_, _>>()?
            }
        };
        Ok(Message::new(&self.role, text))
    }
}

impl Common {
    /// Refuses what would otherwise be ignored.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        for (name, idle) in UNSUPPORTED {
            let Some(value) = self.other.get(*name).filter(|value| !value.is_null()) else {
                continue;
            };
            if !idle.contains(&value.to_string().as_str()) {
                let problem = format!("{value} is not supported by this server; leave it out");
                return Err(ApiError::invalid(name, &problem));
            }
        }
        match self.n {
            Some(n) if n == 0 || n > MAX_N => {
                Err(ApiError::invalid("n", &format!("{n} is not from 1 to {MAX_N}")))
            }
            _ => Ok(()),
        }
    }

    /// How tokens are drawn for choice `index`: every choice has a random stream of its own.
    pub(super) fn sampling(&self, index: u32, fresh: u64) -> Sampling {
        let seed = self.seed.map_or(fresh, i64::cast_unsigned);
        Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            seed: seed.wrapping_add(u64::from(index) << 32),
        }
    }

    pub(super) fn stop(&self) -> Vec<String> {
        match &self.stop {
            Stop::None => Vec::new(),
            Stop::One(text) => vec![text.clone()],
            Stop::Many(texts) => texts.clone(),
        }
    }

    /// Whether a stream ends with the usage.
    pub(super) fn streams_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage)
    }

    /// The form asked for: OpenAI's `response_format`, or vLLM's `structured_outputs`.
    pub(super) fn constraint(&self) -> Result<Option<Constraint>, ApiError> {
        if let Some(structured) = &self.structured_outputs {
            return structured_outputs(structured).map(Some);
        }
        let Some(format) = &self.response_format else { return Ok(None) };
        match format["type"].as_str() {
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(Constraint::JsonSchema(json!({ "type": "object" })))),
            Some("json_schema") => {
                let schema = &format["json_schema"]["schema"];
                if !schema.is_object() {
                    let problem = "json_schema.schema is no object";
                    return Err(ApiError::invalid("response_format", problem));
                }
                Ok(Some(Constraint::JsonSchema(schema.clone())))
            }
            _ => {
                let problem = format!("{} is not text, json_object or json_schema", format["type"]);
                Err(ApiError::invalid("response_format", &problem))
            }
        }
    }
}

fn structured_outputs(asked: &Value) -> Result<Constraint, ApiError> {
    let lark = |rule: String| Ok(Constraint::Lark(format!("start: {rule}")));
    if let schema @ Value::Object(_) = &asked["json"] {
        return Ok(Constraint::JsonSchema(schema.clone()));
    }
    if let Some(grammar) = asked["grammar"].as_str() {
        return Ok(Constraint::Lark(grammar.to_owned()));
    }
    if let Some(pattern) = asked["regex"].as_str() {
        return lark(format!("/{}/", pattern.replace('/', r"\/")));
    }
    match asked["choice"].as_array() {
        Some(choices) if !choices.is_empty() && choices.iter().all(Value::is_string) => {
            lark(choices.iter().map(Value::to_string).collect::<Vec<_>>().join(" | "))
        }
        _ => Err(ApiError::invalid(
            "structured_outputs",
            "it has none of json (a schema), grammar (Lark), regex, choice (strings)",
        )),
    }
}
