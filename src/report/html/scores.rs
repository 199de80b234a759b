//! All models on the same images, by the scorer of `logitcache eval`.

use super::{Content, figure, nothing, number, swatch};
use crate::{
    Result,
    eval::ClassScores,
    report::{
        Scored,
        plot::{Bars, Line, LineChart, bars, line_chart},
    },
    words::counted,
};
use maud::{Markup, html};

/// Bars at most, all models together; the table below has every class.
const MAX_BARS: usize = 40;
/// Models with bars.
const MAX_MODELS: usize = 4;

pub(super) fn scores(content: &Content<'_>) -> Result<Markup> {
    let Some(scored) = content.scored else {
        return Ok(nothing("No model was scored for this report; the reason is in the notes at the top."));
    };
    let report = &scored.report;
    let (head, rows) = report.table();
    let lines = scored.models.iter().zip(&scored.curves);
    let chart = LineChart {
        title: "Precision over recall, IoU 0.5",
        x_label: "recall",
        y_label: "precision",
        unit: true,
        lines: lines.map(|(model, curve)| Line { series: model.series, points: curve.mean.clone() }).collect(),
    };
    let classes = most_frequent(scored);
    let shown: Vec<usize> = (0..scored.models.len().min(MAX_MODELS)).collect();
    let num_classes = classes.len().min(MAX_BARS / shown.len().max(1)).min(20);
    let ap = |model: usize, class: u32| report.models.get(model)?.scores.classes.get(class as usize)?.ap_50;
    let per_class = Bars {
        title: "Average precision of each class at IoU 0.5",
        x_label: "AP@0.5",
        series: shown.iter().map(|&i| scored.models[i].series).collect(),
        groups: classes
            .iter()
            .take(num_classes)
            .map(|class| (class.name.clone(), shown.iter().map(|&i| ap(i, class.class_id)).collect()))
            .collect(),
    };
    Ok(html! {
        @for line in report.captions() { p { (line) } }
        div.scroll {
            table {
                thead { tr { @for (i, cell) in head.iter().enumerate() { th.n[i > 0] { (cell.trim()) } } } }
                tbody {
                    @for row in rows {
                        tr { @for (i, cell) in row.iter().enumerate() { @if i == 0 { th scope="row" { (cell) } } @else { td.n { (cell.trim()) } } } }
                    }
                }
            }
        }
        div.pair {
            (figure(&line_chart(&chart)?, html! { "Mean over the classes with objects; the area under a line is its mAP@0.5." }))
            (figure(&bars(&per_class)?, html! {
                "AP@0.5 of "
                @if classes.len() > num_classes { "the " (num_classes) " most frequent of " (classes.len()) " classes" } @else { "every class" }
                " with objects, the most frequent first."
                @if scored.models.len() > MAX_MODELS { " The first " (MAX_MODELS) " models are shown." }
            }))
        }
        details {
            summary { "Every class in numbers" }
            div.scroll { (class_table(scored, &classes)) }
        }
        @if !report.failures.is_empty() {
            details {
                summary { (counted(report.failures.len(), "image")) " could not be scored" }
                ul { @for failure in &report.failures { li { (failure.path) ": " (failure.reason) } } }
            }
        }
    })
}

/// Classes with objects, the most frequent first.
fn most_frequent(scored: &Scored) -> Vec<&ClassScores> {
    let of_first = scored.report.models.first().map(|model| model.scores.classes.as_slice()).unwrap_or_default();
    let mut classes: Vec<&ClassScores> = of_first.iter().filter(|class| class.objects > 0).collect();
    classes.sort_by(|a, b| b.objects.cmp(&a.objects).then(a.class_id.cmp(&b.class_id)));
    classes
}

fn class_table(scored: &Scored, classes: &[&ClassScores]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th rowspan="2" { "class" }
                    th.n rowspan="2" { "objects" }
                    @for model in &scored.models { th.group colspan="4" { (swatch(model.series)) (model.name) } }
                }
                tr {
                    @for _ in &scored.models { th.n { "AP@0.5" } th.n { "AP@0.5:0.95" } th.n { "precision" } th.n { "recall" } }
                }
            }
            tbody {
                @for class in classes {
                    tr {
                        th scope="row" { (class.name) }
                        td.n { (class.objects) }
                        @for model in &scored.report.models {
                            @let own = model.scores.classes.get(class.class_id as usize);
                            td.n { (number(own.and_then(|c| c.ap_50), 3)) }
                            td.n { (number(own.and_then(|c| c.ap), 3)) }
                            td.n { (number(own.and_then(|c| c.precision), 3)) }
                            td.n { (number(own.and_then(|c| c.recall), 3)) }
                        }
                    }
                }
            }
        }
        p.caption { "Precision and recall at the single confidence where a model's mean F1 is highest." }
    }
}
