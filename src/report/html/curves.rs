//! Diagrams over the epochs: one for each quantity, a line for each run.

use super::{Content, nothing};
use crate::{
    Result,
    report::plot::{Line, LineChart, line_chart},
};
use maud::{Markup, PreEscaped, html};

/// Groups of diagrams: title, and for each diagram its title and its column in `results.csv`.
const GROUPS: [(&str, &[(&str, &str)]); 4] = [
    (
        "Validation",
        &[
            ("mAP@0.5", "metrics/mAP50(B)"),
            ("mAP@0.5:0.95", "metrics/mAP50-95(B)"),
            ("small-object recall", "metrics/small_recall50"),
            ("precision", "metrics/precision(B)"),
            ("recall", "metrics/recall(B)"),
        ],
    ),
    (
        "Loss against the labels",
        &[("boxes (CIoU)", "train/box_loss"), ("classes", "train/cls_loss"), ("distribution focal", "train/dfl_loss")],
    ),
    (
        "Loss against the teacher",
        &[("boxes (IoU)", "distill/box_loss"), ("classes", "distill/cls_loss"), ("DFL bins (KL)", "distill/dfl_loss")],
    ),
    ("Course", &[("learning rate", "lr/pg0"), ("images a second", "images_per_s")]),
];

pub(super) fn curves(content: &Content<'_>) -> Result<Markup> {
    let mut groups = Vec::new();
    for (title, panels) in GROUPS {
        let mut drawn = Vec::new();
        for (name, column) in panels {
            let lines: Vec<Line> = content
                .runs
                .iter()
                .enumerate()
                .map(|(series, run)| Line { series, points: run.results.curve(column) })
                // A run that was not distilled has a loss of 0 throughout: nothing to see. A score of 0 is one.
                .filter(|line| column.starts_with("metrics/") || line.points.iter().any(|(_, value)| *value != 0.0))
                .filter(|line| !line.points.is_empty())
                .collect();
            if !lines.is_empty() {
                drawn.push(line_chart(&LineChart { title: name, x_label: "epoch", y_label: "", unit: false, lines })?);
            }
        }
        if !drawn.is_empty() {
            groups.push((title, drawn));
        }
    }
    if groups.is_empty() {
        return Ok(nothing("No run has a finished epoch."));
    }
    Ok(html! {
        @for (title, drawn) in groups {
            h3 { (title) }
            div.panels { @for svg in drawn { figure { (PreEscaped(svg)) } } }
        }
        p.caption { "Losses are means over an epoch's steps, with their gains. Scores are of the averaged weights on the validation split." }
    })
}
