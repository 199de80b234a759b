//! Ground truth of one image, whatever the format: where it comes from and the rules that all formats share.

use super::{
    annotated::{Annotated, FaultKind, LabelFault, Mark, RawBox},
    yolo::rows,
};
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
    /// A labelled data set says nothing about this image.
    Missing,
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
    /// Boxes in pixels, not yet clipped.
    pub(super) boxes: Vec<RawBox>,
    /// What is wrong; one fault is enough to refuse the labels.
    pub(super) faults: Vec<LabelFault>,
}

impl TruthSource {
    /// The truth, and how many boxes were left out of it because nothing of them lies in the picture.
    pub(super) fn boxes(&self, size: ImageSize) -> Result<(Truth<TruthBox>, usize), String> {
        match self {
            Self::NoLabels => Ok((Truth::NoLabels, 0)),
            Self::Missing => Ok((Truth::Missing, 0)),
            Self::YoloFile { path, num_classes } => rows::read(path, *num_classes, size),
            Self::Parsed(parsed) => parsed.boxes(size),
        }
    }

    /// The class ids of its boxes, some of them repeated; none where it cannot be used.
    pub(super) fn classes(&self) -> Vec<u32> {
        match self {
            Self::NoLabels | Self::Missing => Vec::new(),
            Self::YoloFile { path, num_classes } => rows::classes(path, *num_classes),
            Self::Parsed(parsed) if !parsed.faults.is_empty() => Vec::new(),
            Self::Parsed(parsed) => parsed.objects().map(|raw| raw.class_id).collect(),
        }
    }

    /// Everything, faults included.
    pub(super) fn annotated(&self, size: ImageSize) -> Annotated {
        match self {
            Self::NoLabels => Annotated { truth: Truth::NoLabels, faults: Vec::new(), repeated: 0 },
            Self::Missing => Annotated { truth: Truth::Missing, faults: Vec::new(), repeated: 0 },
            Self::YoloFile { path, num_classes } => rows::annotated(path, *num_classes, size),
            Self::Parsed(parsed) => parsed.annotated(size),
        }
    }

    /// The file that has the labels, where there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::NoLabels | Self::Missing => None,
            Self::YoloFile { path, .. } => Some(path),
            Self::Parsed(parsed) => Some(&parsed.file),
        }
    }
}

impl Parsed {
    fn boxes(&self, size: ImageSize) -> Result<(Truth<TruthBox>, usize), String> {
        let place = || match &self.entry {
            Some(entry) => format!("{}, {entry}", self.file.display()),
            None => self.file.display().to_string(),
        };
        if let Some(fault) = self.faults.first() {
            return Err(format!("{}: {}", place(), fault.words));
        }
        if let Some(words) = self.other_size(size) {
            return Err(format!("{}: {words}", place()));
        }
        let kept: Vec<TruthBox> = self.objects().filter_map(|raw| raw.clip(size)).collect();
        let left_out = self.objects().count() - kept.len();
        Ok((Truth::Labelled(kept), left_out))
    }

    /// What trains and scores: without the difficult ones.
    fn objects(&self) -> impl Iterator<Item = &RawBox> {
        self.boxes.iter().filter(|raw| raw.mark != Mark::Difficult)
    }

    fn annotated(&self, size: ImageSize) -> Annotated {
        let mut faults = self.faults.clone();
        if let Some(words) = self.other_size(size) {
            faults.push(LabelFault::new(FaultKind::OtherSize, words));
        }
        if let Some(entry) = &self.entry {
            faults.iter_mut().for_each(|fault| fault.words.insert_str(0, &format!("{entry}: ")));
        }
        Annotated { truth: Truth::Labelled(self.boxes.clone()), faults, repeated: 0 }
    }

    /// Says so where the labels are for a picture of another size.
    fn other_size(&self, size: ImageSize) -> Option<String> {
        let declared = self.declared.filter(|declared| *declared != size)?;
        let turned = (declared.width, declared.height) == (size.height, size.width);
        let hint =
            if turned { " (width and height are swapped; an EXIF orientation was applied if it has one)" } else { "" };
        Some(format!(
            "the labels are for an image of {} x {}, but this one is {} x {}{hint}",
            declared.width, declared.height, size.width, size.height
        ))
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
            is_crowd: self.is_crowd(),
        })
    }
}
