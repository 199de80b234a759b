//! Ground truth of one image, whatever the format: where it comes from and the rules that all formats share.

use super::yolo::rows;
use crate::types::{BoxXyxyPx, ImageSize, LabelBox, TruthBox};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a data set says about one image.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth<B = LabelBox> {
    /// Its objects, in the order of the label file; none means that the image is background.
    Labelled(Vec<B>),
    /// A labelled data set says nothing about this image: it has no label file.
    Missing,
    /// The data set carries no labels.
    NoLabels,
}

/// Where an image's truth comes from.
#[derive(Debug, Clone)]
pub(super) enum TruthSource {
    NoLabels,
    /// One YOLO text file, read when asked for.
    YoloFile {
        path: PathBuf,
        num_classes: usize,
    },
    /// Already parsed, from a COCO JSON or a VOC XML.
    Parsed(Box<Parsed>),
}

/// Boxes as written in a file that covers one or all images.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    /// The label file.
    pub(super) file: Arc<Path>,
    /// Which entry of it, where it covers several images: "image id 7".
    pub(super) entry: Option<String>,
    /// The picture's size as the label file has it.
    pub(super) declared: Option<ImageSize>,
    /// Boxes in pixels, not yet clipped, or what is wrong.
    pub(super) boxes: Result<Vec<RawBox>, String>,
}

/// A box as a file gives it, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RawBox {
    pub(super) class_id: u32,
    /// Left, top, right, bottom.
    pub(super) xyxy_px: [f64; 4],
    /// The file's own `area`, where it has one.
    pub(super) area_px2: Option<f64>,
    pub(super) is_crowd: bool,
}

impl TruthSource {
    /// The truth, and how many boxes were left out of it because nothing of them lies in the picture.
    pub(super) fn boxes(&self, size: ImageSize) -> Result<(Truth<TruthBox>, usize), String> {
        match self {
            Self::NoLabels => Ok((Truth::NoLabels, 0)),
            Self::YoloFile { path, num_classes } => rows::read(path, *num_classes, size),
            Self::Parsed(parsed) => parsed.boxes(size),
        }
    }

    /// The class ids of its boxes, some of them repeated; none where it cannot be used.
    pub(super) fn classes(&self) -> Vec<u32> {
        match self {
            Self::NoLabels => Vec::new(),
            Self::YoloFile { path, num_classes } => rows::classes(path, *num_classes),
            Self::Parsed(parsed) => parsed.boxes.iter().flatten().map(|raw| raw.class_id).collect(),
        }
    }
}

impl Parsed {
    fn boxes(&self, size: ImageSize) -> Result<(Truth<TruthBox>, usize), String> {
        let place = || match &self.entry {
            Some(entry) => format!("{}, {entry}", self.file.display()),
            None => self.file.display().to_string(),
        };
        let boxes = self.boxes.as_ref().map_err(|reason| format!("{}: {reason}", place()))?;
        if let Some(declared) = self.declared
            && declared != size
        {
            let turned = (declared.width, declared.height) == (size.height, size.width);
            let hint = if turned {
                " (width and height are swapped; an EXIF orientation was applied if it has one)"
            } else {
                ""
            };
            return Err(format!(
                "{}: the labels are for an image of {} x {}, but this one is {} x {}{hint}",
                place(),
                declared.width,
                declared.height,
                size.width,
                size.height
            ));
        }
        let kept: Vec<TruthBox> = boxes.iter().filter_map(|raw| raw.clip(size)).collect();
        let left_out = boxes.len() - kept.len();
        Ok((Truth::Labelled(kept), left_out))
    }
}

impl Truth<TruthBox> {
    /// The objects as labels; crowd regions are none.
    pub(super) fn labels(self) -> Truth {
        match self {
            Self::Labelled(boxes) => Truth::Labelled(boxes.iter().filter_map(TruthBox::label).collect()),
            Self::Missing => Truth::Missing,
            Self::NoLabels => Truth::NoLabels,
        }
    }
}

impl RawBox {
    /// An object of which a file tells the class and the box alone.
    pub(super) fn object(class_id: u32, xyxy_px: [f64; 4]) -> Self {
        Self { class_id, xyxy_px, area_px2: None, is_crowd: false }
    }

    /// The part of the box that lies in the picture; `None` where that has no area.
    pub(super) fn clip(self, size: ImageSize) -> Option<TruthBox> {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let [x1, y1, x2, y2] = self.xyxy_px;
        let [x1, x2] = [x1, x2].map(|x| x.clamp(0.0, width));
        let [y1, y2] = [y1, y2].map(|y| y.clamp(0.0, height));
        // Only here do coordinates become f32: sums and products before it are exact to far below a pixel.
        let clipped = BoxXyxyPx { x1: x1 as f32, y1: y1 as f32, x2: x2 as f32, y2: y2 as f32 };
        let has_area = clipped.x2 > clipped.x1 && clipped.y2 > clipped.y1;
        has_area.then_some(TruthBox {
            class_id: self.class_id,
            box_xyxy_px: clipped,
            area_px2: self.area_px2.unwrap_or((x2 - x1) * (y2 - y1)),
            is_crowd: self.is_crowd,
        })
    }
}
