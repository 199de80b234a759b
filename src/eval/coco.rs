//! Images as hotcoco's data sets: the COCO protocol as pycocotools has it, bit for bit.

use super::score::{CocoScores, ScoredImage};
use crate::{
    Error, Result,
    types::{BoxXyxyPx, Detection, TruthBox},
};
use hotcoco::{
    AccumulatedEval, Annotation, COCO, COCOeval, Category, Dataset, Extra, Image,
    params::{IouType, Params},
};

/// Whose area decides between small, medium and large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The annotation's own `area`, as pycocotools has it.
    Annotation,
    /// The box's.
    Box,
}

/// Matches every detection with the truth. Images are numbered by position, classes from 1.
///
/// # Errors
/// [`Error::Mismatch`] for what hotcoco does not take (a score that is not a number).
pub fn evaluate(images: &[ScoredImage], class_names: &[String], params: Params, area: Area) -> Result<COCOeval> {
    let category = |(class_id, name): (u32, &String)| Category {
        id: category_id(class_id),
        name: name.clone(),
        supercategory: None,
        skeleton: None,
        keypoints: None,
        frequency: None,
        isthing: None,
        extra: Extra::default(),
    };
    let numbered = || (0u64..).zip(images);
    let truth =
        numbered().flat_map(|(id, image)| image.truth.iter().map(move |truth| truth_annotation(id, truth, area)));
    let detections =
        numbered().flat_map(|(id, image)| image.detections.iter().map(move |found| detection_annotation(id, found)));
    let truth = COCO::from_dataset(Dataset {
        images: numbered().map(|(id, _)| Image { id, ..Image::default() }).collect(),
        annotations: (1..).zip(truth).map(|(id, annotation)| Annotation { id, ..annotation }).collect(),
        categories: (0..).zip(class_names).map(category).collect(),
        ..Dataset::default()
    });
    let detections = truth.load_res_anns(detections.collect()).map_err(refused)?;
    let mut eval = COCOeval::new(truth, detections, IouType::Bbox);
    eval.params = params;
    eval.evaluate().map_err(refused)?;
    Ok(eval)
}

/// The twelve numbers, and the AP50 and AP of each class.
///
/// # Errors
/// As [`evaluate`].
#[allow(clippy::type_complexity)]
pub fn twelve_numbers(
    images: &[ScoredImage],
    class_names: &[String],
) -> Result<(CocoScores, Vec<(Option<f64>, Option<f64>)>)> {
    let mut eval = evaluate(images, class_names, Params::new(IouType::Bbox), Area::Annotation)?;
    eval.accumulate();
    // Sets `stats`; the lines are for a terminal.
    eval.summarize_lines();
    let stats = |i: usize| eval.stats().and_then(|stats| stats.get(i)).copied().filter(|&value| value >= 0.0);
    let scores = CocoScores {
        ap: stats(0),
        ap_50: stats(1),
        ap_75: stats(2),
        ap_small: stats(3),
        ap_medium: stats(4),
        ap_large: stats(5),
        ar_1: stats(6),
        ar_10: stats(7),
        ar_100: stats(8),
        ar_small: stats(9),
        ar_medium: stats(10),
        ar_large: stats(11),
    };
    let of_class = |class: usize| match eval.accumulated() {
        Some(accumulated) => (class_ap(accumulated, class, 0..1), class_ap(accumulated, class, 0..accumulated.shape.t)),
        None => (None, None),
    };
    Ok((scores, (0..class_names.len()).map(of_class).collect()))
}

/// Mean precision over some IoU thresholds and all recalls, for objects of every size and 100 detections an image; `None` for a class
/// without objects.
fn class_ap(accumulated: &AccumulatedEval, class: usize, thresholds: std::ops::Range<usize>) -> Option<f64> {
    let last_max_detections = accumulated.shape.m.checked_sub(1)?;
    let mut values = Vec::with_capacity(thresholds.len() * accumulated.shape.r);
    for t in thresholds {
        for r in 0..accumulated.shape.r {
            values.push(*accumulated.precision.get(accumulated.precision_idx(t, r, class, 0, last_max_detections))?);
        }
    }
    // -1 stands for a class without objects.
    (!values.is_empty() && values.iter().all(|&v| v >= 0.0)).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// A category's id in hotcoco's data sets; 0 would do as well, but COCO's begin with 1.
fn category_id(class_id: u32) -> u64 {
    u64::from(class_id) + 1
}

fn truth_annotation(image_id: u64, truth: &TruthBox, area: Area) -> Annotation {
    let bbox = xywh(&truth.box_xyxy_px);
    Annotation {
        image_id,
        category_id: category_id(truth.class_id),
        bbox: Some(bbox),
        area: Some(match area {
            Area::Annotation => truth.area_px2,
            Area::Box => bbox[2] * bbox[3],
        }),
        iscrowd: truth.is_crowd,
        ..Annotation::default()
    }
}

fn detection_annotation(image_id: u64, found: &Detection) -> Annotation {
    Annotation {
        image_id,
        category_id: category_id(found.class_id),
        bbox: Some(xywh(&found.box_xyxy_px)),
        score: Some(f64::from(found.score)),
        ..Annotation::default()
    }
}

/// Left, top, width, height.
fn xywh(corners: &BoxXyxyPx) -> [f64; 4] {
    let [x1, y1, x2, y2] = [corners.x1, corners.y1, corners.x2, corners.y2].map(f64::from);
    [x1, y1, x2 - x1, y2 - y1]
}

fn refused(error: hotcoco::Error) -> Error {
    Error::Mismatch {
        found: format!("these detections cannot be scored: {error}"),
        remedy: "Boxes and scores must be finite numbers.".into(),
    }
}
