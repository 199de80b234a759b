//! How each run was made.

use super::{Content, nothing, swatch};
use maud::{Markup, html};

pub(super) fn configuration(content: &Content<'_>) -> Markup {
    if content.runs.iter().all(|run| run.config.is_none()) {
        return nothing("No run has recorded its settings.");
    }
    let runs = content.runs.iter().enumerate().filter(|(_, run)| run.config.is_some());
    html! {
        @for (series, run) in runs {
            details open[content.runs.len() == 1] {
                summary { (swatch(series)) (run.name) }
                dl.facts.config {
                    @for (name, value) in run.settings() { dt { (name) } dd { (value) } }
                    @let classes = run.class_names();
                    dt { "classes" } dd { (classes.len()) @if !classes.is_empty() { ": " (classes.join(", ")) } }
                }
            }
        }
    }
}
