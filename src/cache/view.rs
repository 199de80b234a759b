//! One image of a mapped cache: small values decoded, columns as slices of the map.
//!
//! Values lie in the file at no particular alignment, so a slice holds the little-endian bytes of each value, not the
//! value: turning it into `&[f32]` or `&[f16]` in place would be undefined behaviour. Decode them while a batch is filled.

use super::{ImageRecord, Predictions, digest::from_hex};
use crate::types::{BoxXyxyPx, ImageSize, LabelBox, Letterbox, ViewChange};
use half::{f16, slice::HalfFloatSliceExt};

/// One image and view. Borrows from the map; nothing proportional to its rows was copied.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ImageView<'a> {
    /// Position in the data set's sorted sample list.
    pub image_id: i64,
    /// 0 for the image as it is.
    pub view: i32,
    /// Path relative to the data set.
    pub path: &'a str,
    /// After EXIF orientation.
    pub size: ImageSize,
    /// SHA-256 of the image file, 64 lowercase hexadecimal digits.
    pub file_sha256: &'a str,
    /// Digest of everything but the labels, as stored.
    pub record_sha256: &'a str,
    /// Digest of the labels, as stored.
    pub labels_sha256: &'a str,
    /// How the image was fitted into the teacher's input.
    pub letterbox: Letterbox,
    /// What makes the view of the letterboxed image; nothing for view 0.
    pub change: ViewChange,
    /// The image's first row in the part's predictions file.
    pub first_row: usize,
    /// Highest class probability among the anchors that were not kept.
    pub dropped_max_score: f32,
    /// Mean class probability over dropped anchors and classes.
    pub dropped_mean_prob: f32,
    /// Ground truth; `None` for an unlabelled image.
    pub labels: Option<LabelColumns<'a>>,
    /// The kept anchors.
    pub predictions: PredictionColumns<'a>,
}

/// Labels of one image, `[m]` values per column.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct LabelColumns<'a> {
    /// INT32, the teacher's class ids.
    pub class_ids: &'a [[u8; 4]],
    /// FLOAT, pixels of the original image.
    pub x1: &'a [[u8; 4]],
    /// FLOAT.
    pub y1: &'a [[u8; 4]],
    /// FLOAT.
    pub x2: &'a [[u8; 4]],
    /// FLOAT.
    pub y2: &'a [[u8; 4]],
}

/// Kept anchors of one image in increasing anchor order, `[n]` values per column.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct PredictionColumns<'a> {
    /// INT32, flattened index over the strides in their order, row major.
    pub anchors: &'a [[u8; 4]],
    /// INT32, input pixels per grid cell.
    pub strides: &'a [[u8; 4]],
    /// FLOAT, highest class probability.
    pub scores: &'a [[u8; 4]],
    /// INT32, class of that probability.
    pub class_ids: &'a [[u8; 4]],
    /// FLOAT, pixels of the original image.
    pub x1: &'a [[u8; 4]],
    /// FLOAT.
    pub y1: &'a [[u8; 4]],
    /// FLOAT, exclusive.
    pub x2: &'a [[u8; 4]],
    /// FLOAT, exclusive.
    pub y2: &'a [[u8; 4]],
    /// `[n, class_len]` FLOAT16, row major: logits before the sigmoid.
    pub class_logits: &'a [[u8; 2]],
    /// `[n, dfl_len]` FLOAT16, row major: left, top, right, bottom; `None` where the cache does not store them.
    pub dfl_logits: Option<&'a [[u8; 2]]>,
    /// Values per row of `class_logits`: the number of classes.
    pub class_len: usize,
    /// Values per row of `dfl_logits`: 4 x reg_max, 0 where they are not stored.
    pub dfl_len: usize,
}

impl PredictionColumns<'_> {
    /// Number of kept anchors.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether no anchor was kept.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// The boxes, decoded.
    pub fn boxes_xyxy_px(&self) -> impl Iterator<Item = BoxXyxyPx> {
        boxes(self.x1, self.y1, self.x2, self.y2)
    }

    /// A copy as owned numbers.
    pub fn to_predictions(&self) -> Predictions {
        Predictions {
            anchor: decode_i32(self.anchors).collect(),
            stride: decode_i32(self.strides).collect(),
            score: decode_f32(self.scores).collect(),
            class_id: decode_i32(self.class_ids).collect(),
            boxes_xyxy_px: self.boxes_xyxy_px().collect(),
            class_logits: decode_f16(self.class_logits).collect(),
            dfl_logits: decode_f16(self.dfl_logits.unwrap_or_default()).collect(),
        }
    }
}

impl LabelColumns<'_> {
    /// Number of labels.
    pub fn len(&self) -> usize {
        self.class_ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.class_ids.is_empty()
    }

    /// The labels, decoded.
    pub fn iter(&self) -> impl Iterator<Item = LabelBox> {
        let classes = self.class_ids.iter().map(|&b| u32::from_le_bytes(b));
        classes
            .zip(boxes(self.x1, self.y1, self.x2, self.y2))
            .map(|(class_id, box_xyxy_px)| LabelBox { class_id, box_xyxy_px })
    }
}

impl ImageView<'_> {
    /// SHA-256 of the image file.
    pub fn file_digest(&self) -> [u8; 32] {
        from_hex(self.file_sha256).unwrap_or_default() // its digits were checked when the view was made
    }

    /// A copy of everything as an owned record.
    pub fn to_record(&self) -> ImageRecord {
        ImageRecord {
            image_id: self.image_id,
            view: self.view,
            path: self.path.to_owned(),
            size: self.size,
            file_sha256: self.file_digest(),
            letterbox: self.letterbox,
            change: self.change,
            dropped_max_score: self.dropped_max_score,
            dropped_mean_prob: self.dropped_mean_prob,
            labels: self.labels.map(|l| l.iter().collect()),
            predictions: self.predictions.to_predictions(),
        }
    }
}

fn boxes(x1: &[[u8; 4]], y1: &[[u8; 4]], x2: &[[u8; 4]], y2: &[[u8; 4]]) -> impl Iterator<Item = BoxXyxyPx> {
    let edges = decode_f32(x1).zip(decode_f32(y1)).zip(decode_f32(x2).zip(decode_f32(y2)));
    edges.map(|((x1, y1), (x2, y2))| BoxXyxyPx { x1, y1, x2, y2 })
}

/// The numbers of an INT32 column.
pub fn decode_i32(values: &[[u8; 4]]) -> impl ExactSizeIterator<Item = i32> {
    values.iter().map(|&b| i32::from_le_bytes(b))
}

/// The numbers of a FLOAT column.
pub fn decode_f32(values: &[[u8; 4]]) -> impl ExactSizeIterator<Item = f32> {
    values.iter().map(|&b| f32::from_le_bytes(b))
}

/// The numbers of a FLOAT16 column.
pub fn decode_f16(values: &[[u8; 2]]) -> impl ExactSizeIterator<Item = f16> {
    values.iter().map(|&b| f16::from_le_bytes(b))
}

/// Fills `out` with the numbers of a FLOAT16 column; what the longer of the two has beyond the other is left alone.
pub fn fill_f32(values: &[[u8; 2]], out: &mut [f32]) {
    const BLOCK: usize = 256; // one conversion instruction takes eight values at a time
    let mut block = [f16::ZERO; BLOCK];
    for (values, out) in values.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let count = values.len().min(out.len());
        for (slot, value) in block.iter_mut().zip(values) {
            *slot = f16::from_le_bytes(*value);
        }
        if let (Some(from), Some(to)) = (block.get(..count), out.get_mut(..count)) {
            from.convert_to_f32_slice(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_filled_with_the_same_numbers_as_one_by_one() {
        let values: Vec<[u8; 2]> = (0..1000u16).map(|i| (i * 61).to_le_bytes()).collect();
        let expected: Vec<u32> = decode_f16(&values).map(|v| v.to_f32().to_bits()).collect();
        let mut out = vec![7.0f32; 1003];
        fill_f32(&values, &mut out);
        assert_eq!(out[..1000].iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected);
        assert_eq!(out[1000..], [7.0; 3]);
    }
}
