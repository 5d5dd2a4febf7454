//! The language model over HTTP: the built-in weights behind a real server on a free port.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use lm::conformance::conforms;
use lm::{
    Constraint, Dialect, Engine, EngineConfig, LanguageModel, OpenAi, OpenAiConfig, Prompt,
    PromptStyle, Request,
};
use serde_json::{Value, json};
use serve::{LmConfig, RunningServer, ServeConfig, start_lm};

/// A prompt as the built-in model reads it.
const PROMPT: &str = "<|mine|>2026-11 autumn|34,female,Lyon,flat\n3d(cart,search:trail shoes)|waterproof \
                      trail running shoes\n1m(buy)|coffee grinder\n<|interests|>";

struct Server {
    url: String,
    runtime: tokio::runtime::Runtime,
    running: Option<RunningServer>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown()).unwrap();
        }
    }
}

fn engine(config: EngineConfig) -> Engine {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/builtin");
    Engine::load(&dir, config).unwrap()
}

fn server(config: EngineConfig, api_key: Option<&str>) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lm_config = LmConfig {
        model: "builtin".to_owned(),
        api_key: api_key.map(str::to_owned),
        started_at: 1_700_000_000,
    };
    let cfg = ServeConfig::new("127.0.0.1:0".parse().unwrap(), 7);
    let running = runtime.block_on(start_lm(engine(config), lm_config, cfg)).unwrap();
    Server { url: format!("http://{}", running.addr()), runtime, running: Some(running) }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().new_agent()
}

/// Status and body of a POST.
fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let mut reply = agent().post(format!("{}{path}", server.url)).send_json(body).unwrap();
    (reply.status().as_u16(), reply.body_mut().read_json().unwrap())
}

fn get(server: &Server, path: &str) -> (u16, String) {
    let mut reply = agent().get(format!("{}{path}", server.url)).call().unwrap();
    (reply.status().as_u16(), reply.body_mut().read_to_string().unwrap())
}

fn chat(user: &str, change: Value) -> Value {
    let mut body = json!({ "model": "builtin", "temperature": 0, "max_tokens": 24,
        "messages": [{ "role": "user", "content": user }] });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The events of a stream, and whether it ended as it should.
fn stream(server: &Server, path: &str, body: &Value) -> (Vec<Value>, bool) {
    let mut reply = agent().post(format!("{}{path}", server.url)).send_json(body).unwrap();
    let mut text = String::new();
    reply.body_mut().as_reader().read_to_string(&mut text).unwrap();
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (last, events) = data.split_last().unwrap();
    (events.iter().map(|data| serde_json::from_str(data).unwrap()).collect(), *last == "[DONE]")
}

#[test]
fn chat_and_text_completions_have_the_shapes_of_openai() {
    let server = server(EngineConfig::STANDARD, None);
    let (status, reply) = post(&server, "/v1/chat/completions", &chat(PROMPT, json!({})));
    assert_eq!((status, &reply["object"]), (200, &json!("chat.completion")), "{reply}");
    let content = reply["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(!content.is_empty() && reply["created"].as_u64().unwrap() >= 1_700_000_000);
    let usage = &reply["usage"];
    assert_eq!(usage["completion_tokens"], 24);
    let sum = usage["prompt_tokens"].as_u64().unwrap() + 24;
    assert_eq!(
        (usage["total_tokens"].as_u64().unwrap(), &reply["choices"][0]["finish_reason"]),
        (sum, &json!("length"))
    );

    // The same prompt as text and as tokens.
    let tokens = engine(EngineConfig::STANDARD).tokenizer().encode_prompt(PROMPT);
    let ask = json!({ "model": "builtin", "temperature": 0, "max_tokens": 24, "prompt": PROMPT });
    for prompt in [json!(PROMPT), json!(tokens), json!([PROMPT])] {
        let mut ask = ask.clone();
        ask["prompt"] = prompt;
        let (status, reply) = post(&server, "/v1/completions", &ask);
        assert_eq!((status, reply["choices"][0]["text"].as_str()), (200, Some(content)), "{reply}");
    }
    let (_, models) = get(&server, "/v1/models");
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][0]["max_model_len"]),
        (&json!("builtin"), &json!(2048))
    );
}

#[test]
fn choices_differ_by_seed_and_usage_counts_the_prompt_once() {
    let server = server(EngineConfig::STANDARD, None);
    let ask = chat(PROMPT, json!({ "n": 3, "temperature": 1.5, "seed": 5 }));
    let (_, reply) = post(&server, "/v1/chat/completions", &ask);
    let texts: Vec<&str> =
        (0..3).map(|i| reply["choices"][i]["message"]["content"].as_str().unwrap()).collect();
    assert!(texts[0] != texts[1] && texts[1] != texts[2], "{texts:?}");
    let alone = post(&server, "/v1/chat/completions", &chat(PROMPT, json!({}))).1;
    assert_eq!(reply["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"]);
    let again = post(&server, "/v1/chat/completions", &ask).1;
    assert_eq!(again["choices"], reply["choices"], "a seed gives the same answers again");
}

#[test]
fn streams_are_the_whole_answer_in_pieces() {
    let server = server(EngineConfig::STANDARD, None);
    let whole = post(&server, "/v1/chat/completions", &chat(PROMPT, json!({}))).1;
    let ask = chat(PROMPT, json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let (events, done) = stream(&server, "/v1/chat/completions", &ask);
    assert!(done && events.len() > 6, "{events:?}");
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(whole["choices"][0]["message"]["content"], text);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let (usage, last) = (events.last().unwrap(), &events[events.len() - 2]);
    assert_eq!((&usage["usage"], &usage["choices"]), (&whole["usage"], &json!([])));
    assert_eq!(last["choices"][0]["finish_reason"], "length");
}

#[test]
fn answers_follow_the_form_asked_for() {
    let server = server(EngineConfig::STANDARD, None);
    let schema = json!({ "type": "object", "properties": { "kind": { "enum": ["long", "short"] } },
        "required": ["kind"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": schema } });
    let content = |change: Value| {
        let (status, reply) = post(&server, "/v1/chat/completions", &chat(PROMPT, change));
        assert_eq!(status, 200, "{reply}");
        reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let text = content(json!({ "response_format": format }));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(["long", "short"].contains(&value["kind"].as_str().unwrap()));
    let text = content(json!({ "structured_outputs": { "choice": ["trail \"x\"", "road"] } }));
    assert!(["trail \"x\"", "road"].contains(&&*text), "{text}");
    let text = content(json!({ "structured_outputs": { "regex": "[a-c]{3}/[0-9]" } }));
    assert!(text.len() == 5 && text.as_bytes()[3] == b'/', "{text}");
}

#[test]
fn what_cannot_be_done_is_refused_in_openais_words() {
    let server = server(EngineConfig::STANDARD, None);
    let check = |body: Value, status: u16, code: &str, part: &str| {
        let (got, reply) = post(&server, "/v1/chat/completions", &body);
        let message = reply["error"]["message"].as_str().unwrap();
        assert_eq!((got, reply["error"]["code"].as_str().unwrap()), (status, code), "{reply}");
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    };
    check(chat("hi", json!({ "model": "gpt-x" })), 404, "model_not_found", "builtin");
    check(chat("hi", json!({ "tools": [{ "type": "function" }] })), 400, "invalid_value", "tools");
    check(chat("hi", json!({ "logprobs": true })), 400, "invalid_value", "logprobs");
    check(chat("hi", json!({ "temperature": -1 })), 400, "invalid_value", "temperature");
    check(chat("hi", json!({ "n": 0 })), 400, "invalid_value", "n: 0");
    check(chat("hi", json!({ "max_tokens": 0 })), 400, "invalid_value", "max_tokens");
    check(chat("hi", json!({ "messages": [] })), 400, "invalid_value", "messages");
    check(chat("hi", json!({ "max_tokens": 5000 })), 400, "context_length_exceeded", "5000");
    check(chat("hi", json!({ "messages": 3 })), 400, "invalid_json", "messages");
    let image = json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] });
    check(chat("hi", image), 400, "invalid_value", "image_url");
    let grammar = json!({ "structured_outputs": { "grammar": "start: (" } });
    check(chat("hi", grammar.clone()), 400, "invalid_value", "constraint");
    // In a stream, too, as long as nothing has been sent.
    let mut streamed = chat("hi", grammar);
    streamed["stream"] = true.into();
    check(streamed, 400, "invalid_value", "constraint");
    let (status, body) =
        post(&server, "/v1/completions", &json!({ "model": "builtin", "prompt": [99_999] }));
    assert_eq!((status, body["error"]["param"].as_str()), (400, Some("prompt")));
    assert_eq!(post(&server, "/v1/other", &json!({})).0, 404);
}

#[test]
fn too_many_requests_are_told_to_wait_and_keys_are_asked_for() {
    let full = server(EngineConfig { max_waiting: 0, ..EngineConfig::STANDARD }, None);
    let mut reply = agent()
        .post(format!("{}/v1/chat/completions", full.url))
        .send_json(chat("hi", json!({})))
        .unwrap();
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["retry-after"].to_str().unwrap()),
        (429, "1")
    );
    assert_eq!(reply.body_mut().read_json::<Value>().unwrap()["error"]["type"], "rate_limit_error");

    let locked = server(EngineConfig::STANDARD, Some("secret"));
    assert_eq!(get(&locked, "/v1/models").0, 401);
    assert_eq!(get(&locked, "/health").0, 200);
    for (key, status) in [("secret", 200), ("secreT", 401), ("secret2", 401)] {
        let call = agent()
            .get(format!("{}/v1/models", locked.url))
            .header("authorization", format!("Bearer {key}"));
        assert_eq!(call.call().unwrap().status().as_u16(), status);
    }
}

#[test]
fn metrics_bear_the_names_of_vllm() {
    let server = server(EngineConfig::STANDARD, None);
    for _ in 0..2 {
        post(&server, "/v1/chat/completions", &chat(PROMPT, json!({})));
    }
    let (_, text) = get(&server, "/metrics");
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(value("vllm:generation_tokens_total"), 48.0);
    assert_eq!(value("vllm:request_success_total"), 2.0);
    assert_eq!(value("vllm:time_to_first_token_seconds_count"), 2.0);
    assert_eq!(
        (value("vllm:num_requests_running"), value("vllm:num_requests_waiting")),
        (0.0, 0.0)
    );
    assert!(value("vllm:prompt_tokens_total") > value("vllm:prefix_cache_hits_total"));
    assert!(value("vllm:prefix_cache_hits_total") > 16.0, "the second prompt is known");
    assert!((0.0..1.0).contains(&value("vllm:kv_cache_usage_perc")));
    assert!(text.contains("model_name=\"builtin\""));
}

#[test]
fn a_client_that_goes_away_frees_its_place() {
    let server = server(EngineConfig { lanes: 1, ..EngineConfig::STANDARD }, None);
    let ask =
        chat(PROMPT, json!({ "stream": true, "max_tokens": 1800, "ignore_eos": true, "n": 64 }));
    let mut reply =
        agent().post(format!("{}/v1/chat/completions", server.url)).send_json(&ask).unwrap();
    let mut lines = BufReader::new(reply.body_mut().as_reader()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("data: "));
    drop(lines);
    drop(reply);
    let start = Instant::now();
    loop {
        let (_, text) = get(&server, "/metrics");
        let line =
            text.lines().find(|line| line.starts_with("vllm:num_requests_running{")).unwrap();
        if line.ends_with(" 0") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{line}");
        std::thread::sleep(Duration::from_millis(20));
    }
    // None of the 64 answers came to its end.
    let (_, text) = get(&server, "/metrics");
    assert!(!text.lines().any(|line| line.starts_with("vllm:request_success_total{")), "{text}");
}

fn client(server: &Server) -> OpenAi {
    OpenAi::new(OpenAiConfig {
        dialect: Dialect::Vllm,
        style: PromptStyle::Terse,
        ..OpenAiConfig::new(format!("{}/v1", server.url), "builtin")
    })
    .unwrap()
}

#[test]
fn our_client_conforms_against_our_server() {
    let server = server(EngineConfig::STANDARD, None);
    conforms(&client(&server));
}

/// Another server with an OpenAI-compatible API, such as llama-cpp-python's with the same weights:
/// `RECGPT_CONFORMANCE_URL=http://127.0.0.1:8001/v1 RECGPT_CONFORMANCE_MODEL=builtin cargo test -p serve`.
#[test]
#[expect(clippy::print_stderr, reason = "says that it is skipped")]
#[expect(clippy::disallowed_methods, reason = "the address comes from who runs the test")]
fn our_client_conforms_against_another_server() {
    let Ok(url) = std::env::var("RECGPT_CONFORMANCE_URL") else {
        eprintln!("skipped: RECGPT_CONFORMANCE_URL names no server");
        return;
    };
    let model = std::env::var("RECGPT_CONFORMANCE_MODEL").unwrap_or_else(|_| "builtin".to_owned());
    conforms(
        &OpenAi::new(OpenAiConfig { concurrency: 1, ..OpenAiConfig::new(url, model) }).unwrap(),
    );
}

#[test]
fn over_http_the_model_says_what_it_says_in_process() {
    let (server, engine) = (server(EngineConfig::STANDARD, None), engine(EngineConfig::STANDARD));
    let client = client(&server);
    assert_eq!(client.style(), engine.style());
    let lark = r#"start: line+
                  line: /[a-z ;]+/ "|" /[a-z ]+/ "|" ("long" | "short") "\n""#;
    let requests: Vec<Request> = (0..6)
        .map(|i| Request {
            constraint: (i % 2 == 0).then(|| Constraint::Lark(lark.to_owned())),
            ..Request::greedy(Prompt::user(PROMPT), 20 + 10 * i)
        })
        .collect();
    let got: Vec<_> = client.generate(&requests).into_iter().map(|done| done.unwrap()).collect();
    let want: Vec<_> = engine.generate(&requests).into_iter().map(|done| done.unwrap()).collect();
    assert_eq!(got, want);
}
