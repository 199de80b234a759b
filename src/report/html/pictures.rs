//! Images side by side, with the class distributions of some boxes.

use super::{Content, nothing};
use crate::report::{
    TITLE_BEFORE,
    pictures::{ClassProbs, PictureRow, Pictures, SoftBox, TOP_CLASSES},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use indicatif::HumanCount;
use maud::{Markup, html};

pub(super) fn pictures(content: &Content<'_>) -> Markup {
    let pictures = content.pictures;
    if pictures.rows.is_empty() {
        return nothing(match pictures.candidates {
            0 => "There are no pictures: they need a cache, or a data set and a run with a best.onnx.",
            _ => "There are no pictures: the boxes agree on every image, or no image can be read from its path.",
        });
    }
    html! {
        p.caption {
            "Of " (HumanCount(pictures.candidates as u64))
            @if pictures.candidates < pictures.available { " (evenly spaced among " (HumanCount(pictures.available as u64)) ")" }
            " images, these are the ones whose boxes disagree most. The labels, the teacher and the student after distillation are compared in pairs: boxes without a "
            "partner (same class, IoU 0.5 or more) are summed with their scores as weights (1 for a label), divided by 1 plus the sum of all scores; the mean over the pairs "
            "is an image's disagreement. Only boxes with a score over 0.25 are used, after non-maximum suppression \
             (IoU 0.7)."
        }
        @if pictures.rows.iter().any(|row| !row.boxes.is_empty()) { (key(pictures)) }
        @for (i, row) in pictures.rows.iter().enumerate() { (one(i + 1, row, pictures)) }
    }
}

/// What the bars below the pictures are.
fn key(pictures: &Pictures) -> Markup {
    html! {
        p.caption {
            "Below the pictures: the teacher's " (TOP_CLASSES) " most probable classes at the anchor of the box with the same number, each with the "
            "class's own probability (from a sigmoid: they need not sum to 1)"
            @if pictures.soft_models.is_empty() { "." } @else {
                "; shown are the boxes where the last model's probability of the teacher's class is furthest from the teacher's."
            }
        }
        ul.legend {
            li { span.swatch.teacher {} "teacher" }
            @for model in &pictures.soft_models { li { span class=(format!("swatch {}", kind(model))) {} (model) " at the same anchor" } }
        }
    }
}

/// Whose bars they are, by the model's title.
fn kind(title: &str) -> &'static str {
    if title == TITLE_BEFORE { "before" } else { "after" }
}

fn one(number: usize, row: &PictureRow, pictures: &Pictures) -> Markup {
    html! {
        article.picture {
            h3 { (number) ". " (row.name) " " span.muted { "disagreement " (format!("{:.3}", row.disagreement)) } }
            div.columns style=(format!("--columns:{}", row.drawings.len())) {
                @for (title, drawing) in pictures.columns.iter().zip(&row.drawings) {
                    figure {
                        img src=(format!("data:image/jpeg;base64,{}", STANDARD.encode(&drawing.jpeg)))
                            width=(drawing.width) height=(drawing.height) alt=(format!("{}: {}", row.name, title)) loading="lazy";
                        figcaption {
                            (title)
                            span.muted {
                                @match drawing.boxes { None => ": unlabelled", Some(1) => ": 1 box", Some(n) => { ": " (n) " boxes" } }
                            }
                        }
                    }
                }
            }
            @if !row.boxes.is_empty() {
                div.boxes { @for soft in &row.boxes { (soft_box(soft, &pictures.soft_models)) } }
            }
        }
    }
}

fn soft_box(soft: &SoftBox, models: &[String]) -> Markup {
    let b = soft.box_xyxy_px;
    html! {
        table.soft {
            caption {
                strong { "[" (soft.number) "] " (soft.class) " " (format!("{:.2}", soft.score)) }
                span.muted { (format!(" at {:.0}, {:.0} to {:.0}, {:.0}", b.x1, b.y1, b.x2, b.y2)) }
            }
            thead.visually-hidden {
                tr { th { "the teacher's first " (TOP_CLASSES) " classes" } th { "teacher" } @for model in models { th { (model) } } }
            }
            tbody { @for probs in &soft.classes { (class_row(probs, models)) } }
        }
    }
}

fn class_row(probs: &ClassProbs, models: &[String]) -> Markup {
    html! {
        tr {
            th scope="row" { (probs.class) }
            td { (bar("teacher", "teacher", Some(probs.teacher))) @for (model, prob) in models.iter().zip(&probs.models) {
                (bar(kind(model), model, *prob))
            } }
        }
    }
}

/// A bar as long as a probability, with its number.
fn bar(kind: &str, who: &str, prob: Option<f32>) -> Markup {
    html! {
        div.bar title=(who) {
            span class=(format!("fill {kind}")) style=(format!("width:{:.1}%", 64.0 * prob.unwrap_or_default().clamp(0.0, 1.0))) {}
            span.value { @match prob { Some(prob) => (format!("{prob:.3}")), None => "–" } }
        }
    }
}
