//! A folder that `eval` wrote: what its models cost.

use crate::{Error, Result, eval::Latency, words::counted};
use serde::Deserialize;
use std::{fs, path::Path};

/// The report of `eval` in its folder.
const REPORT_NAME: &str = "eval.json";

/// Models that were scored and timed together.
#[derive(Debug, Clone)]
pub struct EvalFolder {
    /// What it is called on the page.
    pub name: String,
    /// Of what the scores are, in words.
    pub scored_on: String,
    /// Its models, each with its mAP@0.5:0.95; those without one are left out.
    pub models: Vec<(SavedModel, f64)>,
}

/// What the page shows of [`crate::eval::EvalReport`].
#[derive(Debug, Clone, Deserialize)]
struct SavedReport {
    data: String,
    split: String,
    images: u64,
    models: Vec<SavedModel>,
}

/// What the page shows of [`crate::eval::ModelReport`], whose fields these are.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedModel {
    pub name: String,
    pub precision: String,
    pub input_width: u32,
    pub input_height: u32,
    pub file_bytes: u64,
    pub memory_bytes: Option<u64>,
    pub beaten_by: Option<String>,
    latency: Vec<Latency>,
    scores: SavedScores,
}

#[derive(Debug, Clone, Deserialize)]
struct SavedScores {
    coco: SavedAverages,
}

#[derive(Debug, Clone, Deserialize)]
struct SavedAverages {
    ap: Option<f64>,
}

impl SavedModel {
    /// Median with one thread; `None` where it was not measured.
    pub fn latency_p50_ms(&self) -> Option<f64> {
        self.latency.first().map(|latency| latency.p50_ms)
    }
}

impl EvalFolder {
    /// Whether a folder looks like one.
    pub fn is_one(path: &Path) -> bool {
        path.join(REPORT_NAME).is_file()
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Run`] where the file is no report of `eval`; [`Error::Io`] where it cannot be read.
    pub fn open(path: &Path, name: String) -> Result<Self> {
        let file = path.join(REPORT_NAME);
        let text = fs::read_to_string(&file).map_err(|error| Error::io(&file, "read", error))?;
        let report: SavedReport = serde_json::from_str(&text).map_err(|error| Error::Run {
            path: file,
            found: format!("this is not a report of `eval`: {error}"),
            remedy: "Run `eval()` again with the same `out=`.".into(),
        })?;
        let scored_on = format!("{} ({}), {}", report.data, report.split, counted(report.images, "image"));
        let scored = report.models.into_iter().filter_map(|model| model.scores.coco.ap.map(|ap| (model, ap)));
        Ok(Self { name, scored_on, models: scored.collect() })
    }
}
