//! The first directory of a TIFF: its tags and their numbers. EXIF is such a directory too.
//!
//! Only what lies within the bytes is read: a directory that is cut short gives the tags that are
//! there, and a value beyond the end is none.

/// The first directory of TIFF or BigTIFF bytes, in either byte order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    little: bool,
    /// BigTIFF: counts and offsets have eight bytes.
    big: bool,
    /// Where the entries begin.
    start: usize,
    count: u64,
}

/// One tag of a directory.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: usize,
    kind: u16,
    count: u64,
}

impl<'a> Directory<'a> {
    /// `None` where the bytes do not begin as a TIFF.
    pub fn first(bytes: &'a [u8]) -> Option<Self> {
        let little = match bytes.get(..2)? {
            b"II" => true,
            b"MM" => false,
            _ => return None,
        };
        let mut directory = Self { bytes, little, big: false, start: 0, count: 0 };
        let at = match directory.unsigned(2, 2)? {
            42 => directory.unsigned(4, 4)?,
            43 => {
                directory.big = true;
                directory.unsigned(8, 8)?
            }
            _ => return None,
        };
        let at = usize::try_from(at).ok()?;
        let width = if directory.big { 8 } else { 2 };
        directory.count = directory.unsigned(at, width)?;
        directory.start = at + width;
        Some(directory)
    }

    /// The first number of a tag of an integer type that is not negative: of several such tags that
    /// of the first.
    pub fn integer(&self, tag: u16) -> Option<u64> {
        self.entries(tag).find_map(|entry| self.integer_at(entry, 0))
    }

    /// As [`Self::integer`], where a whole number of another number type counts as well.
    pub fn whole(&self, tag: u16) -> Option<u64> {
        let of_float = |value: f32| (value >= 0.0 && value.fract() == 0.0).then_some(value as u64);
        self.entries(tag).find_map(|entry| self.integer_at(entry, 0).or_else(|| of_float(self.number_at(entry, 0)?)))
    }

    /// As [`Self::integer`], with what a file without the tag means.
    pub fn integer_or(&self, tag: u16, default: u64) -> Option<u64> {
        self.integer(tag).or_else(|| self.entries(tag).next().is_none().then_some(default))
    }

    /// At most `most` numbers of a tag of an integer type; `None` without the tag, or where one of
    /// them is missing.
    pub fn integers(&self, tag: u16, most: usize) -> Option<Vec<u64>> {
        let entry = self.entries(tag).next()?;
        let count = usize::try_from(entry.count).unwrap_or(usize::MAX).min(most);
        (0..count).map(|index| self.integer_at(entry, index)).collect()
    }

    /// `N` numbers of a tag of whatever type.
    pub fn numbers<const N: usize>(&self, tag: u16) -> Option<[f32; N]> {
        let entry = self.entries(tag).next().filter(|entry| entry.count >= N as u64)?;
        let mut numbers = [0.0; N];
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = self.number_at(entry, index)?;
        }
        Some(numbers)
    }

    /// The bytes of a tag.
    pub fn data(&self, tag: u16) -> Option<&'a [u8]> {
        let entry = self.entries(tag).next()?;
        let at = self.value(entry)?;
        let length = usize::try_from(entry.count).ok()?.checked_mul(width(entry.kind)?)?;
        self.bytes.get(at..at.checked_add(length)?)
    }

    /// Writes one number into a tag of a copy of the file. `false` without that tag.
    pub fn set(&self, copy: &mut [u8], tag: u16, number: u32) -> bool {
        let Some(entry) = self.entries(tag).next() else { return false };
        let mut write = |at: usize, bytes: &[u8]| {
            let Some(place) = copy.get_mut(at..at + bytes.len()) else { return false };
            place.copy_from_slice(bytes);
            if self.little {
                place.reverse();
            }
            true
        };
        let count_width = if self.big { 8 } else { 4 };
        write(entry.at + 2, &4u16.to_be_bytes())
            && write(entry.at + 4, &1u64.to_be_bytes()[8 - count_width..])
            && write(entry.at + 4 + count_width, &number.to_be_bytes())
    }

    /// The entries of a tag, as far as the bytes go.
    fn entries(&self, tag: u16) -> impl Iterator<Item = Entry> {
        let (size, width) = if self.big { (20, 8) } else { (12, 4) };
        let fit = (self.bytes.len().saturating_sub(self.start) / size + 1) as u64;
        let count = self.count.min(fit) as usize;
        (0..count).map(move |index| self.start + index * size).filter_map(move |at| {
            (self.unsigned(at, 2)? == u64::from(tag)).then_some(())?;
            let kind = self.unsigned(at + 2, 2)? as u16;
            Some(Entry { at, kind, count: self.unsigned(at + 4, width)? })
        })
    }

    /// Where the value of an entry lies: within the entry if it is short.
    fn value(&self, entry: Entry) -> Option<usize> {
        let room = if self.big { 8 } else { 4 };
        let within = entry.at + 4 + room;
        if entry.count.checked_mul(width(entry.kind)? as u64)? <= room as u64 {
            return Some(within);
        }
        usize::try_from(self.unsigned(within, room)?).ok()
    }

    fn integer_at(&self, entry: Entry, index: usize) -> Option<u64> {
        let width = width(entry.kind)?;
        if index as u64 >= entry.count {
            return None;
        }
        let value = self.unsigned(self.value(entry)?.checked_add(index.checked_mul(width)?)?, width)?;
        match entry.kind {
            // BYTE and UNDEFINED, SHORT, LONG and IFD, LONG8 and IFD8.
            1 | 7 | 3 | 4 | 13 | 16 | 18 => Some(value),
            // SBYTE, SSHORT, SLONG, SLONG8: the upper half of the range is negative.
            6 | 8 | 9 | 17 => (value >> (8 * width - 1) == 0).then_some(value),
            _ => None,
        }
    }

    fn number_at(&self, entry: Entry, index: usize) -> Option<f32> {
        let width = width(entry.kind)?;
        let at = self.value(entry)?.checked_add(index.checked_mul(width)?)?;
        let signed = |at| self.unsigned(at, 4).map(|bits| bits as u32 as i32);
        match entry.kind {
            // RATIONAL and SRATIONAL; FLOAT and DOUBLE.
            5 => Some((self.unsigned(at, 4)? as f64 / self.unsigned(at + 4, 4)? as f64) as f32),
            10 => Some((f64::from(signed(at)?) / f64::from(signed(at + 4)?)) as f32),
            11 => Some(f32::from_bits(self.unsigned(at, 4)? as u32)),
            12 => Some(f64::from_bits(self.unsigned(at, 8)?) as f32),
            _ => self.integer_at(entry, index).map(|value| value as f32),
        }
    }

    /// An unsigned number of up to eight bytes in the byte order of the file.
    fn unsigned(&self, at: usize, width: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(width)?)?;
        let push = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.little { bytes.iter().rev().fold(0, push) } else { bytes.iter().fold(0, push) })
    }
}

/// Bytes of one number of a type.
fn width(kind: u16) -> Option<usize> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16..=18 => Some(8),
        _ => None,
    }
}
