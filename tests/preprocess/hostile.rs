//! Decoders under hostile bytes: an answer or a sentence, never a panic, an abort, or memory beyond the limit.

use logitcache::preprocess::{DecodeError, DecodeLimits, decode};
use proptest::prelude::*;
use std::{fs, path::PathBuf};

/// Every good fixture, in the order of the names.
fn seeds() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/good");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Few pixels, so that a mutated size field is a refusal or a small picture.
const LIMITS: DecodeLimits = DecodeLimits { max_pixels: 1 << 20 };

fn check(bytes: &[u8]) {
    match decode(bytes, &LIMITS) {
        Ok(image) => {
            let (width, height) = (image.size.width as usize, image.size.height as usize);
            assert!(width * height <= 1 << 20);
            assert_eq!(image.pixels.len(), width * height * 3);
        }
        Err(DecodeError::TooLarge { size, .. }) => assert!(u64::from(size.width) * u64::from(size.height) > 1 << 20),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// One change to a file.
#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    let telling = prop::sample::select(vec![0u8, 1, 0x7f, 0x80, 0xc0, 0xc2, 0xda, 0xd9, 0xff]);
    prop_oneof![
        4 => (at(), telling).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (at(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        1 => at().prop_map(Change::Cut),
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => (at(), at(), 1usize..40).prop_map(|(from, to, length)| Change::Copy(from, to, length)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match change {
        Change::Set(at, byte) => bytes[at.index(length)] = *byte,
        Change::Flip(at, bits) => bytes[at.index(length)] ^= bits,
        Change::Cut(at) => bytes.truncate(at.index(length)),
        Change::Insert(at, byte) => bytes.insert(at.index(length), *byte),
        Change::Copy(from, to, count) => {
            let (from, to) = (from.index(length), to.index(length));
            let count = (*count).min(length - from.max(to));
            bytes.copy_within(from..from + count, to);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_give_an_answer(
        seed in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..6),
    ) {
        thread_local!(static SEEDS: Vec<Vec<u8>> = seeds());
        let mut bytes = SEEDS.with(|seeds| seeds[seed.index(seeds.len())].clone());
        for change in &changes {
            apply(&mut bytes, change);
        }
        check(&bytes);
    }

    #[test]
    fn any_bytes_after_a_magic_number_give_an_answer(
        magic in prop::sample::select(vec![
            &b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*",
            b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0", b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10", b"RIFF\x40\0\0\0WEBPVP8 ", b"RIFF\x40\0\0\0WEBPVP8L",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        check(&[magic, &rest].concat());
    }
}

#[test]
fn every_cut_of_every_file_gives_an_answer() {
    for bytes in seeds() {
        for end in (0..bytes.len()).step_by(bytes.len() / 60 + 1) {
            check(&bytes[..end]);
        }
    }
}

/// A JPEG without its last bytes of pixel data must never come out filled with grey.
#[test]
fn a_cut_jpeg_is_refused_or_whole() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/good");
    for name in ["baseline_420.jpg", "progressive_420.jpg", "restart_markers.jpg", "grey.jpg", "cmyk_adobe.jpg"] {
        let bytes = fs::read(folder.join(name)).unwrap();
        let whole = decode(&bytes, &LIMITS).unwrap();
        for end in 0..bytes.len() {
            if let Ok(image) = decode(&bytes[..end], &LIMITS) {
                assert_eq!(image, whole, "{name} cut at {end} of {}", bytes.len());
            }
        }
    }
}
