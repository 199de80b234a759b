//! What is on the page, what is missing, and the table of the runs.

use super::{Content, nothing, number, shortened, swatch};
use crate::{report::comparison::ComparedRun, words::counted};
use indicatif::HumanCount;
use maud::{Markup, html};

pub(super) fn subtitle(content: &Content<'_>) -> String {
    let evals = match content.evals.len() {
        0 => String::new(),
        evals => format!(", {}", counted(evals, "evaluation")),
    };
    format!("{} and {}{evals}", counted(content.runs.len(), "run"), counted(content.caches.len(), "cache"))
}

/// Which colour is whose, everywhere on the page.
pub(super) fn legend(content: &Content<'_>) -> Markup {
    let before = content.scored.and_then(|s| s.models.iter().find(|model| model.series == content.runs.len()));
    html! {
        ul.legend {
            @for (i, run) in content.runs.iter().enumerate() {
                li { (swatch(i)) (run.name) @if i == 0 && content.runs.len() > 1 { span.muted { " (reference)" } } }
            }
            @if before.is_some() { li { (swatch(content.runs.len())) "before" span.muted { " (student before distillation)" } } }
            @for (i, cache) in content.caches.iter().enumerate() {
                li { (swatch(content.cache_series(i))) (cache.name) span.muted { " (cache)" } }
            }
        }
    }
}

pub(super) fn notes(content: &Content<'_>) -> Markup {
    html! {
        @if !content.notes.is_empty() {
            aside.notes {
                h2 { "Notes" }
                ul { @for note in content.notes { li { (note) } } }
            }
        }
    }
}

pub(super) fn comparison(content: &Content<'_>) -> Markup {
    let comparison = content.comparison;
    let Some(first) = comparison.runs.first() else {
        return nothing("No run was given.");
    };
    html! {
        div.scroll {
            table.comparison {
                thead {
                    tr {
                        th { "run" }
                        th.n { "best epoch" }
                        th.n { "mAP@0.5" }
                        th.n { "mAP@0.5:0.95" }
                        th.n { "small-object recall" }
                        th.n { "parameters" }
                        th.n { "seconds an epoch" }
                    }
                }
                tbody {
                    @for (i, run) in comparison.runs.iter().enumerate() { (row(i, run, first)) }
                }
            }
        }
        p.caption {
            "Scores are those of the best epoch (highest mAP@0.5:0.95) on the run's own validation split, as its results.csv has them."
            @if comparison.runs.len() > 1 {
                " Small numbers are changes against the first run."
            }
        }
        @if comparison.runs.len() > 1 { (settings(content)) }
    }
}

/// A line for each setting in which the runs differ.
fn settings(content: &Content<'_>) -> Markup {
    let comparison = content.comparison;
    html! {
        h3 { "Settings that differ" }
        @if comparison.settings.is_empty() {
            p.caption { "No recorded setting differs. All settings are at the end of the page." }
        } @else {
            div.scroll {
                table.settings {
                    thead {
                        tr {
                            th { "setting" }
                            @for (i, run) in comparison.runs.iter().enumerate() { th { (swatch(i)) (run.name) } }
                        }
                    }
                    tbody {
                        @for (i, name) in comparison.settings.iter().enumerate() {
                            tr {
                                th scope="row" { (name) }
                                @for run in &comparison.runs { @let value = &run.settings[i]; td title=(value) { (shortened(value)) } }
                            }
                        }
                    }
                }
            }
            p.caption { "All settings are at the end of the page." }
        }
    }
}

fn row(i: usize, run: &ComparedRun, first: &ComparedRun) -> Markup {
    let score = |column: &str, value: Option<f64>, of_first: Option<f64>| {
        html! {
            td.n data-column=(column) {
                (number(value, 4))
                @if let (true, Some(value), Some(first)) = (i > 0, value, of_first) { small { (format!("{:+.4}", value - first)) } }
            }
        }
    };
    html! {
        tr data-run=(run.name) {
            th scope="row" { (swatch(i)) (run.name) }
            td.n data-column="best_epoch" {
                (number(run.best_epoch, 0))
                small { "of " (run.epochs) }
            }
            (score("map50", run.map50, first.map50))
            (score("map50_95", run.map, first.map))
            (score("small_recall", run.small_recall, first.small_recall))
            td.n data-column="parameters" {
                @match run.parameters { Some(n) => (HumanCount(n)), None => span.muted { "–" } }
            }
            td.n data-column="seconds_per_epoch" { (number(run.seconds_per_epoch, 1)) }
        }
    }
}
