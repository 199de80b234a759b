//! What accuracy costs: models that `eval` has scored and timed.

use super::{Content, figure, number, swatch};
use crate::{
    Result,
    eval::{FrontierPoint, beaten_by},
    report::{
        eval_folder::EvalFolder,
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
    let beaten = beaten_by(&folder.points);
    let timed = folder.points.iter().zip(&beaten).enumerate();
    let marks: Vec<Mark<'_>> = timed
        .filter_map(|(series, (point, beaten))| {
            let at = (point.latency_p50_ms?, point.map_50_95);
            Some(Mark { name: &point.name, series, at, on_frontier: beaten.is_none() })
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
        div.scroll { (table(&folder.points, &beaten)) }
        p.caption {
            "Times are of the machine and the moment of the evaluation: ONNX Runtime's session alone, one thread. Memory is what loading and running it took at most."
        }
    })
}

fn table(points: &[FrontierPoint], beaten: &[Option<usize>]) -> Markup {
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
                @for (series, (point, beaten)) in points.iter().zip(beaten).enumerate() {
                    tr data-model=(point.name) {
                        th scope="row" { (swatch(series)) (point.name) }
                        td { (point.precision) }
                        td.n { (point.input_px[0]) " x " (point.input_px[1]) }
                        td.n { (number(Some(point.map_50_95), 4)) }
                        td.n { (number(point.latency_p50_ms, 2)) }
                        td.n { (HumanBytes(point.file_bytes)) }
                        td.n { @match point.memory_bytes { Some(bytes) => (HumanBytes(bytes)), None => span.muted { "–" } } }
                        td { @match beaten.and_then(|by| points.get(by)) { Some(by) => (by.name), None => span.muted { "–" } } }
                    }
                }
            }
        }
    }
}
