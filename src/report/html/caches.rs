//! Caches: what is in them, and how far their teachers' scores can be believed.

use super::{Content, figure, nothing, number, swatch};
use crate::{
    Result,
    eval::Calibration,
    report::{
        cache_folder::{CacheFolder, MAX_SCORED_IMAGES, TeacherScores},
        plot::{Bars, Line, LineChart, bars, line_chart, reliability},
    },
    types::InputSize,
    words::counted,
};
use indicatif::{HumanBytes, HumanCount};
use maud::{Markup, html};

/// Classes with bars.
const MAX_CLASSES: usize = 20;

pub(super) fn caches(content: &Content<'_>) -> Result<Markup> {
    if content.caches.is_empty() {
        return Ok(nothing(
            "There is no cache: none was given, and no run records the cache that it was trained from. Give the cache's folder together with the runs.",
        ));
    }
    let caches = content.caches.iter().enumerate();
    let drawn = caches.map(|(i, cache)| one(cache, content.cache_series(i))).collect::<Result<Vec<_>>>()?;
    Ok(html! { @for cache in drawn { (cache) } })
}

fn one(cache: &CacheFolder, series: usize) -> Result<Markup> {
    let s = &cache.summary;
    let bins = if s.teacher.reg_max == 0 { "no DFL".into() } else { format!("{} DFL bins", s.teacher.reg_max) };
    let facts: [(&str, String); 7] = [
        (
            "teacher",
            format!(
                "{}, {}, {bins}, {}",
                s.teacher.file_name,
                counted(s.teacher.num_classes, "class"),
                s.teacher.precision
            ),
        ),
        ("input", format!("{} pixels", InputSize::from(s.teacher.input()).in_words())),
        (
            "images",
            format!(
                "{} of {}, {} labelled, {} failed{}",
                HumanCount(s.images),
                HumanCount(s.dataset.samples),
                HumanCount(s.labelled_images),
                HumanCount(s.failures.len() as u64),
                if s.complete { "" } else { "; the build is not finished" }
            ),
        ),
        ("label boxes", HumanCount(s.label_boxes).to_string()),
        (
            "predictions",
            format!(
                "{} kept anchors, {:.1} an image (score from {}, at most {})",
                HumanCount(s.rows),
                s.rows as f64 / s.images.max(1) as f64,
                s.settings.min_score,
                s.settings.top_k
            ),
        ),
        ("size", format!("{}, {} an image", HumanBytes(s.bytes), HumanBytes(s.bytes_per_image as u64))),
        ("content", s.content_sha256.as_ref().map_or("-".to_owned(), |digest| format!("sha256 {digest}"))),
    ];
    Ok(html! {
        h3 { (swatch(series)) (cache.name) }
        dl.facts { @for (name, value) in facts { dt { (name) } dd { (value) } } }
        @match &cache.teacher {
            Some(teacher) => (calibration(teacher, series)?),
            None => (nothing("Its images have no labels with objects, so there is nothing to compare the teacher's scores with.")),
        }
    })
}

fn calibration(teacher: &TeacherScores, series: usize) -> Result<Markup> {
    let TeacherScores { scores, curves, calibration, labelled_images } = teacher;
    let chart = LineChart {
        title: "Precision over recall, IoU 0.5",
        x_label: "recall",
        y_label: "precision",
        unit: true,
        lines: vec![Line { series, points: curves.mean.clone() }],
    };
    let mut classes: Vec<_> = scores.classes.iter().filter(|class| class.objects > 0).collect();
    classes.sort_by(|a, b| b.objects.cmp(&a.objects).then(a.class_id.cmp(&b.class_id)));
    let per_class = Bars {
        title: "The teacher's average precision of each class at IoU 0.5",
        x_label: "AP@0.5",
        series: vec![series],
        groups: classes.iter().take(MAX_CLASSES).map(|class| (class.name.clone(), vec![class.ap_50])).collect(),
    };
    Ok(html! {
        p {
            "Expected calibration error " strong data-column="expected_error" { (number(calibration.expected_error, 3)) }
            ", mAP@0.5 " strong { (number(scores.coco.ap_50, 3)) }
            " on " (HumanCount(scores.images))
            @if scores.images < *labelled_images as u64 {
                " of " (HumanCount(*labelled_images as u64)) " labelled images (evenly spaced, " (HumanCount(MAX_SCORED_IMAGES as u64)) " at most)."
            } @else { " labelled images." }
        }
        div.three {
            (figure(&reliability(calibration, series)?, html! {
                "Reliability of the scores. Bars: the fraction of detections with a score in this bin that are correct; dots: the same at their mean score; "
                "dashed line: where they would be if the scores were probabilities. Below: the number of detections."
            }))
            (figure(&line_chart(&chart)?, html! { "Mean over the classes with objects." }))
            (figure(&bars(&per_class)?, html! {
                "AP@0.5 of "
                @if classes.len() > MAX_CLASSES { "the " (MAX_CLASSES) " most frequent of " (classes.len()) " classes." } @else { "every class." }
            }))
        }
        p.caption {
            "Counted are the cache's kept anchors, each with its best class, after non-maximum suppression (IoU 0.7, at most 300 an image). A detection is "
            "correct if it is matched to an object of its class at IoU 0.5 or more: detections are matched in the order of their scores, each object at most "
            "once, and at most 100 detections of a class on an image count (as in COCO). The expected calibration error is the mean difference "
            "between score and fraction of correct detections over ten bins, weighted by their counts."
        }
        details {
            summary { "The bins in numbers" }
            div.scroll { (bins(calibration)) }
        }
    })
}

fn bins(calibration: &Calibration) -> Markup {
    html! {
        table {
            thead { tr { th { "score" } th.n { "detections" } th.n { "right" } th.n { "mean score" } th.n { "fraction correct" } } }
            tbody {
                @for bin in &calibration.bins {
                    tr {
                        th scope="row" { (format!("{:.1} to {:.1}", bin.from, bin.to)) }
                        td.n { (bin.detections) }
                        td.n { (bin.right) }
                        td.n { (number(bin.mean_score(), 3)) }
                        td.n { (number(bin.precision(), 3)) }
                    }
                }
            }
        }
    }
}
