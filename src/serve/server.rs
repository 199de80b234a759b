//! The server: what it holds, its routes, its connections, its end.

use super::{
    ServeOptions,
    caches::{self, ServedCache},
    detect::{self, Results},
    engine::Engine,
    guard, issues,
    metrics::Metrics,
    names::names,
    openapi, page,
    pictures::Thumbnails,
    runs::{self, ServedRun},
};
use crate::{Error, Result};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::header,
    middleware,
    response::IntoResponse,
    routing::{get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    runtime::Builder,
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Most bytes of a request's body.
pub(super) const MOST_BYTES: usize = 64 << 20;
/// A client sends its headers within this time.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Connections at once; further ones wait.
const CONNECTIONS: usize = 512;
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// What is in flight at the end is waited for so long.
const GRACE: Duration = Duration::from_secs(30);

/// What all requests share.
pub(super) struct App {
    pub(super) engines: Vec<Engine>,
    pub(super) results: Results,
    pub(super) caches: Vec<Arc<ServedCache>>,
    pub(super) thumbnails: Thumbnails,
    pub(super) reviews: Option<issues::Reviews>,
    pub(super) runs: Vec<ServedRun>,
    pub(super) token: Option<String>,
    pub(super) metrics: Metrics,
    pub(super) wording: fn(&str) -> String,
    /// Raised at the end, so that streams of events end.
    pub(super) stop: &'static AtomicBool,
}

/// A server that may start: everything was opened, and it listens.
pub struct Serve {
    app: Arc<App>,
    listener: std::net::TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
    /// What a user should know, a line each.
    pub notes: Vec<String>,
}

impl Serve {
    /// Opens models, caches and runs, and listens.
    ///
    /// # Errors
    /// Those of a model, a cache or a run that cannot be opened; [`Error::Mismatch`] where there is nothing to serve, where an
    /// address of other machines has no token, and where the address cannot be had.
    pub fn prepare(options: &ServeOptions, stop: &'static AtomicBool) -> Result<Self> {
        if options.models.is_empty() && options.caches.is_empty() && options.runs.is_empty() {
            return Err(Error::Mismatch {
                found: "there is nothing to serve".into(),
                remedy: "Name a model (MODEL.onnx), a cache (`cache=`) or a training run (`run=`).".into(),
            });
        }
        if options.token.is_none() && !options.address.ip().is_loopback() {
            return Err(Error::Mismatch {
                found: format!(
                    "other machines could reach {}, and anybody there could use the server",
                    options.address
                ),
                remedy: "Add `token=`, or leave out `host=`.".into(),
            });
        }
        // First of all: a port that is taken should not be found after a minute of loading.
        let listen = |e: std::io::Error| Error::Mismatch {
            found: format!("cannot listen on {}: {e}", options.address),
            remedy: "Choose another `port=` (0 takes a free one), or an address of this machine.".into(),
        };
        let listener = std::net::TcpListener::bind(options.address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let mut notes = Vec::new();
        let mut engines = Vec::new();
        let files: Vec<PathBuf> = options.models.iter().map(|model| model.model.clone()).collect();
        for (name, model) in names(&files).into_iter().zip(&options.models) {
            let (engine, told) = Engine::start(name, model, options.max_waiting)?;
            notes.extend(told);
            engines.push(engine);
        }
        let caches = names(&options.caches).into_iter().zip(&options.caches);
        let caches = caches.map(|(name, cache)| ServedCache::open(name, cache)).collect::<Result<Vec<_>>>()?;
        let runs = names(&options.runs).into_iter().zip(&options.runs);
        let runs = runs.map(|(name, run)| ServedRun::open(name, run)).collect::<Result<Vec<_>>>()?;
        let app = App {
            engines,
            results: Results::default(),
            caches,
            thumbnails: Thumbnails::default(),
            reviews: options.reviews.as_deref().map(issues::Reviews::open).transpose()?,
            runs,
            token: options.token.clone(),
            metrics: Metrics::default(),
            wording: options.wording,
            stop,
        };
        Ok(Self { app: Arc::new(app), listener, address, notes })
    }
}

/// Serves until `stop` is raised; then what is in flight is answered.
///
/// # Errors
/// [`Error::Runtime`] where threads cannot be had.
pub fn serve(serve: Serve, stop: &'static AtomicBool) -> Result<()> {
    let Serve { app, listener, .. } = serve;
    let failed = |e: std::io::Error| Error::Runtime {
        found: format!("cannot start the server: {e}"),
        remedy: "Close other programs and start it again.".into(),
    };
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(failed)?;
    let ended = runtime.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        connections(listener, router(app), stop).await;
        Ok(())
    });
    // A picture that is still being decoded is not waited for.
    runtime.shutdown_background();
    ended
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(guard::root))
        .route("/page/{*name}", get(page::asset))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/models", get(detect::models))
        .route("/v1/detect", post(detect::detect))
        .route("/v1/caches", get(caches::list))
        .route("/v1/caches/{cache}/images", get(caches::images))
        .route("/v1/caches/{cache}/images/{index}", get(caches::image))
        .route("/v1/caches/{cache}/images/{index}/picture", get(caches::picture))
        .route("/v1/caches/{cache}/images/{index}/thumbnail", get(caches::thumbnail))
        .route("/v1/caches/{cache}/issues", get(issues::list))
        .route("/v1/caches/{cache}/issues/{issue}", post(issues::review))
        .route("/v1/runs", get(runs::list))
        .route("/v1/runs/{run}", get(runs::run))
        .route("/v1/runs/{run}/events", get(runs::events))
        .fallback(async || super::answer::Fault::not_found("there is nothing at this path"))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        .with_state(app)
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let waiting = app.engines.iter().map(Engine::waiting).sum();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.text(waiting))
}

async fn connections(listener: TcpListener, router: Router, stop: &AtomicBool) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while !stop.load(Ordering::Relaxed) {
        // A place first: a connection that nobody serves should not be taken.
        let Ok(Ok(place)) = timeout(LOOK, Arc::clone(&places).acquire_owned()).await else { continue };
        let (stream, _) = match timeout(LOOK, listener.accept()).await {
            Ok(Ok(taken)) => taken,
            // Too many open files, for one: it passes.
            Ok(Err(_)) => {
                sleep(LOOK).await;
                continue;
            }
            Err(_) => continue,
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is no fault of the server.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = timeout(GRACE, graceful.shutdown()).await;
}
