//! The bytes of a picture file into RGB, as `cv2.imdecode(IMREAD_COLOR)` gives them.

use super::{exif, jpeg, tiff};
use crate::types::ImageSize;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, Luma, Rgb, metadata::Orientation};
use std::{
    fmt,
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A decoded picture: 8-bit RGB, row major, three bytes a pixel, already turned as its EXIF orientation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Width and height.
    pub size: ImageSize,
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
}

impl RgbImage {
    /// A picture without pixels, for [`decode_into`].
    pub fn empty() -> Self {
        Self { size: ImageSize { width: 0, height: 0 }, pixels: Vec::new() }
    }
}

/// What a file may ask for before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels of one picture.
    pub max_pixels: u64,
}

impl Default for DecodeLimits {
    /// 178,956,970 pixels: where Pillow refuses a picture as a decompression bomb, and so Ultralytics' check of a data
    /// set as well. Nobody has trained on more.
    fn default() -> Self {
        Self { max_pixels: 178_956_970 }
    }
}

impl DecodeLimits {
    pub(super) fn check(&self, format: Format, size: ImageSize) -> Result<(), DecodeError> {
        let ImageSize { width, height } = size;
        if width == 0 || height == 0 {
            return Err(DecodeError::damaged(format, format_args!("it declares {width} x {height} pixels")));
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(DecodeError::TooLarge { format, size, max_pixels: self.max_pixels });
        }
        Ok(())
    }
}

/// A file format that can be decoded, told by the first bytes and never by the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Baseline and progressive; grey, YCbCr, RGB, CMYK, YCCK; of several pictures in one file (MPO) the first.
    Jpeg,
    /// All colour types and depths; of an animation the default image.
    Png,
    /// Windows bitmaps.
    Bmp,
    /// The first page; BigTIFF too.
    Tiff,
    /// Lossy and lossless; of an animation the first frame.
    WebP,
}

impl Format {
    /// # Errors
    /// No bytes, or those of no known format.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") {
            return Ok(Self::Tiff); // BigTIFF, which `guess_format` does not know.
        }
        match image::guess_format(bytes) {
            Ok(ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Ok(ImageFormat::Png) => Ok(Self::Png),
            Ok(ImageFormat::Bmp) => Ok(Self::Bmp),
            Ok(ImageFormat::Tiff) => Ok(Self::Tiff),
            Ok(ImageFormat::WebP) => Ok(Self::WebP),
            _ => {
                let first_bytes = bytes[..bytes.len().min(8)].escape_ascii().to_string();
                Err(DecodeError::UnknownFormat { first_bytes: format!("\"{first_bytes}\"") })
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::WebP => "WebP",
        })
    }
}

/// Why a file is not a usable picture. The words go into the build's list of failures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the file is empty")]
    Empty,
    /// The first bytes are those of no known format.
    #[error("not an image that can be read: it begins with {first_bytes}; JPEG, PNG, BMP, TIFF and WebP are supported")]
    UnknownFormat {
        /// The first bytes, made printable.
        first_bytes: String,
    },
    /// Refused before memory was taken.
    #[error(
        "this {format} declares {} x {} pixels, more than the limit of {max_pixels} pixels",
        size.width,
        size.height
    )]
    TooLarge {
        /// Format of the file.
        format: Format,
        /// What its header says.
        size: ImageSize,
        /// The limit that it breaks.
        max_pixels: u64,
    },
    /// A variant of the format that cannot be turned into 8-bit RGB in one right way.
    #[error("this {format} is of a kind that is not supported: {found}; save it as an 8-bit RGB PNG or JPEG")]
    Unsupported {
        /// Format of the file.
        format: Format,
        /// What kind it is.
        found: String,
    },
    /// The file breaks its format's rules, or ends early.
    #[error("this {format} is damaged: {found}")]
    Damaged {
        /// Format of the file.
        format: Format,
        /// What the decoder said.
        found: String,
    },
}

impl DecodeError {
    pub(super) fn damaged(format: Format, found: impl fmt::Display) -> Self {
        Self::Damaged { format, found: found.to_string() }
    }

    pub(super) fn unsupported(format: Format, found: impl fmt::Display) -> Self {
        Self::Unsupported { format, found: found.to_string() }
    }
}

/// Decodes a picture file: first frame or page, EXIF orientation applied, grey repeated, alpha dropped without blending,
/// the upper byte of 16-bit samples. A file that ends early is refused even where OpenCV would fill in grey; one that
/// lacks no more than the end marker of a JPEG is read even where OpenCV refuses it. `exif.rs` tells whose orientation
/// other programs take differently.
///
/// # Errors
/// A sentence for the user in every case; hostile bytes do not panic, and memory is taken only within `limits`.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    let mut image = RgbImage::empty();
    decode_into(bytes, limits, &mut image)?;
    Ok(image)
}

/// As [`decode`], into a picture whose buffer is used again. After an error it is empty.
///
/// # Errors
/// As [`decode`].
pub fn decode_into(bytes: &[u8], limits: &DecodeLimits, image: &mut RgbImage) -> Result<(), DecodeError> {
    let done = Format::of(bytes).and_then(|format| {
        guarded(format, || {
            match format {
                Format::Jpeg => jpeg::decode(bytes, limits, image)?,
                Format::Tiff => tiff::decode(bytes, limits, image)?,
                other => *image = decode_other(bytes, other, limits)?,
            }
            turn(image, exif::of(format, bytes));
            Ok(())
        })
    });
    if done.is_err() {
        *image = RgbImage::empty();
    }
    done
}

/// Width and height of a picture after its EXIF orientation, from its header alone.
///
/// # Errors
/// As [`decode`], for what the header shows; pixels that are damaged are not noticed.
pub fn size_of(bytes: &[u8], limits: &DecodeLimits) -> Result<ImageSize, DecodeError> {
    let format = Format::of(bytes)?;
    guarded(format, || {
        let size = match format {
            Format::Jpeg => jpeg::size(bytes, limits)?,
            Format::Tiff => tiff::size(bytes, limits)?,
            other => open_other(bytes, other, limits)?.1,
        };
        Ok(match exif::of(format, bytes) {
            Some(5..=8) => ImageSize { width: size.height, height: size.width },
            _ => size,
        })
    })
}

/// Runs a decoder. They are other people's work on other people's bytes, and a bug in one of them must cost an image and
/// not a build of a million. What they leave behind after a panic is thrown away, so no broken state is seen.
fn guarded<T>(format: Format, run: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(DecodeError::damaged(format, "it makes the decoder fail in an unforeseen way")))
}

/// What the `image` crate says of a file.
fn refused(format: Format, error: image::ImageError) -> DecodeError {
    match error {
        image::ImageError::Unsupported(what) => DecodeError::unsupported(format, what),
        other => DecodeError::damaged(format, other),
    }
}

/// A file that the `image` crate reads: a decoder and the size within `limits`, before any turning.
pub(super) fn open_other<'a>(
    bytes: &'a [u8],
    format: Format,
    limits: &DecodeLimits,
) -> Result<(impl ImageDecoder + 'a, ImageSize), DecodeError> {
    let mut reader = image::ImageReader::with_format(
        Cursor::new(bytes),
        match format {
            Format::Jpeg => ImageFormat::Jpeg,
            Format::Png => ImageFormat::Png,
            Format::Bmp => ImageFormat::Bmp,
            Format::Tiff => ImageFormat::Tiff,
            Format::WebP => ImageFormat::WebP,
        },
    );
    // The picture (8 bytes a pixel at most) and as much again for the decoder, never under 64 MiB.
    let mut memory = image::Limits::no_limits();
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(16).max(64 << 20));
    reader.limits(memory);
    let decoder = reader.into_decoder().map_err(|error| refused(format, error))?;
    let (width, height) = decoder.dimensions();
    let size = ImageSize { width, height };
    limits.check(format, size)?;
    Ok((decoder, size))
}

/// A file through the `image` crate, as it is stored.
pub(super) fn read_other(bytes: &[u8], format: Format, limits: &DecodeLimits) -> Result<DynamicImage, DecodeError> {
    let (decoder, _) = open_other(bytes, format, limits)?;
    DynamicImage::from_decoder(decoder).map_err(|error| refused(format, error))
}

/// Decodes a file through the `image` crate, without any turning.
pub(super) fn decode_other(bytes: &[u8], format: Format, limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    let picture = read_other(bytes, format, limits)?;
    let size = ImageSize { width: picture.width(), height: picture.height() };
    let pixels = match picture {
        DynamicImage::ImageRgb8(picture) => picture.into_raw(),
        DynamicImage::ImageRgb16(picture) => picture.iter().map(|&sample| high_byte(sample)).collect(),
        DynamicImage::ImageLuma8(picture) => grey(picture.pixels().map(|&Luma([level])| level)),
        DynamicImage::ImageLuma16(picture) => grey(picture.pixels().map(|&Luma([level])| high_byte(level))),
        DynamicImage::ImageLumaA8(picture) => grey(picture.pixels().map(|pixel| pixel.0[0])),
        DynamicImage::ImageLumaA16(picture) => grey(picture.pixels().map(|pixel| high_byte(pixel.0[0]))),
        DynamicImage::ImageRgba8(picture) => {
            picture.pixels().flat_map(|&image::Rgba([r, g, b, _])| [r, g, b]).collect()
        }
        DynamicImage::ImageRgba16(picture) => {
            picture.pixels().flat_map(|&image::Rgba([r, g, b, _])| [r, g, b].map(high_byte)).collect()
        }
        _ => return Err(DecodeError::unsupported(format, "its samples are not 8-bit or 16-bit integers")),
    };
    Ok(RgbImage { size, pixels })
}

/// A 16-bit sample in 8 bits: the upper byte, as OpenCV cuts it, not rounded.
fn high_byte(sample: u16) -> u8 {
    (sample >> 8) as u8
}

fn grey(levels: impl Iterator<Item = u8>) -> Vec<u8> {
    levels.flat_map(|level| [level; 3]).collect()
}

/// Applies an EXIF orientation.
fn turn(image: &mut RgbImage, orientation: Option<u8>) {
    let Some(orientation @ 2..) = orientation else { return };
    let Some(orientation) = Orientation::from_exif(orientation) else { return };
    let ImageSize { width, height } = image.size;
    if let Some(picture) = ImageBuffer::<Rgb<u8>, _>::from_raw(width, height, std::mem::take(&mut image.pixels)) {
        let mut picture = DynamicImage::ImageRgb8(picture);
        picture.apply_orientation(orientation);
        image.size = ImageSize { width: picture.width(), height: picture.height() };
        image.pixels = picture.into_rgb8().into_raw();
    }
}
