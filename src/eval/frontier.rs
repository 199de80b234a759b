//! What accuracy costs: which of several models are worth a place, and which are beaten by another one.

use super::{latency::Latency, report::ModelReport};
use serde::Deserialize;

/// What a model gives and what it costs.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontierPoint {
    /// Its name in the report.
    pub name: String,
    /// What it computes in: `fp32`, `fp16`, `int8`, ...
    pub precision: String,
    /// Width and height of its input, in pixels.
    pub input_px: [u32; 2],
    /// mAP@0.5:0.95.
    pub map_50_95: f64,
    /// Median with one thread, in milliseconds an image; `None` where it was not measured.
    pub latency_p50_ms: Option<f64>,
    /// Size of the file.
    pub file_bytes: u64,
    /// Memory that a session of it takes at most; `None` where it was not measured.
    pub memory_bytes: Option<u64>,
}

impl FrontierPoint {
    /// Of a model that was scored; `None` where no object was there to be found.
    pub fn of(model: &ModelReport) -> Option<Self> {
        Some(Self {
            name: model.name.clone(),
            precision: model.precision.clone(),
            input_px: [model.input_width, model.input_height],
            map_50_95: model.scores.coco.ap?,
            latency_p50_ms: model.latency.first().map(|latency| latency.p50_ms),
            file_bytes: model.file_bytes,
            memory_bytes: model.memory_bytes,
        })
    }

    /// Whether it is at least as good in everything that was measured of both, and better in something.
    fn beats(&self, other: &Self) -> bool {
        let pairs = [
            Some((-self.map_50_95, -other.map_50_95)),
            self.latency_p50_ms.zip(other.latency_p50_ms),
            Some((self.file_bytes as f64, other.file_bytes as f64)),
            self.memory_bytes.map(|bytes| bytes as f64).zip(other.memory_bytes.map(|bytes| bytes as f64)),
        ];
        let pairs = || pairs.iter().flatten();
        pairs().all(|(own, others)| own <= others) && pairs().any(|(own, others)| own < others)
    }
}

/// Of each model the most accurate one that is better than it in every respect; `None` of those on the frontier.
pub fn beaten_by(points: &[FrontierPoint]) -> Vec<Option<usize>> {
    let best = |point: &FrontierPoint| {
        let better = (0..points.len()).filter(|&other| points[other].beats(point));
        // The first of equals: `max_by` gives the last, so the order is turned.
        better.rev().max_by(|&a, &b| points[a].map_50_95.total_cmp(&points[b].map_50_95))
    };
    points.iter().map(best).collect()
}

/// What a frontier needs of a report of `eval` that was written to a file.
#[derive(Debug, Clone, Deserialize)]
pub struct SavedReport {
    /// The data set.
    pub data: String,
    /// Its split.
    pub split: String,
    /// Images that every model was scored on.
    pub images: u64,
    models: Vec<SavedModel>,
}

#[derive(Debug, Clone, Deserialize)]
struct SavedModel {
    name: String,
    precision: String,
    input_width: u32,
    input_height: u32,
    file_bytes: u64,
    #[serde(default)]
    memory_bytes: Option<u64>,
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

impl SavedReport {
    /// Its models, those without a score left out.
    pub fn points(&self) -> Vec<FrontierPoint> {
        let point = |model: &SavedModel| {
            Some(FrontierPoint {
                name: model.name.clone(),
                precision: model.precision.clone(),
                input_px: [model.input_width, model.input_height],
                map_50_95: model.scores.coco.ap?,
                latency_p50_ms: model.latency.first().map(|latency| latency.p50_ms),
                file_bytes: model.file_bytes,
                memory_bytes: model.memory_bytes,
            })
        };
        self.models.iter().filter_map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(map_50_95: f64, latency_p50_ms: Option<f64>, file_bytes: u64) -> FrontierPoint {
        FrontierPoint {
            name: String::new(),
            precision: "fp32".into(),
            input_px: [640, 640],
            map_50_95,
            latency_p50_ms,
            file_bytes,
            memory_bytes: None,
        }
    }

    #[test]
    fn only_what_is_worse_in_everything_is_beaten() {
        let points = [
            point(0.5, Some(10.0), 40),
            point(0.49, Some(6.0), 10),
            point(0.48, Some(12.0), 40),
            point(0.47, Some(6.0), 10),
            point(0.49, Some(6.0), 10),
        ];
        assert_eq!(beaten_by(&points), [None, None, Some(0), Some(1), None]);
        assert_eq!(beaten_by(&points[..1]), [None]);
        assert!(beaten_by(&[]).is_empty());
    }

    #[test]
    fn what_was_not_measured_does_not_count() {
        assert_eq!(beaten_by(&[point(0.5, None, 40), point(0.4, Some(1.0), 50)]), [None, Some(0)]);
    }
}
