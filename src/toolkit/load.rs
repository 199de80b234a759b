//! One image of a data set: its size from the header of the file, its labels in pixels of it.

use crate::{
    dataset::{Annotated, LabelFault, RawBox, Sample, Truth},
    pipeline::read_file,
    preprocess::{DecodeLimits, size_of},
    remote,
    types::ImageSize,
};
use std::{fs::File, io::Read, path::Path};

/// So much of a JPEG is read first; its header is mostly in there.
const HEAD_BYTES: usize = 1 << 16;
/// Beyond the edge by less is rounding, and not told.
pub(super) const ROUNDING_PX: f64 = 0.01;

/// Size and labels of an image.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) size: ImageSize,
    /// Clipped to the image; what has no area in it is left out.
    pub(super) truth: Truth<RawBox>,
    pub(super) faults: Vec<LabelFault>,
    /// Rows that repeat another.
    pub(super) repeated: u64,
    /// Boxes that had no area in the image.
    pub(super) without_area: u64,
    /// Boxes that reached beyond the edge.
    pub(super) cut: u64,
}

/// Reads the header of an image and its labels.
///
/// # Errors
/// Why the image cannot be read, in words.
pub(super) fn load(sample: &Sample) -> Result<Loaded, String> {
    let size = header_size(&sample.path)?;
    Ok(of_size(sample, size))
}

/// The labels of an image of a known size.
pub(super) fn of_size(sample: &Sample, size: ImageSize) -> Loaded {
    let Annotated { truth, faults, repeated } = sample.annotated(size);
    let mut loaded = Loaded { size, truth, faults, repeated: repeated as u64, without_area: 0, cut: 0 };
    if let Truth::Labelled(boxes) = &mut loaded.truth {
        boxes.retain_mut(|raw| match clipped(raw.xyxy_px, size) {
            Some((clipped, beyond_px)) => {
                raw.xyxy_px = clipped;
                loaded.cut += u64::from(beyond_px > ROUNDING_PX);
                true
            }
            None => {
                loaded.without_area += 1;
                false
            }
        });
    }
    loaded
}

/// The part of a box that lies in the image, and how far the box reached beyond; `None` where
/// nothing is left.
pub(crate) fn clipped(xyxy_px: [f64; 4], size: ImageSize) -> Option<([f64; 4], f64)> {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let [x1, y1, x2, y2] = xyxy_px;
    let inside = [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)];
    let beyond = inside.iter().zip(xyxy_px).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    (inside[2] > inside[0] && inside[3] > inside[1]).then_some((inside, beyond))
}

/// Width and height after EXIF orientation.
pub(super) fn header_size(path: &Path) -> Result<ImageSize, String> {
    let open = |e: std::io::Error| format!("cannot read the image: {e}");
    // Asked before the file is opened: opening a named pipe would wait for a writer.
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err("cannot read the image: it is not a regular file".into()),
        Err(_) if remote::is_link(path) => {
            return size_of(&read_file(path)?, &DecodeLimits::default()).map_err(|e| e.to_string());
        }
        Err(e) => return Err(open(e)),
    }
    let mut file = File::open(path).map_err(open)?;
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut bytes).map_err(open)?;
    let limits = DecodeLimits::default();
    // Other formats may have their orientation at the end.
    let is_jpeg = bytes.starts_with(&[0xff, 0xd8]);
    if bytes.len() == HEAD_BYTES {
        if let (true, Ok(size)) = (is_jpeg, size_of(&bytes, &limits)) {
            return Ok(size);
        }
        file.read_to_end(&mut bytes).map_err(open)?;
    }
    size_of(&bytes, &limits).map_err(|e| e.to_string())
}
