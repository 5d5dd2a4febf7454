//! Start, stop and drain of the HTTP server.
//!
//! Stop: readiness goes false, after `drain_delay` no new connection is taken, open requests are answered,
//! and after `drain_timeout` whatever still runs is cut off.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::completions::{self, LmConfig};
use crate::http::{App, router};
use crate::{Live, Reasoner, ServeError};

/// Address, limits and times of a server.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Time for one request.
    pub request_timeout: Duration,
    /// Slates computed at once; more are refused with `overloaded`.
    pub max_concurrent: usize,
    /// Between readiness going false and the end of new connections, for load balancers to notice.
    pub drain_delay: Duration,
    /// Time for open requests after that.
    pub drain_timeout: Duration,
    /// Time between looks for a newer version in the workspace.
    pub refresh_every: Duration,
    /// Start of the request ids that this server makes; choose another for every start.
    pub instance: u64,
}

impl ServeConfig {
    /// 10 s per request, 64 at once, no delay before and 15 s for draining, a look for a newer version every
    /// second.
    #[must_use]
    pub fn new(listen: SocketAddr, instance: u64) -> Self {
        Self {
            listen,
            request_timeout: Duration::from_secs(10),
            max_concurrent: 64,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(15),
            refresh_every: Duration::from_secs(1),
            instance,
        }
    }
}

/// A server that answers; dropping it leaves it running until the runtime ends.
pub struct RunningServer {
    addr: SocketAddr,
    /// Makes readiness go false.
    drain: Box<dyn Fn() + Send + Sync>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
    cfg: ServeConfig,
}

impl RunningServer {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Drains and stops; returns when the last request is answered.
    ///
    /// # Errors
    /// [`ServeError::NotDrained`] when requests outlived the time to drain, [`ServeError::Io`] when the
    /// listener failed.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        let Self { drain, stop, mut task, cfg, .. } = self;
        tracing::info!("draining");
        drain();
        tokio::time::sleep(cfg.drain_delay).await;
        if stop.send(()).is_err() {
            tracing::warn!("the server had ended before it was told to stop");
        }
        match tokio::time::timeout(cfg.drain_timeout, &mut task).await {
            Ok(Ok(ended)) => {
                tracing::info!("stopped");
                Ok(ended?)
            }
            Ok(Err(failed)) => Err(std::io::Error::other(failed).into()),
            Err(_) => {
                task.abort();
                Err(ServeError::NotDrained(cfg.drain_timeout))
            }
        }
    }
}

/// Starts to listen and answer on the current runtime.
///
/// # Errors
/// [`ServeError::Listen`] when the address is taken or forbidden.
pub async fn start(
    live: Live,
    reasoner: Option<Box<dyn Reasoner>>,
    cfg: ServeConfig,
) -> Result<RunningServer, ServeError> {
    let app = App::new(live, reasoner, &cfg);
    let routes = router(&app);
    if app.can_refresh() {
        tokio::spawn(keep_fresh(Arc::downgrade(&app), cfg.refresh_every));
    }
    start_routes(routes, Box::new(move || app.drain()), cfg).await
}

/// As [`start`], for a language model instead of recommendations.
///
/// # Errors
/// As [`start`].
pub async fn start_lm(
    engine: lm::Engine,
    lm_cfg: LmConfig,
    cfg: ServeConfig,
) -> Result<RunningServer, ServeError> {
    let app = completions::App::new(engine, lm_cfg, cfg.instance);
    let routes = completions::router(&app);
    start_routes(routes, Box::new(move || app.drain()), cfg).await
}

/// Looks for a newer version every so often, and at once on SIGHUP, as long as the server is there.
async fn keep_fresh(app: Weak<App>, every: Duration) {
    let mut hangup = Hangup::new();
    loop {
        let again = tokio::select! {
            () = tokio::time::sleep(every) => false,
            () = hangup.recv() => true,
        };
        let Some(app) = app.upgrade() else { return };
        // what became of it is logged and counted there
        let refresh = tokio::task::spawn_blocking(move || app.refresh(again));
        if let Err(failed) = refresh.await {
            tracing::error!(%failed, "the look for a newer version panicked");
        }
    }
}

/// SIGHUP, where there is such a thing.
struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    #[cfg(unix)]
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let signal = signal(SignalKind::hangup());
        if let Err(error) = &signal {
            tracing::warn!(%error, "SIGHUP is not heard");
        }
        Self { signal: signal.ok() }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    /// Returns when the signal comes.
    async fn recv(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

async fn start_routes(
    routes: axum::Router,
    drain: Box<dyn Fn() + Send + Sync>,
    cfg: ServeConfig,
) -> Result<RunningServer, ServeError> {
    let refused = |source| ServeError::Listen { listen: cfg.listen, source };
    let listener = TcpListener::bind(cfg.listen).await.map_err(refused)?;
    let addr = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let served = axum::serve(listener, routes).with_graceful_shutdown(async move {
        if stopped.await.is_err() {
            // the handle was dropped without a stop: serve on
            std::future::pending::<()>().await;
        }
    });
    let task = tokio::spawn(async move { served.await });
    tracing::info!(%addr, "listening");
    Ok(RunningServer { addr, drain, stop, task, cfg })
}

/// Serves until SIGINT or SIGTERM, then drains: what `recgpt serve` calls. Makes its own runtime; `on_ready`
/// hears the address.
///
/// # Errors
/// As [`start`] and [`RunningServer::shutdown`], or when no runtime can be made.
pub fn run_until_signal(
    live: Live,
    reasoner: Option<Box<dyn Reasoner>>,
    cfg: ServeConfig,
    on_ready: &dyn Fn(SocketAddr),
) -> Result<(), ServeError> {
    until_signal(start(live, reasoner, cfg), on_ready)
}

/// As [`run_until_signal`], for a language model: what `recgpt lm serve` calls.
///
/// # Errors
/// As [`run_until_signal`].
pub fn run_lm_until_signal(
    engine: lm::Engine,
    lm_cfg: LmConfig,
    cfg: ServeConfig,
    on_ready: &dyn Fn(SocketAddr),
) -> Result<(), ServeError> {
    until_signal(start_lm(engine, lm_cfg, cfg), on_ready)
}

fn until_signal(
    starting: impl Future<Output = Result<RunningServer, ServeError>>,
    on_ready: &dyn Fn(SocketAddr),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = starting.await?;
        on_ready(server.addr());
        wait_for_signal().await?;
        server.shutdown().await
    })
}

#[cfg(unix)]
async fn wait_for_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn wait_for_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
