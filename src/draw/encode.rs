//! Pictures into files, in the format that their name says.

use crate::{outputs::PICTURE_MARK, preprocess::RgbImage};
use image::{ExtendedColorType, ImageError, ImageFormat, codecs::jpeg::JpegEncoder};
use std::{ffi::OsStr, io::Cursor, path::Path};

/// Quality of JPEG files: lines and letters stay sharp.
const JPEG_QUALITY: u8 = 92;

/// PNG: signature and header chunk, after which other chunks may follow.
const PNG_HEADER_BYTES: usize = 8 + 25;
/// The keyword of the text chunk, before [`PICTURE_MARK`].
const PNG_KEYWORD: &[u8] = b"Software\0";

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
    mark(&mut bytes, format);
    Ok(bytes)
}

/// Writes into a PNG or JPEG file who drew it; the other formats have no place for it.
fn mark(bytes: &mut Vec<u8>, format: ImageFormat) {
    let text = PICTURE_MARK.as_bytes();
    let (at, chunk) = match format {
        ImageFormat::Png => {
            let data = [b"tEXt", PNG_KEYWORD, text].concat();
            let length = (data.len() - 4) as u32;
            (PNG_HEADER_BYTES, [&length.to_be_bytes()[..], &data, &crc32(&data).to_be_bytes()].concat())
        }
        ImageFormat::Jpeg => {
            // Behind the JFIF segment, which comes first where there is one.
            let at = match *bytes.as_slice() {
                [_, _, 0xff, 0xe0, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
                _ => 2,
            };
            let length = (text.len() + 2) as u16;
            (at, [&[0xff, 0xfe][..], &length.to_be_bytes(), text].concat())
        }
        _ => return,
    };
    if at <= bytes.len() {
        bytes.splice(at..at, chunk);
    }
}

/// PNG's checksum, bit by bit: it is asked for once a picture, over some twenty bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        outputs::{OutputFile, refuse_foreign_file},
        preprocess::decode,
        types::ImageSize,
    };

    #[test]
    fn what_was_drawn_here_is_known_again_and_its_pixels_are_as_they_were() {
        assert_eq!(crc32(b"tEXtSoftware\0logitcache"), 0xa091_b619, "as zlib has it");
        let dir = tempfile::tempdir().unwrap();
        let size = ImageSize { width: 5, height: 3 };
        let image = RgbImage { size, pixels: (0..45).map(|i| i * 5).collect() };
        for (name, is_known) in
            [("a.png", true), ("a.jpg", true), ("a.bmp", false), ("a.webp", false), ("a.tif", false)]
        {
            let path = dir.path().join(name);
            let bytes = encode(&image, &path).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(refuse_foreign_file(&path, OutputFile::Picture, false).is_ok(), is_known, "{name}");
            let back = decode(&bytes, &Default::default()).unwrap();
            assert!(back.size == size && (name == "a.jpg" || back.pixels == image.pixels), "{name}");
        }
        // A picture of somebody else.
        let path = dir.path().join("b.png");
        image::save_buffer(&path, &image.pixels, 5, 3, ExtendedColorType::Rgb8).unwrap();
        refuse_foreign_file(&path, OutputFile::Picture, false).unwrap_err();
    }
}
