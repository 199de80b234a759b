//! TIFF: what the `image` crate does not read as OpenCV does is read here.
//!
//! JPEG in TIFF goes to the JPEG decoder, strip by strip or tile by tile, so its levels are those
//! of libjpeg-turbo as in OpenCV. YCbCr without JPEG is read as if its samples were grey or RGB,
//! and turned into RGB afterwards. Old-style JPEG (compression 6), which TIFF took back in 1995, is
//! refused.

use super::{
    decode::{DecodeError, DecodeLimits, Format, RgbImage, decode_other, open_other, read_other},
    ifd::Directory,
    jpeg,
    jpeg_markers::{before_pixels, first_scan},
    ycbcr::{Converter, Groups},
};
use crate::types::ImageSize;
use image::DynamicImage;

/// Tags of the first directory.
mod tag {
    pub const IMAGE_WIDTH: u16 = 256;
    pub const IMAGE_LENGTH: u16 = 257;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTE_COUNTS: u16 = 279;
    pub const PLANAR_CONFIGURATION: u16 = 284;
    pub const PREDICTOR: u16 = 317;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_LENGTH: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTE_COUNTS: u16 = 325;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const JPEG_TABLES: u16 = 347;
    pub const YCBCR_COEFFICIENTS: u16 = 529;
    pub const YCBCR_SUBSAMPLING: u16 = 530;
    pub const REFERENCE_BLACK_WHITE: u16 = 532;
}

const WHITE_IS_ZERO: u64 = 0;
const RGB: u64 = 2;
const YCBCR: u64 = 6;
const OLD_JPEG: u64 = 6;
const JPEG: u64 = 7;

/// Decodes the first page without any turning.
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits, image: &mut RgbImage) -> Result<(), DecodeError> {
    let page = Page::read(bytes)?;
    match page.way()? {
        Way::Jpeg => page.decode_jpeg(limits, image)?,
        Way::YCbCr => *image = page.decode_ycbcr(limits).map_err(|error| page.in_words(error))?,
        Way::Other => *image = decode_other(bytes, Format::Tiff, limits).map_err(|error| page.in_words(error))?,
    }
    Ok(())
}

/// The size of the first page within `limits`, before any turning.
pub(super) fn size(bytes: &[u8], limits: &DecodeLimits) -> Result<ImageSize, DecodeError> {
    let page = Page::read(bytes)?;
    match page.way()? {
        Way::Jpeg | Way::YCbCr => page.size(limits),
        Way::Other => open_other(bytes, Format::Tiff, limits).map(|(_, size)| size).map_err(|e| page.in_words(e)),
    }
}

fn damaged(found: impl std::fmt::Display) -> DecodeError {
    DecodeError::damaged(Format::Tiff, found)
}

/// How a page is read.
enum Way {
    Jpeg,
    YCbCr,
    Other,
}

struct Page<'a> {
    bytes: &'a [u8],
    tags: Directory<'a>,
    compression: u64,
    photometric: Option<u64>,
    samples: u64,
    bits: u64,
}

impl<'a> Page<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::of_directory(bytes).ok_or_else(|| damaged("its first directory, or a part of it, lies beyond its end"))
    }

    fn of_directory(bytes: &'a [u8]) -> Option<Self> {
        let tags = Directory::first(bytes)?;
        Some(Self {
            bytes,
            tags,
            compression: tags.integer_or(tag::COMPRESSION, 1)?,
            photometric: tags.integer(tag::PHOTOMETRIC),
            samples: tags.integer_or(tag::SAMPLES_PER_PIXEL, 1)?,
            bits: tags.integer_or(tag::BITS_PER_SAMPLE, 1)?,
        })
    }

    fn way(&self) -> Result<Way, DecodeError> {
        let planes = self.tags.integer(tag::PLANAR_CONFIGURATION) == Some(2) && self.samples > 1;
        let way = match (self.compression, self.photometric, self.samples) {
            (OLD_JPEG, ..) => None,
            (JPEG, Some(0 | 1), 1) => Some(Way::Jpeg),
            (JPEG, Some(RGB | YCBCR), 3) if !planes => Some(Way::Jpeg),
            (JPEG, Some(YCBCR), _) => None,
            (_, Some(YCBCR), 3) if self.bits == 8 && (!planes || self.subsampling() == Some((1, 1))) => {
                self.subsampling().map(|_| Way::YCbCr)
            }
            (_, Some(YCBCR), _) => None,
            _ => Some(Way::Other),
        };
        way.ok_or_else(|| DecodeError::unsupported(Format::Tiff, self.kind()))
    }

    /// An error of the kind "not supported" says what kind of TIFF this is.
    fn in_words(&self, error: DecodeError) -> DecodeError {
        match error {
            DecodeError::Unsupported { format: Format::Tiff, .. } => {
                DecodeError::unsupported(Format::Tiff, self.kind())
            }
            other => other,
        }
    }

    /// What kind of TIFF this is, in words.
    fn kind(&self) -> String {
        let colours = match self.photometric {
            Some(0 | 1) => "grey".into(),
            Some(RGB) => "RGB".into(),
            Some(3) => "palette colours".into(),
            Some(4) => "a mask".into(),
            Some(5) => "CMYK".into(),
            Some(YCBCR) if matches!(self.compression, OLD_JPEG | JPEG) => "YCbCr".into(),
            Some(YCBCR) => "YCbCr without JPEG".into(),
            Some(8..=10) => "CIE Lab".into(),
            Some(32844 | 32845) => "LogLuv".into(),
            Some(32803 | 34892) => "raw samples of a camera".into(),
            Some(other) => format!("colours of an unknown kind (photometric interpretation {other})"),
            None => "colours that it does not tell (no photometric interpretation)".into(),
        };
        let samples = match self.tags.integer(tag::SAMPLE_FORMAT) {
            Some(2) => "signed ",
            Some(3) => "floating-point ",
            Some(5 | 6) => "complex ",
            _ => "",
        };
        let mut kind = format!("{colours}, {} {samples}sample", self.samples);
        if self.samples != 1 {
            kind.push('s');
        }
        kind += &format!(" of {} bit{} a pixel", self.bits, if self.bits == 1 { "" } else { "s" });
        if self.tags.integer(tag::PLANAR_CONFIGURATION) == Some(2) && self.samples > 1 {
            kind.push_str(" in planes of their own");
        }
        if let (Some(YCBCR), Some((across, down))) = (self.photometric, self.stored_subsampling()) {
            kind += &format!(", subsampled {across} x {down}");
        }
        if self.tags.integer(tag::PREDICTOR).is_some_and(|predictor| predictor != 1) {
            kind.push_str(", with a predictor");
        }
        let compression = match self.compression {
            1 => "not compressed".into(),
            2..=4 => "compressed as a fax".into(),
            5 => "compressed with LZW".into(),
            OLD_JPEG => "compressed with old-style JPEG".into(),
            JPEG => "compressed with JPEG".into(),
            8 | 32946 => "compressed with deflate".into(),
            32773 => "compressed with PackBits".into(),
            33003 | 33005 | 34712 => "compressed with JPEG 2000".into(),
            34887 => "compressed with LERC".into(),
            34925 => "compressed with LZMA".into(),
            50000 => "compressed with zstd".into(),
            50001 => "compressed with WebP".into(),
            50002 | 52546 => "compressed with JPEG XL".into(),
            other => format!("compressed in an unknown way ({other})"),
        };
        format!("{kind}, {compression}")
    }

    fn size(&self, limits: &DecodeLimits) -> Result<ImageSize, DecodeError> {
        let side = |tag| self.tags.integer(tag).and_then(|side| u32::try_from(side).ok());
        let (Some(width), Some(height)) = (side(tag::IMAGE_WIDTH), side(tag::IMAGE_LENGTH)) else {
            return Err(damaged("it does not tell its width and height"));
        };
        let size = ImageSize { width, height };
        limits.check(Format::Tiff, size)?;
        Ok(size)
    }

    /// JPEG in strips or tiles.
    fn decode_jpeg(&self, limits: &DecodeLimits, image: &mut RgbImage) -> Result<(), DecodeError> {
        let size = self.size(limits)?;
        let pieces = self.pieces(size)?;
        image.size = size;
        image.pixels.clear();
        image.pixels.resize(size.width as usize * size.height as usize * 3, 0);
        let tables = self.tags.data(tag::JPEG_TABLES).unwrap_or_default();
        let mut part = RgbImage::empty();
        for (index, piece) in pieces.pieces.iter().enumerate() {
            let (across, down) = pieces.place(index);
            let name = if pieces.tiles { "tile" } else { "strip" };
            let wrong = |found: &dyn std::fmt::Display| damaged(format_args!("its {name} {}: {found}", index + 1));
            let file = self.joined(tables, piece).map_err(|found| wrong(&found))?;
            jpeg::decode(&file, limits, &mut part).map_err(|error| match error {
                DecodeError::Damaged { found, .. } => wrong(&found),
                DecodeError::Unsupported { found, .. } => {
                    DecodeError::unsupported(Format::Tiff, format_args!("its {name} {}: {found}", index + 1))
                }
                other => wrong(&other),
            })?;
            // The last strip may be as high as the others.
            let rows = pieces.height.min(size.height - down);
            let ImageSize { width, height } = part.size;
            let expected = if pieces.tiles { pieces.height } else { rows };
            if width != pieces.width || height < expected || height > pieces.height {
                return Err(wrong(&format_args!("{width} x {height} pixels, not {} x {expected}", pieces.width)));
            }
            let bytes = pieces.width.min(size.width - across) as usize * 3;
            let from = part.pixels.chunks_exact(width as usize * 3).take(rows as usize);
            let to = image.pixels.chunks_exact_mut(size.width as usize * 3).skip(down as usize);
            for (from, to) in from.zip(to) {
                to[across as usize * 3..][..bytes].copy_from_slice(&from[..bytes]);
            }
        }
        if self.photometric == Some(WHITE_IS_ZERO) {
            image.pixels.iter_mut().for_each(|level| *level = 255 - *level);
        }
        Ok(())
    }

    /// A strip or tile with the tables that the file holds once, as a JPEG of its own. Its colours
    /// are those that TIFF tells: libtiff does not heed what the JPEG says of them.
    fn joined(&self, tables: &[u8], piece: &[u8]) -> Result<Vec<u8>, &'static str> {
        let Some(scan) = first_scan(piece) else { return Err("it is not a JPEG with pixels") };
        let mut file = Vec::with_capacity(tables.len() + piece.len() + 32);
        file.extend([0xFF, 0xD8]);
        for marker in before_pixels(tables).chain(before_pixels(piece)) {
            // Notes of programs, of colours as well; markers that mean nothing here.
            if matches!(marker.code, 0xE0..=0xEF | 0xFE | 0x01 | 0xD0..=0xD7) {
                continue;
            }
            // The frame tells how many components there are.
            let frame = matches!(marker.code, 0xC0..=0xCF) && !matches!(marker.code, 0xC4 | 0xC8 | 0xCC);
            if frame && marker.segment.get(5).copied().map(u64::from) != Some(self.samples) {
                return Err("it has not as many colour components as the TIFF");
            }
            file.extend([0xFF, marker.code]);
            file.extend((marker.segment.len() as u16 + 2).to_be_bytes());
            file.extend(marker.segment);
        }
        // Adobe's marker: whether three components are YCbCr.
        file.extend(b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0");
        file.push(u8::from(self.photometric == Some(YCBCR)));
        file.extend(&piece[scan..]);
        Ok(file)
    }

    /// The strips or tiles of a page that has one plane.
    fn pieces(&self, size: ImageSize) -> Result<Pieces<'a>, DecodeError> {
        let side = |tag| self.tags.integer(tag).filter(|&side| side > 0);
        let tiles = side(tag::TILE_WIDTH).zip(side(tag::TILE_LENGTH));
        let rows = side(tag::ROWS_PER_STRIP).unwrap_or(u64::MAX).min(size.height.into());
        let (width, height) = tiles.unwrap_or((size.width.into(), rows));
        let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else {
            return Err(damaged(format_args!("its tiles have {width} x {height} pixels")));
        };
        let across = size.width.div_ceil(width);
        let count = across as usize * size.height.div_ceil(height) as usize;
        let (offsets, lengths) = match tiles {
            Some(_) => (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS),
            None => (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS),
        };
        let all = |tag| self.tags.integers(tag, count).filter(|numbers| numbers.len() == count);
        let (Some(offsets), Some(lengths)) = (all(offsets), all(lengths)) else {
            return Err(damaged("it does not tell where its pixels are"));
        };
        let piece = |(&offset, &length): (&u64, &u64)| {
            let (start, end) = (usize::try_from(offset).ok()?, usize::try_from(offset.checked_add(length)?).ok()?);
            self.bytes.get(start..end)
        };
        let pieces: Option<Vec<&[u8]>> = offsets.iter().zip(&lengths).map(piece).collect();
        let pieces = pieces.ok_or_else(|| damaged("it ends before its last pixel"))?;
        // Tiles that are alike may share their bytes, but a small file must not cost hours.
        let pixels = size.width as usize * size.height as usize;
        if pieces.iter().map(|piece| piece.len()).sum::<usize>() > self.bytes.len().max(3 * pixels) {
            return Err(damaged("the parts that hold its pixels overlap"));
        }
        Ok(Pieces { tiles: tiles.is_some(), width, height, across, pieces })
    }

    fn stored_subsampling(&self) -> Option<(u64, u64)> {
        match self.tags.integers(tag::YCBCR_SUBSAMPLING, 2)?.as_slice() {
            &[across, down] => Some((across, down)),
            _ => None,
        }
    }

    /// Pixels that share one pair of chroma values, across and down; `None` for numbers that mean
    /// nothing.
    fn subsampling(&self) -> Option<(u32, u32)> {
        let (across, down) = self.stored_subsampling().unwrap_or((2, 2));
        (matches!(across, 1 | 2 | 4) && matches!(down, 1 | 2 | 4)).then_some((across as u32, down as u32))
    }

    /// YCbCr without JPEG. The `image` crate unpacks the samples from a copy of the file whose tags
    /// say that they are RGB or, where several pixels share chroma, grey: then each group of pixels
    /// is stored as its luma, one Cb and one Cr.
    fn decode_ycbcr(&self, limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
        let size = self.size(limits)?;
        let unsupported = || DecodeError::unsupported(Format::Tiff, self.kind());
        let (across, down) = self.subsampling().ok_or_else(unsupported)?;
        let group = across * down + 2;
        let mut copy = self.bytes.to_vec();
        let mut set = |tag, number| self.tags.set(&mut copy, tag, number);
        let mut sound = set(tag::PHOTOMETRIC, if (across, down) == (1, 1) { RGB as u32 } else { 1 });
        if (across, down) != (1, 1) {
            let predictor = self.tags.integer(tag::PREDICTOR).unwrap_or(1);
            let rows = self.tags.integer(tag::ROWS_PER_STRIP).unwrap_or(u64::MAX);
            if predictor != 1 || (rows < u64::from(size.height) && !rows.is_multiple_of(u64::from(down))) {
                return Err(unsupported());
            }
            sound &= set(tag::SAMPLES_PER_PIXEL, 1) && set(tag::BITS_PER_SAMPLE, 8);
            for (tag, part, whole) in [
                (tag::IMAGE_WIDTH, group, across),
                (tag::IMAGE_LENGTH, 1, down),
                (tag::ROWS_PER_STRIP, 1, down),
                (tag::TILE_WIDTH, group, across),
                (tag::TILE_LENGTH, 1, down),
            ] {
                let Some(side) = self.tags.integer(tag) else { continue };
                let side = u32::try_from(side).unwrap_or(u32::MAX);
                sound &= side.div_ceil(whole).checked_mul(part).is_some_and(|side| set(tag, side));
            }
        }
        if !sound {
            return Err(damaged("its directory is cut short"));
        }
        // The widest groups, of two pixels side by side, have four samples.
        let limits = DecodeLimits { max_pixels: limits.max_pixels.saturating_mul(3) };
        let samples = match read_other(&copy, Format::Tiff, &limits)? {
            DynamicImage::ImageRgb8(picture) => picture.into_raw(),
            DynamicImage::ImageLuma8(picture) => picture.into_raw(),
            _ => return Err(unsupported()),
        };
        let (coefficients, range) = (tag::YCBCR_COEFFICIENTS, tag::REFERENCE_BLACK_WHITE);
        let converter = Converter::new(self.tags.numbers(coefficients), self.tags.numbers(range));
        let groups = Groups { samples: &samples, across: across as usize, down: down as usize };
        Ok(RgbImage { size, pixels: groups.to_rgb(size.width as usize, size.height as usize, &converter) })
    }
}

struct Pieces<'a> {
    tiles: bool,
    /// Of one of them; the last ones may reach over the edge of the page.
    width: u32,
    height: u32,
    /// How many stand side by side.
    across: u32,
    pieces: Vec<&'a [u8]>,
}

impl Pieces<'_> {
    /// Where a piece begins, in pixels from the left and from above.
    fn place(&self, index: usize) -> (u32, u32) {
        let index = index as u32;
        (index % self.across * self.width, index / self.across * self.height)
    }
}
