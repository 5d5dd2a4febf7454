//! Handlers, and the router that names them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lm::{Prompt, Request};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::App;
use super::answer::{Choices, Kind};
use super::errors::ApiError;
use super::wire::{ChatRequest, Common, CompletionRequest, PromptField};

/// Tokens of a completion that names no limit, as at OpenAI.
const DEFAULT_MAX_TOKENS: usize = 16;

/// Everything that the server answers.
pub(crate) fn router(app: &Arc<App>) -> axum::Router {
    axum::Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/v1/models", get(models))
        .layer(from_fn_with_state(Arc::clone(app), authorise))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(async |request: HttpRequest| ApiError::unknown_route(request.uri().path()))
        .with_state(Arc::clone(app))
}

async fn authorise(State(app): State<Arc<App>>, request: HttpRequest, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    match &app.config.api_key {
        Some(key) if !same(given.unwrap_or_default(), key) => {
            ApiError::unauthorised().into_response()
        }
        _ => next.run(request).await,
    }
}

/// Compares without telling by its time where two keys differ.
fn same(a: &str, b: &str) -> bool {
    let differ = a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && differ == 0
}

async fn chat(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, ApiError> {
    let request: ChatRequest = read(&body)?;
    check(&app, &request.common)?;
    let messages = request.messages()?;
    let tokens = app.engine.chat().encode_messages(&messages, app.engine.tokenizer())?;
    let asked = request.max_completion_tokens.or(request.common.max_tokens);
    let max_tokens = asked.unwrap_or_else(|| app.engine.window().saturating_sub(tokens.len()));
    answer(&app, Kind::Chat, &request.common, vec![tokens], max_tokens).await
}

async fn completions(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, ApiError> {
    let request: CompletionRequest = read(&body)?;
    check(&app, &request.common)?;
    let encode = |text: &String| app.engine.tokenizer().encode_prompt(text);
    let prompts = match request.prompt {
        PromptField::Text(text) => vec![encode(&text)],
        PromptField::Texts(texts) => texts.iter().map(encode).collect(),
        PromptField::Tokens(tokens) => vec![tokens],
        PromptField::TokenLists(lists) => lists,
    };
    let vocab = app.engine.tokenizer().vocab_size() as u32;
    if let Some(token) = prompts.iter().flatten().find(|token| **token >= vocab) {
        let problem = format!("token {token} is not below {vocab}, the size of the vocabulary");
        return Err(ApiError::invalid("prompt", &problem));
    }
    let max_tokens = request.common.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    answer(&app, Kind::Text, &request.common, prompts, max_tokens).await
}

async fn answer(
    app: &Arc<App>,
    kind: Kind,
    common: &Common,
    prompts: Vec<Vec<u32>>,
    max_tokens: usize,
) -> Result<Response, ApiError> {
    if max_tokens == 0 {
        return Err(ApiError::invalid("max_tokens", "0 leaves nothing to answer"));
    }
    let (constraint, n) = (common.constraint()?, common.n.unwrap_or(1));
    let fresh = app.n_requests.load(Ordering::Relaxed) ^ app.instance;
    let mut requests = Vec::new();
    for tokens in prompts {
        for index in 0..n {
            let request = Request {
                // The tokens stand for it.
                prompt: Prompt::default(),
                max_tokens,
                sampling: common.sampling(index, fresh),
                stop: common.stop(),
                constraint: constraint.clone(),
                distinct: None,
                ignore_eos: common.ignore_eos,
            };
            requests.push((request, tokens.clone()));
        }
    }
    let choices = Choices::start(app, kind, requests, n as usize)?;
    match common.stream {
        true => choices.stream(common.streams_usage()).await,
        false => choices.whole().await,
    }
}

fn check(app: &App, common: &Common) -> Result<(), ApiError> {
    if common.model != app.config.model {
        return Err(ApiError::unknown_model(&common.model, &app.config.model));
    }
    common.check()
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let json = &mut serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(json).map_err(|error| ApiError::unreadable(error.to_string()))
}

async fn models(State(app): State<Arc<App>>) -> Json<serde_json::Value> {
    let model = json!({ "id": app.config.model, "object": "model", "owned_by": "recgpt",
        "created": app.config.started_at, "max_model_len": app.engine.window() });
    Json(json!({ "object": "list", "data": [model] }))
}

async fn health(State(app): State<Arc<App>>) -> StatusCode {
    match app.ready.load(Ordering::SeqCst) {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, app.meter.render(&app.engine.stats()))
}
