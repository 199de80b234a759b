//! Digests of the logical content. SHA-256 everywhere, so that `sha256sum` can check any of them.
//!
//! The exact bytes are laid down in `docs/format.md`, "Digests"; they depend on the values only, never on parts, row
//! groups or threads.

use super::{
    ImageRecord, Predictions,
    columns::{Leaf, PREDICTIONS, Shape},
    record::RowCounts,
};
use crate::types::LabelBox;
use half::f16;
use sha2::{Digest, Sha256};

/// A SHA-256 value.
pub type Sha256Bytes = [u8; 32];

const RECORD_TAG: &[u8; 20] = b"logitcache/record/1\0";
const LABELS_TAG: &[u8; 20] = b"logitcache/labels/1\0";
const CONTENT_TAG: &[u8; 21] = b"logitcache/content/1\0";
const IMAGES_TAG: &[u8; 20] = b"logitcache/images/1\0";
const LABEL_SET_TAG: &[u8; 23] = b"logitcache/label-set/1\0";

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Sha256Bytes {
    Sha256::digest(bytes).into()
}

/// Lowercase hexadecimal digits of a digest.
pub fn to_hex(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    digest.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char]).collect()
}

/// Reads 64 lowercase hexadecimal digits; `None` for anything else.
pub fn from_hex(text: &str) -> Option<Sha256Bytes> {
    // Three digests of every image that is read: looked up, and asked for wrong digits once at the end.
    const NO_DIGIT: u8 = 0xf0;
    const VALUES: [u8; 256] = {
        let mut values = [NO_DIGIT; 256];
        let digits = b"0123456789abcdef";
        let mut value = 0;
        while value < digits.len() {
            values[digits[value] as usize] = value as u8;
            value += 1;
        }
        values
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = Sha256Bytes::default();
    if pairs.len() != bytes.len() {
        return None;
    }
    let mut found = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        found |= high | low;
        *byte = high << 4 | low;
    }
    (found & NO_DIGIT == 0).then_some(bytes)
}

/// Feeds a column to a hash as contiguous little-endian bytes, some thousand values at a time.
fn update_column<T: Copy, const N: usize>(hash: &mut Sha256, values: impl Iterator<Item = T>, bytes: fn(T) -> [u8; N]) {
    const BLOCK: usize = 4096;
    let mut block = [0u8; BLOCK];
    let mut filled = 0;
    for value in values {
        if let Some(slot) = block.get_mut(filled..filled + N) {
            slot.copy_from_slice(&bytes(value));
        }
        filled += N;
        if filled + N > BLOCK {
            hash.update(&block[..filled]);
            filled = 0;
        }
    }
    hash.update(&block[..filled]);
}

/// Digest of everything kept of an image but its labels.
///
/// `num_classes` and `dfl_len` (4 x reg_max, 0 where DFL logits are not stored) are part of it, so that an image without
/// rows still tells one head from another.
pub fn record_digest(record: &ImageRecord, num_classes: u32, dfl_len: u32) -> Sha256Bytes {
    let mut hash = Sha256::new();
    hash.update(RECORD_TAG);
    // The digest covers neither the other digests nor where the rows lie.
    let digests = ImageDigests { file: record.file_sha256, record: [0; 32], labels: [0; 32] };
    record.row(&digests, RowCounts::default(), num_classes as usize).update_digest(&mut hash);
    hash.update(num_classes.to_le_bytes());
    hash.update(dfl_len.to_le_bytes());
    update_predictions(&mut hash, &record.predictions);
    hash.finalize().into()
}

fn update_predictions(hash: &mut Sha256, p: &Predictions) {
    let boxes = p.boxes_xyxy_px.iter();
    for column in PREDICTIONS.iter().filter(|column| column.column.hashed) {
        match column.leaf {
            Leaf::image_id | Leaf::view => {}
            Leaf::anchor => update_column(hash, p.anchor.iter().copied(), i32::to_le_bytes),
            Leaf::stride => update_column(hash, p.stride.iter().copied(), i32::to_le_bytes),
            Leaf::score => update_column(hash, p.score.iter().copied(), f32::to_le_bytes),
            Leaf::class_id => update_column(hash, p.class_id.iter().copied(), i32::to_le_bytes),
            Leaf::x1 => update_column(hash, boxes.clone().map(|b| b.x1), f32::to_le_bytes),
            Leaf::y1 => update_column(hash, boxes.clone().map(|b| b.y1), f32::to_le_bytes),
            Leaf::x2 => update_column(hash, boxes.clone().map(|b| b.x2), f32::to_le_bytes),
            Leaf::y2 => update_column(hash, boxes.clone().map(|b| b.y2), f32::to_le_bytes),
            Leaf::class_logits => update_column(hash, p.class_logits.iter().copied(), f16::to_le_bytes),
            Leaf::dfl_logits => update_column(hash, p.dfl_logits.iter().copied(), f16::to_le_bytes),
        }
    }
}

/// Digest of an image's labels; an unlabelled image differs from one without objects.
pub fn labels_digest(labels: Option<&[LabelBox]>) -> Sha256Bytes {
    let mut hash = Sha256::new();
    hash.update(LABELS_TAG);
    hash.update([u8::from(labels.is_some())]);
    let labels = labels.unwrap_or_default();
    hash.update((labels.len() as u32).to_le_bytes());
    update_column(&mut hash, labels.iter().map(|l| l.class_id), u32::to_le_bytes);
    update_column(&mut hash, labels.iter().map(|l| l.box_xyxy_px.x1), f32::to_le_bytes);
    update_column(&mut hash, labels.iter().map(|l| l.box_xyxy_px.y1), f32::to_le_bytes);
    update_column(&mut hash, labels.iter().map(|l| l.box_xyxy_px.x2), f32::to_le_bytes);
    update_column(&mut hash, labels.iter().map(|l| l.box_xyxy_px.y2), f32::to_le_bytes);
    hash.finalize().into()
}

/// The three digests that stand for one image in the digests of a part and of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDigests {
    /// Of the image file.
    pub file: Sha256Bytes,
    /// Of everything but the labels.
    pub record: Sha256Bytes,
    /// Of the labels.
    pub labels: Sha256Bytes,
}

impl ImageDigests {
    /// Of a record, computed from its values, in a cache of this shape.
    pub fn of(record: &ImageRecord, shape: &Shape) -> Self {
        Self {
            file: record.file_sha256,
            record: record_digest(record, shape.class_len as u32, shape.dfl_len as u32),
            labels: labels_digest(record.labels.as_deref()),
        }
    }
}

/// Digests over many images, fed in increasing (image_id, view).
#[derive(Debug, Clone)]
pub struct ContentHasher {
    content: Sha256,
    images: Sha256,
    labels: Sha256,
}

impl Default for ContentHasher {
    fn default() -> Self {
        let tagged = |tag: &[u8]| Sha256::new().chain_update(tag);
        Self { content: tagged(CONTENT_TAG), images: tagged(IMAGES_TAG), labels: tagged(LABEL_SET_TAG) }
    }
}

impl ContentHasher {
    /// Adds the next image.
    pub fn push(&mut self, image: &ImageDigests) {
        self.content.update(image.record);
        self.content.update(image.labels);
        self.images.update(image.file);
        self.labels.update(image.labels);
    }

    /// The digests as lowercase hexadecimal.
    pub fn finish(self) -> super::ContentDigests {
        super::ContentDigests {
            content_sha256: to_hex(&self.content.finalize()),
            images_sha256: to_hex(&self.images.finalize()),
            labels_sha256: to_hex(&self.labels.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc_is_the_published_value() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-4, example 1
        assert_eq!(to_hex(&sha256(b"abc")), hex);
        assert_eq!(from_hex(hex), Some(sha256(b"abc")));
    }

    #[test]
    fn only_64_lowercase_digits_are_a_digest() {
        let hex = to_hex(&sha256(b""));
        assert!(from_hex(&hex.to_uppercase()).is_none());
        assert!(from_hex(&hex[..62]).is_none());
        assert!(from_hex(&hex[..63]).is_none());
        assert!(from_hex(&format!("{}g", &hex[..63])).is_none());
        assert!(from_hex(&format!("{hex}00")).is_none());
    }

    #[test]
    fn a_column_is_hashed_as_if_it_were_one_piece() {
        for n in [0usize, 1, 1023, 1024, 1025, 5000] {
            let values: Vec<i32> = (0..n as i32).collect();
            let flat: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let mut hash = Sha256::new();
            update_column(&mut hash, values.iter().copied(), i32::to_le_bytes);
            assert_eq!(Sha256Bytes::from(hash.finalize()), sha256(&flat), "{n} values");
        }
    }
}
