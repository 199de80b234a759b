//! Which detections are right, image by image: what everything but the twelve numbers is computed from, for any choice of images.

use super::{
    coco::{self, Area},
    score::ScoredImage,
};
use crate::Result;
use hotcoco::{
    EvalImg,
    params::{AreaRange, IouType, Params},
};

/// IoU thresholds of COCO: 0.50, 0.55, ..., 0.95.
pub(super) const NUM_THRESHOLDS: usize = 10;

/// Recalls at which COCO reads the precision: 0.00, 0.01, ..., 1.00.
pub(super) const NUM_RECALLS: usize = 101;

/// Most detections of one class of one image that COCO looks at.
const MAX_DETECTIONS: usize = 100;

/// The largest area of a small object, in square pixels of the original image.
const SMALL_PX2: f64 = 32.0 * 32.0;

/// Images matched at once; bounds the memory of hotcoco's records, which are large.
const IMAGES_AT_ONCE: usize = 256;

/// Every image's detections of one model, matched with the truth by COCO's rule.
#[derive(Debug, Clone)]
pub struct Matches {
    pub(super) num_images: usize,
    pub(super) classes: Vec<ClassMatches>,
    /// `[num_images]` objects with a box of at most 32 x 32 pixels and how many of them were found at IoU 0.5.
    pub(super) small: Vec<Found>,
}

/// Small objects of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub objects: u32,
    pub found: u32,
}

/// One class over all images.
#[derive(Debug, Clone, Default)]
pub(super) struct ClassMatches {
    /// Images that show it, and how often (crowd regions do not count).
    pub objects: Vec<(u32, u32)>,
    /// Highest score first, of equal ones the earlier image.
    pub detections: Vec<Match>,
}

/// One detection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    pub score: f32,
    /// Position of its image.
    pub image: u32,
    /// Bit `t`: it is right at the `t`-th IoU threshold.
    pub right: u16,
    /// Bit `t`: it is neither right nor wrong, because it lies on a crowd region.
    pub ignored: u16,
}

impl Matches {
    /// Matches the detections of `images`.
    ///
    /// # Errors
    /// As [`coco::evaluate`].
    pub(super) fn of(images: &[ScoredImage], class_names: &[String]) -> Result<Self> {
        let mut matches = Self {
            num_images: images.len(),
            classes: vec![ClassMatches::default(); class_names.len()],
            small: vec![Found::default(); images.len()],
        };
        let range = |label: &str, most: f64| AreaRange { label: label.into(), range: [0.0, most] };
        let mut params = Params::new(IouType::Bbox);
        params.area_ranges = vec![range("all", 1e10), range("small", SMALL_PX2)];
        params.max_dets = vec![MAX_DETECTIONS];
        for (chunk, first) in images.chunks(IMAGES_AT_ONCE).zip((0..).step_by(IMAGES_AT_ONCE)) {
            let eval = coco::evaluate(chunk, class_names, params.clone(), Area::Box)?;
            for cell in eval.eval_imgs().iter().flatten() {
                let image = first + cell.image_id as usize;
                if cell.area_rng[1] == SMALL_PX2 {
                    matches.add_small(cell, image);
                } else {
                    matches.add(cell, image);
                }
            }
        }
        for class in &mut matches.classes {
            // Stable, over cells in the order of images.
            class.detections.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.image.cmp(&b.image)));
            class.objects.sort_unstable();
        }
        Ok(matches)
    }

    fn add(&mut self, cell: &EvalImg, image: usize) {
        let Some(class) =
            usize::try_from(cell.category_id).ok().and_then(|id| self.classes.get_mut(id.checked_sub(1)?))
        else {
            return;
        };
        let objects = cell.num_gt_in_denominator() as u32;
        if objects > 0 {
            class.objects.push((image as u32, objects));
        }
        class.detections.extend(cell.dt_scores.iter().enumerate().map(|(d, &score)| {
            let bits = |set: &dyn Fn(usize) -> bool| (0..NUM_THRESHOLDS).map(|t| u16::from(set(t)) << t).sum();
            let ignored: u16 = bits(&|t| cell.dt_ignore[(t, d)]);
            let matched: u16 = bits(&|t| cell.dt_matched[(t, d)]);
            Match { score: score as f32, image: image as u32, right: matched & !ignored, ignored }
        }));
    }

    fn add_small(&mut self, cell: &EvalImg, image: usize) {
        let small = &mut self.small[image];
        for (g, &counts) in cell.gt_in_denominator.iter().enumerate() {
            small.objects += u32::from(counts);
            small.found += u32::from(counts && cell.gt_matched[(0, g)]);
        }
    }

    /// Mean average precision over classes with objects, at IoU 0.5 and over all thresholds, where the image at position `i` counts
    /// `weights[i]` times: COCO's AP50 and AP. `None` where no object is left.
    ///
    /// # Panics
    /// If there are fewer weights than images.
    pub(super) fn mean_average_precision(&self, weights: &[u32]) -> Option<(f64, f64)> {
        let (mut ap_50, mut ap, mut classes) = (0.0, 0.0, 0u32);
        for class in &self.classes {
            let Some(by_threshold) = class.average_precision(weights) else { continue };
            ap_50 += by_threshold[0];
            ap += by_threshold.iter().sum::<f64>() / NUM_THRESHOLDS as f64;
            classes += 1;
        }
        (classes > 0).then(|| (ap_50 / f64::from(classes), ap / f64::from(classes)))
    }

    /// Share of the small objects that were found at IoU 0.5, images weighted. `None` where there are none.
    ///
    /// # Panics
    /// If there are fewer weights than images.
    pub(super) fn small_recall(&self, weights: &[u32]) -> Option<f64> {
        let total = |count: fn(&Found) -> u32| -> u64 {
            self.small.iter().zip(weights).map(|(small, &weight)| u64::from(count(small)) * u64::from(weight)).sum()
        };
        let objects = total(|small| small.objects);
        (objects > 0).then(|| total(|small| small.found) as f64 / objects as f64)
    }
}

impl ClassMatches {
    /// Average precision at each threshold: the mean over COCO's recalls of the highest precision at that recall or a higher one.
    fn average_precision(&self, weights: &[u32]) -> Option<[f64; NUM_THRESHOLDS]> {
        let (objects, corners) = self.corners(weights)?;
        Some(corners.map(|corners| area_under(&corners, objects)))
    }

    /// The highest precision at each of COCO's recalls or a higher one, at IoU 0.5, every image counted once; `None` without objects.
    pub(super) fn precisions_50(&self, num_images: usize) -> Option<[f64; NUM_RECALLS]> {
        let (objects, corners) = self.corners(&vec![1; num_images])?;
        corners.first().map(|corners| envelope(corners, objects))
    }

    /// How many objects there are, and the corners at each threshold.
    ///
    /// An image that counts several times stands for as many equal images: its detections follow each other, so only where they end
    /// can the envelope of the precision have a corner.
    fn corners(&self, weights: &[u32]) -> Option<(u64, [Corners; NUM_THRESHOLDS])> {
        let objects: u64 =
            self.objects.iter().map(|&(image, n)| u64::from(n) * u64::from(weights[image as usize])).sum();
        if objects == 0 {
            return None;
        }
        let mut seen = 0u64;
        let mut ignored = [0u64; NUM_THRESHOLDS];
        let mut right = [0u64; NUM_THRESHOLDS];
        let mut corners: [Corners; NUM_THRESHOLDS] = Default::default();
        for found in &self.detections {
            let weight = u64::from(weights[found.image as usize]);
            if weight == 0 {
                continue;
            }
            seen += weight;
            if found.right | found.ignored == 0 {
                continue;
            }
            for t in 0..NUM_THRESHOLDS {
                if found.ignored >> t & 1 == 1 {
                    ignored[t] += weight;
                } else if found.right >> t & 1 == 1 {
                    right[t] += weight;
                    corners[t].push((right[t], right[t] as f64 / (seen - ignored[t]) as f64));
                }
            }
        }
        Some((objects, corners))
    }
}

/// Right detections so far and the precision there, wherever it rises.
type Corners = Vec<(u64, f64)>;

/// Mean of the [`envelope`].
fn area_under(corners: &[(u64, f64)], objects: u64) -> f64 {
    // From the highest recall down, so that the sum is the same to the bit however it is come by.
    envelope(corners, objects).iter().rev().sum::<f64>() / NUM_RECALLS as f64
}

/// At the recalls 0.00, 0.01, ..., 1.00 the highest precision from there on.
fn envelope(corners: &[(u64, f64)], objects: u64) -> [f64; NUM_RECALLS] {
    let mut precisions = [0.0; NUM_RECALLS];
    let mut highest = 0.0f64;
    let mut corners = corners.iter().rev().peekable();
    for (step, slot) in precisions.iter_mut().enumerate().rev() {
        while let Some((_, precision)) = corners.next_if(|(right, _)| *right as f64 / objects as f64 >= recall(step)) {
            highest = highest.max(*precision);
        }
        *slot = highest;
    }
    precisions
}

/// The `step`-th of COCO's recalls, as numpy's linspace rounds it.
pub(super) fn recall(step: usize) -> f64 {
    step as f64 * (1.0 / (NUM_RECALLS - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eval::score,
        types::{BoxXyxyPx, Detection, TruthBox},
    };
    use proptest::prelude::*;

    fn some_box() -> impl Strategy<Value = BoxXyxyPx> {
        // Few places and sides, so that boxes meet.
        let (places, sides) = (prop::array::uniform2(0u8..6), prop::array::uniform2(2u8..7));
        (places, sides).prop_map(|([x, y], [w, h])| {
            let [x, y, w, h] = [x, y, w, h].map(|v| f32::from(v) * 8.0);
            BoxXyxyPx { x1: x, y1: y, x2: x + w, y2: y + h }
        })
    }

    fn image() -> impl Strategy<Value = ScoredImage> {
        let truth = (0u32..3, some_box(), prop::bool::weighted(0.2)).prop_map(|(class_id, box_xyxy_px, is_crowd)| {
            let BoxXyxyPx { x1, y1, x2, y2 } = box_xyxy_px;
            TruthBox { class_id, box_xyxy_px, area_px2: f64::from((x2 - x1) * (y2 - y1)), is_crowd }
        });
        let found = (0u32..3, 1u8..10, some_box()).prop_map(|(class_id, score, box_xyxy_px)| Detection {
            class_id,
            score: f32::from(score) / 10.0,
            box_xyxy_px,
        });
        (prop::collection::vec(truth, 0..5), prop::collection::vec(found, 0..8)).prop_map(|(truth, mut detections)| {
            detections.sort_by(|a, b| b.score.total_cmp(&a.score));
            // Equal scores in an image and its double would come in turns there; between images they may be.
            detections.dedup_by(|a, b| a.score == b.score);
            ScoredImage { image_id: 0, truth, detections }
        })
    }

    proptest! {
        /// hotcoco on a list that really holds an image several times.
        #[test]
        fn a_weight_stands_for_as_many_equal_images(
            images in prop::collection::vec((image(), 0u32..4), 1..8),
        ) {
            let class_names = ["a", "b", "c"].map(String::from);
            let (images, weights): (Vec<ScoredImage>, Vec<u32>) = images.into_iter().unzip();
            let repeated: Vec<ScoredImage> =
                images.iter().zip(&weights).flat_map(|(i, &n)| std::iter::repeat_n(i.clone(), n as usize)).collect();
            let matches = Matches::of(&images, &class_names).unwrap();
            let expected = score(&repeated, &class_names).unwrap();
            let close = |ours: Option<f64>, theirs: Option<f64>| match (ours, theirs) {
                (Some(ours), Some(theirs)) => (ours - theirs).abs() < 1e-12,
                (ours, theirs) => ours == theirs,
            };
            let ap = matches.mean_average_precision(&weights);
            prop_assert!(close(ap.map(|ap| ap.0), expected.coco.ap_50), "{ap:?} {:?}", expected.coco);
            prop_assert!(close(ap.map(|ap| ap.1), expected.coco.ap), "{ap:?} {:?}", expected.coco);
            prop_assert!(close(matches.small_recall(&weights), expected.small.recall));
        }
    }
}
