//! An archive holds what the cache holds, to the last bit, and gives it back; what cannot be converted is refused.

use crate::cache_support::*;
use half::f16;
use logitcache::{
    Error, Result,
    cache::{CacheReader, ImageRecord, Manifest, PartWriter, verify},
    convert::{Conversion, ConvertOptions, ConvertReport, Target},
    fsio::Lock,
    inspect,
    types::{Failure, FailureStage, Profile, Store},
};
use proptest::prelude::*;
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

const MAPPED: Target = Target::Unpacked(Profile::Mapped);
const DENSE: Target = Target::Unpacked(Profile::Dense);

fn prepare(cache: &Path, target: Target, out: &Path) -> Result<Conversion> {
    Conversion::prepare(ConvertOptions { cache: cache.into(), target, out: out.into(), overwrite: false })
}

fn convert(cache: &Path, target: Target, out: &Path) -> Result<ConvertReport> {
    prepare(cache, target, out)?.run(&AtomicBool::new(false), &|_| {})
}

fn assert_sound(folder: &Path) {
    let report = verify(folder).unwrap();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:#?}");
}

/// Every file of the two folders, the manifest with them, has the same bytes.
#[track_caller]
fn assert_same_bytes(a: &Path, b: &Path) {
    assert_eq!(files(a), files(b));
    for file in files(a) {
        assert!(fs::read(a.join(&file)).unwrap() == fs::read(b.join(&file)).unwrap(), "{}", file.display());
    }
}

/// To an archive and back; every byte must be there again.
#[track_caller]
fn assert_round_trip(dir: &Path, m: Manifest, parts: &[Vec<ImageRecord>], sound: bool) {
    let [cache, archive, back] = ["cache", "archive", "back"].map(|name| dir.join(name));
    let profile = Target::Unpacked(m.settings.profile);
    let m = write_cache(&cache, m, parts);
    let content = m.digests.as_ref().unwrap().content_sha256.clone();

    let packed = convert(&cache, Target::Archive, &archive).unwrap();
    assert_eq!((packed.content_sha256.as_str(), packed.images, packed.rows), (content.as_str(), m.images(), m.rows()));
    let of_archive = Manifest::load(&archive).unwrap();
    assert!(of_archive.is_archive() && of_archive.complete);
    assert_eq!((&of_archive.digests, &of_archive.failures), (&m.digests, &m.failures));
    if sound {
        assert_sound(&archive);
    }
    let unpacked = convert(&archive, profile, &back).unwrap();
    assert_eq!(unpacked.content_sha256, content);
    assert_same_bytes(&cache, &back);
}

#[test]
fn caches_of_all_kinds_come_back_byte_for_byte() {
    let shapes = [(3, 4, Store::All), (80, 16, Store::All), (1, 1, Store::All), (3, 4, Store::Cls)];
    let makers = [manifest, compact_manifest, half_compact_manifest];
    for ((classes, reg_max, store), make) in shapes.into_iter().flat_map(|shape| makers.map(|make| (shape, make))) {
        let dir = tempfile::tempdir().unwrap();
        let m = make(classes, reg_max, store, 12);
        let all = records(&m, 7);
        // Interleaved parts, as of several machines.
        let every_third = |k: usize| all.iter().skip(k).step_by(3).cloned().collect::<Vec<_>>();
        assert_round_trip(dir.path(), m, &[every_third(0), every_third(1), every_third(2)], true);
    }
}

#[test]
fn a_dense_cache_is_archived_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = manifest(2, 3, Store::All, 3);
    m.settings.profile = Profile::Dense;
    let total = m.teacher.total_anchors() as usize;
    let records: Vec<_> = (0..3).map(|id| record(&m, 5, id, total, Some(1))).collect();
    assert_round_trip(dir.path(), m, &[records], true);
    let error = convert(&dir.path().join("archive"), MAPPED, &dir.path().join("x")).unwrap_err().to_string();
    assert!(error.contains("the archive of a dense cache and cannot become a mapped one"), "{error}");
    assert!(error.contains("`profile=dense`"), "{error}");
}

#[test]
fn many_row_groups_no_rows_no_images_and_failures_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(1, 1, Store::All, 1300);
    let records: Vec<_> = (0..1300).map(|id| record(&m, 3, id, (id % 3) as usize, Some((id % 2) as usize))).collect();
    assert_round_trip(dir.path(), m, &[records], true);

    let dir = tempfile::tempdir().unwrap();
    let m = manifest(3, 4, Store::All, 2);
    let records: Vec<_> = (0..2).map(|id| record(&m, 1, id, 0, None)).collect();
    assert_round_trip(dir.path(), m, &[records], true);

    let dir = tempfile::tempdir().unwrap();
    assert_round_trip(dir.path(), manifest(3, 4, Store::All, 0), &[], true);

    let dir = tempfile::tempdir().unwrap();
    let mut m = manifest(3, 4, Store::All, 13);
    let reason = "the file ends after 12 of 4096 bytes".to_owned();
    m.failures.push(Failure { image_id: 12, path: "broken.jpg".into(), stage: FailureStage::Decode, reason });
    let all = records_of(&m);
    assert_round_trip(dir.path(), m, &[all], true);
    assert_eq!(Manifest::load(&dir.path().join("archive")).unwrap().failures.len(), 1);
}

fn records_of(m: &Manifest) -> Vec<ImageRecord> {
    records(m, 7)
}

#[test]
fn very_many_labels_and_large_images_of_rows_span_blocks_of_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = manifest(300, 16, Store::All, 2);
    m.settings.top_k = 126;
    m.settings.min_score = 0.0;
    // 126 rows of 300 logits: more values than the writer hands over at once.
    let records = vec![record(&m, 1, 0, 126, Some(20_000)), record(&m, 1, 1, 126, Some(1))];
    assert_round_trip(dir.path(), m, &[records], false);
}

/// Halves that are easily lost: both zeros, subnormals, the largest, infinities, NaN with a payload.
const ODD_HALVES: [u16; 12] = [0, 0x8000, 1, 0x8001, 0x03ff, 0x83ff, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e01, 0xfd55];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Not all of these values keep to the rules of the format; they come back to the bit all the same.
    #[test]
    fn any_bits_come_back(
        seed: u64,
        classes in 1u32..20,
        reg_max in 1u32..17,
        cls_only: bool,
        shapes in prop::collection::vec((0usize..30, prop::option::of(0usize..6), any::<String>(), 0usize..3), 1..20),
        bits in prop::collection::vec(any::<u32>(), 1..40),
    ) {
        let store = if cls_only { Store::Cls } else { Store::All };
        let m = manifest(classes, reg_max, store, shapes.len() as u64);
        let mut parts = vec![Vec::new(); 3];
        let mut next = bits.iter().copied().cycle();
        let mut float = || f32::from_bits(next.next().unwrap());
        for (id, (rows, labels, name, part)) in shapes.into_iter().enumerate() {
            let mut record = record(&m, seed, id as i64, rows, labels);
            record.path = name;
            record.letterbox.scale = float();
            record.dropped_mean_prob = float();
            record.dropped_score_sum = float();
            let p = &mut record.predictions;
            for (at, logit) in p.class_logits.iter_mut().chain(&mut p.dfl_logits).enumerate().step_by(3) {
                *logit = f16::from_bits(ODD_HALVES[(at + id) % ODD_HALVES.len()]);
            }
            p.score.iter_mut().for_each(|score| *score = float());
            p.boxes_xyxy_px.iter_mut().for_each(|b| (b.x1, b.y2) = (float(), -0.0));
            // In any order, but on the grid: others are refused when they are read.
            p.anchor.iter_mut().for_each(|anchor| *anchor = (float().to_bits() % 126) as i32);
            for label in record.labels.iter_mut().flatten() {
                label.box_xyxy_px.x1 = float();
                label.class_id = i32::MAX as u32;
            }
            parts[part].push(record);
        }
        let dir = tempfile::tempdir().unwrap();
        assert_round_trip(dir.path(), m, &parts, false);
    }
}

#[test]
fn an_archive_is_summarised_but_not_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, archive) = (dir.path().join("cache"), dir.path().join("archive"));
    small_cache(&cache);
    convert(&cache, Target::Archive, &archive).unwrap();
    let error = CacheReader::open(&archive).unwrap_err().to_string();
    assert!(error.contains("archive: this cache is an archive, which cannot be mapped"), "{error}");
    let command = format!("`convert({}, profile=mapped, out=NEW_FOLDER)`", archive.display());
    assert!(error.contains(&command), "{error}");
    assert!(inspect::image(&archive, "0", 0).unwrap_err().to_string().contains(&command));

    let (mut a, mut b) = (inspect::summary(&cache).unwrap(), inspect::summary(&archive).unwrap());
    assert!(!a.archive && b.archive);
    (a.archive, b.archive) = (false, false);
    (a.bytes, a.bytes_per_image) = (b.bytes, b.bytes_per_image);
    (b.dataset.root, b.format) = (a.dataset.root.clone(), a.format.clone());
    assert_eq!(serde_json::to_value(&a).unwrap(), serde_json::to_value(&b).unwrap());
}

#[test]
fn what_cannot_be_converted_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (m, all) = small_cache(&at("mapped"));
    convert(&at("mapped"), Target::Archive, &at("archive")).unwrap();
    let mut dense = manifest(2, 3, Store::All, 1);
    dense.settings.profile = Profile::Dense;
    let image = record(&dense, 5, 0, dense.teacher.total_anchors() as usize, None);
    write_cache(&at("dense"), dense, &[vec![image]]);
    let lock = {
        fs::create_dir(at("unfinished")).unwrap();
        Lock::acquire(&at("unfinished")).unwrap()
    };
    let mut part = manifest(3, 4, Store::All, 12);
    let mut writer = PartWriter::create(&at("unfinished"), &part).unwrap();
    writer.push(&all[0]).unwrap();
    part.add_part(writer.finish().unwrap().unwrap());
    part.save(&lock).unwrap();
    drop(lock);

    let refused = |cache: &str, target, out: &str, expected: &[&str]| {
        let before: Vec<_> = files(dir.path());
        let error = convert(&at(cache), target, &at(out)).unwrap_err();
        let text = error.to_string();
        assert!(expected.iter().all(|e| text.contains(e)), "{text}");
        assert_eq!(files(dir.path()), before, "nothing was written or removed");
    };
    refused("mapped", MAPPED, "x", &["mapped is a mapped cache already"]);
    refused("dense", DENSE, "x", &["is a dense cache already"]);
    refused("archive", Target::Archive, "x", &["is an archive already"]);
    let top_k = ["cannot become a dense one", "at most 40 of the teacher's 126 anchors", "`profile=archive`"];
    refused("mapped", DENSE, "x", &top_k);
    refused("dense", MAPPED, "x", &["cannot become a mapped one", "rounded to half precision"]);
    refused(
        "archive",
        DENSE,
        "x",
        &["the archive of a mapped cache and cannot become a dense one", "`profile=mapped`"],
    );
    refused("unfinished", Target::Archive, "x", &["not finished: it has 1 of 12 images", "resumes where it stopped"]);
    refused("none", Target::Archive, "x", &["there is no such folder, so it is not a cache"]);
    refused("mapped", Target::Archive, "archive", &["it already holds a finished cache", "`overwrite=true`"]);
    refused("mapped", Target::Archive, "unfinished", &["it already holds the unfinished cache of another command"]);
    refused("mapped", Target::Archive, "mapped", &["is inside the other"]);
    refused("mapped", Target::Archive, "mapped/images/deeper", &["is inside the other"]);
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/notes.txt"), "mine").unwrap();
    refused("mapped", Target::Archive, "full", &["notes.txt, which does not belong to a cache"]);
    std::os::unix::fs::symlink(at("mapped"), at("link")).unwrap();
    let error = convert(&at("mapped"), Target::Archive, &at("link")).unwrap_err().to_string();
    assert!(error.contains("is inside the other"), "{error}");
    assert_eq!(Manifest::load(&at("mapped")).unwrap(), m);
    assert_sound(&at("mapped"));
}

#[test]
fn overwriting_replaces_another_cache_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, out) = (dir.path().join("cache"), dir.path().join("out"));
    small_cache(&cache);
    let m = manifest(1, 1, Store::All, 1);
    let other = record(&m, 1, 0, 3, None);
    write_cache(&out, m, &[vec![other]]);
    let options = ConvertOptions { cache, target: Target::Archive, out: out.clone(), overwrite: true };
    Conversion::prepare(options).unwrap().run(&AtomicBool::new(false), &|_| {}).unwrap();
    assert_sound(&out);
    assert_eq!(files(&out).len(), 5);
}

#[test]
fn the_data_set_is_found_from_the_new_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let mut m = manifest(3, 4, Store::All, 12);
    m.dataset.root = "../data/set".into();
    m.dataset.source = "../data/set.yaml".into();
    m.dataset.images_dir = Some("/elsewhere/images".into());
    let all = records(&m, 7);
    write_cache(&dir.join("cache"), m, &[all]);
    convert(&dir.join("cache"), Target::Archive, &dir.join("a/b/archive")).unwrap();
    let moved = Manifest::load(&dir.join("a/b/archive")).unwrap().dataset;
    assert_eq!((moved.root.as_str(), moved.source.as_str()), ("../../../data/set", "../../../data/set.yaml"));
    assert_eq!(moved.images_dir.as_deref(), Some("/elsewhere/images"));
    // Through a link, where `..` is another folder than it looks.
    std::os::unix::fs::symlink(dir.join("a/b"), dir.join("short")).unwrap();
    convert(&dir.join("short/archive"), MAPPED, &dir.join("short/back")).unwrap();
    let back = Manifest::load(&dir.join("a/b/back")).unwrap().dataset;
    assert_eq!(back.root, "../../../data/set");
}

#[test]
fn an_interrupted_conversion_keeps_finished_parts_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let [cache, whole, out] = ["cache", "whole", "out"].map(|name| dir.path().join(name));
    let m = manifest(3, 4, Store::All, 60);
    let all: Vec<_> = (0..60).map(|id| record(&m, 3, id, 5, Some(1))).collect();
    write_cache(&cache, m, &all.chunks(6).map(<[_]>::to_vec).collect::<Vec<_>>());
    convert(&cache, Target::Archive, &whole).unwrap();

    let (stop, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    let count = |images| {
        if seen.fetch_add(images, Ordering::SeqCst) + images == 33 {
            stop.store(true, Ordering::SeqCst);
        }
    };
    let error = prepare(&cache, Target::Archive, &out).unwrap().run(&stop, &count).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    let partial = Manifest::load(&out).unwrap();
    let (kept, done) = (partial.parts.len(), partial.images());
    assert!((1..10).contains(&kept) && !partial.complete && partial.digests.is_none(), "{kept}");
    assert!(error.to_string().contains(&format!("{done} of 60 images are converted; run the same command")), "{error}");
    assert_eq!(files(&out).len(), 1 + 2 * kept, "nothing half there");
    let report = verify(&out).unwrap();
    assert!(report.is_sound() && !report.complete, "{report:#?}");

    // What a killed one leaves is cleared away.
    fs::write(out.join("images/.tmp-part-1-0"), "x").unwrap();
    fs::write(out.join("predictions/part-000000099-0123abcd.parquet"), "x").unwrap();
    let again = prepare(&cache, Target::Archive, &out).unwrap();
    assert_eq!((again.images_done(), again.images()), (done, 60));
    let report = again.run(&AtomicBool::new(false), &|_| {}).unwrap();
    assert_eq!((report.images, report.images_this_run), (60, 60 - done));
    assert_same_bytes(&whole, &out);
    assert_sound(&out);
}

#[test]
fn a_damaged_finished_part_is_found_when_the_conversion_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, out) = (dir.path().join("cache"), dir.path().join("out"));
    let (m, all) = small_cache(&cache);
    fs::create_dir(&out).unwrap();
    let lock = Lock::acquire(&out).unwrap();
    let mut partial = manifest(3, 4, Store::All, 12);
    partial.set_archive(true);
    let mut writer = PartWriter::create(&out, &partial).unwrap();
    all[..5].iter().for_each(|r| writer.push(r).unwrap());
    let part = writer.finish().unwrap().unwrap();
    assert_eq!(part.name, m.parts[0].name);
    let path = part.predictions_path(&out);
    partial.add_part(part);
    partial.save(&lock).unwrap();
    drop(lock);
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = convert(&cache, Target::Archive, &out).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("have the SHA-256"), "{error}");
    bytes[40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(convert(&cache, Target::Archive, &out).unwrap().images_this_run, 7);
}

#[test]
fn a_lock_held_elsewhere_is_respected() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, out) = (dir.path().join("cache"), dir.path().join("out"));
    small_cache(&cache);
    fs::create_dir(&out).unwrap();
    let lock = Lock::acquire(&out).unwrap();
    let error = convert(&cache, Target::Archive, &out).unwrap_err().to_string();
    assert!(error.contains("holds its lock"), "{error}");
    drop(lock);
    convert(&cache, Target::Archive, &out).unwrap();
}
