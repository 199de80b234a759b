//! What the teacher sees on an image, in numbers.

use super::sketch::{Point, Sketch};
use crate::{
    Result,
    cache::{CacheReader, ImageView},
    eval::{NmsOptions, disagreement, entropy_bits, teacher_boxes},
    types::{BoxXyxyPx, Detection, ImageSize, Letterbox, ViewChange},
};
use std::collections::BTreeMap;

/// Boxes that are looked at: also those that the teacher doubts.
const LOOKED_AT: NmsOptions = NmsOptions { conf: 0.05, iou: 0.7, max_detections: 300, multi_label: false };
/// Boxes that are compared between views.
const COMPARED: NmsOptions = NmsOptions::PREDICTING;
/// A box of which less is to be seen in a view is not compared there.
const SEEN_SHARE: f64 = 0.8;

/// One image.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) image_id: i64,
    /// Whether it has labels already.
    pub(super) labelled: bool,
    pub(super) uncertainty_bits: f64,
    pub(super) disagreement: Option<f64>,
    /// Class and number of objects, in the order of classes: labels of a labelled image, otherwise the sums of scores.
    pub(super) objects: Vec<(u32, f32)>,
    /// Class and sum of the entropies of its boxes, in bits.
    pub(super) bits: Vec<(u32, f32)>,
    pub(super) point: Point,
}

/// Looks at images of a cache.
pub(super) struct Measure<'a> {
    reader: &'a CacheReader,
    sketch: Sketch,
    views: i32,
}

impl<'a> Measure<'a> {
    pub(super) fn new(reader: &'a CacheReader) -> Self {
        let manifest = reader.manifest();
        let views = i32::try_from(manifest.settings.views).unwrap_or(i32::MAX);
        Self { reader, sketch: Sketch::new(manifest.teacher.num_classes as usize), views }
    }

    /// Of view 0 of an image.
    ///
    /// # Errors
    /// Of a damaged cache.
    pub(super) fn of(&self, image: &ImageView<'_>, labelled: bool) -> Result<Measured> {
        let boxes = teacher_boxes(image, &self.reader.manifest().teacher, &LOOKED_AT);
        let (mut objects, mut bits) = (BTreeMap::new(), BTreeMap::new());
        for found in &boxes {
            *objects.entry(found.class_id).or_insert(0.0) += found.score;
            *bits.entry(found.class_id).or_insert(0.0) += entropy_bits(f64::from(found.score)) as f32;
        }
        if let (true, Some(labels)) = (labelled, &image.labels) {
            objects.clear();
            labels.iter().for_each(|label| *objects.entry(label.class_id).or_insert(0.0) += 1.0);
        }
        Ok(Measured {
            image_id: image.image_id,
            labelled,
            uncertainty_bits: boxes.iter().map(|found| entropy_bits(f64::from(found.score))).sum(),
            // What is labelled is not chosen.
            disagreement: if labelled { None } else { self.disagreement(image)? },
            objects: objects.into_iter().collect(),
            bits: bits.into_iter().collect(),
            point: self.sketch.point(&boxes),
        })
    }

    /// The mean over the views of how differently the teacher sees each and view 0, of the boxes that both show.
    fn disagreement(&self, image: &ImageView<'_>) -> Result<Option<f64>> {
        if self.views == 0 {
            return Ok(None);
        }
        let teacher = &self.reader.manifest().teacher;
        let own = teacher_boxes(image, teacher, &COMPARED);
        let (mut sum, mut count) = (0.0, 0u32);
        for view in 1..=self.views {
            let Some(other) = self.reader.image(image.image_id, view)? else { continue };
            let shown = shown_px(&other.change, &other.letterbox, teacher.input());
            let seen = |boxes: Vec<Detection>| -> Vec<Detection> {
                boxes.into_iter().filter(|found| share_within(found.box_xyxy_px, shown) >= SEEN_SHARE).collect()
            };
            let others = seen(teacher_boxes(&other, teacher, &COMPARED));
            sum += disagreement(&seen(own.clone()), &others);
            count += 1;
        }
        Ok((count > 0).then(|| sum / f64::from(count)))
    }
}

/// The part of the image that a view shows, in pixels of the image: left, top, right, bottom.
fn shown_px(change: &ViewChange, letterbox: &Letterbox, input: ImageSize) -> [f64; 4] {
    let along = |view_px: u32, offset: f32, pad: f32| {
        let letterboxed = (f64::from(view_px) - f64::from(offset)) / f64::from(change.scale);
        (letterboxed - f64::from(pad)) / f64::from(letterbox.scale)
    };
    let x = |view_px| along(view_px, change.offset_x, letterbox.pad_left);
    let y = |view_px| along(view_px, change.offset_y, letterbox.pad_top);
    [x(0), y(0), x(input.width), y(input.height)]
}

/// The share of a box that lies within; 1 of a box without area.
fn share_within(b: BoxXyxyPx, [x1, y1, x2, y2]: [f64; 4]) -> f64 {
    let [left, top, right, bottom] = [b.x1, b.y1, b.x2, b.y2].map(f64::from);
    let area = (right - left) * (bottom - top);
    let both = (right.min(x2) - left.max(x1)).max(0.0) * (bottom.min(y2) - top.max(y1)).max(0.0);
    if area > 0.0 { both / area } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_twice_as_large_shows_a_quarter() {
        let letterbox = Letterbox { scale: 0.5, pad_left: 0.0, pad_top: 10.0 };
        let input = ImageSize { width: 100, height: 100 };
        // The whole input is 200 x 200 pixels of the image, moved up by 20.
        assert_eq!(shown_px(&ViewChange::NONE, &letterbox, input), [0.0, -20.0, 200.0, 180.0]);
        let middle = ViewChange { scale: 2.0, offset_x: -50.0, offset_y: -50.0, ..ViewChange::NONE };
        assert_eq!(shown_px(&middle, &letterbox, input), [50.0, 30.0, 150.0, 130.0]);
        let b = |x1: f32, x2: f32| BoxXyxyPx { x1, y1: 40.0, x2, y2: 60.0 };
        let share = |b| share_within(b, [50.0, 30.0, 150.0, 130.0]);
        assert_eq!((share(b(60.0, 80.0)), share(b(40.0, 60.0)), share(b(0.0, 40.0))), (1.0, 0.5, 0.0));
    }
}
