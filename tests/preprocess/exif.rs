//! The EXIF orientation is honoured whatever integer type, byte order and place it has. The files
//! are made here.

use flate2::{Compression, Crc, write::ZlibEncoder};
use logitcache::{
    preprocess::{DecodeLimits, RgbImage, decode, exif_orientation, size_of},
    types::ImageSize,
};
use proptest::prelude::*;
use std::{fs, io::Write, path::PathBuf};

/// Integer types of a tag and the bytes of one number.
const INTEGERS: [(u16, usize); 11] =
    [(1, 1), (3, 2), (4, 4), (6, 1), (7, 1), (8, 2), (9, 4), (13, 4), (16, 8), (17, 8), (18, 8)];

/// How a directory is written.
#[derive(Debug, Clone, Copy)]
struct Order {
    little: bool,
    big: bool,
}

const ORDERS: [Order; 4] = [
    Order { little: true, big: false },
    Order { little: false, big: false },
    Order { little: true, big: true },
    Order { little: false, big: true },
];

impl Order {
    fn number(self, value: u64, width: usize) -> Vec<u8> {
        let mut bytes = value.to_be_bytes()[8 - width..].to_vec();
        if self.little {
            bytes.reverse();
        }
        bytes
    }

    /// A TIFF of these entries: tag, type, bytes of one number, numbers. `tail` follows the
    /// directory, and the offset of its begin is put in place of `u64::MAX`.
    fn tiff(self, entries: &[(u16, u16, usize, Vec<u64>)], tail: &[u8]) -> Vec<u8> {
        let (room, entry) = if self.big { (8, 20) } else { (4, 12) };
        let mut file = if self.little { b"II".to_vec() } else { b"MM".to_vec() };
        if self.big {
            file.extend([self.number(43, 2), self.number(8, 2), self.number(0, 2), self.number(16, 8)].concat());
            file.extend(self.number(entries.len() as u64, 8));
        } else {
            file.extend([self.number(42, 2), self.number(8, 4)].concat());
            file.extend(self.number(entries.len() as u64, 2));
        }
        let end = (file.len() + entries.len() * entry + room) as u64;
        let beyond: u64 = entries
            .iter()
            .map(|(.., width, numbers)| (width * numbers.len()) as u64)
            .filter(|&length| length > room as u64)
            .sum();
        let mut values = Vec::new();
        for (tag, kind, width, numbers) in entries {
            let place = |number: u64| if number == u64::MAX { end + beyond } else { number };
            let value: Vec<u8> = numbers.iter().flat_map(|&number| self.number(place(number), *width)).collect();
            file.extend([self.number((*tag).into(), 2), self.number((*kind).into(), 2)].concat());
            file.extend(self.number(numbers.len() as u64, room));
            let mut stored = value.clone();
            if value.len() > room {
                stored = self.number(end + values.len() as u64, room);
                values.extend(value);
            }
            stored.resize(room, 0);
            file.extend(stored);
        }
        file.extend(vec![0; room]);
        [file, values, tail.to_vec()].concat()
    }

    /// EXIF with other tags around the orientation.
    fn exif(self, kind: u16, width: usize, numbers: &[u64]) -> Vec<u8> {
        let short = |tag, number| (tag, 3, 2, vec![number]);
        self.tiff(
            &[short(256, 7), (271, 2, 1, b"camera".map(u64::from).to_vec()), (274, kind, width, numbers.to_vec())],
            &[],
        )
    }
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/good").join(name)).unwrap()
}

/// A segment of a JPEG.
fn segment(code: u8, data: &[u8]) -> Vec<u8> {
    [&[0xFF, code], &(data.len() as u16 + 2).to_be_bytes()[..], data].concat()
}

fn app1(exif: &[u8]) -> Vec<u8> {
    segment(0xE1, &[b"Exif\0\0", exif].concat())
}

fn xmp() -> Vec<u8> {
    segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
}

/// A JPEG whose first segments are these.
fn jpeg(segments: &[Vec<u8>]) -> Vec<u8> {
    let file = fixture("baseline_444.jpg");
    [&file[..2], &segments.concat(), &file[2..]].concat()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes(), &kind[..], data, &crc.sum().to_be_bytes()].concat()
}

/// A PNG with chunks before its pixels.
fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    let file = fixture("rgb_8.png");
    [&file[..33], &chunks.concat(), &file[33..]].concat()
}

/// A PNG with chunks behind its pixels.
fn png_behind(chunks: &[Vec<u8>]) -> Vec<u8> {
    let file = fixture("rgb_8.png");
    let end = file.len() - 12;
    [&file[..end], &chunks.concat(), &file[end..]].concat()
}

fn raw_profile(name: &str, exif: &[u8], deflated: bool) -> Vec<u8> {
    let lines: Vec<String> =
        exif.chunks(36).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect();
    let text = format!("\n{name}\n{:8}\n{}", exif.len(), lines.concat()).into_bytes();
    let keyword = format!("Raw profile type {name}\0").into_bytes();
    if !deflated {
        return chunk(b"tEXt", &[keyword, text].concat());
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&text).unwrap();
    chunk(b"zTXt", &[keyword, vec![0], encoder.finish().unwrap()].concat())
}

fn riff(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let padding = vec![0; data.len() % 2];
    [&kind[..], &(data.len() as u32).to_le_bytes(), data, &padding].concat()
}

/// A WebP with EXIF behind its pixels, 33 x 25 pixels as all of these.
fn webp(flags: u8, exif: &[u8]) -> Vec<u8> {
    let pixels = fixture("lossless.webp")[12..].to_vec();
    let header = riff(b"VP8X", &[flags, 0, 0, 0, 32, 0, 0, 24, 0, 0]);
    let body = [b"WEBP".to_vec(), header, pixels, riff(b"EXIF", exif)].concat();
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}

/// An RGB TIFF, 3 x 2 pixels, with an orientation.
fn tiff(order: Order, kind: u16, width: usize, numbers: &[u64]) -> Vec<u8> {
    let tag = |tag, number| (tag, 3, 2, vec![number]);
    let offset = if order.big { (273, 16, 8, vec![u64::MAX]) } else { (273, 4, 4, vec![u64::MAX]) };
    let pixels: Vec<u8> = (0..18).map(|level| level * 10).collect();
    order.tiff(
        &[
            tag(256, 3),
            tag(257, 2),
            (258, 3, 2, vec![8, 8, 8]),
            tag(259, 1),
            tag(262, 2),
            offset,
            (274, kind, width, numbers.to_vec()),
            tag(277, 3),
            tag(278, 2),
            (279, 4, 4, vec![18]),
        ],
        &pixels,
    )
}

/// The pixel of the turned picture at a place, taken from the stored one, by the words of EXIF:
/// which sides of the scene row 0 and column 0 are.
fn turned(stored: &RgbImage, orientation: u8) -> RgbImage {
    let (w, h) = (stored.size.width as usize, stored.size.height as usize);
    let (width, height) = if orientation >= 5 { (h, w) } else { (w, h) };
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (row, column) = match orientation {
                2 => (y, w - 1 - x),
                3 => (h - 1 - y, w - 1 - x),
                4 => (h - 1 - y, x),
                5 => (x, y),
                6 => (h - 1 - x, y),
                7 => (h - 1 - x, w - 1 - y),
                8 => (x, w - 1 - y),
                _ => (y, x),
            };
            let at = (row * w + column) * 3;
            pixels.extend(&stored.pixels[at..at + 3]);
        }
    }
    RgbImage { size: ImageSize { width: width as u32, height: height as u32 }, pixels }
}

/// `None`: the file is not turned.
fn assert_turned(file: &[u8], orientation: Option<u8>, stored: &RgbImage, what: &str) {
    let limits = DecodeLimits::default();
    assert_eq!(exif_orientation(file), orientation, "{what}");
    let image = decode(file, &limits).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(size_of(file, &limits).unwrap(), image.size, "{what}");
    assert!(image == turned(stored, orientation.unwrap_or(1)), "{what}: other pixels than orientation {orientation:?}");
}

/// Writes a picture with this EXIF.
type Container = fn(&[u8]) -> Vec<u8>;

/// The containers of EXIF and the picture that each stores.
fn containers() -> Vec<(&'static str, RgbImage, Container)> {
    let stored = |file: &[u8]| decode(file, &DecodeLimits::default()).unwrap();
    vec![
        ("JPEG", stored(&jpeg(&[])), |exif| jpeg(&[app1(exif)])),
        ("PNG", stored(&png(&[])), |exif| png(&[chunk(b"eXIf", exif)])),
        ("WebP", stored(&fixture("lossless.webp")), |exif| webp(8, exif)),
    ]
}

#[test]
fn every_type_order_value_and_format_is_honoured() {
    let plain = decode(&tiff(ORDERS[0], 3, 2, &[1]), &DecodeLimits::default()).unwrap();
    for order in ORDERS {
        for (kind, width) in INTEGERS {
            for value in 0..=9 {
                let orientation = (1..=8).contains(&value).then_some(value as u8);
                let what = format!("type {kind}, {order:?}, {value}");
                for (name, stored, file) in containers() {
                    let exif = order.exif(kind, width, &[value]);
                    assert_turned(&file(&exif), orientation, &stored, &format!("{name}: {what}"));
                }
                assert_turned(&tiff(order, kind, width, &[value]), orientation, &plain, &format!("TIFF: {what}"));
            }
        }
    }
}

#[test]
fn a_whole_number_as_a_fraction_or_a_float_is_honoured() {
    // The two halves of a fraction in the file's byte order.
    let fraction =
        |order: Order, above: u64, below: u64| if order.little { below << 32 | above } else { above << 32 | below };
    for order in ORDERS {
        let cases = [
            (5, 8, fraction(order, 6, 1), Some(6)),
            (5, 8, fraction(order, 12, 2), Some(6)),
            (10, 8, fraction(order, 8, 1), Some(8)),
            (11, 4, u64::from(3.0f32.to_bits()), Some(3)),
            (12, 8, 5.0f64.to_bits(), Some(5)),
            (5, 8, fraction(order, 13, 2), None),
            (5, 8, fraction(order, 6, 0), None),
            (10, 8, fraction(order, u64::from((-6i32) as u32), 1), None),
            (11, 4, u64::from(6.5f32.to_bits()), None),
            (11, 4, u64::from(f32::NAN.to_bits()), None),
            (12, 8, 9.0f64.to_bits(), None),
        ];
        for (kind, width, number, expected) in cases {
            for (name, stored, file) in containers() {
                let what = format!("{name}: type {kind}, {order:?}, {number:x}");
                assert_turned(&file(&order.exif(kind, width, &[number])), expected, &stored, &what);
            }
        }
    }
}

#[test]
fn the_first_of_several_numbers_counts_even_beyond_the_entry() {
    for order in ORDERS {
        for (kind, width) in INTEGERS {
            for count in [2, 3, 5, 9] {
                let numbers: Vec<u64> = (0..count).map(|index| if index == 0 { 6 } else { 3 }).collect();
                for (name, stored, file) in containers() {
                    let what = format!("{name}: type {kind}, {order:?}, {count} numbers");
                    assert_turned(&file(&order.exif(kind, width, &numbers)), Some(6), &stored, &what);
                }
            }
        }
    }
}

#[test]
fn what_is_no_orientation_does_not_turn() {
    let order = ORDERS[0];
    let most = |width: usize| u64::MAX >> (64 - 8 * width);
    for (name, stored, file) in containers() {
        let none = |exif: &[u8], what: &str| assert_turned(&file(exif), None, &stored, &format!("{name}: {what}"));
        for (kind, width) in INTEGERS.into_iter().filter(|(_, width)| *width < 8) {
            none(&order.exif(kind, width, &[most(width)]), "the largest number, or -1");
            if width > 1 {
                none(&order.exif(kind, width, &[0x100 | 6]), "6 in the lower byte of a larger number");
            }
        }
        none(&order.exif(3, 2, &[]), "no number");
        none(&order.exif(5, 8, &[6 << 32 | 1]), "a fraction");
        none(&order.exif(2, 1, &[b'6'.into()]), "a text");
        none(&order.exif(99, 2, &[6]), "a type that does not exist");
        none(b"", "nothing");
        none(b"II*\0", "a header that is cut");
        none(&order.tiff(&[(256, 3, 2, vec![6])], &[]), "another tag");
    }
}

/// The bytes as far as the number itself are enough.
#[test]
fn a_directory_that_is_cut_gives_what_is_there() {
    for order in ORDERS {
        let exif = order.exif(3, 2, &[8]);
        // The orientation is the last entry, and the maker's name lies behind the directory.
        let name = if order.big { 0 } else { 6 };
        let room = if order.big { 8 } else { 4 };
        let entry_end = exif.len() - name - room;
        for (container, stored, file) in containers() {
            for end in 0..exif.len() {
                let expected = (end >= entry_end - room + 2).then_some(8);
                assert_turned(&file(&exif[..end]), expected, &stored, &format!("{container}, {order:?}, cut at {end}"));
            }
        }
        // More entries than there are bytes.
        let mut many = exif.clone();
        let count = if order.big { 16..24 } else { 8..10 };
        many[count].fill(0xFF);
        let (_, stored, file) = containers().remove(0);
        assert_turned(&file(&many), Some(8), &stored, "too many entries");
    }
}

#[test]
fn jpeg_places() {
    let stored = decode(&jpeg(&[]), &DecodeLimits::default()).unwrap();
    let of = |value| app1(&ORDERS[1].exif(4, 4, &[value]));
    let without = app1(&ORDERS[0].tiff(&[(271, 3, 2, vec![6])], &[]));
    let jfif = segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    for (what, segments, expected) in [
        ("behind XMP", vec![xmp(), of(6)], Some(6)),
        ("before XMP", vec![of(6), xmp()], Some(6)),
        (
            "behind JFIF, ICC and Photoshop",
            vec![jfif, segment(0xE2, b"ICC_PROFILE\0"), segment(0xED, b"8"), of(6)],
            Some(6),
        ),
        ("behind a comment", vec![segment(0xFE, b"Exif"), of(6)], Some(6)),
        ("in the second segment", vec![without.clone(), xmp(), of(6)], Some(6)),
        ("behind an empty segment", vec![app1(b""), of(6)], Some(6)),
        ("behind a damaged segment", vec![app1(b"II*\0\xff\xff\xff\xff"), of(6)], Some(6)),
        ("in both segments", vec![of(6), of(3)], Some(6)),
        ("upright in the first", vec![of(1), of(3)], Some(1)),
        ("no orientation in the first", vec![of(9), of(3)], None),
        ("in APP2", vec![segment(0xE2, &of(6)[4..])], None),
        ("in XMP alone", vec![segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0tiff:Orientation=\"6\"")], None),
        ("behind stray bytes", vec![xmp(), vec![0x12, 0x34], of(6)], Some(6)),
        ("behind fill bytes", vec![vec![0xFF, 0xFF], of(6)], Some(6)),
    ] {
        assert_turned(&jpeg(&segments), expected, &stored, what);
    }

    // Directly before the pixels, and cut into two segments as EXIF over 64 KiB is.
    let file = fixture("baseline_444.jpg");
    let scan = file.windows(2).position(|two| two == [0xFF, 0xDA]).unwrap();
    assert_turned(&[&file[..scan], &of(8), &file[scan..]].concat(), Some(8), &stored, "before the scan");
    let exif = ORDERS[1].exif(4, 4, &[5]);
    for cut in 8..exif.len() - 16 {
        let segments = [app1(&exif[..cut]), app1(&exif[cut..])];
        assert_turned(&jpeg(&segments), Some(5), &stored, "joined");
    }
    // The second picture of two in one file does not count.
    let second = jpeg(&[of(6)]);
    assert_turned(&[jpeg(&[of(8)]), second.clone()].concat(), Some(8), &stored, "the first of two pictures");
    assert_turned(&[jpeg(&[]), second].concat(), None, &stored, "the second of two pictures");
}

#[test]
fn png_places() {
    let stored = decode(&png(&[]), &DecodeLimits::default()).unwrap();
    let exif = |value| ORDERS[1].exif(4, 4, &[value]);
    let prefixed = |value| [b"Exif\0\0", &exif(value)[..]].concat();
    let own = |value| chunk(b"eXIf", &exif(value));
    let mut wrong_sum = own(6);
    *wrong_sum.last_mut().unwrap() ^= 1;
    assert_turned(&png(&[chunk(b"eXIf", &prefixed(6))]), Some(6), &stored, "with the prefix of JPEG");
    assert_turned(&png_behind(&[own(6)]), Some(6), &stored, "behind the pixels");
    assert_turned(&png(&[own(6), own(3)]), Some(6), &stored, "two chunks");
    assert_turned(&png(&[wrong_sum]), None, &stored, "a wrong checksum");
    for name in ["exif", "APP1"] {
        for deflated in [false, true] {
            let profile = |exif: &[u8]| raw_profile(name, exif, deflated);
            let what = format!("{name}, deflated {deflated}");
            assert_turned(&png(&[profile(&prefixed(6))]), Some(6), &stored, &what);
            assert_turned(&png(&[profile(&exif(6))]), Some(6), &stored, &what);
            assert_turned(&png_behind(&[profile(&prefixed(6))]), Some(6), &stored, &what);
            assert_turned(&png(&[profile(&prefixed(3)), own(6)]), Some(6), &stored, &what);
        }
    }
    assert_turned(&png(&[raw_profile("iptc", &prefixed(6), false)]), None, &stored, "another profile");
    assert_turned(&png(&[chunk(b"zTXt", b"Raw profile type exif\0\0no deflate")]), None, &stored, "a damaged profile");
}

#[test]
fn webp_places() {
    let stored = decode(&fixture("lossless.webp"), &DecodeLimits::default()).unwrap();
    let exif = ORDERS[1].exif(4, 4, &[6]);
    let prefixed = [b"Exif\0\0", &exif[..]].concat();
    assert_turned(&webp(8, &prefixed), Some(6), &stored, "with the prefix of JPEG");
    // As OpenCV, Pillow and browsers: the header says that there is none.
    assert_turned(&webp(0, &exif), None, &stored, "without the flag");
    let odd = [&exif[..], &[0]].concat();
    assert_eq!(odd.len() % 2, 1);
    assert_turned(&webp(8, &odd), Some(6), &stored, "of odd length");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes in the place of EXIF: an orientation or none, and the picture is read.
    #[test]
    fn any_directory_gives_an_answer(
        head in prop::sample::select(vec![&b"II*\0"[..], b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b"Exif\0\0", b""]),
        rest in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(8), Just(0x12), Just(0xFF), any::<u8>()], 0..60),
    ) {
        let exif = [head, &rest[..]].concat();
        for (name, stored, file) in containers() {
            let file = file(&exif);
            let orientation = exif_orientation(&file);
            prop_assert!(orientation.is_none_or(|value| (1..=8).contains(&value)), "{}: {:?}", name, orientation);
            assert_turned(&file, orientation, &stored, name);
        }
        exif_orientation(&exif);
    }

    /// An entry whose count and offset are anything.
    #[test]
    fn any_entry_gives_an_answer(
        order in prop::sample::select(ORDERS.to_vec()), kind in 0u16..20, count in any::<u64>(), value in any::<u64>(),
        small in any::<bool>(),
    ) {
        let mut exif = order.exif(kind, 1, &[6]);
        let room = if order.big { 8 } else { 4 };
        let name = if order.big { 0 } else { 6 };
        let entry_end = exif.len() - name - room;
        let count = if small { count % 20 } else { count };
        exif[entry_end - 2 * room..entry_end - room].copy_from_slice(&order.number(count, room));
        exif[entry_end - room..entry_end].copy_from_slice(&order.number(if small { value % 99 } else { value }, room));
        for (name, stored, file) in containers() {
            let file = file(&exif);
            assert_turned(&file, exif_orientation(&file), &stored, name);
        }
        exif_orientation(&exif);
    }

    #[test]
    fn any_bytes_give_an_answer(
        magic in prop::sample::select(vec![
            &b"\xff\xd8\xff"[..], b"\xff\xd8\xff\xe1\0\x40Exif\0\0MM\0*\0\0\0\x08", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*",
            b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0\0\0\0\0\0\0EXIF", b"",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        exif_orientation(&[magic, &rest[..]].concat());
    }
}
