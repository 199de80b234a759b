//! The teacher's objects as targets: boxes with class distributions, for a student whose anchors
//! are not the teacher's places (queries of a DETR, another grid, another letterbox), and for a
//! branch that gives each object one anchor. Which anchors learn an object is decided in the loss,
//! by the rule that assigns labels.

use super::{best_class, kept_columns};
use crate::{
    augment::{Picture, Scene, Tile},
    cache::{HeadKind, ImageView},
    eval::{NmsOptions, kept_rows, row_detections},
    types::Detection,
};

/// What counts as an object of the teacher. A box that overlaps a better one is a second answer for the same object and would
/// take anchors from it; the class does not matter, since each box has its whole class distribution. Below the score, teachers
/// of all families mostly see nothing.
const OBJECTS: NmsOptions = NmsOptions { conf: 0.1, iou: 0.7, max_detections: 300, multi_label: false };

/// A logit whose sigmoid is 1 in float32; with the other sign it is next to nothing.
const CERTAIN_LOGIT: f32 = 40.0;

/// What the student is told of an object's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ObjectClasses {
    /// The teacher's distribution over the classes.
    #[default]
    Soft,
    /// The best class alone, as certain: pseudo-labels, a baseline.
    Hard,
}

/// The teacher's objects of a batch, `M` of them in order of `batch_index`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ObjectBatch {
    /// `[M]` position in the batch, 0..B, not decreasing.
    pub batch_index: Vec<i64>,
    /// `[M]` class of the highest probability.
    pub class_id: Vec<i64>,
    /// `[M]` that probability, 0..=1.
    pub score: Vec<f32>,
    /// `[M, C]` logits before the sigmoid.
    pub class_logits: Vec<f32>,
    /// `[M, 4]` x1, y1, x2, y2 in input pixels, clipped to the tile and to the input as labels are.
    pub boxes_xyxy_input_px: Vec<f32>,
    /// `C`.
    pub num_classes: usize,
    /// Whether `score` and `class_logits` are the teacher's.
    pub classes: ObjectClasses,
}

impl ObjectBatch {
    /// `M`, the number of objects.
    pub fn len(&self) -> usize {
        self.batch_index.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.batch_index.is_empty()
    }

    /// Empties it for a new batch.
    pub fn start(&mut self, num_classes: usize, classes: ObjectClasses) {
        self.batch_index.clear();
        self.class_id.clear();
        self.score.clear();
        self.class_logits.clear();
        self.boxes_xyxy_input_px.clear();
        (self.num_classes, self.classes) = (num_classes, classes);
    }

    /// Leaves the teacher's classes of `columns`, in this order, and the objects that are of one of them by their score.
    pub fn keep_classes(&mut self, columns: &[usize], kind: HeadKind) {
        let mut all = std::mem::take(self);
        all.class_logits = kept_columns(&all.class_logits, all.num_classes, columns);
        self.start(columns.len(), all.classes);
        for (row, logits) in all.class_logits.chunks_exact(columns.len().max(1)).enumerate() {
            let (class_id, score) = best_class(logits, kind);
            if score > OBJECTS.conf {
                self.batch_index.push(all.batch_index[row]);
                self.class_id.push(class_id);
                self.score.push(score);
                self.class_logits.extend_from_slice(logits);
                self.boxes_xyxy_input_px.extend_from_slice(&all.boxes_xyxy_input_px[4 * row..4 * row + 4]);
            }
        }
    }

    /// Adds the objects of one tile of the image at `batch_index`, those of which enough is shown,
    /// as for labels. `view` is the cached view that `picture` shows.
    pub fn push(&mut self, batch_index: usize, scene: &Scene, tile: &Tile, view: &ImageView<'_>, picture: &Picture) {
        let found = row_detections(view);
        // One class for all: see `OBJECTS`.
        let of_one_class: Vec<Detection> = found.iter().map(|&object| Detection { class_id: 0, ..object }).collect();
        let class_logits = view.predictions.all_class_logits();
        for row in kept_rows(&of_one_class, &OBJECTS) {
            let object = &found[row];
            let Some(b) = scene.place_label(tile, picture.to_picture(object.box_xyxy_px)) else { continue };
            self.batch_index.push(batch_index as i64);
            self.class_id.push(i64::from(object.class_id));
            match self.classes {
                ObjectClasses::Soft => {
                    self.score.push(object.score);
                    let logits = class_logits.get(row * self.num_classes..(row + 1) * self.num_classes);
                    self.class_logits.extend(logits.unwrap_or_default());
                }
                ObjectClasses::Hard => {
                    self.score.push(1.0);
                    let logit = |class: u32| if class == object.class_id { CERTAIN_LOGIT } else { -CERTAIN_LOGIT };
                    self.class_logits.extend((0..self.num_classes as u32).map(logit));
                }
            }
            self.boxes_xyxy_input_px.extend([b.x1, b.y1, b.x2, b.y2]);
        }
    }
}
