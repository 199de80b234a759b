//! Values that every stage shares. No I/O here.

pub use logitcache_format::types::*;
use schemars::JsonSchema;
use serde::Serialize;

/// One ground-truth object or crowd region of an image as scoring needs it, in pixels of the original image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruthBox {
    /// Class, numbered as in [`LabelBox`].
    pub class_id: u32,
    /// Where it is.
    pub box_xyxy_px: BoxXyxyPx,
    /// What decides between small, medium and large: the annotation's own `area` (COCO: of the segmentation), else the box's, in
    /// square pixels.
    pub area_px2: f64,
    /// A region of many objects (COCO's `iscrowd`): not an object to be found, but detections on it are not wrong either.
    pub is_crowd: bool,
}

impl TruthBox {
    /// An object of which nothing but its box is known.
    pub fn of_box(class_id: u32, box_xyxy_px: BoxXyxyPx) -> Self {
        let BoxXyxyPx { x1, y1, x2, y2 } = box_xyxy_px;
        Self { class_id, box_xyxy_px, area_px2: f64::from(x2 - x1) * f64::from(y2 - y1), is_crowd: false }
    }

    /// The object without what only scoring asks for; `None` for a crowd region, which is no object.
    pub fn label(&self) -> Option<LabelBox> {
        (!self.is_crowd).then_some(LabelBox { class_id: self.class_id, box_xyxy_px: self.box_xyxy_px })
    }
}

/// Files that are no images of the data set although they lie in it or it lists them: pictures of
/// kinds that are not decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PassedOver {
    /// How many.
    pub count: u64,
    /// Each of them, in the order of their paths.
    pub files: Vec<PassedOverFile>,
}

/// One file that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct PassedOverFile {
    /// As the `path` column would show it.
    pub path: String,
    /// Why, in words.
    pub reason: String,
}

/// One object that a model found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Detection {
    /// The model's class id.
    pub class_id: u32,
    /// Class probability, 0..=1.
    pub score: f32,
    /// In pixels of the original image, clipped to it.
    pub box_xyxy_px: BoxXyxyPx,
}
