//! A folder that `eval` wrote: what its models cost.

use crate::{
    Error, Result,
    eval::{FrontierPoint, SavedReport},
};
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
    /// Its models.
    pub points: Vec<FrontierPoint>,
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
            remedy: "Run `eval` again with the same `out=`.".into(),
        })?;
        let images = crate::words::counted(report.images, "image");
        let scored_on = format!("{} ({}), {images}", report.data, report.split);
        Ok(Self { name, scored_on, points: report.points() })
    }
}
