//! Runs side by side: what came out, what it cost, and in which settings they differ.

use super::run_folder::RunFolder;
use crate::run::results::{EPOCH, MAP, MAP50, SMALL_RECALL};

/// One run's line of the table. Metrics are those of its best epoch, as `results.csv` has them; `None` where it was not validated.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedRun {
    /// What the run is called.
    pub name: String,
    /// Epochs that are finished.
    pub epochs: usize,
    /// The epoch of the highest mAP@0.5:0.95.
    pub best_epoch: Option<f64>,
    /// mAP at IoU 0.5 in that epoch.
    pub map50: Option<f64>,
    /// mAP at IoU 0.5:0.95 in that epoch.
    pub map: Option<f64>,
    /// Recall of small objects in that epoch.
    pub small_recall: Option<f64>,
    /// Weights.
    pub parameters: Option<u64>,
    /// Mean over all epochs.
    pub seconds_per_epoch: Option<f64>,
    /// Values of [`Comparison::settings`].
    pub settings: Vec<String>,
}

/// The table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Comparison {
    /// Settings in which the runs differ.
    pub settings: Vec<String>,
    /// The runs in their order; the first is the reference.
    pub runs: Vec<ComparedRun>,
}

impl Comparison {
    /// Of some runs.
    pub fn of(runs: &[RunFolder]) -> Self {
        let all: Vec<Vec<(String, String)>> = runs.iter().map(RunFolder::settings).collect();
        let value = |settings: &[(String, String)], name: &str| {
            settings.iter().find(|(known, _)| known == name).map_or_else(|| "-".to_owned(), |(_, value)| value.clone())
        };
        let mut settings: Vec<String> = Vec::new();
        for (name, _) in all.iter().flatten() {
            let differs = all.windows(2).any(|pair| value(&pair[0], name) != value(&pair[1], name));
            if differs && !settings.contains(name) {
                settings.push(name.clone());
            }
        }
        let compared = |(run, own): (&RunFolder, &Vec<(String, String)>)| {
            let results = &run.results;
            let best = results.best_row();
            let at_best = |column| results.value(best?, column);
            ComparedRun {
                name: run.name.clone(),
                epochs: results.len(),
                best_epoch: at_best(EPOCH),
                map50: at_best(MAP50),
                map: at_best(MAP),
                small_recall: at_best(SMALL_RECALL),
                parameters: run.parameters,
                seconds_per_epoch: results.seconds_per_epoch(),
                settings: settings.iter().map(|name| value(own, name)).collect(),
            }
        };
        let runs = runs.iter().zip(&all).map(compared).collect();
        Self { settings, runs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Results, RunData};
    use serde_json::{Value, json};

    fn run(name: &str, config: Option<Value>) -> RunFolder {
        RunFolder {
            path: name.into(),
            name: name.into(),
            config,
            data: RunData::default(),
            results: Results::default(),
            model: None,
            parameters: None,
        }
    }

    #[test]
    fn only_settings_that_differ_are_compared() {
        let config = |alpha: f64, extra: Value| {
            json!({"producer": alpha.to_string(), "class_names": [alpha.to_string()], "data": {"cache": alpha.to_string()},
                   "model": "yolov8n", "settings": {"alpha": alpha, "lr": 0.1}, "new": extra})
        };
        let runs = [
            run("a", Some(config(0.5, json!(1)))),
            run("b", Some(config(0.7, json!(1)))),
            run("c", Some(config(0.5, Value::Null))),
        ];
        let comparison = Comparison::of(&runs);
        assert_eq!(comparison.settings, ["new", "alpha"]);
        assert_eq!(comparison.runs[1].settings, ["1", "0.7"]);
        assert_eq!(comparison.runs[2].settings, ["-", "0.5"]);
        assert!(Comparison::of(&runs[..1]).settings.is_empty());
        let without = Comparison::of(&[run("a", Some(json!({"model": "yolov8n"}))), run("d", None)]);
        assert_eq!((without.settings, without.runs[1].settings[0].as_str()), (vec!["model".into()], "-"));
    }
}
