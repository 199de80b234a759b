//! The EXIF orientation of a picture, one reader for every format.
//!
//! The value that the tag Orientation (274) of the first directory holds decides, whatever integer
//! number type it has: TIFF 6.0, section 2, asks readers to take BYTE, SHORT or LONG for any unsigned
//! integer, and a whole number written as a fraction or a float is meant as well. Of several such
//! tags the first decides. A value outside 1 to 8 is no orientation. The tag is looked for
//!
//! - in JPEG in every APP1 segment of EXIF before the pixels, wherever it stands between other
//!   segments; at last in all of them joined, since EXIF over 64 KiB is cut into several;
//! - in PNG in the `eXIf` chunk, before or after the pixels, then in the text
//!   `Raw profile type exif` (or `APP1`), where ImageMagick put it before `eXIf` was defined;
//! - in WebP in the `EXIF` chunk of a file whose header says that it has one;
//! - in TIFF and BigTIFF in the first directory.
//!
//! Where OpenCV 5.0 and Pillow 13 decide otherwise (the first four lines are not about TIFF, where
//! OpenCV turns for every integer type):
//!
//! | file | here | OpenCV | Pillow |
//! |---|---|---|---|
//! | LONG, SLONG or IFD, big-endian | turned | not | turned |
//! | BYTE or UNDEFINED, little-endian | turned | turned | not |
//! | BYTE or UNDEFINED, big-endian | turned | not | not |
//! | SBYTE, big-endian | turned | not | turned |
//! | 64-bit types and BigTIFF within EXIF | turned | not | LONG8 is turned |
//! | more than one number, the first counts | turned | SHORT within the entry | SHORT and LONG |
//! | the same in TIFF | turned | not | turned |
//! | RATIONAL, SRATIONAL, FLOAT and DOUBLE | turned | not | turned |
//! | JPEG: first EXIF segment without the tag, second with it | turned | turned | not |
//! | PNG and WebP: `Exif\0\0` before the directory | turned | not | turned |
//! | PNG: raw profile `exif` | turned | not | turned |
//! | PNG: raw profile `APP1` | turned | not | not |
//! | no EXIF but `tiff:Orientation` in XMP | not | not | turned |

use super::{decode::Format, ifd::Directory, jpeg_markers};
use flate2::{Crc, read::ZlibDecoder};
use std::io::Read;

/// The orientation that the EXIF of a picture file asks for, 1 to 8, from its bytes. `None` without
/// one, or where the bytes are no picture. Hostile bytes do not panic.
#[doc(hidden)]
pub fn exif_orientation(bytes: &[u8]) -> Option<u8> {
    of(Format::of(bytes).ok()?, bytes)
}

/// As [`exif_orientation`], for a file of this format.
pub(super) fn of(format: Format, bytes: &[u8]) -> Option<u8> {
    let held = match format {
        Format::Jpeg => in_jpeg(bytes),
        Format::Png => in_png(bytes),
        Format::WebP => in_webp(bytes),
        Format::Tiff => held(bytes),
        Format::Bmp => None,
    };
    held.and_then(|value| u8::try_from(value).ok()).filter(|value| (1..=8).contains(value))
}

/// What EXIF begins with in JPEG, and by mistake in other files.
const PREFIX: &[u8] = b"Exif\0\0";

/// What the tag holds in a TIFF directory.
fn held(exif: &[u8]) -> Option<u64> {
    Directory::first(exif.strip_prefix(PREFIX).unwrap_or(exif))?.whole(274)
}

fn in_jpeg(bytes: &[u8]) -> Option<u64> {
    let segments: Vec<&[u8]> = jpeg_markers::before_pixels(bytes)
        .filter(|marker| marker.code == 0xE1)
        .filter_map(|marker| marker.segment.strip_prefix(PREFIX))
        .collect();
    segments.iter().find_map(|segment| held(segment)).or_else(|| held(&segments.concat()))
}

fn in_png(bytes: &[u8]) -> Option<u64> {
    let chunks = || png_chunks(bytes);
    let own = chunks().filter(|(kind, _)| kind == b"eXIf").find_map(|(_, data)| held(data));
    own.or_else(|| held(&chunks().find_map(|(kind, data)| Some(raw_profile(kind, profile_text(data)?)))??))
}

/// The chunks of a PNG without those whose checksum is wrong: other readers pass over them as well.
fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (checked, after) = after.split_at_checked((u32::from_be_bytes(*length) as usize).checked_add(4)?)?;
        let (checksum, after) = after.split_first_chunk::<4>()?;
        let (kind, data) = checked.split_first_chunk::<4>()?;
        rest = after;
        Some((*kind, checked, data, u32::from_be_bytes(*checksum)))
    })
    .filter(|(kind, checked, _, checksum)| {
        let looked_into = matches!(kind, b"eXIf" | b"tEXt" | b"zTXt");
        looked_into && {
            let mut crc = Crc::new();
            crc.update(checked);
            crc.sum() == *checksum
        }
    })
    .map(|(kind, _, data, _)| (kind, data))
}

/// What follows the keyword of a text chunk that holds EXIF.
fn profile_text(data: &[u8]) -> Option<&[u8]> {
    let text = data.strip_prefix(b"Raw profile type ")?;
    text.strip_prefix(b"exif\0").or_else(|| text.strip_prefix(b"APP1\0"))
}

/// EXIF in a text chunk: a word, its length and then its bytes in hexadecimal digits, each on lines
/// of their own.
fn raw_profile(kind: [u8; 4], text: &[u8]) -> Option<Vec<u8>> {
    let mut inflated = Vec::new();
    let text = if &kind == b"zTXt" {
        // A byte tells the method, zlib. EXIF ends within 64 KiB, so a longer text is cut.
        let read = ZlibDecoder::new(text.get(1..)?).take(1 << 18).read_to_end(&mut inflated);
        read.ok().map(|_| inflated.as_slice())?
    } else {
        text
    };
    let digits: Vec<u8> = text
        .splitn(4, |&byte| byte == b'\n')
        .nth(3)?
        .iter()
        .filter_map(|&byte| char::from(byte).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn in_webp(bytes: &[u8]) -> Option<u64> {
    let mut chunks = webp_chunks(bytes);
    let (_, flags) = chunks.next().filter(|(kind, _)| kind == b"VP8X")?;
    let has_exif = flags.first()? & 0x08 != 0;
    chunks.filter(|(kind, _)| has_exif && kind == b"EXIF").find_map(|(_, data)| held(data))
}

fn webp_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes.get(12..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (kind, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        // The last chunk may be cut short, and a chunk of odd length is followed by a byte of
        // padding.
        let (data, after) = after.split_at(length.min(after.len()));
        rest = after.get(length % 2..).unwrap_or_default();
        Some((*kind, data))
    })
}
