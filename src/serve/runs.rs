//! `/v1/runs`: the numbers of training runs, as they grow.

use super::{answer::Fault, caches::beside, server::App};
use crate::{
    Error, Result,
    run::{CONFIG_NAME, RESULTS_NAME, Results},
};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::header,
    response::Response,
};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::VecDeque,
    convert::Infallible,
    fs,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::sleep;

/// How often a run is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// After so many looks without news a line is sent that keeps the connection.
const QUIET_LOOKS: u32 = 30;

/// A run that is shown.
pub(super) struct ServedRun {
    folder: PathBuf,
    name: String,
}

impl ServedRun {
    /// # Errors
    /// [`Error::Run`] where the folder is none of a run.
    pub(super) fn open(name: String, folder: &std::path::Path) -> Result<Self> {
        if !folder.join(CONFIG_NAME).is_file() {
            return Err(Error::Run {
                path: folder.to_path_buf(),
                found: format!("there is no {CONFIG_NAME}, so it is not a training run"),
                remedy: "Give the folder that `train()` made.".into(),
            });
        }
        Ok(Self { folder: folder.to_path_buf(), name })
    }
}

/// A run as its files have it now.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct RunState {
    /// `config.json`.
    config: Value,
    /// Names of the numbers of an epoch; the first is `epoch`.
    columns: Vec<String>,
    /// Of each finished epoch; null where a number is missing.
    rows: Vec<Vec<Option<f64>>>,
    /// Epochs that are planned; null where the run does not say.
    epochs: Option<u64>,
    /// Whether the last planned epoch is there, or the best model was written and no epoch followed within ten minutes.
    finished: bool,
}

fn read(folder: &std::path::Path) -> std::result::Result<RunState, Fault> {
    let config = fs::read(folder.join(CONFIG_NAME));
    let config = config.map_err(|e| Fault::not_found(format!("the run's {CONFIG_NAME} cannot be read: {e}")))?;
    let config: Value = serde_json::from_slice(&config).unwrap_or(Value::Null);
    let results = Results::load(&folder.join(RESULTS_NAME)).map_err(|e| Fault::of(&e))?.unwrap_or_default();
    let epochs = config["settings"]["epochs"].as_u64();
    let finite = |row: &Vec<Option<f64>>| row.iter().map(|value| value.filter(|value| value.is_finite())).collect();
    Ok(RunState {
        finished: epochs.is_some_and(|epochs| results.len() as u64 >= epochs) || is_old(folder),
        columns: results.columns().to_vec(),
        rows: results.rows().iter().map(finite).collect(),
        epochs,
        config,
    })
}

/// Whether a run ended before its last epoch (patience, Ctrl-C): nothing was added for ten minutes.
fn is_old(folder: &std::path::Path) -> bool {
    let changed = fs::metadata(folder.join(RESULTS_NAME)).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > Duration::from_secs(600)))
}

/// A run.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunInfo {
    /// What requests call it: `r0`, `r1` and so on.
    id: String,
    /// The name of its folder.
    name: String,
    /// Whether no epoch is expected any more.
    finished: bool,
    /// Epochs that are planned; null where the run does not say.
    epochs: Option<u64>,
}

/// The runs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RunsAnswer {
    runs: Vec<RunInfo>,
}

/// `GET /v1/runs`
pub(super) async fn list(State(app): State<Arc<App>>) -> std::result::Result<Json<RunsAnswer>, Fault> {
    beside(move || {
        let info = |(at, run): (usize, &ServedRun)| {
            let state = read(&run.folder).ok();
            RunInfo {
                id: format!("r{at}"),
                name: run.name.clone(),
                finished: state.as_ref().is_none_or(|state| state.finished),
                epochs: state.and_then(|state| state.epochs),
            }
        };
        Ok(Json(RunsAnswer { runs: app.runs.iter().enumerate().map(info).collect() }))
    })
    .await
}

fn folder_of(app: &App, id: &str) -> std::result::Result<PathBuf, Fault> {
    let run = id.strip_prefix('r').and_then(|at| at.parse().ok()).and_then(|at: usize| app.runs.get(at));
    let missing = || Fault::not_found(format!("there is no run {id:?}")).remedy("GET /v1/runs lists them.");
    run.map(|run| run.folder.clone()).ok_or_else(missing)
}

/// `GET /v1/runs/{run}`
pub(super) async fn run(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> std::result::Result<Json<RunState>, Fault> {
    let folder = folder_of(&app, &id)?;
    beside(move || read(&folder).map(Json)).await
}

/// What a client was sent.
struct Sent {
    app: Arc<App>,
    folder: PathBuf,
    rows: usize,
    waiting: VecDeque<String>,
    quiet: u32,
    ended: bool,
}

/// `GET /v1/runs/{run}/events`: server-sent events, `row` for each epoch from the first on, then `finished`.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> std::result::Result<Response, Fault> {
    let folder = folder_of(&app, &id)?;
    let sent = Sent { app, folder, rows: 0, waiting: VecDeque::new(), quiet: 0, ended: false };
    let body = Body::from_stream(stream::unfold(sent, |mut sent| async move {
        let text = sent.next().await?;
        Some((Ok::<Bytes, Infallible>(Bytes::from(text)), sent))
    }));
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .header(header::CACHE_CONTROL, "no-store")
        .body(body);
    response.map_err(|_| Fault::bad_request("the events cannot be sent"))
}

impl Sent {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.ended || self.app.stop.load(Ordering::Relaxed) {
                return None;
            }
            let folder = self.folder.clone();
            // A row that is half written is read whole at the next look.
            let state = beside(move || read(&folder)).await.ok();
            for row in state.iter().flat_map(|state| state.rows.iter().skip(self.rows)) {
                let row = serde_json::to_string(row).unwrap_or_default();
                self.waiting.push_back(format!("event: row\ndata: {row}\n\n"));
            }
            self.rows += self.waiting.len();
            if state.is_some_and(|state| state.finished) {
                self.waiting.push_back("event: finished\ndata: {}\n\n".to_owned());
                self.ended = true;
            }
            if self.waiting.is_empty() {
                self.quiet += 1;
                if self.quiet >= QUIET_LOOKS {
                    self.quiet = 0;
                    return Some(": still here\n\n".to_owned());
                }
                sleep(LOOK).await;
            }
        }
    }
}
