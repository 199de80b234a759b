//! Pictures into files, in the format that their name says.

use crate::preprocess::RgbImage;
use image::{ExtendedColorType, ImageError, ImageFormat, codecs::jpeg::JpegEncoder};
use std::{ffi::OsStr, io::Cursor, path::Path};

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
    let suffix = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let format = match suffix.as_str() {
        "jfi" | "jif" | "jpe" | "mpo" | "pjp" | "pjpeg" => ImageFormat::Jpeg,
        "dib" => ImageFormat::Bmp,
        _ => ImageFormat::from_path(path)?,
    };
    match format {
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
