//! What a prediction found, as one object.

use crate::{
    eval::DetectedImage,
    types::{Detection, Failure, ImageSize, PassedOver},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{cmp::Reverse, collections::BTreeMap};

/// What a model found on a list of pictures.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PredictReport {
    /// The ONNX file.
    pub model: String,
    /// The model's classes by class id.
    pub class_names: Vec<String>,
    /// A detection's score is greater than this.
    pub conf: f32,
    /// Two detections of a class overlap by at most this (intersection over union).
    pub iou: f64,
    /// Folder of the written files; `None` where nothing was written.
    pub out: Option<String>,
    /// Pictures to look at.
    pub samples: u64,
    /// Whether every picture was looked at; not so after Ctrl-C.
    pub complete: bool,
    /// In the order of their paths.
    pub images: Vec<PredictedImage>,
    /// Objects of all pictures, the most frequent class first.
    pub totals: Vec<ClassCount>,
    /// Pictures that could not be looked at.
    pub failures: Vec<Failure>,
    /// Files that were named, or lie in a named folder, and are no pictures that are decoded.
    pub passed_over: PassedOver,
    /// What the user should know of the pictures, a line each.
    pub notes: Vec<String>,
}

/// What a model found on one picture.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PredictedImage {
    /// Position in the list of pictures, sorted by the bytes of their paths; the `image_id` of the COCO results.
    pub image_id: i64,
    /// Relative to the deepest folder that holds all pictures.
    pub path: String,
    /// After EXIF orientation.
    pub size: ImageSize,
    /// Objects of each class, the most frequent first.
    pub counts: Vec<ClassCount>,
    /// Highest score first.
    pub detections: Vec<Detection>,
}

/// How many objects of a class there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ClassCount {
    /// The model's class id.
    pub class_id: u32,
    /// Its name.
    pub class: String,
    /// Detections of it, at least one.
    pub count: u64,
}

impl PredictReport {
    /// Takes in what became of a picture and shows it as it will stand here.
    pub(super) fn add(&mut self, outcome: Result<DetectedImage, Failure>) -> Result<&PredictedImage, &Failure> {
        match outcome {
            Ok(DetectedImage { image_id, path, size, detections, .. }) => {
                let counts = count(&detections, &self.class_names);
                Ok(push(&mut self.images, PredictedImage { image_id, path, size, counts, detections }))
            }
            Err(failure) => Err(push(&mut self.failures, failure)),
        }
    }

    /// Counts the objects of all pictures.
    pub(super) fn sum_up(&mut self) {
        self.totals = count(self.images.iter().flat_map(|image| &image.detections), &self.class_names);
    }
}

/// Appends and gives back what was appended.
fn push<T>(list: &mut Vec<T>, item: T) -> &T {
    let at = list.len();
    list.push(item);
    &list[at]
}

/// The most frequent class first, of equals the lower id.
pub(crate) fn count<'a>(
    detections: impl IntoIterator<Item = &'a Detection>,
    class_names: &[String],
) -> Vec<ClassCount> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for detection in detections {
        *counts.entry(detection.class_id).or_default() += 1;
    }
    let named = |(class_id, count): (u32, u64)| {
        let class = class_names.get(class_id as usize).cloned().unwrap_or_else(|| class_id.to_string());
        ClassCount { class_id, class, count }
    };
    let mut counts: Vec<_> = counts.into_iter().map(named).collect();
    counts.sort_by_key(|c| (Reverse(c.count), c.class_id));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::BoxXyxyPx;

    #[test]
    fn the_most_frequent_class_comes_first_and_of_equals_the_lower_id() {
        let found = |class_id| Detection { class_id, score: 0.5, box_xyxy_px: BoxXyxyPx::default() };
        let detections = [3, 1, 0, 1, 3, 7].map(found);
        let names: Vec<String> = ["person", "bicycle", "car", "traffic light"].map(Into::into).into();
        let counts = count(&detections, &names);
        let shown: Vec<_> = counts.iter().map(|c| format!("{} {}", c.class, c.count)).collect();
        assert_eq!(shown, ["bicycle 2", "traffic light 2", "person 1", "7 1"]);
    }
}
