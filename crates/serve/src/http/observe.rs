//! Around every request: its id, its time limit, its line in the log, its metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{counter, describe_counter, describe_histogram, histogram, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use types::Slate;

use super::App;
use super::errors::ApiError;
use super::replies::fallback_name;
use crate::{ItemsPut, Refreshed, ServeError};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a client.
const MAX_ID_CHARS: usize = 128;

/// Upper ends of the histogram of request times, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

tokio::task_local! {
    static CURRENT: String;
}

/// Id of the request that the current task answers; empty outside of one.
pub(super) fn current_request_id() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Counters of one server; not the recorder of the process, so that several servers can live in one.
pub(super) struct Meter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    n_requests: AtomicU64,
}

impl Meter {
    pub(super) fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        with_local_recorder(&recorder, || {
            describe_histogram!(
                "recgpt_rest_api_request_seconds",
                "Seconds from the head of a request to the head of its reply."
            );
            describe_counter!("recgpt_rest_api_requests_total", "Requests by route and status.");
            describe_counter!(
                "recgpt_recommend_requests_total",
                "Slates by fallback; none: the whole pipeline answered."
            );
            describe_counter!(
                "recgpt_recommend_items_total",
                "Items on slates by the channel that found them."
            );
            describe_counter!("recgpt_items_put_total", "Items put on sale over HTTP.");
            describe_counter!(
                "recgpt_refreshes_total",
                "Times that something new was taken over from the workspace, or could not be."
            );
        });
        let handle = recorder.handle();
        Self { recorder, handle, n_requests: AtomicU64::new(0) }
    }

    /// All metrics in the text format of Prometheus.
    pub(super) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Counts a slate.
    pub(super) fn slate(&self, slate: &Slate) {
        let fallback = slate.fallback.map_or("none", fallback_name);
        let channels = slate.items.iter().map(|item| super::replies::channel(&item.source));
        with_local_recorder(&self.recorder, || {
            counter!("recgpt_recommend_requests_total", "fallback" => fallback).increment(1);
            for channel in channels {
                counter!("recgpt_recommend_items_total", "channel" => channel).increment(1);
            }
        });
    }

    /// Counts what became of a look at the files.
    pub(super) fn refresh(&self, outcome: &Result<Refreshed, ServeError>) {
        let name = match outcome {
            Ok(Refreshed::Same) => return,
            Ok(Refreshed::Items(_)) => "items",
            Ok(Refreshed::Swapped) => "swapped",
            Err(_) => "failed",
        };
        with_local_recorder(&self.recorder, || {
            counter!("recgpt_refreshes_total", "outcome" => name).increment(1);
        });
    }

    /// Counts items that were put on sale.
    pub(super) fn items(&self, put: ItemsPut) {
        with_local_recorder(&self.recorder, || {
            counter!("recgpt_items_put_total", "kind" => "added").increment(put.added as u64);
            counter!("recgpt_items_put_total", "kind" => "updated").increment(put.updated as u64);
        });
    }

    fn request(&self, api: &str, status: u16, seconds: f64) {
        let (api, status) = (api.to_owned(), status.to_string());
        with_local_recorder(&self.recorder, || {
            histogram!("recgpt_rest_api_request_seconds", "api" => api.clone()).record(seconds);
            counter!("recgpt_rest_api_requests_total", "api" => api, "status" => status)
                .increment(1);
        });
    }
}

/// The outermost layer.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = taken_id(request.headers()).unwrap_or_else(|| made_id(&app));
    let method = request.method().clone();
    let api = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let limit = app.timeout;
    let answer = async move {
        match tokio::time::timeout(limit, next.run(request)).await {
            Ok(response) => response,
            Err(_) => ApiError::timeout(limit).into_response(),
        }
    };
    let mut response = CURRENT.scope(id.clone(), answer).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let seconds = started.elapsed().as_secs_f64();
    let status = response.status().as_u16();
    app.meter.request(&api, status, seconds);
    tracing::info!(request_id = id, %method, api, status, seconds, "answered");
    response
}

/// A panic becomes a reply; the hook of the process has logged where it came from.
pub(super) fn on_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(request_id = current_request_id(), panic = text, "handler panicked");
    ApiError::internal().into_response()
}

/// The client's id, when it is visible ASCII of a sane length.
fn taken_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sane = (1..=MAX_ID_CHARS).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    sane.then(|| id.to_owned())
}

/// The server's own id: its instance and a count.
fn made_id(app: &App) -> String {
    let n = app.meter.n_requests.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-{n:08x}", app.instance)
}
