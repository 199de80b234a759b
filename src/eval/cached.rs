//! What a cache says of its own teacher: how high its scores are, and how right its boxes are by
//! the labels beside them.
//!
//! No model is run: the cache holds the teacher's boxes, of each kept anchor the best class. Memory
//! and time are bounded by [`MOST_IMAGES`], whatever the size of the cache; the images that are
//! looked at are spread evenly over it.

use super::{
    matches::Matches,
    nms::{NmsOptions, suppress},
    score::ScoredImage,
};
use crate::{
    Result,
    cache::{CacheReader, ImageView, Teacher, decode_f32, decode_i32},
    pipeline::image_ids,
    types::{Detection, TruthBox},
};
use schemars::JsonSchema;
use serde::Serialize;

/// Images of a cache that are looked at, at most.
const MOST_IMAGES: usize = 2_000;

/// Which of the teacher's boxes are scored: every kept anchor, doubles suppressed.
const SCORED: NmsOptions = NmsOptions { conf: 0.0, ..NmsOptions::PREDICTING };

/// A score that `predict` would show.
const SEEN: f32 = 0.25;

/// A teacher that sees something on a smaller share of the images has nothing to teach.
const SEES_LITTLE: f64 = 0.1;

/// A teacher below this mAP@0.5 is wrong about nearly everything.
const FINDS_LITTLE: f64 = 0.05;

/// What a teacher sees on the images of its cache. Of a large cache up to 2,000 images, evenly
/// spaced, are looked at; augmented views are left out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TeacherSight {
    /// Images looked at.
    pub images: u64,
    /// The highest score of each.
    pub best_scores: Quantiles,
    /// Images whose highest score is over 0.25.
    pub images_over_25: u64,
    /// Images whose highest score is over 0.5.
    pub images_over_50: u64,
    /// Images on which the labels show an object.
    pub images_with_objects: u64,
    /// Those of them whose highest score is over 0.25.
    pub images_with_objects_over_25: u64,
    /// Images with labels, background images included: those that `map_50` is of.
    pub labelled_images: u64,
    /// Mean average precision of the cached boxes at IoU 0.5, by the labels in the cache (COCO's
    /// rule; of each anchor its best class alone, no crowd regions); none without a labelled
    /// object. On images that the teacher was trained on it is more than on new ones.
    pub map_50: Option<f64>,
    /// The same over the IoU thresholds from 0.50 to 0.95.
    pub map_50_95: Option<f64>,
    /// That the teacher sees or finds next to nothing, in words.
    pub warning: Option<String>,
}

/// How values are distributed, each between the two nearest (linear).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Quantiles {
    /// The lowest.
    pub min: f64,
    /// A tenth of them is lower.
    pub p10: f64,
    /// Half of them is lower.
    pub median: f64,
    /// Nine tenths of them are lower.
    pub p90: f64,
    /// The highest.
    pub max: f64,
}

impl Quantiles {
    /// `None` of nothing.
    fn of(mut values: Vec<f32>) -> Option<Self> {
        values.sort_by(f32::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |share: f64| {
            let place = share * last as f64;
            let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
            f64::from(low) + (f64::from(high) - f64::from(low)) * place.fract()
        };
        Some(Self { min: at(0.0), p10: at(0.1), median: at(0.5), p90: at(0.9), max: at(1.0) })
    }
}

impl TeacherSight {
    /// Looks at a cache; `None` of one without images.
    ///
    /// # Errors
    /// [`crate::Error::Cache`] for a damaged cache.
    pub fn of(reader: &CacheReader) -> Result<Option<Self>> {
        let ids = evenly(image_ids(reader)?, MOST_IMAGES);
        let mut best_scores = Vec::with_capacity(ids.len());
        let mut scored: Vec<ScoredImage> = Vec::new();
        let mut seen_with_objects = 0;
        for id in ids {
            let Some(image) = reader.image(id, 0)? else { continue };
            // Where a lowest score was asked for, the best anchor may be one that was not kept.
            let best = decode_f32(image.predictions.scores).fold(image.dropped_max_score, f32::max);
            best_scores.push(best);
            if let Some(labelled) = scored_image(&image, &reader.manifest().teacher) {
                seen_with_objects += u64::from(!labelled.truth.is_empty() && best > SEEN);
                scored.push(labelled);
            }
        }
        let over = |least: f32| best_scores.iter().filter(|&&best| best > least).count() as u64;
        let (images_over_25, images_over_50) = (over(SEEN), over(0.5));
        let images = best_scores.len() as u64;
        let Some(best_scores) = Quantiles::of(best_scores) else { return Ok(None) };
        let images_with_objects = scored.iter().filter(|image| !image.truth.is_empty()).count() as u64;
        let ap = match images_with_objects {
            0 => None,
            _ => {
                let matches = Matches::of(&scored, &reader.manifest().teacher.class_names)?;
                matches.mean_average_precision(&vec![1; scored.len()])
            }
        };
        let mut sight = Self {
            images,
            best_scores,
            images_over_25,
            images_over_50,
            images_with_objects,
            images_with_objects_over_25: seen_with_objects,
            labelled_images: scored.len() as u64,
            map_50: ap.map(|(ap_50, _)| ap_50),
            map_50_95: ap.map(|(_, ap)| ap),
            warning: None,
        };
        sight.warning = sight.warn();
        Ok(Some(sight))
    }

    /// Of labelled images those count that show something; without labels nobody knows which do.
    fn warn(&self) -> Option<String> {
        const REMEDY: &str = "Look at some images (`predict()`), train the teacher longer, or check that it \
                              is the right one, at the right `imgsz=`.";
        let (of, seen, which) = match self.images_with_objects {
            0 => (self.images, self.images_over_25, "images. Unless most of them are empty, a"),
            labelled => (labelled, self.images_with_objects_over_25, "images with labelled objects. A"),
        };
        if (seen as f64) < SEES_LITTLE * of as f64 {
            return Some(format!(
                "the teacher finds almost nothing: its highest score is over {SEEN} on {seen} of {of} {which} student \
                 learns almost nothing from it. {REMEDY}"
            ));
        }
        let map_50 = self.map_50.filter(|&map| map < FINDS_LITTLE)?;
        Some(format!(
            "compared with the labels, the teacher finds almost nothing: mAP@0.5 is {map_50:.3} on these images. A \
             student learns little from it. {REMEDY}"
        ))
    }
}

/// Each cached row of one image as a detection: its best class. In the order of the rows.
pub fn row_detections(image: &ImageView<'_>) -> Vec<Detection> {
    let p = &image.predictions;
    let rows = decode_i32(p.class_ids).zip(decode_f32(p.scores)).zip(p.boxes_xyxy_px());
    let detection = |((class_id, score), box_xyxy_px)| Detection {
        class_id: u32::try_from(class_id).unwrap_or_default(),
        score,
        box_xyxy_px,
    };
    rows.map(detection).collect()
}

/// The teacher's boxes on one image: each kept anchor's best class, suppressed where the head needs that.
pub fn teacher_boxes(image: &ImageView<'_>, teacher: &Teacher, nms: &NmsOptions) -> Vec<Detection> {
    suppress(&row_detections(image), &nms.for_head(teacher.one_to_one))
}

/// The teacher's boxes on one image beside its labels; `None` for an unlabelled image.
pub fn scored_image(image: &ImageView<'_>, teacher: &Teacher) -> Option<ScoredImage> {
    let labels = image.labels?;
    let truth = labels.iter().map(|label| TruthBox::of_box(label.class_id, label.box_xyxy_px)).collect();
    Some(ScoredImage { image_id: image.image_id, truth, detections: teacher_boxes(image, teacher, &SCORED) })
}

/// At most `most` of a list, evenly spaced, the first among them.
pub fn evenly<T>(list: Vec<T>, most: usize) -> Vec<T> {
    let (len, most) = (list.len(), most.min(list.len()));
    let mut next = 0;
    list.into_iter()
        .enumerate()
        .filter(|(i, _)| {
            let wanted = next < most && *i == next * len / most;
            next += usize::from(wanted);
            wanted
        })
        .map(|(_, item)| item)
        .collect()
}

/// The entropy in bits of whether there is an object, at this score: 0 where that is certain, 1 at one half.
pub fn entropy_bits(score: f64) -> f64 {
    let of = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    of(score) + of(1.0 - score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_highest_at_one_half() {
        assert_eq!((entropy_bits(0.0), entropy_bits(0.5), entropy_bits(1.0)), (0.0, 1.0, 0.0));
        assert!((entropy_bits(0.11) - 0.499_916).abs() < 1e-6);
    }

    #[test]
    fn evenly_spaced() {
        assert_eq!(evenly((0..10).collect(), 3), [0, 3, 6]);
        assert_eq!(evenly((0..3).collect(), 10), [0, 1, 2]);
        assert_eq!(evenly((0..3).collect(), 3), [0, 1, 2]);
        assert_eq!(evenly((0..7).collect::<Vec<i32>>(), 6).len(), 6);
        assert!(evenly(Vec::<u8>::new(), 3).is_empty() && evenly(vec![1], 0).is_empty());
    }

    #[test]
    fn quantiles_are_between_the_nearest() {
        let q = Quantiles::of((0..=10).rev().map(|v| v as f32).collect()).unwrap();
        assert_eq!((q.min, q.p10, q.median, q.p90, q.max), (0.0, 1.0, 5.0, 9.0, 10.0));
        let q = Quantiles::of(vec![1.0, 0.0]).unwrap();
        assert!((q.p10 - 0.1).abs() < 1e-12 && q.median == 0.5, "{q:?}");
        assert_eq!(Quantiles::of(vec![0.5]).unwrap().p90, 0.5);
        assert_eq!(Quantiles::of(Vec::new()), None);
    }

    #[test]
    fn what_is_next_to_nothing() {
        let sight = |images, seen, with_objects, seen_there, map_50| TeacherSight {
            images,
            best_scores: Quantiles { min: 0.0, p10: 0.0, median: 0.0, p90: 0.0, max: 0.0 },
            images_over_25: seen,
            images_over_50: 0,
            images_with_objects: with_objects,
            images_with_objects_over_25: seen_there,
            labelled_images: with_objects,
            map_50,
            map_50_95: map_50,
            warning: None,
        };
        let warning = |sight: TeacherSight| sight.warn().unwrap_or_default();
        assert!(
            warning(sight(80, 7, 0, 0, None)).contains("on 7 of 80 images. Unless most of them are empty, a student")
        );
        assert_eq!(sight(80, 8, 0, 0, None).warn(), None);
        // Nine of ten images are background, and on the others it sees something.
        assert_eq!(sight(100, 9, 10, 9, Some(0.5)).warn(), None);
        assert!(
            warning(sight(100, 50, 20, 1, Some(0.5))).contains("on 1 of 20 images with labelled objects. A student")
        );
        assert!(warning(sight(100, 90, 90, 90, Some(0.01))).contains("mAP@0.5 is 0.010"));
    }
}
