//! Diagrams over the epochs: one for each quantity, a line for each run.

use super::{Content, nothing};
use crate::{
    Result,
    report::plot::{Line, LineChart, line_chart},
    run::results::{
        DISTILL_LOSSES, IMAGES_PER_S, LABEL_LOSSES, LEARNING_RATE, MAP, MAP50, PRECISION, RECALL, SMALL_RECALL,
    },
};
use maud::{Markup, PreEscaped, html};

/// Groups of diagrams: title, and for each diagram its title and its column in `results.csv`.
const GROUPS: [(&str, &[(&str, &str)]); 4] = [
    (
        "Validation",
        &[
            ("mAP@0.5", MAP50),
            ("mAP@0.5:0.95", MAP),
            ("small-object recall", SMALL_RECALL),
            ("precision", PRECISION),
            ("recall", RECALL),
        ],
    ),
    (
        "Loss against the labels",
        &[("boxes (CIoU)", LABEL_LOSSES[0]), ("classes", LABEL_LOSSES[1]), ("distribution focal", LABEL_LOSSES[2])],
    ),
    (
        "Loss against the teacher",
        &[("boxes (IoU)", DISTILL_LOSSES[0]), ("classes", DISTILL_LOSSES[1]), ("DFL bins (KL)", DISTILL_LOSSES[2])],
    ),
    ("Course", &[("learning rate", LEARNING_RATE), ("images a second", IMAGES_PER_S)]),
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
