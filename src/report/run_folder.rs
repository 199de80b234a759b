//! A training run's folder, as far as it is there.

use crate::{
    Error, Result,
    detector::{Detector, DetectorOptions},
    run::{BEST_ONNX_NAME, CONFIG_NAME, RESULTS_NAME, Results, RunData},
    text,
    types::Store,
};
use serde_json::Value;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Keys of `config.json` that are no settings: places, and what a report shows elsewhere.
const NO_SETTINGS: [&str; 3] = ["data", "class_names", "producer"];

/// One run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is called in the report.
    pub name: String,
    /// `config.json` as it is, an object; `None` where there is none.
    pub config: Option<Value>,
    /// Where its data lie; empty for runs that did not keep it.
    pub data: RunData,
    /// Its epochs.
    pub results: Results,
    /// `best.onnx`, where it is there.
    pub model: Option<PathBuf>,
    /// Weights of that model.
    pub parameters: Option<u64>,
}

impl RunFolder {
    /// Whether a folder looks like a run.
    pub fn is_one(path: &Path) -> bool {
        path.join(CONFIG_NAME).is_file() || path.join(RESULTS_NAME).is_file()
    }

    /// Reads what is there; `notes` gets a line for what is missing.
    ///
    /// # Errors
    /// [`Error::Run`] for a file that is not what its name says, [`Error::Model`] for a `best.onnx` that is no detector, [`Error::Io`].
    pub fn open(path: &Path, name: String, notes: &mut Vec<String>) -> Result<Self> {
        let config = config(&path.join(CONFIG_NAME))?;
        if config.is_none() {
            notes.push(format!("{name}: there is no {CONFIG_NAME}, so its settings are not shown"));
        }
        // Of another program's run, or an earlier version's: then without places.
        let data =
            config.as_ref().and_then(|c| serde_json::from_value(c.get("data")?.clone()).ok()).unwrap_or_default();
        let results = Results::load(&path.join(RESULTS_NAME))?.unwrap_or_default();
        if results.is_empty() {
            notes.push(format!("{name}: no epoch is finished ({RESULTS_NAME} has no rows), so there are no curves"));
        }
        let model = Some(path.join(BEST_ONNX_NAME)).filter(|model| model.is_file());
        let parameters = match &model {
            Some(model) => {
                let options =
                    DetectorOptions { imgsz: None, store: Store::Cls, names: None, ..DetectorOptions::default() };
                Some(Detector::load(model, &options)?.num_parameters())
            }
            None => {
                notes.push(format!(
                    "{name}: there is no {BEST_ONNX_NAME} (written at the end of a run; `export()` makes one before), so it is \
                     not scored"
                ));
                None
            }
        };
        Ok(Self { path: path.to_owned(), name, config, data, results, model, parameters })
    }

    /// Everything that was set, as (name, value): nested names joined by dots, without those of the group `settings`.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut flat = Vec::new();
        if let Some(Value::Object(config)) = &self.config {
            for (key, value) in config.iter().filter(|(key, _)| !NO_SETTINGS.contains(&key.as_str())) {
                flatten(if key == "settings" { "" } else { key }, value, &mut flat);
            }
        }
        flat
    }

    /// Names of the student's classes.
    pub fn class_names(&self) -> Vec<&str> {
        let names = self.config.as_ref().and_then(|c| c.get("class_names")?.as_array());
        names.map(|names| names.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }
}

fn config(path: &Path) -> Result<Option<Value>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, "read", e)),
    };
    let refuse = |found: String| Error::Run {
        path: path.to_owned(),
        found,
        remedy: "Restore the file from a copy, or leave this run out.".into(),
    };
    let text = text::decode(&bytes).map_err(|found| refuse(format!("this is not text: {found}")))?;
    match serde_json::from_str(&text) {
        Ok(value @ Value::Object(_)) => Ok(Some(value)),
        Ok(_) => Err(refuse("this is not a run's configuration: it holds no JSON object".into())),
        Err(e) => Err(refuse(format!("this is not a run's configuration: {e}"))),
    }
}

fn flatten(at: &str, value: &Value, flat: &mut Vec<(String, String)>) {
    match value {
        Value::Object(values) => {
            for (key, value) in values {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                flatten(&at, value, flat);
            }
        }
        Value::String(text) => flat.push((at.to_owned(), text.clone())),
        Value::Null => flat.push((at.to_owned(), "-".into())),
        other => flat.push((at.to_owned(), other.to_string())),
    }
}
