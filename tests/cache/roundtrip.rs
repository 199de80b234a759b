//! What goes into a cache comes out of it, whatever the parts; slices are slices of the map; one writer at a time.

use crate::cache_support::*;
use logitcache::{
    cache::{
        CacheReader, HeadKind, ImageRecord, Manifest, PartWriter, Values, decode_f16, remove_leftovers, verify,
        views_cannot_be_drawn,
    },
    fsio::Lock,
    preprocess::DECODER,
    types::{LogitType, Profile, Store},
};
use logitcache_format::Error;
use proptest::prelude::*;
use std::path::Path;

fn read_all(folder: &Path) -> Vec<ImageRecord> {
    CacheReader::open(folder).unwrap().images().map(|i| i.unwrap().to_record()).collect()
}

fn assert_sound(folder: &Path) {
    let report = verify(folder).unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
}

#[test]
fn twelve_images_of_all_kinds_come_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, records) = small_cache(folder.path());
    assert_eq!(read_all(folder.path()), records);
    assert_sound(folder.path());
    let reader = CacheReader::open(folder.path()).unwrap();
    assert_eq!(reader.manifest(), &manifest);
    for record in &records {
        assert_eq!(&reader.image(record.image_id, 0).unwrap().unwrap().to_record(), record);
        assert_eq!(reader.find_path(&record.path).unwrap().unwrap().image_id, record.image_id);
    }
    for absent in [(-1, 0), (12, 0), (3, 1), (i64::MAX, 0), (i64::MIN, i32::MIN)] {
        assert!(reader.image(absent.0, absent.1).unwrap().is_none(), "{absent:?}");
    }
    assert!(reader.find_path("no such").unwrap().is_none());
}

#[test]
fn views_come_back_equal_and_images_are_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let m = manifest_with_views(3, 12);
    let images = records(&m, 7);
    let all = with_views(&m, 7, &images);
    assert_eq!(all.len(), 48);
    let m = write_cache(folder.path(), m, &[all[..20].to_vec(), all[20..].to_vec()]);
    assert_eq!((m.images(), m.records(), m.complete), (12, 48, true));
    assert_eq!(read_all(folder.path()), all);
    assert_sound(folder.path());
    let reader = CacheReader::open(folder.path()).unwrap();
    for record in &all {
        assert_eq!(&reader.image(record.image_id, record.view).unwrap().unwrap().to_record(), record);
    }
    assert!(reader.image(3, 4).unwrap().is_none());
    assert_eq!(reader.find_path(&images[4].path).unwrap().unwrap().view, 0);
}

#[test]
fn predictions_of_queries_have_no_stride_and_come_back_equal() {
    for logits in [LogitType::Float16, LogitType::Bits8] {
        let folder = tempfile::tempdir().unwrap();
        let mut m = query_manifest(3, 50, 12);
        m.settings.logits = logits;
        m.settings.class_coverage = if logits == LogitType::Bits8 { 0.9 } else { 1.0 };
        let records = records(&m, 5);
        assert!(records.iter().all(|record| record.predictions.stride.is_empty()));
        write_cache(folder.path(), m, std::slice::from_ref(&records));
        assert_eq!(read_all(folder.path()), records);
        assert_sound(folder.path());
        let reader = CacheReader::open(folder.path()).unwrap();
        let image = reader.image(2, 0).unwrap().unwrap();
        assert!(image.predictions.strides.is_empty() && image.predictions.len() == 40);
    }
}

#[test]
fn a_head_and_its_places_must_fit() {
    for change in [
        (|m| m.teacher.queries = 5) as fn(&mut Manifest),
        |m| m.teacher.strides.clear(),
        |m| m.teacher.strides = vec![8, 16, 40],
        |m| m.teacher.input_width = 100,
        |m| m.teacher.head = HeadKind::DetrSigmoid,
    ] {
        let mut m = manifest(3, 4, Store::All, 1);
        change(&mut m);
        let folder = tempfile::tempdir().unwrap();
        let error = PartWriter::create(folder.path(), &m).err().unwrap().to_string();
        assert!(error.contains("it declares the head"), "{error}");
    }
}

#[test]
fn views_of_another_rule_or_decoder_are_told() {
    let mut settings = manifest_with_views(3, 12).settings;
    let found = views_cannot_be_drawn(&settings).unwrap();
    assert!(found.contains("from images decoded by `test`"), "{found}");
    settings.decoder = DECODER.into();
    assert_eq!(views_cannot_be_drawn(&settings), None);
    settings.view_rule = "another 1".into();
    assert!(views_cannot_be_drawn(&settings).unwrap().contains("by the rule `another 1`"));
}

#[test]
fn without_dfl_logits_there_is_no_such_column() {
    let folder = tempfile::tempdir().unwrap();
    let m = manifest(3, 4, Store::Cls, 12);
    let records = records(&m, 1);
    write_cache(folder.path(), m, std::slice::from_ref(&records));
    assert_eq!(read_all(folder.path()), records);
    assert_sound(folder.path());
    let reader = CacheReader::open(folder.path()).unwrap();
    assert!(reader.images().all(|i| i.unwrap().predictions.dfl_logits.is_none()));
}

#[test]
fn compact_logits_come_back_equal() {
    let shapes =
        [(3, 4, Store::All), (80, 16, Store::All), (1, 1, Store::All), (3, 4, Store::Cls), (300, 2, Store::All)];
    let makers = [compact_manifest, half_compact_manifest];
    for ((classes, reg_max, store), make) in shapes.into_iter().flat_map(|shape| makers.map(|make| (shape, make))) {
        let folder = tempfile::tempdir().unwrap();
        let m = make(classes, reg_max, store, 12);
        let records = records(&m, 7);
        write_cache(folder.path(), m.clone(), &[records[..5].to_vec(), records[5..].to_vec()]);
        assert_eq!(read_all(folder.path()), records);
        assert_sound(folder.path());
        let reader = CacheReader::open(folder.path()).unwrap();
        for (image, record) in reader.images().zip(&records) {
            let p = image.unwrap().predictions;
            let rows = p.has_class_logits();
            assert_eq!(rows.iter().filter(|has| **has).count(), record.predictions.len().div_ceil(2));
            // Every row has logits to learn from: its own, or its score and the mean of the others.
            let all = p.all_class_logits();
            let mut stored = record.predictions.class_logits.chunks_exact(m.class_len());
            for (row, has) in rows.into_iter().enumerate() {
                let of_row = &all[row * m.class_len()..(row + 1) * m.class_len()];
                if has {
                    assert!(of_row.iter().zip(stored.next().unwrap()).all(|(a, b)| *a == b.to_f32()));
                    continue;
                }
                for (class, &logit) in of_row.iter().enumerate() {
                    let is_best = class as i32 == record.predictions.class_id[row];
                    let prob = if is_best { record.predictions.score[row] } else { record.rest_mean_prob };
                    assert!((1.0 / (1.0 + (-logit).exp()) - prob).abs() < 1e-5);
                }
            }
        }
    }
}

#[test]
fn a_dense_cache_keeps_every_anchor() {
    let folder = tempfile::tempdir().unwrap();
    let mut m = manifest(2, 3, Store::All, 3);
    m.settings.profile = Profile::Dense;
    let total = m.teacher.total_anchors() as usize;
    assert_eq!(total, 12 * 8 + 6 * 4 + 3 * 2);
    let records: Vec<_> = (0..3).map(|id| record(&m, 5, id, total, Some(1))).collect();
    write_cache(folder.path(), m, std::slice::from_ref(&records));
    assert_eq!(read_all(folder.path()), records);
    assert_sound(folder.path());
}

#[test]
fn many_images_span_row_groups() {
    let folder = tempfile::tempdir().unwrap();
    let m = manifest(1, 1, Store::All, 1300);
    let records: Vec<_> = (0..1300).map(|id| record(&m, 3, id, (id % 3) as usize, Some((id % 2) as usize))).collect();
    write_cache(folder.path(), m, std::slice::from_ref(&records));
    assert_eq!(read_all(folder.path()), records);
    assert_sound(folder.path());
}

#[test]
fn an_empty_cache_and_one_without_any_row_are_caches() {
    let folder = tempfile::tempdir().unwrap();
    write_cache(folder.path(), manifest(3, 4, Store::All, 0), &[]);
    assert!(CacheReader::open(folder.path()).unwrap().is_empty());
    assert_sound(folder.path());

    let folder = tempfile::tempdir().unwrap();
    let m = manifest(3, 4, Store::All, 2);
    let records: Vec<_> = (0..2).map(|id| record(&m, 1, id, 0, None)).collect();
    write_cache(folder.path(), m, std::slice::from_ref(&records));
    assert_eq!(read_all(folder.path()), records);
    assert_sound(folder.path());
}

#[test]
fn the_content_does_not_depend_on_parts() {
    let digests = |parts: &dyn Fn(&[ImageRecord]) -> Vec<Vec<ImageRecord>>| {
        let folder = tempfile::tempdir().unwrap();
        let m = manifest(3, 4, Store::All, 12);
        let records = records(&m, 7);
        let m = write_cache(folder.path(), m, &parts(&records));
        assert_eq!(read_all(folder.path()), records);
        assert_sound(folder.path());
        m.digests.unwrap()
    };
    let whole = digests(&|r| vec![r.to_vec()]);
    assert_eq!(digests(&|r| r.chunks(1).map(<[_]>::to_vec).collect()), whole);
    assert_eq!(digests(&|r| r.chunks(5).map(<[_]>::to_vec).collect()), whole);
    // Interleaved shards, as of several machines, and a failed image that came later.
    let every_third = |r: &[ImageRecord], k: usize| r.iter().skip(k).step_by(3).cloned().collect::<Vec<_>>();
    assert_eq!(digests(&|r| (0..3).map(|k| every_third(r, k)).collect()), whole);
    let without = |r: &[ImageRecord]| r.iter().filter(|r| r.image_id != 4).cloned().collect::<Vec<_>>();
    assert_eq!(digests(&|r| vec![without(r), vec![r[4].clone()]]), whole);
}

#[test]
fn other_labels_change_the_labels_and_content_digests_only() {
    let digests = |mend: bool| {
        let folder = tempfile::tempdir().unwrap();
        let m = manifest(3, 4, Store::All, 12);
        let mut records = records(&m, 7);
        if mend {
            records[0].labels.as_mut().unwrap().pop();
        }
        write_cache(folder.path(), m, &[records]).digests.unwrap()
    };
    let (before, after) = (digests(false), digests(true));
    assert_eq!(before.images_sha256, after.images_sha256);
    assert_ne!(before.labels_sha256, after.labels_sha256);
    assert_ne!(before.content_sha256, after.content_sha256);
}

/// Addresses of every mapping of a file, from the system.
#[cfg(target_os = "linux")]
fn mappings(path: &Path) -> Vec<std::ops::Range<usize>> {
    let path = path.canonicalize().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let of_file = maps.lines().filter(|line| line.ends_with(path.to_str().unwrap()));
    of_file
        .map(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            usize::from_str_radix(start, 16).unwrap()..usize::from_str_radix(end, 16).unwrap()
        })
        .collect()
}

/// Where the values lie, and their dictionary.
fn bytes_of<const N: usize>(values: Values<'_, N>) -> [&[u8]; 2] {
    match values {
        Values::Plain(values) => [values.as_flattened(), values.as_flattened()],
        Values::Codes { codes, dictionary } => [codes, dictionary.as_flattened()],
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_images_arrays_are_slices_of_the_map() {
    for make in [manifest, compact_manifest, half_compact_manifest] {
        arrays_are_slices_of_the_map(make(3, 4, Store::All, 12));
    }
}

#[cfg(target_os = "linux")]
fn arrays_are_slices_of_the_map(m: Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let records = records(&m, 7);
    let manifest = write_cache(folder.path(), m, &[records[..5].to_vec(), records[5..].to_vec()]);
    let reader = CacheReader::open(folder.path()).unwrap();
    let predictions: Vec<_> =
        manifest.parts.iter().flat_map(|p| mappings(&p.predictions_path(folder.path()))).collect();
    let images: Vec<_> = manifest.parts.iter().flat_map(|p| mappings(&p.images_path(folder.path()))).collect();
    assert_eq!((predictions.len(), images.len()), (2, 2));
    let inside = |maps: &[std::ops::Range<usize>], bytes: &[u8]| {
        let range = bytes.as_ptr_range();
        maps.iter().any(|m| m.start <= range.start as usize && range.end as usize <= m.end)
    };
    let mut checked = 0;
    for image in reader.images() {
        let image = image.unwrap();
        assert!(inside(&images, image.path.as_bytes()));
        if let Some(l) = image.labels.filter(|l| !l.is_empty()) {
            assert!([l.class_ids, l.x1, l.y1, l.x2, l.y2].iter().all(|c| inside(&images, c.as_flattened())));
        }
        let p = image.predictions;
        if !p.is_empty() {
            for column in [p.anchors, p.scores, p.x1, p.y1, p.x2, p.y2] {
                assert!(inside(&predictions, column.as_flattened()));
            }
            let mapped = |bytes: [&[u8]; 2]| bytes.into_iter().all(|bytes| inside(&predictions, bytes));
            assert!([p.strides, p.class_ids].into_iter().all(|column| mapped(bytes_of(column))));
            assert!([p.class_logits, p.dfl_logits.unwrap()].into_iter().all(|column| mapped(bytes_of(column))));
            checked += 1;
        }
    }
    assert_eq!(checked, 9);
    let copy = decode_f16(&[[0, 0]][..]).len().to_le_bytes();
    assert!(!inside(&predictions, &copy), "the check can fail");
}

#[test]
fn a_part_dropped_before_its_end_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let m = manifest(3, 4, Store::All, 12);
    let mut writer = PartWriter::create(folder.path(), &m).unwrap();
    writer.push(&records(&m, 1)[0]).unwrap();
    assert!(writer.bytes_so_far() > 0);
    assert_eq!(files(folder.path()).len(), 2);
    drop(writer);
    assert!(files(folder.path()).is_empty());
    assert!(PartWriter::create(folder.path(), &m).unwrap().finish().unwrap().is_none());
    assert!(files(folder.path()).is_empty(), "a part without images is no part");
}

#[test]
fn images_out_of_order_or_of_a_wrong_shape_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let m = manifest(3, 4, Store::All, 12);
    let good = records(&m, 1);
    let refused = |records: &[ImageRecord], expected: &str| {
        let mut writer = PartWriter::create(folder.path(), &m).unwrap();
        let error = records.iter().try_for_each(|r| writer.push(r)).unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains(expected), "{error}");
    };
    refused(&[good[1].clone(), good[0].clone()], "(image_id, view) (0, 0) does not come after (1, 0)");
    refused(&[good[1].clone(), good[1].clone()], "does not come after");
    let mut short = good[0].clone();
    short.predictions.class_logits.pop();
    refused(&[short], "class_logits has 14 values, expected 3 for each of at most 5 anchors");
    let mut long = good[0].clone();
    long.predictions.class_logits.extend_from_within(..3);
    refused(&[long], "class_logits has 18 values, expected 3 for each of at most 5 anchors");
    let mut empty = good[0].clone();
    empty.size.width = 0;
    refused(&[empty], "its size is 0 x");
    refused(&[record(&m, 1, 12, 3, None)], "(12, 0) is not one of a data set of 12 samples");
    let mut unnamed = m.clone();
    unnamed.teacher.class_names.pop();
    let error = PartWriter::create(folder.path(), &unnamed).err().unwrap().to_string();
    assert!(error.contains("it declares 3 classes with 2 names"), "{error}");
    let error = unnamed.save(&Lock::acquire(folder.path()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("it declares 3 classes with 2 names"), "{error}");
}

#[test]
fn the_next_build_removes_what_a_killed_one_left_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (m, _) = small_cache(folder.path());
    let before = files(folder.path());
    let left = ["images/.tmp-part-1-0", "predictions/part-000000099-0123abcd.parquet", ".tmp-manifest.json-1-2"];
    let kept = ["images/notes.txt", "images/part-x.parquet"];
    for name in left.iter().chain(&kept) {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound());
    assert_eq!(report.notes.len(), 5, "{:?}", report.notes);
    let lock = Lock::acquire(folder.path()).unwrap();
    let removed = remove_leftovers(&lock, Some(&m)).unwrap();
    drop(lock);
    assert_eq!(removed.len(), 3);
    let mut expected: Vec<_> = before.into_iter().chain(kept.iter().map(|n| n.into())).collect();
    expected.sort();
    assert_eq!(files(folder.path()), expected);
    assert_sound(folder.path());
    logitcache::cache::clear(&Lock::acquire(folder.path()).unwrap()).unwrap();
    assert_eq!(files(folder.path()), kept.map(std::path::PathBuf::from));
}

#[test]
fn the_difference_between_settings_is_named() {
    let ours = manifest(3, 4, Store::All, 12);
    let mut theirs = ours.clone();
    theirs.settings.top_k = 100;
    theirs.teacher.class_names[1] = "dog".into();
    theirs.teacher.file_name = "elsewhere.onnx".into();
    theirs.dataset.root = "/elsewhere".into();
    let differences = ours.settings_difference(&theirs);
    let shown: Vec<_> = differences.iter().map(|d| (d.name.as_str(), d.in_cache.as_str(), d.wanted.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("teacher.class_names", "3 values, number 1 is \"class 1\"", "3 values, number 1 is \"dog\""),
            ("settings.top_k", "40", "100"),
        ]
    );
    assert!(ours.settings_difference(&ours).is_empty());
}

#[test]
fn a_manifest_is_not_there_or_loads_as_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Manifest::load_if_present(folder.path()).unwrap().is_none());
    let error = Manifest::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("manifest.json: there is no such file"), "{error}");
    assert!(verify(folder.path()).is_err() && CacheReader::open(folder.path()).is_err());
    let lock = Lock::acquire(folder.path()).unwrap();
    let mut m = manifest(3, 4, Store::All, 12);
    m.save(&lock).unwrap();
    assert_eq!(Manifest::load_to_extend(&lock).unwrap(), Some(m));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_records_come_back_equal_from_any_parts(
        seed: u64,
        classes in 1u32..40,
        reg_max in 1u32..17,
        cls_only: bool,
        kind in 0usize..3,
        shapes in prop::collection::vec((0usize..30, prop::option::of(0usize..6), any::<String>(), 0usize..4), 1..40),
    ) {
        let store = if cls_only { Store::Cls } else { Store::All };
        let make = [manifest, compact_manifest, half_compact_manifest][kind];
        let m = make(classes, reg_max, store, shapes.len() as u64);
        let mut parts = vec![Vec::new(); 4];
        let mut records = Vec::new();
        for (id, (rows, labels, name, part)) in shapes.into_iter().enumerate() {
            let mut record = record(&m, seed, id as i64, rows, labels);
            if !name.is_empty() {
                record.path = name;
            }
            parts[part].push(record.clone());
            records.push(record);
        }
        let folder = tempfile::tempdir().unwrap();
        write_cache(folder.path(), m, &parts);
        prop_assert_eq!(read_all(folder.path()), records);
        let report = verify(folder.path()).unwrap();
        prop_assert!(report.is_sound(), "{:#?}", report.problems);
    }
}

#[test]
fn readers_are_shared_between_threads_and_writers_move_to_one() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<CacheReader>();
    moved::<PartWriter>();
    let folder = tempfile::tempdir().unwrap();
    let (_, records) = small_cache(folder.path());
    let reader = CacheReader::open(folder.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for record in &records {
                    assert_eq!(&reader.image(record.image_id, 0).unwrap().unwrap().to_record(), record);
                }
            });
        }
    });
}
