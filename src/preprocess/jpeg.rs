//! JPEG into RGB, the same levels as OpenCV.
//!
//! `libjpeg-turbo-rs` is a port of libjpeg-turbo, which OpenCV uses, and decodes to the same bytes. Measured over the 128
//! JPEGs of COCO128 against OpenCV 5.0 (one thread of an AVX-512 machine, ms an image of about 640 x 480):
//!
//! | decoder | ms | images that differ | largest difference | values off by more than 1 |
//! |---|---|---|---|---|
//! | libjpeg-turbo-rs 0.9.0 | 1.8 | 0 of 128 | 0 | 0 |
//! | zune-jpeg 0.5.15 (what `image` uses) | 2.1 | 128 of 128 | 3 | 0.14 % |
//! | mozjpeg 0.10.13 (C, without nasm) | 2.9 | 0 of 128 | 0 | 0 |
//! | OpenCV itself | 2.1 | | | |
//!
//! The crate is young and has `unsafe` in its vector code. 7.2 million mutated JPEGs of all kinds, decoded under
//! AddressSanitizer with overflow checks, gave no memory error and 337 panics, all for a side of zero pixels or four
//! components of mixed sizes. Both are refused here before the decoder starts, and `decode_into` turns any other panic into
//! a refusal of the file.

use super::{
    decode::{DecodeError, DecodeLimits, Format, RgbImage},
    jpeg_markers::{Whole, whole},
};
use crate::types::ImageSize;
use libjpeg_turbo_rs::{ComponentInfo, Decoder, JpegError, PixelFormat};

/// The size within `limits`, before any turning.
pub(super) fn size(bytes: &[u8], limits: &DecodeLimits) -> Result<ImageSize, DecodeError> {
    header(&whole(bytes)?, limits).map(|(_, size)| size)
}

/// Reads the header: a decoder and the size within `limits`.
fn header<'a>(file: &'a Whole<'_>, limits: &DecodeLimits) -> Result<(Decoder<'a>, ImageSize), DecodeError> {
    // This reads the markers and takes no memory for pixels.
    let decoder = Decoder::new(&file.bytes).map_err(|error| damaged(error, file.too_short))?;
    let header = decoder.header();
    let size = ImageSize { width: header.width.into(), height: header.height.into() };
    limits.check(Format::Jpeg, size)?;
    if header.precision != 8 {
        return Err(DecodeError::unsupported(
            Format::Jpeg,
            format!("it has {} bits a sample, not 8", header.precision),
        ));
    }
    if let [first, second, third, fourth] = header.components.as_slice() {
        // The decoder enlarges the middle two (chroma of YCCK) and takes the fourth to be as large as the first.
        let sampling = |c: &ComponentInfo| (c.horizontal_sampling, c.vertical_sampling);
        let within = |c: &ComponentInfo| {
            first.horizontal_sampling % c.horizontal_sampling.max(1) == 0
                && first.vertical_sampling % c.vertical_sampling.max(1) == 0
        };
        if sampling(first) != sampling(fourth) || sampling(second) != sampling(third) || !within(second) {
            return Err(DecodeError::unsupported(Format::Jpeg, "its four components are of mixed sizes"));
        }
    }
    Ok((decoder, size))
}

/// Decodes into `image`, whose buffer is used again, without any turning.
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits, image: &mut RgbImage) -> Result<(), DecodeError> {
    let file = whole(bytes)?;
    let (mut decoder, size) = header(&file, limits)?;
    let cmyk = decoder.header().components.len() == 4;
    decoder.set_output_format(if cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    // As in libjpeg by default: of a progressive file that has only its first scans the blocks are smoothed.
    decoder.set_block_smoothing(true);
    let damaged = |error| damaged(error, file.too_short);
    let wanted = decoder.output_buffer_size().map_err(damaged)?;
    image.size = size;
    image.pixels.resize(wanted, 0);
    decoder.decode_image_into(&mut image.pixels).map_err(damaged)?;
    if cmyk {
        cmyk_to_rgb(&mut image.pixels);
    }
    Ok(())
}

/// Four inks to RGB in place, as OpenCV does it (`icvCvt_CMYK2BGR_8u_C4C3R`): the inks are taken as Adobe writes them,
/// 255 for none, whatever the file says.
fn cmyk_to_rgb(pixels: &mut Vec<u8>) {
    let inks = pixels.len() / 4;
    for pixel in 0..inks {
        let (from, to) = (pixel * 4, pixel * 3);
        let key = i32::from(pixels[from + 3]);
        for channel in 0..3 {
            let ink = i32::from(pixels[from + channel]);
            pixels[to + channel] = (key - (((255 - ink) * key) >> 8)) as u8;
        }
    }
    pixels.truncate(inks * 3);
}

fn damaged(error: JpegError, too_short: &str) -> DecodeError {
    match error {
        JpegError::UnexpectedEof => DecodeError::damaged(Format::Jpeg, too_short),
        JpegError::Unsupported(what) => DecodeError::unsupported(Format::Jpeg, what),
        other => DecodeError::damaged(Format::Jpeg, other),
    }
}
