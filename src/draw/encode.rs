//! Pictures into files, in the format that their name says.

use crate::preprocess::RgbImage;
use image::{ExtendedColorType, ImageError, ImageFormat, codecs::jpeg::JpegEncoder};
use std::{io::Cursor, path::Path};

/// Quality of JPEG files: lines and letters stay sharp.
const JPEG_QUALITY: u8 = 92;

/// The bytes of a picture file in the format of `path`'s suffix, which is one of [`crate::dataset::IMAGE_SUFFIXES`].
///
/// # Errors
/// Why the format cannot hold this picture (JPEG and WebP have a limit of size), or that it is none that is written.
///
/// # Panics
/// When the picture's pixels are not as many as its size says.
pub fn encode(image: &RgbImage, path: &Path) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let (width, height) = (image.size.width, image.size.height);
    match ImageFormat::from_path(path)? {
        ImageFormat::Jpeg => JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode(
            &image.pixels,
            width,
            height,
            ExtendedColorType::Rgb8,
        )?,
        format => image::write_buffer_with_format(
            &mut Cursor::new(&mut bytes),
            &image.pixels,
            width,
            height,
            ExtendedColorType::Rgb8,
            format,
        )?,
    }
    Ok(bytes)
}
