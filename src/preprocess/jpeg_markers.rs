//! The markers of a JPEG, and whether its pixel data are all there.
//!
//! The decoder wants an end marker after several scans, though no pixel needs it, and it takes any
//! restart marker for the one that it waits for. So both are looked at here, before it runs.

use super::decode::{DecodeError, Format};
use std::borrow::Cow;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DRI: u8 = 0xDD;

/// A marker, and the segment that follows most of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marker<'a> {
    pub code: u8,
    /// Without its length.
    pub segment: &'a [u8],
    /// Where the marker begins.
    pub at: usize,
}

/// Walks from marker to marker as libjpeg does: what stands between them is skipped.
#[derive(Debug, Clone)]
struct Markers<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// The markers from behind the first up to that of the first scan.
pub(super) fn before_pixels(bytes: &[u8]) -> impl Iterator<Item = Marker<'_>> {
    Markers { bytes, position: 2 }.take_while(|marker| !matches!(marker.code, SOI | EOI | SOS))
}

/// The first scan: where its marker begins.
pub(super) fn first_scan(bytes: &[u8]) -> Option<usize> {
    Markers { bytes, position: 2 }.find(|marker| marker.code == SOS).map(|marker| marker.at)
}

impl<'a> Iterator for Markers<'a> {
    type Item = Marker<'a>;

    fn next(&mut self) -> Option<Marker<'a>> {
        loop {
            let (at, code) = self.next_code()?;
            match code {
                0 => {}
                // No segment follows a restart marker and those of begin and end.
                0x01 | 0xD0..=EOI => return Some(Marker { code, segment: &[], at }),
                _ => {
                    let length = self.bytes.get(self.position..)?.first_chunk::<2>()?;
                    let end = self.position.checked_add(u16::from_be_bytes(*length).into())?;
                    let segment = self.bytes.get(self.position + 2..end)?;
                    self.position = end;
                    return Some(Marker { code, segment, at });
                }
            }
        }
    }
}

impl Markers<'_> {
    /// The next byte after one or more 0xFF, and where the last of those is.
    fn next_code(&mut self) -> Option<(usize, u8)> {
        let rest = self.bytes.get(self.position..)?;
        let Some(first) = memchr::memchr(0xFF, rest) else {
            self.position = self.bytes.len();
            return None;
        };
        let run = rest[first..].iter().take_while(|&&byte| byte == 0xFF).count();
        let code = rest.get(first + run).copied();
        let at = self.position + first + run - 1;
        self.position = (at + 2).min(self.bytes.len());
        code.map(|code| (at, code))
    }

    /// Goes over the pixel data of a scan to the marker that ends them, and gives each restart
    /// marker's number to
    /// `restart`. `false` where the file ends before such a marker.
    fn skip_pixels(&mut self, mut restart: impl FnMut(u8)) -> bool {
        loop {
            match self.next_code() {
                Some((_, 0)) => {}
                Some((_, code @ 0xD0..=0xD7)) => restart(code - 0xD0),
                Some((at, _)) => {
                    self.position = at;
                    return true;
                }
                None => return false,
            }
        }
    }
}

/// A JPEG of which no scan is missing, as far as can be told before decoding.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    /// The file, or a copy with an end marker where that is all it lacks.
    pub bytes: Cow<'a, [u8]>,
    /// What to say when the decoder finds too few pixel data.
    pub too_short: &'static str,
}

/// Looks through the markers. A file without an end marker is whole where every coefficient of
/// every component was sent; that the last scan is not cut within is for the decoder to see. What
/// the decoder refuses by itself is passed on to it.
///
/// # Errors
/// A scan is missing, or a restart marker is not where it belongs: libjpeg then guesses, with a
/// warning, and shows wrong pixels.
pub(super) fn whole(bytes: &[u8]) -> Result<Whole<'_>, DecodeError> {
    let mut markers = Markers { bytes, position: 2 };
    let mut frame: Option<Frame> = None;
    let mut interval = 0u16;
    let mut pixels_end = None;
    let mut stray_restart = false;
    let ended = loop {
        let Some(marker) = markers.next() else { break false };
        match marker.code {
            EOI => break true,
            // The next picture of several in one file.
            SOI => break false,
            DRI => interval = marker.segment.first_chunk().map_or(0, |&two| u16::from_be_bytes(two)),
            0xC0..=0xCF if !matches!(marker.code, 0xC4 | 0xC8 | 0xCC) && frame.is_none() => {
                frame = Frame::read(marker);
            }
            SOS => {
                let Some(units) = frame.as_mut().and_then(|frame| frame.scan(marker.segment)) else { break true };
                let mut restarts = Restarts::expected(units?, interval);
                let marked = markers.skip_pixels(|number| restarts.found(number));
                restarts.check(marked)?;
                stray_restart |= restarts.count > restarts.expected;
                pixels_end = Some(markers.position);
            }
            _ => {}
        }
    };
    let too_short = match (stray_restart, ended) {
        (true, _) => "a restart marker stands among its pixel data where none belongs",
        (false, true) => "some of its pixel data are missing before its end marker",
        (false, false) => "it ends before its last pixel",
    };
    // Without a frame or a scan the decoder says what is wrong.
    let (Some(frame), Some(end)) = (frame, pixels_end) else { return Ok(Whole { bytes: bytes.into(), too_short }) };
    let damaged = |found| Err(DecodeError::damaged(Format::Jpeg, found));
    if ended {
        return match frame.lacks_a_component() {
            true => damaged("one of its colour components is missing"),
            false => Ok(Whole { bytes: bytes.into(), too_short }),
        };
    }
    if frame.arithmetic {
        return damaged("it has no end marker, and arithmetic coding does not show whether pixels are missing");
    }
    if !frame.is_complete() {
        return damaged("it ends before its last pixel");
    }
    // Zeros and 0xFF fill a file that was not written to its end, and the decoder takes zeros for
    // pixels. So all of them go but what pixel data may end with: 0xFF 0, or one zero alone.
    let fill = bytes[..end].iter().rev().take_while(|&&byte| byte == 0 || byte == 0xFF).count();
    let (data, fill) = bytes[..end].split_at(end - fill);
    let last: &[u8] = match fill {
        [0] => &[0],
        [0xFF, 0, ..] => &[0xFF, 0],
        _ => &[],
    };
    Ok(Whole { bytes: [data, last, &[0xFF, EOI]].concat().into(), too_short })
}

/// The restart markers of one scan, which count from 0 to 7 and again from 0.
struct Restarts {
    expected: u64,
    count: u64,
    wrong: Option<u8>,
}

impl Restarts {
    fn expected(units: u64, interval: u16) -> Self {
        let expected = if interval == 0 { 0 } else { units.saturating_sub(1) / u64::from(interval) };
        Self { expected, count: 0, wrong: None }
    }

    fn found(&mut self, number: u8) {
        if self.count < self.expected && self.wrong.is_none() && u64::from(number) != self.count % 8 {
            self.wrong = Some(number);
        }
        self.count += u64::from(self.wrong.is_none());
    }

    /// `marked`: another marker ends the scan. A file that is cut has fewer restart markers, but that
    /// is not its fault.
    fn check(&self, marked: bool) -> Result<(), DecodeError> {
        let consequence = "the pixels after it would be wrong";
        if let Some(number) = self.wrong {
            return Err(DecodeError::damaged(
                Format::Jpeg,
                format_args!(
                    "a restart marker is missing or in the wrong place (number {} is expected, {number} found), and \
                     {consequence}",
                    self.count % 8
                ),
            ));
        }
        if marked && self.count < self.expected {
            return Err(DecodeError::damaged(
                Format::Jpeg,
                format_args!(
                    "a restart marker is missing ({} of {} were found), and {consequence}",
                    self.count, self.expected
                ),
            ));
        }
        Ok(())
    }
}

/// What the frame header says, and which coefficients the scans have sent.
struct Frame {
    progressive: bool,
    arithmetic: bool,
    /// Pixels along the side of a block: 8, without loss 1.
    block: u64,
    width: u64,
    height: u64,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    horizontal: u64,
    vertical: u64,
    /// The lowest bit that was sent of each coefficient; `UNSENT` before the first.
    sent: [u8; 64],
}

const UNSENT: u8 = u8::MAX;

impl Frame {
    fn read(marker: Marker<'_>) -> Option<Self> {
        let (&[_, h1, h2, w1, w2, count], rest) = marker.segment.split_first_chunk::<6>()?;
        let components: Vec<Component> = rest
            .chunks_exact(3)
            .take(count.into())
            .map(|part| Component {
                id: part[0],
                horizontal: u64::from(part[1] >> 4),
                vertical: u64::from(part[1] & 15),
                sent: [UNSENT; 64],
            })
            .collect();
        let sound = !components.is_empty() && components.iter().all(|c| c.horizontal > 0 && c.vertical > 0);
        sound.then_some(Self {
            progressive: matches!(marker.code, 0xC2 | 0xC6 | 0xCA | 0xCE),
            arithmetic: marker.code >= 0xC9,
            block: if marker.code & 3 == 3 { 1 } else { 8 },
            width: u16::from_be_bytes([w1, w2]).into(),
            height: u16::from_be_bytes([h1, h2]).into(),
            components,
        })
    }

    /// Notes what a scan sends and counts its units: the blocks between which restart markers
    /// stand. `None` for a header that the decoder refuses.
    fn scan(&mut self, header: &[u8]) -> Option<Result<u64, DecodeError>> {
        let (&count, rest) = header.split_first()?;
        let (parts, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let &[first, last, bits] = rest.first_chunk::<3>()?;
        let (most_across, most_down) = (self.most(|c| c.horizontal), self.most(|c| c.vertical));
        let mut units = self.width.div_ceil(self.block * most_across) * self.height.div_ceil(self.block * most_down);
        for part in parts.chunks_exact(2) {
            let component = self.components.iter_mut().find(|component| component.id == part[0])?;
            let (range, low) = if self.progressive { (first..=last, bits & 15) } else { (0..=63, 0) };
            for coefficient in range {
                *component.sent.get_mut(usize::from(coefficient))? = low;
            }
            if count == 1 {
                let side = |pixels: u64, own: u64, most: u64| (pixels * own).div_ceil(most).div_ceil(self.block);
                units = side(self.width, component.horizontal, most_across)
                    * side(self.height, component.vertical, most_down);
            }
        }
        if !self.progressive && count > 1 && usize::from(count) < self.components.len() {
            let found = "it is not progressive, and only some of its colour components share a scan";
            return Some(Err(DecodeError::unsupported(Format::Jpeg, found)));
        }
        Some(Ok(units))
    }

    fn most(&self, side: impl Fn(&Component) -> u64) -> u64 {
        self.components.iter().map(side).max().unwrap_or(1)
    }

    fn lacks_a_component(&self) -> bool {
        self.components.iter().any(|component| component.sent[0] == UNSENT)
    }

    fn is_complete(&self) -> bool {
        self.components.iter().all(|component| component.sent.iter().all(|&low| low == 0))
    }
}
