//! Pictures of a cache's data set: as they are, and small.

use super::{answer::Fault, recent::Recent};
use crate::{
    cache::{CacheReader, ImageView},
    inspect::{image_file, read_same_file, read_same_image},
    preprocess::{self, DecodeLimits, RgbImage},
};
use axum::http::StatusCode;
use image::{ExtendedColorType, ImageBuffer, Rgb, codecs::jpeg::JpegEncoder, imageops};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Quality of JPEG files that are made.
const QUALITY: u8 = 82;
/// Pictures that are decoded at once.
const DECODED_AT_ONCE: usize = 2;
/// Bytes of small pictures that are kept.
const KEPT_BYTES: usize = 48 << 20;

/// The bytes of a picture, and their media type.
pub(super) type Picture = (&'static str, Vec<u8>);

/// The file of an image; what a browser does not show is made a JPEG.
///
/// # Errors
/// 404 where it is gone or another file than the cache saw.
pub(super) fn whole(reader: &CacheReader, image: &ImageView<'_>) -> Result<Picture, Fault> {
    let path = image_file(reader, image).map_err(|e| Fault::of(&e))?;
    let bytes = read_same_file(&path, image).map_err(|e| not_the_same(&e))?;
    let kind = match bytes.as_slice() {
        [0xff, 0xd8, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        // Anything else, which may be no picture at all, is not handed out as it is.
        _ => {
            let picture = preprocess::decode(&bytes, &DecodeLimits::default()).map_err(|e| missing(&e.to_string()))?;
            return Ok(("image/jpeg", jpeg(picture, u32::MAX)?));
        }
    };
    Ok((kind, bytes))
}

/// The image, its longer side at most `side_px`.
///
/// # Errors
/// As [`whole`].
pub(super) fn small(reader: &CacheReader, image: &ImageView<'_>, side_px: u32) -> Result<Vec<u8>, Fault> {
    let path = image_file(reader, image).map_err(|e| Fault::of(&e))?;
    let picture = read_same_image(&path, image).map_err(|e| not_the_same(&e))?;
    jpeg(picture, side_px)
}

/// Of an error about the file of an image, the first line: the remedies are those of the program.
fn not_the_same(error: &crate::Error) -> Fault {
    missing(error.to_string().lines().next().unwrap_or_default())
}

fn missing(reason: &str) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "picture", reason)
        .remedy("Check that the data set is where the cache expects it.")
}

fn jpeg(picture: RgbImage, side_px: u32) -> Result<Vec<u8>, Fault> {
    let broken = || Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the picture cannot be drawn");
    let (width, height) = (picture.size.width, picture.size.height);
    let mut buffer: ImageBuffer<Rgb<u8>, Vec<u8>> =
        ImageBuffer::from_raw(width, height, picture.pixels).ok_or_else(broken)?;
    let longer = width.max(height);
    if longer > side_px {
        let scaled = |side: u32| {
            let scaled = (u64::from(side) * u64::from(side_px)).div_ceil(u64::from(longer)).max(1);
            u32::try_from(scaled).unwrap_or(side_px)
        };
        buffer = imageops::thumbnail(&buffer, scaled(width), scaled(height));
    }
    let mut bytes = Vec::new();
    let (width, height) = buffer.dimensions();
    let encoded =
        JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode(&buffer, width, height, ExtendedColorType::Rgb8);
    encoded.map_err(|_| broken()).map(|()| bytes)
}

/// Cache, image and side of a small picture.
type Key = (usize, i64, u32);

/// Small pictures that were made, and places to make some.
pub(super) struct Thumbnails {
    kept: Recent<Key, Vec<u8>>,
    pub(super) places: Arc<Semaphore>,
}

impl Default for Thumbnails {
    fn default() -> Self {
        Self { kept: Recent::new(KEPT_BYTES), places: Arc::new(Semaphore::new(DECODED_AT_ONCE)) }
    }
}

impl Thumbnails {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Vec<u8>>> {
        self.kept.get(key)
    }

    pub(super) fn put(&self, key: Key, bytes: Vec<u8>) -> Arc<Vec<u8>> {
        let size = bytes.len();
        self.kept.put(key, bytes, size)
    }
}
