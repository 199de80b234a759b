//! Detections against the truth: every number that `eval` shows of one model.

use super::{
    coco,
    confidence::{BestConfidence, Point},
    matches::Matches,
};
use crate::{
    Error, Result,
    types::{Detection, TruthBox},
};
use schemars::JsonSchema;
use serde::Serialize;

/// One image with what is on it and what was found.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredImage {
    /// Whatever numbers the image; scores do not depend on it.
    pub image_id: i64,
    /// Objects and crowd regions, in pixels of the original image; none for a background image.
    pub truth: Vec<TruthBox>,
    /// Highest score first; of equal scores the earlier one counts as the higher.
    pub detections: Vec<Detection>,
}

/// What one model is worth.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Scores {
    /// Images scored.
    pub images: u64,
    /// Objects on them.
    pub objects: u64,
    /// Regions of many objects (COCO's `iscrowd`): detections on them count neither for nor against.
    pub crowd_regions: u64,
    /// Detections.
    pub detections: u64,
    /// The numbers of pycocotools.
    pub coco: CocoScores,
    /// At the confidence of the highest F1; none without objects.
    pub best_f1: Option<BestF1>,
    /// Objects whose box is at most 32 x 32 pixels of the original image.
    pub small: SmallObjects,
    /// Class by class, in the order of the class ids.
    pub classes: Vec<ClassScores>,
}

/// COCO's twelve numbers, 0..=1; none where the data has no object of the kind. Over 10 IoU thresholds from 0.50 to 0.95 and with at most
/// 100 detections of a class on an image, where not said otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CocoScores {
    /// Mean average precision (mAP@0.5:0.95).
    pub ap: Option<f64>,
    /// At IoU 0.50 (mAP@0.5).
    pub ap_50: Option<f64>,
    /// At IoU 0.75.
    pub ap_75: Option<f64>,
    /// Of objects of at most 32 x 32 pixels (their annotation's area).
    pub ap_small: Option<f64>,
    /// Of objects from 32 x 32 to 96 x 96 pixels.
    pub ap_medium: Option<f64>,
    /// Of objects from 96 x 96 pixels.
    pub ap_large: Option<f64>,
    /// Mean recall with at most 1 detection of a class on an image.
    pub ar_1: Option<f64>,
    /// Mean recall with at most 10.
    pub ar_10: Option<f64>,
    /// Mean recall with at most 100.
    pub ar_100: Option<f64>,
    /// Mean recall of small objects.
    pub ar_small: Option<f64>,
    /// Mean recall of medium objects.
    pub ar_medium: Option<f64>,
    /// Mean recall of large objects.
    pub ar_large: Option<f64>,
}

/// Means over classes with objects, at the one confidence where the mean F1 is highest (IoU 0.5; Ultralytics' definition).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct BestF1 {
    /// That confidence, 0..=1.
    pub confidence: f64,
    /// Share of the detections that are right.
    pub precision: f64,
    /// Share of the objects that are found.
    pub recall: f64,
    /// Mean of the classes' F1, their harmonic means of precision and recall.
    pub f1: f64,
}

/// How many small objects there are and how many were found at IoU 0.5, among at most 100 detections of a class on an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct SmallObjects {
    /// All of them.
    pub objects: u64,
    /// Those matched by a detection of their class, whatever its score.
    pub found: u64,
    /// `found / objects`.
    pub recall: Option<f64>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ClassScores {
    /// The data set's class id.
    pub class_id: u32,
    /// Its name.
    pub name: String,
    /// Objects of it.
    pub objects: u64,
    /// Detections of it.
    pub detections: u64,
    /// Average precision at IoU 0.50; none without objects, as the other numbers.
    pub ap_50: Option<f64>,
    /// Average precision over the IoU thresholds from 0.50 to 0.95.
    pub ap: Option<f64>,
    /// Precision at the common confidence of the highest F1.
    pub precision: Option<f64>,
    /// Recall there.
    pub recall: Option<f64>,
    /// F1 there.
    pub f1: Option<f64>,
}

/// Scores detections by the COCO protocol; class ids are positions in `class_names`.
///
/// The order of the images decides between equal scores, as that of image ids does in pycocotools.
///
/// # Errors
/// [`Error::Mismatch`] for a class id without a name, a box or a score that is not finite.
pub fn score(images: &[ScoredImage], class_names: &[String]) -> Result<Scores> {
    score_and_matches(images, class_names).map(|(scores, _)| scores)
}

/// [`score`], and what a comparison of models needs besides.
///
/// # Errors
/// As [`score`].
pub fn score_and_matches(images: &[ScoredImage], class_names: &[String]) -> Result<(Scores, Matches)> {
    for image in images {
        check(image, class_names.len())?;
    }
    let (coco, ap_of_classes) = coco::twelve_numbers(images, class_names)?;
    let matches = Matches::of(images, class_names)?;
    let best = BestConfidence::of(&matches);

    let mut classes: Vec<ClassScores> = (0..)
        .zip(class_names)
        .zip(ap_of_classes)
        .map(|((class_id, name), (ap_50, ap))| {
            let at_best: Option<Point> = best.as_ref().and_then(|best| *best.classes.get(class_id as usize)?);
            ClassScores {
                class_id,
                name: name.clone(),
                objects: 0,
                detections: 0,
                ap_50,
                ap,
                precision: at_best.map(|p| p.precision),
                recall: at_best.map(|p| p.recall),
                f1: at_best.map(|p| p.f1),
            }
        })
        .collect();
    let (mut objects, mut crowd_regions, mut detections) = (0, 0, 0);
    for image in images {
        for truth in &image.truth {
            if truth.is_crowd {
                crowd_regions += 1;
            } else {
                objects += 1;
                classes[truth.class_id as usize].objects += 1;
            }
        }
        for found in &image.detections {
            detections += 1;
            classes[found.class_id as usize].detections += 1;
        }
    }
    let scores = Scores {
        images: images.len() as u64,
        objects,
        crowd_regions,
        detections,
        coco,
        best_f1: best.map(|best| {
            let Point { precision, recall, f1 } = best.mean();
            BestF1 { confidence: best.confidence, precision, recall, f1 }
        }),
        small: SmallObjects {
            objects: matches.small.iter().map(|small| u64::from(small.objects)).sum(),
            found: matches.small.iter().map(|small| u64::from(small.found)).sum(),
            recall: matches.small_recall(&vec![1; images.len()]),
        },
        classes,
    };
    Ok((scores, matches))
}

fn check(image: &ScoredImage, num_classes: usize) -> Result<()> {
    let refused = |found: String| Error::Mismatch {
        found: format!("image {}: {found}", image.image_id),
        remedy: "Class ids are positions in the list of class names; boxes and scores are finite numbers.".into(),
    };
    let finite = |b: &crate::types::BoxXyxyPx| [b.x1, b.y1, b.x2, b.y2].iter().all(|v| v.is_finite());
    let truth = image.truth.iter().map(|t| (t.class_id, finite(&t.box_xyxy_px) && t.area_px2.is_finite()));
    let found = image.detections.iter().map(|d| (d.class_id, finite(&d.box_xyxy_px) && d.score.is_finite()));
    for (class_id, finite) in truth.chain(found) {
        if class_id as usize >= num_classes {
            return Err(refused(format!("class id {class_id} is not among {num_classes} class names")));
        }
        if !finite {
            return Err(refused("a box or a score is not a finite number".into()));
        }
    }
    Ok(())
}
