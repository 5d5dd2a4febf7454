//! A language model over HTTP in the shapes of OpenAI: `/v1/chat/completions`, `/v1/completions`,
//! `/v1/models`, with metrics under the names of vLLM.
//!
//! What cannot be done (tools, log-probabilities, penalties) is refused, never ignored. A client that
//! goes away cancels its request.

mod answer;
mod errors;
mod meter;
mod routes;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use lm::Engine;

use self::meter::Meter;
pub(crate) use self::routes::router;

/// How a language model is offered.
#[derive(Debug, Clone)]
pub struct LmConfig {
    /// The name that clients ask for.
    pub model: String,
    /// The bearer token that every request to `/v1` must bring, if any.
    pub api_key: Option<String>,
    /// Unix time of the start in seconds, for the field `created`.
    pub started_at: u64,
}

/// What every handler shares.
pub(crate) struct App {
    engine: Engine,
    config: LmConfig,
    meter: Meter,
    ready: AtomicBool,
    started: Instant,
    instance: u64,
    n_requests: AtomicU64,
}

impl App {
    pub(crate) fn new(engine: Engine, config: LmConfig, instance: u64) -> Arc<Self> {
        let meter = Meter::new(&config.model);
        let (ready, started) = (AtomicBool::new(true), Instant::now());
        let n_requests = AtomicU64::new(0);
        Arc::new(Self { engine, config, meter, ready, started, instance, n_requests })
    }

    /// From now on `/health` says no, so that no new traffic is sent here.
    pub(crate) fn drain(&self) {
        self.ready.store(false, Ordering::SeqCst);
    }

    /// Unix time in seconds.
    fn now(&self) -> u64 {
        self.config.started_at + self.started.elapsed().as_secs()
    }

    /// An id that no other answer of this server has.
    fn fresh_id(&self, kind: &str) -> String {
        format!("{kind}-{:x}-{:x}", self.instance, self.n_requests.fetch_add(1, Ordering::Relaxed))
    }
}
