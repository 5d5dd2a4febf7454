//! The JSON of a chat completion: what is sent, and what is understood of the reply.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::LmError;
use crate::model::{Completion, Constraint, Finish, Request};
use crate::openai::config::{Dialect, OpenAiConfig};

/// The body of the call. Its text is also the identity of the call in the store, so it holds everything
/// that may change the answer and nothing else.
pub(super) fn body(request: &Request, config: &OpenAiConfig) -> Result<Value, LmError> {
    let mut messages = Vec::new();
    if let Some(system) = &request.prompt.system {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.push(json!({ "role": "user", "content": request.prompt.user }));

    let mut body = Map::new();
    body.insert("model".to_owned(), json!(config.model));
    body.insert("messages".to_owned(), json!(messages));
    let max_tokens = match config.dialect {
        Dialect::OpenAi => "max_completion_tokens",
        Dialect::Generic | Dialect::Vllm | Dialect::Sglang | Dialect::LlamaCpp => "max_tokens",
    };
    body.insert(max_tokens.to_owned(), json!(request.max_tokens));
    // f32 would print as 0.699999988: round to what was meant.
    let round = |x: f32| (f64::from(x) * 1e6).round() / 1e6;
    body.insert("temperature".to_owned(), json!(round(request.sampling.temperature)));
    body.insert("top_p".to_owned(), json!(round(request.sampling.top_p)));
    body.insert("seed".to_owned(), json!(fold_seed(request.sampling.seed)));
    if !request.stop.is_empty() {
        body.insert("stop".to_owned(), json!(request.stop));
    }
    if matches!(config.dialect, Dialect::Vllm | Dialect::Sglang) {
        body.insert("chat_template_kwargs".to_owned(), json!({ "enable_thinking": false }));
    }
    if request.ignore_eos {
        if !matches!(config.dialect, Dialect::Vllm | Dialect::Sglang | Dialect::LlamaCpp) {
            return Err(LmError::Unsupported {
                model: format!("openai:{}", config.model),
                operation: "go on behind the end of an answer with this dialect",
            });
        }
        body.insert("ignore_eos".to_owned(), json!(true));
    }
    if let Some(constraint) = &request.constraint {
        let (key, value) = constraint_field(constraint, config)?;
        body.insert(key.to_owned(), value);
    }
    Ok(Value::Object(body))
}

/// Servers read seeds as 32-bit signed numbers at worst.
fn fold_seed(seed: u64) -> u64 {
    (seed ^ (seed >> 32)) & 0x7fff_ffff
}

fn constraint_field(
    constraint: &Constraint,
    config: &OpenAiConfig,
) -> Result<(&'static str, Value), LmError> {
    match (constraint, config.dialect) {
        (Constraint::JsonSchema(schema), _) => {
            let schema = json!({ "name": "answer", "strict": true, "schema": schema });
            Ok(("response_format", json!({ "type": "json_schema", "json_schema": schema })))
        }
        (Constraint::Lark(grammar), Dialect::Vllm) => {
            Ok(("structured_outputs", json!({ "grammar": grammar })))
        }
        (Constraint::Lark(grammar), Dialect::LlamaCpp) => {
            Ok(("grammar", json!(format!("%llguidance {{}}\n{grammar}"))))
        }
        (Constraint::Lark(_), Dialect::Generic | Dialect::OpenAi | Dialect::Sglang) => {
            Err(LmError::Unsupported {
                model: format!("openai:{}", config.model),
                operation: "follow a Lark grammar with this dialect; give a JSON schema",
            })
        }
    }
}

#[derive(Deserialize)]
struct Reply {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: ReplyUsage,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ReplyUsage {
    prompt_tokens: usize,
    completion_tokens: usize,
}

/// The completion in a reply, or why there is none.
pub(super) fn parse(text: &str) -> Result<Completion, String> {
    let reply: Reply = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let choice = reply.choices.into_iter().next().ok_or("it has no choices")?;
    let finish = match choice.finish_reason.as_deref() {
        Some("stop" | "eos") => Finish::Stop,
        Some("length") => Finish::Length,
        other => return Err(format!("its finish_reason is {other:?}, expected stop or length")),
    };
    let text = choice.message.content.ok_or("its message has no content")?;
    let ReplyUsage { prompt_tokens, completion_tokens } = reply.usage;
    Ok(Completion { text, finish, prompt_tokens, completion_tokens })
}

/// The first 300 characters of a body, for messages.
pub(super) fn beginning(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{body, parse};
    use crate::model::{Constraint, Finish, Prompt, Request, Sampling};
    use crate::openai::config::{Dialect, OpenAiConfig};

    fn config(dialect: Dialect) -> OpenAiConfig {
        OpenAiConfig { dialect, ..OpenAiConfig::new("http://h/v1", "m") }
    }

    #[test]
    fn body_holds_all_that_matters() {
        let request = Request {
            prompt: Prompt { system: Some("be brief".to_owned()), user: "hi".to_owned() },
            max_tokens: 7,
            sampling: Sampling { temperature: 0.7, top_p: 0.9, seed: u64::MAX },
            stop: vec!["\n".to_owned()],
            constraint: Some(Constraint::JsonSchema(json!({ "type": "object" }))),
            distinct: None,
            ignore_eos: false,
        };
        let got = body(&request, &config(Dialect::Generic)).unwrap();
        let want = json!({
            "model": "m",
            "messages": [{ "role": "system", "content": "be brief" },
                { "role": "user", "content": "hi" }],
            "max_tokens": 7, "temperature": 0.7, "top_p": 0.9, "seed": 0, "stop": ["\n"],
            "response_format": { "type": "json_schema", "json_schema":
                { "name": "answer", "strict": true, "schema": { "type": "object" } } },
        });
        assert_eq!(got, want);
    }

    #[test]
    fn dialects_differ_in_what_goes_beyond_the_core() {
        let check = |dialect: Dialect, key: &str, want: Option<Value>| {
            let mut request = Request::greedy(Prompt::user("hi"), 7);
            request.constraint = Some(Constraint::Lark("start: \"a\"".to_owned()));
            let got = body(&request, &config(dialect)).ok().map(|body| body[key].clone());
            assert_eq!(got, want, "{dialect:?}");
        };
        check(Dialect::Generic, "", None);
        check(Dialect::OpenAi, "", None);
        check(Dialect::Sglang, "", None);
        let grammar = json!({ "grammar": "start: \"a\"" });
        check(Dialect::Vllm, "structured_outputs", Some(grammar));
        check(Dialect::LlamaCpp, "grammar", Some(json!("%llguidance {}\nstart: \"a\"")));
        let plain = body(&Request::greedy(Prompt::user("hi"), 7), &config(Dialect::OpenAi));
        assert_eq!(plain.unwrap()["max_completion_tokens"], 7);
    }

    #[test]
    fn replies_are_read_or_refused() {
        let reply = |content: Value, finish: &str| {
            json!({ "choices": [{ "message": { "content": content }, "finish_reason": finish }],
                "usage": { "prompt_tokens": 3, "completion_tokens": 2 } })
            .to_string()
        };
        let done = parse(&reply(json!("shoes"), "length")).unwrap();
        assert_eq!((done.text.as_str(), done.finish), ("shoes", Finish::Length));
        assert_eq!((done.prompt_tokens, done.completion_tokens), (3, 2));
        let check = |text: &str, part: &str| {
            let reason = parse(text).unwrap_err();
            assert!(reason.contains(part), "{reason} has no {part}");
        };
        check("<html>", "expected value");
        check("{}", "choices");
        check(r#"{"choices":[]}"#, "no choices");
        check(&reply(Value::Null, "stop"), "no content");
        check(&reply(json!("x"), "content_filter"), "content_filter");
    }
}
