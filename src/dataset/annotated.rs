//! All that a data set says of one image, faults and flagged objects included: what the data-set
//! toolkit reads. Models are trained and scored with [`super::Sample::labels`], which refuses an
//! image with a fault.

use super::Truth;

/// What a file says of an object beside its class and box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Nothing.
    Plain,
    /// A region of many objects (COCO's `iscrowd`).
    Crowd,
    /// Hard to see (Pascal VOC's `difficult`): no label, as in Ultralytics' own conversion of VOC.
    Difficult,
}

/// A box as a file gives it: not clipped, with or without area.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawBox {
    /// Class, numbered as in [`super::Dataset::class_names`].
    pub class_id: u32,
    /// Left, top, right, bottom in pixels of the image; finite.
    pub xyxy_px: [f64; 4],
    /// The file's own `area` in square pixels, where it has one.
    pub area_px2: Option<f64>,
    /// Crowd or difficult.
    pub mark: Mark,
    /// Whether the file draws the object more exactly (polygon, mask, turned box); the box is the
    /// one around it.
    pub outlined: bool,
}

impl RawBox {
    /// An object of which a file tells the class and the box alone.
    pub(super) fn object(class_id: u32, xyxy_px: [f64; 4]) -> Self {
        Self { class_id, xyxy_px, area_px2: None, mark: Mark::Plain, outlined: false }
    }

    /// Whether it is COCO's `iscrowd`.
    pub fn is_crowd(&self) -> bool {
        self.mark == Mark::Crowd
    }
}

/// What is wrong with a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The labels of the image cannot be read at all.
    Unreadable,
    /// One label is not written as it should be.
    Malformed,
    /// A coordinate is NaN or infinite.
    NonFinite,
    /// A coordinate is far outside of the image.
    OutOfRange,
    /// A class that the data set does not have.
    UnknownClass,
    /// The labels are for an image of another size.
    OtherSize,
}

/// One fault of an image's labels; the labels beside it are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFault {
    /// What is wrong.
    pub kind: FaultKind,
    /// In which line or entry and how, in words. The file is not named.
    pub words: String,
}

impl LabelFault {
    pub(super) fn new(kind: FaultKind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into() }
    }
}

/// All that a data set says of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotated {
    /// Boxes in the order of the file.
    pub truth: Truth<RawBox>,
    /// What cannot be used.
    pub faults: Vec<LabelFault>,
    /// Rows of a YOLO label file that repeat another one; they count once.
    pub repeated: usize,
}
