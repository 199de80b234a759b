//! `results.csv` and the curves: a row per epoch.

use crate::{Error, Result, fsio};
use plotters::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One epoch. Losses are means over its steps; metrics are of the averaged (EMA) weights on the validation split, null
/// where this epoch was not validated.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EpochRow {
    /// From 1.
    pub epoch: usize,
    /// Seconds since the run began, interruptions not counted.
    pub time_s: f64,
    /// Labels: CIoU loss times its gain.
    pub box_loss: f64,
    /// Labels: class loss times its gain.
    pub cls_loss: f64,
    /// Labels: distribution focal loss times its gain.
    pub dfl_loss: f64,
    /// Teacher: IoU loss to its boxes times the gain; 0 where not distilled.
    pub distill_box_loss: f64,
    /// Teacher: class loss times its gain; 0 where not distilled.
    pub distill_cls_loss: f64,
    /// Teacher: KL over DFL bins times its gain; 0 where not distilled.
    pub distill_dfl_loss: f64,
    /// Precision at the confidence of maximum F1.
    pub precision: Option<f64>,
    /// Recall there.
    pub recall: Option<f64>,
    /// mAP at IoU 0.5.
    pub map50: Option<f64>,
    /// mAP at IoU 0.5:0.95.
    pub map50_95: Option<f64>,
    /// Recall of objects under 32 x 32 pixels at IoU 0.5.
    pub small_recall: Option<f64>,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Share of the epoch's training time that steps waited for data.
    pub data_wait: f64,
    /// Images per second of the epoch's training part.
    pub images_per_s: f64,
}

/// Column names; Ultralytics' own where they mean the same.
const COLUMNS: [&str; 16] = [
    "epoch",
    "time",
    "train/box_loss",
    "train/cls_loss",
    "train/dfl_loss",
    "distill/box_loss",
    "distill/cls_loss",
    "distill/dfl_loss",
    "metrics/precision(B)",
    "metrics/recall(B)",
    "metrics/mAP50(B)",
    "metrics/mAP50-95(B)",
    "metrics/small_recall50",
    "lr/pg0",
    "data_wait",
    "images_per_s",
];

impl EpochRow {
    fn fields(&self) -> [String; COLUMNS.len()] {
        let number = |v: f64| format!("{v:.6}");
        let metric = |v: Option<f64>| v.map(number).unwrap_or_default();
        [
            self.epoch.to_string(),
            format!("{:.3}", self.time_s),
            number(self.box_loss),
            number(self.cls_loss),
            number(self.dfl_loss),
            number(self.distill_box_loss),
            number(self.distill_cls_loss),
            number(self.distill_dfl_loss),
            metric(self.precision),
            metric(self.recall),
            metric(self.map50),
            metric(self.map50_95),
            metric(self.small_recall),
            format!("{:.8}", self.lr),
            format!("{:.4}", self.data_wait),
            format!("{:.2}", self.images_per_s),
        ]
    }
}

/// Writes the rows as `results.csv`.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn write_csv(path: &Path, rows: &[EpochRow]) -> Result<()> {
    let mut text = COLUMNS.join(",") + "\n";
    for row in rows {
        text.push_str(&row.fields().join(","));
        text.push('\n');
    }
    Ok(fsio::write_atomic(path, text.as_bytes())?)
}

/// Draws losses and metrics over the epochs as one SVG.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn write_curves(path: &Path, rows: &[EpochRow]) -> Result<()> {
    let mut svg = String::new();
    draw(&mut svg, rows).map_err(|e| Error::io(path, "draw", std::io::Error::other(e)))?;
    Ok(fsio::write_atomic(path, svg.as_bytes())?)
}

/// A curve: its name and its value at an epoch.
type Curve = (&'static str, fn(&EpochRow) -> Option<f64>);

const PANELS: [(&str, &[Curve]); 3] = [
    ("loss, labels", &[("box", |r| Some(r.box_loss)), ("class", |r| Some(r.cls_loss)), ("DFL", |r| Some(r.dfl_loss))]),
    (
        "loss, teacher",
        &[
            ("box", |r| Some(r.distill_box_loss)),
            ("class", |r| Some(r.distill_cls_loss)),
            ("DFL", |r| Some(r.distill_dfl_loss)),
        ],
    ),
    ("validation", &[("mAP@0.5", |r| r.map50), ("mAP@0.5:0.95", |r| r.map50_95), ("small recall", |r| r.small_recall)]),
];

fn draw(svg: &mut String, rows: &[EpochRow]) -> Result<(), String> {
    let words = |e: DrawingAreaErrorKind<<SVGBackend as DrawingBackend>::ErrorType>| e.to_string();
    let area = SVGBackend::with_string(svg, (1200, 380)).into_drawing_area();
    area.fill(&WHITE).map_err(|e| e.to_string())?;
    let last = rows.last().map_or(1, |r| r.epoch).max(2) as f64;
    for (panel, (title, curves)) in area.split_evenly((1, PANELS.len())).iter().zip(PANELS) {
        let points = |value: fn(&EpochRow) -> Option<f64>| {
            rows.iter().filter_map(move |r| Some((r.epoch as f64, value(r)?))).filter(|(_, v)| v.is_finite())
        };
        let top = curves.iter().flat_map(|(_, value)| points(*value)).map(|(_, v)| v).fold(0.0, f64::max);
        let top = if top > 0.0 { top * 1.05 } else { 1.0 };
        let mut chart = ChartBuilder::on(panel)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(48)
            .build_cartesian_2d(1.0..last, 0.0..top)
            .map_err(words)?;
        chart.configure_mesh().x_desc("epoch").light_line_style(WHITE).draw().map_err(words)?;
        for (index, (name, value)) in curves.iter().enumerate() {
            let colour = Palette99::pick(index).to_rgba();
            let line = LineSeries::new(points(*value), colour.stroke_width(2));
            let drawn = chart.draw_series(line).map_err(words)?;
            drawn.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
            .map_err(words)?;
    }
    area.present().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<EpochRow> {
        (1..=3)
            .map(|epoch| EpochRow {
                epoch,
                box_loss: 1.0 / epoch as f64,
                map50: (epoch != 2).then_some(0.25),
                ..EpochRow::default()
            })
            .collect()
    }

    #[test]
    fn a_row_has_a_field_for_every_column_and_none_where_nothing_was_measured() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        write_csv(&path, &rows()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split(',').collect()).collect();
        assert!(lines.iter().all(|l| l.len() == COLUMNS.len()), "{text}");
        let at = COLUMNS.iter().position(|c| *c == "metrics/mAP50(B)").unwrap();
        assert_eq!(lines.iter().map(|l| l[at]).collect::<Vec<_>>(), ["metrics/mAP50(B)", "0.250000", "", "0.250000"]);
    }

    #[test]
    fn curves_are_drawn_even_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curves.svg");
        for rows in [rows(), Vec::new(), vec![EpochRow { epoch: 1, box_loss: f64::NAN, ..EpochRow::default() }]] {
            write_curves(&path, &rows).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("mAP@0.5:0.95") && roxmltree::Document::parse(&text).is_ok(), "{text}");
        }
    }
}
