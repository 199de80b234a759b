//! One image of a mapped cache: small values decoded, columns as slices of the map.
//!
//! Values lie in the file at no particular alignment, so a slice holds the little-endian bytes of each value, not the
//! value: turning it into `&[f32]` or `&[f16]` in place would be undefined behaviour. Decode them while a batch is filled.

use super::{
    ImageRecord, Predictions, columns::Shape, digest::Sha256Bytes, head::HeadKind, record::rows_with_class_logits,
};
use crate::types::{BoxXyxyPx, ImageSize, LabelBox, Letterbox, ViewChange};
use half::{f16, slice::HalfFloatSliceExt};

/// Values of a column of `N` bytes each, little-endian.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a, const N: usize> {
    /// Value after value.
    Plain(&'a [[u8; N]]),
    /// A byte of each value.
    Codes {
        /// Their places in the dictionary.
        codes: &'a [u8],
        /// The values that there are, at most 256.
        dictionary: &'a [[u8; N]],
    },
}

impl<'a, const N: usize> Values<'a, N> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Plain(values) => values.len(),
            Self::Codes { codes, .. } => codes.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value `at`; one that a damaged file does not have reads as bytes of ones (-1, NaN).
    fn value(&self, at: usize) -> [u8; N] {
        let value = match self {
            Self::Plain(values) => values.get(at),
            Self::Codes { codes, dictionary } => codes.get(at).and_then(|&code| dictionary.get(usize::from(code))),
        };
        value.copied().unwrap_or([0xff; N])
    }

    /// The values `start..end`; `None` where there are not so many.
    pub fn slice(&self, start: usize, end: usize) -> Option<Self> {
        Some(match self {
            Self::Plain(values) => Self::Plain(values.get(start..end)?),
            Self::Codes { codes, dictionary } => Self::Codes { codes: codes.get(start..end)?, dictionary },
        })
    }

    /// Whether `is` holds of every value. False may also mean that it does not hold of a value that no code stands for.
    pub(crate) fn all(&self, is: impl Fn([u8; N]) -> bool) -> bool {
        // No early end: this way the compiler makes it many values at a time.
        let of_all = |values: &[[u8; N]]| values.iter().fold(true, |all, &value| all & is(value));
        match self {
            Self::Plain(values) => of_all(values),
            Self::Codes { codes, dictionary } => {
                let highest = codes.iter().fold(0, |highest, &code| highest.max(code));
                codes.is_empty() || (usize::from(highest) < dictionary.len() && of_all(dictionary))
            }
        }
    }

    /// The values in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = [u8; N]> + 'a {
        (0..self.len()).map(move |at| self.value(at))
    }
}

impl Values<'_, 2> {
    /// The numbers of a FLOAT16 column as float32, many at a time.
    pub fn to_f32(&self) -> Vec<f32> {
        let as_f16 = |values: &[[u8; 2]]| -> Vec<f16> { values.iter().map(|&b| f16::from_le_bytes(b)).collect() };
        match self {
            Self::Plain(values) => as_f16(values).to_f32_vec(),
            Self::Codes { codes, dictionary } => {
                let known = as_f16(dictionary).to_f32_vec();
                codes.iter().map(|&code| known.get(usize::from(code)).copied().unwrap_or(f32::NAN)).collect()
            }
        }
    }
}

impl<const N: usize> Default for Values<'_, N> {
    fn default() -> Self {
        Self::Plain(&[])
    }
}

impl<'a, const N: usize> From<&'a [[u8; N]]> for Values<'a, N> {
    fn from(values: &'a [[u8; N]]) -> Self {
        Self::Plain(values)
    }
}

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
    /// SHA-256 of the image file, as stored.
    pub file_sha256: Sha256Bytes,
    /// Digest of everything but the labels, as stored.
    pub record_sha256: Sha256Bytes,
    /// Digest of the labels, as stored.
    pub labels_sha256: Sha256Bytes,
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
    /// Sum of the highest class probabilities of the dropped anchors.
    pub dropped_score_sum: f32,
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
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PredictionColumns<'a> {
    /// The kind of head that gave them: what their logits mean.
    pub head: HeadKind,
    /// INT32, flattened index over the strides in their order, row major; of a head of queries, the query's number.
    pub anchors: &'a [[u8; 4]],
    /// INT32, input pixels per grid cell; empty for a head of queries.
    pub strides: Values<'a, 4>,
    /// FLOAT, highest class probability.
    pub scores: &'a [[u8; 4]],
    /// INT32, class of that probability.
    pub class_ids: Values<'a, 4>,
    /// FLOAT, pixels of the original image.
    pub x1: &'a [[u8; 4]],
    /// FLOAT.
    pub y1: &'a [[u8; 4]],
    /// FLOAT, exclusive.
    pub x2: &'a [[u8; 4]],
    /// FLOAT, exclusive.
    pub y2: &'a [[u8; 4]],
    /// `[m, class_len]` FLOAT16, row major: logits before the sigmoid, of the `m <= n` rows of the highest scores
    /// ([`PredictionColumns::has_class_logits`]).
    pub class_logits: Values<'a, 2>,
    /// `[n, dfl_len]` FLOAT16, row major: left, top, right, bottom; `None` where the cache does not store them.
    pub dfl_logits: Option<Values<'a, 2>>,
    /// Mean probability of the classes other than `class_ids` over the rows without class logits.
    pub rest_mean_prob: f32,
    /// Values per row of `class_logits`: the number of classes.
    pub class_len: usize,
    /// Values per row of `dfl_logits`: 4 x reg_max, 0 where they are not stored.
    pub dfl_len: usize,
}

impl PredictionColumns<'_> {
    /// Those of an image without kept anchors.
    pub(crate) fn none(shape: &Shape) -> Self {
        Self {
            head: shape.head,
            anchors: &[],
            strides: Values::default(),
            scores: &[],
            class_ids: Values::default(),
            x1: &[],
            y1: &[],
            x2: &[],
            y2: &[],
            class_logits: Values::default(),
            dfl_logits: (shape.dfl_len > 0).then(Values::default),
            rest_mean_prob: 0.0,
            class_len: shape.class_len,
            dfl_len: shape.dfl_len,
        }
    }

    /// Number of kept anchors.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether no anchor was kept.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Per row, whether it has class logits.
    pub fn has_class_logits(&self) -> Vec<bool> {
        let scores: Vec<f32> = decode_f32(self.scores).collect();
        rows_with_class_logits(&scores, self.class_logits.len() / self.class_len.max(1))
    }

    /// `[n, class_len]` class logits of every row: the stored ones; in a row without, what its score and `rest_mean_prob` say.
    pub fn all_class_logits(&self) -> Vec<f32> {
        let len = self.class_len;
        let stored = self.class_logits.to_f32();
        if stored.len() == self.len() * len {
            return stored;
        }
        let mut stored = stored.chunks_exact(len.max(1));
        let mut all = vec![self.head.finite_logit(self.rest_mean_prob); self.len() * len];
        let small = decode_f32(self.scores).zip(decode_i32(self.class_ids)).zip(self.has_class_logits());
        for (row, ((score, class_id), has)) in all.chunks_exact_mut(len.max(1)).zip(small) {
            if has {
                stored.next().into_iter().for_each(|own| row.copy_from_slice(own));
            } else if let Some(slot) = usize::try_from(class_id).ok().and_then(|id| row.get_mut(id)) {
                *slot = self.head.finite_logit(score);
            }
        }
        all
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
    /// A copy of everything as an owned record.
    pub fn to_record(&self) -> ImageRecord {
        ImageRecord {
            image_id: self.image_id,
            view: self.view,
            path: self.path.to_owned(),
            size: self.size,
            file_sha256: self.file_sha256,
            letterbox: self.letterbox,
            change: self.change,
            dropped_max_score: self.dropped_max_score,
            dropped_mean_prob: self.dropped_mean_prob,
            dropped_score_sum: self.dropped_score_sum,
            rest_mean_prob: self.predictions.rest_mean_prob,
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
pub fn decode_i32<'a>(values: impl Into<Values<'a, 4>>) -> impl ExactSizeIterator<Item = i32> {
    values.into().iter().map(i32::from_le_bytes)
}

/// The numbers of a FLOAT column.
pub fn decode_f32<'a>(values: impl Into<Values<'a, 4>>) -> impl ExactSizeIterator<Item = f32> {
    values.into().iter().map(f32::from_le_bytes)
}

/// The numbers of a FLOAT16 column.
pub fn decode_f16<'a>(values: impl Into<Values<'a, 2>>) -> impl ExactSizeIterator<Item = f16> {
    values.into().iter().map(f16::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_the_same_numbers_as_one_by_one() {
        let values: Vec<[u8; 2]> = (0..1000u16).map(|i| (i * 61).to_le_bytes()).collect();
        let codes: Vec<u8> = (0..1000).map(|i| (i * 7 % 256) as u8).collect();
        for values in [Values::Plain(&values), Values::Codes { codes: &codes, dictionary: &values[..256] }] {
            let expected: Vec<u32> = decode_f16(values).map(|v| v.to_f32().to_bits()).collect();
            assert_eq!(values.to_f32().iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected);
            assert_eq!(expected.len(), 1000);
        }
        let below = |limit: u16| move |value: [u8; 2]| u16::from_le_bytes(value) < limit;
        assert!(Values::Plain(&values).all(below(60_940)) && !Values::Plain(&values).all(below(60_939)));
        let coded = |codes| Values::Codes { codes, dictionary: &values[..3] };
        assert!(coded(&[2, 0]).all(below(123)) && !coded(&[2]).all(below(122)));
        assert!(!coded(&[3]).all(below(u16::MAX)) && coded(&[]).all(below(0)));
        let short = Values::Codes { codes: &codes[..2], dictionary: &values[..1] };
        assert!(short.to_f32()[1].is_nan() && decode_f16(short).last().unwrap().is_nan());
    }
}
