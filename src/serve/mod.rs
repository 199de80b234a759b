//! `serve`: a web page and an HTTP API over models, caches and training runs.
//!
//! ```text
//! connection ── guard (host, origin, token, time) ── router ─┬─ page: embedded files
//!                                                            ├─ detect ─ a bounded queue for each model ─ a session for each core
//!                                                            ├─ caches: an index built once, the rest from the map
//!                                                            └─ runs: config.json and results.csv, as they grow
//! ```
//!
//! Nothing is asked of another host. Whatever a request says, the server answers and lives on.

mod answer;
mod caches;
mod detect;
mod engine;
mod guard;
mod issues;
mod metrics;
mod names;
mod openapi;
mod page;
mod pictures;
mod recent;
mod runs;
mod server;

pub use server::{Serve, serve};

use crate::eval::InferenceOptions;
use std::{net::SocketAddr, path::PathBuf};

/// What is served, and to whom.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The models and how they run, in the order of the page.
    pub models: Vec<InferenceOptions>,
    /// Folders of caches.
    pub caches: Vec<PathBuf>,
    /// Folders of training runs.
    pub runs: Vec<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// What a client must know; must be given where the address is not of this machine alone.
    pub token: Option<String>,
    /// Most pictures that wait for a model; more are refused with status 429.
    pub max_waiting: usize,
    /// A file of verdicts on suspected label errors, to which new ones are added; `None`: none are taken.
    pub reviews: Option<PathBuf>,
    /// How a message of the library reads where its settings and commands are named as the users know them.
    pub wording: fn(&str) -> String,
}
