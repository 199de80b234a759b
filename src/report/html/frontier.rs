//! What accuracy costs: models that `eval` has scored and timed.

use super::{Content, figure, number, swatch};
use crate::{
    Result,
    report::{
        eval_folder::{EvalFolder, SavedModel},
        plot::{Mark, scatter},
    },
};
use indicatif::HumanBytes;
use maud::{Markup, html};

/// One part for each folder.
pub(super) fn frontier(content: &Content<'_>) -> Result<Markup> {
    let parts = content.evals.iter().map(part).collect::<Result<Vec<_>>>()?;
    Ok(html! { @for part in parts { (part) } })
}

fn part(folder: &EvalFolder) -> Result<Markup> {
    let timed = folder.models.iter().enumerate();
    let marks: Vec<Mark<'_>> = timed
        .filter_map(|(series, (model, map_50_95))| {
            let at = (model.latency_p50_ms()?, *map_50_95);
            Some(Mark { name: &model.name, series, at, on_frontier: model.beaten_by.is_none() })
        })
        .collect();
    let chart = match marks.is_empty() {
        true => None,
        false => Some(scatter("Accuracy over latency", "latency p50, one thread (ms)", "mAP@0.5:0.95", &marks)?),
    };
    Ok(html! {
        h3 { (folder.name) }
        p { (folder.scored_on) }
        @if let Some(chart) = chart {
            (figure(&chart, html! {
                "Filled: on the frontier. Hollow: beaten by a model that is at least as accurate, fast, small and sparing of memory."
            }))
        }
        div.scroll { (table(&folder.models)) }
        p.caption {
            "Times are of the machine and the moment of the evaluation: ONNX Runtime's session alone, one thread. Memory is what loading and running it took at most."
        }
    })
}

fn table(models: &[(SavedModel, f64)]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th { "model" }
                    th { "precision" }
                    th.n { "input" }
                    th.n { "mAP@0.5:0.95" }
                    th.n { "latency p50 (ms)" }
                    th.n { "file size" }
                    th.n { "memory" }
                    th { "beaten by" }
                }
            }
            tbody {
                @for (series, (model, map_50_95)) in models.iter().enumerate() {
                    tr data-model=(model.name) {
                        th scope="row" { (swatch(series)) (model.name) }
                        td { (model.precision) }
                        td.n { (model.input_width) " x " (model.input_height) }
                        td.n { (number(Some(*map_50_95), 4)) }
                        td.n { (number(model.latency_p50_ms(), 2)) }
                        td.n { (HumanBytes(model.file_bytes)) }
                        td.n { @match model.memory_bytes { Some(bytes) => (HumanBytes(bytes)), None => span.muted { "–" } } }
                        td { @match &model.beaten_by { Some(by) => (by), None => span.muted { "–" } } }
                    }
                }
            }
        }
    }
}
