//! The HTTP API: routes, shapes of replies, errors, metrics. No recommendation logic lives here.
//!
//! `/api/v1/...` is the API. `/users/{user}/interests` and `/users/{user}/tags` are short aliases of
//! the same handlers, and `/api/health/...` is where clients of gorse look.

mod errors;
mod observe;
mod params;
mod replies;
mod routes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use self::observe::Meter;
pub(crate) use self::routes::router;
use crate::{Reasoner, Recommender, ServeConfig};

/// The OpenAPI document of the API, as indented JSON.
///
/// # Panics
/// Never: the document is made of strings and maps.
#[must_use]
pub fn openapi_json() -> String {
    routes::document().to_pretty_json().expect("the document is made of strings and maps")
}

/// What every handler shares.
pub(crate) struct App {
    recommender: Recommender,
    reasoner: Option<Box<dyn Reasoner>>,
    meter: Meter,
    ready: AtomicBool,
    slots: Semaphore,
    timeout: Duration,
    instance: u64,
}

impl App {
    pub(crate) fn new(
        recommender: Recommender,
        reasoner: Option<Box<dyn Reasoner>>,
        cfg: &ServeConfig,
    ) -> Arc<Self> {
        Arc::new(Self {
            recommender,
            reasoner,
            meter: Meter::new(),
            ready: AtomicBool::new(true),
            slots: Semaphore::new(cfg.max_concurrent),
            timeout: cfg.request_timeout,
            instance: cfg.instance,
        })
    }

    /// From now on `/health/ready` says no, so that no new traffic is sent here.
    pub(crate) fn drain(&self) {
        self.ready.store(false, Ordering::SeqCst);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }
}
