//! The client against a stub server that misbehaves as told.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{Fault, LmError};
use crate::model::{Constraint, Finish, LanguageModel, Prompt, Request};
use crate::openai::{OpenAi, OpenAiConfig};
use crate::stub_server::{Reply, StubServer, chat_reply};

fn config(server: &StubServer) -> OpenAiConfig {
    OpenAiConfig {
        timeout_seconds: 5.0,
        backoff_seconds: 0.01,
        max_backoff_seconds: 2.0,
        concurrency: 1,
        api_key: Some("secret".to_owned()),
        ..OpenAiConfig::new(server.base_url(), "stub")
    }
}

fn ask(user: &str) -> Request {
    Request::greedy(Prompt::user(user), 16)
}

/// Replies in turn, then the answer `fine` for ever.
fn script(replies: Vec<Reply>) -> StubServer {
    let replies = std::sync::Mutex::new(replies.into_iter());
    StubServer::start(move |_| {
        replies.lock().unwrap().next().unwrap_or_else(|| chat_reply("fine", "stop"))
    })
}

fn one(config: OpenAiConfig) -> (Result<String, LmError>, u64) {
    let client = OpenAi::new(config).unwrap();
    let answer = client.generate(&[ask("hi")]).remove(0).map(|done| done.text);
    (answer, client.usage().requests)
}

#[test]
fn passing_failures_are_retried() {
    let check = |replies: Vec<Reply>| {
        let (n, server) = (replies.len() as u64, script(replies));
        let (answer, requests) = one(config(&server));
        assert_eq!((answer.unwrap().as_str(), requests), ("fine", n + 1));
    };
    check(vec![Reply::status(500, "oops")]);
    check(vec![Reply::status(503, "busy"), Reply::status(502, "bad"), Reply::status(500, "no")]);
    check(vec![Reply::status(200, "{ broken")]);
    check(vec![Reply::status(200, "{}")]);
    check(vec![Reply::HangUp]);
    check(vec![Reply::Cut(r#"{"choices":[{"message":{"con"#.to_owned())]);
}

#[test]
fn retry_after_is_honoured_up_to_the_longest_pause() {
    let server = script(vec![Reply::status(429, "slow down").header("Retry-After", "0.3")]);
    let begin = Instant::now();
    assert_eq!(one(config(&server)).0.unwrap(), "fine");
    assert!(begin.elapsed() >= Duration::from_millis(300));

    let server = script(vec![Reply::status(429, "tomorrow").header("Retry-After", "86400")]);
    let (answer, requests) = one(config(&server));
    let error = answer.unwrap_err();
    assert!(matches!(&error, LmError::HttpStatus { status: 429, .. }), "{error}");
    assert_eq!(requests, 1);
}

#[test]
fn lasting_failures_are_not_retried_and_name_the_place() {
    let server = script(vec![Reply::status(401, "wrong key")]);
    let (answer, requests) = one(config(&server));
    let error = answer.unwrap_err();
    assert_eq!((requests, error.fault()), (1, Fault::Caller));
    for part in [server.base_url(), "401".to_owned(), "wrong key".to_owned()] {
        assert!(error.to_string().contains(&part), "{error}");
    }
}

#[test]
fn retries_end() {
    let server = StubServer::start(|_| Reply::status(500, "always"));
    let (answer, requests) = one(OpenAiConfig { max_retries: 2, ..config(&server) });
    assert!(matches!(answer, Err(LmError::HttpStatus { status: 500, .. })));
    assert_eq!(requests, 3);
}

#[test]
fn a_stalled_server_times_out() {
    let server = StubServer::start(|_| Reply::Stall(Duration::from_secs(3)));
    let slow = OpenAiConfig { timeout_seconds: 0.2, max_retries: 1, ..config(&server) };
    let begin = Instant::now();
    let error = one(slow).0.unwrap_err();
    assert!(matches!(&error, LmError::Timeout { seconds: 0.2, .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn an_unreachable_server_is_named_with_the_mend_and_asked_once() {
    // A port that was free a moment ago and that nobody listens on now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/v1");
    let client = OpenAi::new(OpenAiConfig {
        backoff_seconds: 0.01,
        max_retries: 2,
        concurrency: 1,
        ..OpenAiConfig::new(&url, "stub")
    });
    let client = client.unwrap();
    let answers = client.generate(&[ask("a"), ask("b"), ask("c")]);
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(matches!(&error, LmError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&url) && error.to_string().contains("start the server"));
    }
    assert_eq!(client.usage().requests, 3 + 1 + 1, "only the first request is retried");
}

#[test]
fn a_stored_call_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = StubServer::start(|body| {
        let user = body["messages"][0]["content"].as_str().unwrap();
        chat_reply(&format!("to {user}"), "stop")
    });
    let stored = OpenAiConfig { cache_dir: Some(dir.path().to_owned()), ..config(&server) };
    let run = |config: OpenAiConfig, users: &[&str]| {
        let client = OpenAi::new(config).unwrap();
        let requests: Vec<Request> = users.iter().map(|user| ask(user)).collect();
        let texts: Vec<String> =
            client.generate(&requests).into_iter().map(|done| done.unwrap().text).collect();
        (texts, client.usage())
    };
    let (first, usage) = run(stored.clone(), &["a", "b"]);
    assert_eq!((usage.requests, usage.stored), (2, 0));
    let (second, usage) = run(stored.clone(), &["a", "b", "c"]);
    assert_eq!((usage.requests, usage.stored), (1, 2));
    assert_eq!(second[..2], first);
    assert_eq!(server.n_requests(), 3);
    let (_, usage) = run(OpenAiConfig { model: "other".to_owned(), ..stored }, &["a"]);
    assert_eq!(usage.requests, 1, "another model is another call");
}

#[test]
fn the_budget_holds_even_for_calls_under_way() {
    let server = StubServer::start(|_| chat_reply("fine", "stop"));
    // Each call reserves 1 + 16 tokens and spends 3 + 1 (see chat_reply).
    let check = |budget: u64, concurrency: usize, want: usize| {
        let config = OpenAiConfig { token_budget: Some(budget), concurrency, ..config(&server) };
        let client = OpenAi::new(config).unwrap();
        let answers = client.generate(&vec![ask("hi"); 6]);
        let refused = |answer: &&Result<_, _>| {
            matches!(answer, Err(error @ LmError::BudgetExhausted { .. })
                if error.to_string().contains(&budget.to_string()))
        };
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), want);
        assert_eq!(answers.iter().filter(refused).count(), 6 - want);
        let usage = client.usage();
        assert!(usage.prompt_tokens + usage.completion_tokens <= budget);
    };
    check(16, 1, 0);
    check(17, 1, 1);
    check(25, 1, 3);
    check(1000, 3, 6);
}

#[test]
fn answers_keep_the_order_of_requests() {
    let server = StubServer::start(|body| {
        let user: u64 = body["messages"][0]["content"].as_str().unwrap().parse().unwrap();
        std::thread::sleep(Duration::from_millis(40 - 5 * user));
        chat_reply(&user.to_string(), "length")
    });
    let client = OpenAi::new(OpenAiConfig { concurrency: 4, ..config(&server) }).unwrap();
    let requests: Vec<Request> = (0..8).map(|user| ask(&user.to_string())).collect();
    for (idx, answer) in client.generate(&requests).into_iter().enumerate() {
        let answer = answer.unwrap();
        assert_eq!((answer.text, answer.finish), (idx.to_string(), Finish::Length));
    }
}

#[test]
fn one_refused_request_leaves_the_others_alone() {
    let server = StubServer::start(|_| chat_reply("fine", "stop"));
    let client = OpenAi::new(config(&server)).unwrap();
    let mut lark = ask("x");
    lark.constraint = Some(Constraint::Lark("start: \"a\"".to_owned()));
    let answers = client.generate(&[ask("a"), ask(""), lark, ask("b")]);
    assert!(answers[0].is_ok() && answers[3].is_ok());
    assert_eq!(answers[1], Err(LmError::EmptyPrompt));
    assert!(matches!(answers[2], Err(LmError::Unsupported { .. })));
}

#[test]
fn the_key_is_sent_but_never_shown() {
    let server = StubServer::start(|_| chat_reply("fine", "stop"));
    let config = config(&server);
    assert!(!format!("{config:?}").contains("secret"));
    assert!(!serde_json::to_string(&config).unwrap().contains("secret"));
    one(config).0.unwrap();
    assert!(server.last_head().to_lowercase().contains("authorization: bearer secret"));
}

#[test]
fn settings_are_checked_before_any_call() {
    let base = || OpenAiConfig::new("http://127.0.0.1:1/v1", "m");
    let check = |config: OpenAiConfig, name: &str| {
        let error = OpenAi::new(config).err().unwrap().to_string();
        assert!(error.starts_with(name), "{error}");
    };
    check(OpenAiConfig::new("localhost:8000", "m"), "base_url");
    check(OpenAiConfig::new("ftp://h", "m"), "base_url");
    check(OpenAiConfig::new("http://h", ""), "model");
    check(OpenAiConfig { timeout_seconds: 0.0, ..base() }, "timeout_seconds");
    check(OpenAiConfig { timeout_seconds: f64::NAN, ..base() }, "timeout_seconds");
    check(OpenAiConfig { backoff_seconds: -1.0, ..base() }, "backoff_seconds");
    check(OpenAiConfig { max_backoff_seconds: 1e9, ..base() }, "max_backoff_seconds");
    check(OpenAiConfig { concurrency: 0, ..base() }, "concurrency");
    let file: Result<OpenAiConfig, _> = serde_json::from_value::<OpenAiConfig>(
        serde_json::json!({ "base_url": "http://h", "model": "m", "dialect": "llama_cpp" }),
    );
    assert_eq!(file.unwrap().concurrency, 8);
    let typo: Result<OpenAiConfig, _> = serde_json::from_value::<OpenAiConfig>(Value::Null);
    assert!(typo.is_err());
}
