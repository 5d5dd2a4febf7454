//! The HTTP API: routes, shapes of replies, errors, metrics. No recommendation logic lives here.
//!
//! `/api/v1/...` is the API. `/users/{user}/interests` and `/users/{user}/tags` are short aliases of
//! the same handlers, and `/api/health/...` is where clients of gorse look.

mod bodies;
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
use crate::{Live, Reasoner, Recommender, Refreshed, ServeConfig, ServeError};

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
    live: Live,
    reasoner: Option<Box<dyn Reasoner>>,
    meter: Meter,
    ready: AtomicBool,
    slots: Semaphore,
    timeout: Duration,
    instance: u64,
}

impl App {
    pub(crate) fn new(
        live: Live,
        reasoner: Option<Box<dyn Reasoner>>,
        cfg: &ServeConfig,
    ) -> Arc<Self> {
        Arc::new(Self {
            live,
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

    /// The recommender for one request.
    fn recommender(&self) -> Arc<Recommender> {
        self.live.recommender()
    }

    /// Takes over what is new, and counts and logs what became of it.
    pub(crate) fn refresh(&self, again: bool) -> Result<Refreshed, ServeError> {
        let outcome = self.live.refresh(again);
        self.meter.refresh(&outcome);
        match &outcome {
            Ok(Refreshed::Same) => {}
            Ok(Refreshed::Items(put)) => tracing::info!(?put, "items of another program"),
            Ok(Refreshed::Swapped) => {
                let version = self.recommender().model_version().to_owned();
                tracing::info!(version, "another version answers");
            }
            Err(error) => tracing::error!(%error, "nothing was taken over"),
        }
        outcome
    }

    /// Whether anything is behind the server that may change.
    pub(crate) fn can_refresh(&self) -> bool {
        !self.live.is_fixed()
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }
}
