//! A cache written by the first version of the format, committed: every later version must open it and find it sound.

#![allow(clippy::excessive_precision)] // decimals as another program prints them

use crate::cache_support::*;
use logitcache::{
    cache::{CacheReader, decode_f16, decode_f32, decode_i32, verify},
    convert::{Conversion, ConvertOptions, Target},
    types::{Failure, FailureStage, Profile, Store},
};
use std::{path::PathBuf, sync::atomic::AtomicBool};

fn fixture() -> PathBuf {
    named("cache-v1")
}

fn named(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn convert(cache: PathBuf, target: Target, out: PathBuf) {
    let options = ConvertOptions { cache, target, out, overwrite: false };
    Conversion::prepare(options).unwrap().run(&AtomicBool::new(false), &|_| {}).unwrap();
}

/// Makes the archive of the cache above; never replaces one.
#[test]
#[ignore = "makes tests/fixtures/archive-v1 where it is missing: cargo test --test cache golden -- --ignored"]
fn make_the_archive() {
    assert!(!named("archive-v1").exists(), "it is there and must stay as it is");
    convert(fixture(), Target::Archive, named("archive-v1"));
}

/// Makes the fixture; never replaces one. A new format version gets a new folder and keeps the old ones.
#[test]
#[ignore = "makes tests/fixtures/cache-v1 where it is missing: cargo test --test cache golden -- --ignored"]
fn make_the_fixture() {
    let folder = fixture();
    assert!(!folder.exists(), "{} is there and must stay as it is", folder.display());
    let mut m = manifest(3, 4, Store::All, 13);
    let reason = "the file ends after 12 of 4096 bytes".to_owned();
    m.failures.push(Failure { image_id: 12, path: "broken.jpg".into(), stage: FailureStage::Decode, reason });
    let records = records(&m, 7);
    write_cache(&folder, m, &[records[..5].to_vec(), records[5..].to_vec()]);
}

/// Makes the compact fixture; never replaces one.
#[test]
#[ignore = "makes tests/fixtures/compact-v1 where it is missing: cargo test --test cache golden -- --ignored"]
fn make_the_compact_fixture() {
    let folder = named("compact-v1");
    assert!(!folder.exists(), "{} is there and must stay as it is", folder.display());
    let m = compact_manifest(3, 4, Store::All, 12);
    let records = records(&m, 7);
    write_cache(&folder, m, &[records[..5].to_vec(), records[5..].to_vec()]);
}

#[test]
fn the_first_versions_compact_cache_still_opens_and_is_sound() {
    let report = verify(&named("compact-v1")).unwrap();
    assert!(report.is_sound() && report.complete, "{:#?}", report.problems);
    assert_eq!((report.parts, report.images, report.rows), (2, 12, 109));
    let m = compact_manifest(3, 4, Store::All, 12);
    let reader = CacheReader::open(&named("compact-v1")).unwrap();
    let found: Vec<_> = reader.images().map(|image| image.unwrap().to_record()).collect();
    assert_eq!(found, records(&m, 7));
}

#[test]
fn the_first_versions_cache_still_opens_and_is_sound() {
    let report = verify(&fixture()).unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
    assert_eq!((report.parts, report.images, report.rows, report.failures), (2, 12, 109, 1));
    assert!(report.complete && report.notes.is_empty());
    let expected = "1d933645ef23a0ad7c3f55e4e4fb40ea799388683012b864c179c075ea10699e";
    assert_eq!(report.content_sha256.as_deref(), Some(expected));

    let reader = CacheReader::open(&fixture()).unwrap();
    let image = reader.image(1, 0).unwrap().unwrap();
    assert_eq!(image.path, "ünï/cødé \u{1f426}.png");
    let image = reader.image(0, 0).unwrap().unwrap();
    let (p, labels) = (image.predictions, image.labels.unwrap());
    assert_eq!((p.len(), p.class_len, p.dfl_len, labels.len()), (5, 3, 16, 2));
    // As DuckDB shows them.
    assert_eq!(decode_i32(p.anchors).collect::<Vec<_>>(), [3, 46, 71, 78, 88]);
    assert_eq!(decode_i32(p.strides).collect::<Vec<_>>(), [8; 5]);
    assert_eq!(decode_f32(p.scores).take(3).collect::<Vec<_>>(), [0.64700186, 0.215801, 0.9078246]);
    let logits: Vec<f32> = decode_f16(p.class_logits).map(f32::from).take(3).collect();
    assert_eq!(logits, [-1.5185547, 0.60595703, -7.47265625]);
    let dfl: Vec<f32> = decode_f16(p.dfl_logits.unwrap()).map(f32::from).take(4).collect();
    assert_eq!(dfl, [-6.51953125, -3.70703125, 1.91796875, 2.22265625]);
}

#[test]
fn the_first_versions_archive_is_sound_and_gives_the_cache_back() {
    let report = verify(&named("archive-v1")).unwrap();
    assert!(report.is_sound() && report.complete, "{:#?}", report.problems);
    assert_eq!(report.content_sha256, verify(&fixture()).unwrap().content_sha256);
    let folder = tempfile::tempdir().unwrap();
    let back = folder.path().join("back");
    convert(named("archive-v1"), Target::Unpacked(Profile::Mapped), back.clone());
    let all = |folder| -> Vec<_> {
        CacheReader::open(folder).unwrap().images().map(|image| image.unwrap().to_record()).collect()
    };
    assert_eq!(all(&back), all(&fixture()));
}
