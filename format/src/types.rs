//! Values that a cache's records are made of. No I/O here.

pub use crate::input_size::InputSize;
use crate::limits::MAX_VIEWS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Width and height of a picture in pixels, after its EXIF orientation was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ImageSize {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

/// An axis-aligned box in pixels, half-open (`x1 <= x < x2`), origin at the top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BoxXyxyPx {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
}

impl BoxXyxyPx {
    /// Whether no edge lies on or beyond those of an image of this size: then clipping to the image has not changed it.
    pub fn is_within(&self, size: ImageSize) -> bool {
        let (w, h) = (size.width as f32, size.height as f32);
        self.x1 > 0.0 && self.y1 > 0.0 && self.x2 < w && self.y2 < h
    }
}

/// One ground-truth object of an image, in pixels of the original image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelBox {
    /// Class, as numbered by whoever holds the value: the data set's ids before the mapping by name, the teacher's after it.
    pub class_id: u32,
    /// Where the object is.
    pub box_xyxy_px: BoxXyxyPx,
}

/// Why one image is not in the cache. It never ends a build; it is counted, named and tried again on resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Position in the data set's sorted sample list.
    pub image_id: i64,
    /// The image's path as the `path` column would show it.
    pub path: String,
    /// Which stage refused it.
    pub stage: FailureStage,
    /// What was found, in words.
    pub reason: String,
}

/// The stage that refused an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureStage {
    /// The file could not be read.
    Read,
    /// The file is not a picture that can be decoded.
    Decode,
    /// The label file is wrong.
    Labels,
    /// The model (in a build: the teacher) gave no usable answer.
    Teacher,
}

/// How an image was fitted into the model's input (Ultralytics' `LetterBox(auto=False)`): scaled by one factor,
/// centred, the rest grey. `x_input = x_image * scale + pad_left`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Letterbox {
    /// Input pixels per image pixel.
    pub scale: f32,
    /// Grey columns at the left, in input pixels (a whole number).
    pub pad_left: f32,
    /// Grey rows at the top, in input pixels (a whole number).
    pub pad_top: f32,
}

/// How a view was made of the letterboxed picture: scaled and moved, mirrored, then its colours changed.
///
/// In input pixels, before the mirror: `x_view = x_letterboxed * scale + offset_x`, and so for y.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ViewChange {
    /// Pixels of the view per pixel of the letterboxed picture, above 0.
    pub scale: f32,
    /// Where the letterboxed picture's left edge lies, in input pixels.
    pub offset_x: f32,
    /// Where its top edge lies, in input pixels.
    pub offset_y: f32,
    /// Whether left and right change places.
    pub flip: bool,
    /// Change of the hue, as a share of the whole circle.
    pub hue: f32,
    /// Relative change of the saturation, -1 or more.
    pub saturation: f32,
    /// Relative change of the value, -1 or more.
    pub value: f32,
}

impl ViewChange {
    /// The letterboxed picture as it is: view 0.
    pub const NONE: Self =
        Self { scale: 1.0, offset_x: 0.0, offset_y: 0.0, flip: false, hue: 0.0, saturation: 0.0, value: 0.0 };
}

/// What of the teacher's outputs is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// Class logits, DFL logits and boxes.
    All,
    /// Class logits and boxes.
    Cls,
}

impl Store {
    /// As in the manifest and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Cls => "cls",
        }
    }
}

/// How logits are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogitType {
    /// As one of 256 values, one byte each (`docs/format.md`, "Logits of 8 bits").
    #[serde(rename = "8bit")]
    Bits8,
    /// DFL logits as one of 256 values, class logits as float16.
    #[serde(rename = "8bit-dfl")]
    Bits8Dfl,
    /// As float16.
    #[serde(rename = "float16")]
    Float16,
}

impl LogitType {
    /// As in the manifest and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bits8 => "8bit",
            Self::Bits8Dfl => "8bit-dfl",
            Self::Float16 => "float16",
        }
    }
}

/// How the values lie in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Selected anchors, uncompressed, mapped by the trainer.
    Mapped,
    /// Every anchor, uncompressed, mapped by the trainer.
    Dense,
}

impl Profile {
    /// As in the manifest and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Dense => "dense",
        }
    }
}

/// How many views an image has beside itself, and what they are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Views {
    /// Views 1 to `count`; view 0 is the image as it is.
    pub count: u32,
    /// Every random number follows from it, the image's id and the view.
    pub seed: u64,
}

impl Views {
    /// The most views of an image.
    pub const MOST: u32 = MAX_VIEWS;

    /// Records of one image: itself and its views.
    pub fn per_image(&self) -> usize {
        self.count as usize + 1
    }

    /// The numbers of every view, the image itself first.
    pub fn numbers(&self) -> std::ops::RangeInclusive<i32> {
        0..=i32::try_from(self.count).unwrap_or(i32::MAX)
    }
}
