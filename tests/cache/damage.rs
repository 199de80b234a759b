//! Damaged, foreign and hostile files: each with its error, never a panic.

use crate::cache_support::*;
use half::f16;
use logitcache::{
    cache::{
        CacheReader, Codebook, ImageRecord, MANIFEST_NAME, Manifest, PartWriter, Predictions, Settings, VerifyReport,
        rows_with_class_logits, verify,
    },
    fsio::Lock,
    types::{Failure, FailureStage, LogitType, Profile, Store, ViewChange},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// A copy of the committed cache.
fn copy_of_fixture() -> TempDir {
    copy_of("cache-v1")
}

/// The committed caches that can be mapped: with logits of float16 and of 8 bits.
fn mapped_fixture() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("cache-v1"), Just("compact-v1")]
}

/// A copy of a committed cache.
fn copy_of(name: &str) -> TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let folder = tempfile::tempdir().unwrap();
    for file in files(&source) {
        let target = folder.path().join(&file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(source.join(&file), target).unwrap();
    }
    folder
}

fn manifest_value(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join(MANIFEST_NAME)).unwrap()).unwrap()
}

/// Changes the manifest and gives it a valid digest of its own, by the rule of docs/format.md.
fn edit(folder: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = manifest_value(folder);
    change(&mut value);
    let mut manifest = value.as_object().unwrap().clone();
    manifest.remove("manifest_sha256");
    let text = serde_json::to_string_pretty(&manifest).unwrap();
    let head = format!("{},\n", text.strip_suffix("\n}").unwrap());
    let signed = format!("{head}  \"manifest_sha256\": \"{}\"\n}}\n", hex(head.as_bytes()));
    fs::write(folder.join(MANIFEST_NAME), signed).unwrap();
}

/// Brings the digests in the manifest up to date with the files, as someone would who wants to be believed.
fn sign_files(folder: &Path) {
    edit(folder, |m| {
        for part in m["parts"].as_array_mut().unwrap() {
            let name = part["name"].as_str().unwrap().to_owned();
            for table in ["images", "predictions"] {
                let bytes = fs::read(folder.join(table).join(format!("{name}.parquet"))).unwrap();
                let entry = &mut part[format!("{table}_file")];
                entry["bytes"] = json!(bytes.len());
                entry["sha256"] = json!(hex(&bytes));
                let tail = bytes.len().saturating_sub(8);
                let length = bytes.get(tail..tail + 4).map_or(0, |b| u32::from_le_bytes(b.try_into().unwrap()));
                let start = tail.saturating_sub(length as usize);
                entry["footer_sha256"] = json!(hex(&bytes[start..]));
            }
        }
    });
}

fn part_path(folder: &Path, table: &str, at: usize) -> PathBuf {
    let name = manifest_value(folder)["parts"][at]["name"].as_str().unwrap().to_owned();
    folder.join(table).join(format!("{name}.parquet"))
}

/// What opening and reading everything says; `None` where all went well.
fn read_error(folder: &Path) -> Option<String> {
    let read = || -> logitcache::Result<()> {
        let reader = CacheReader::open(folder)?;
        for image in reader.images() {
            image?.to_record();
        }
        for id in -1..14 {
            reader.image(id, 0)?;
        }
        reader.content_digests()?;
        Ok(())
    };
    read().err().map(|e| e.to_string())
}

fn assert_reported(report: &VerifyReport, file: &str, problem: &str) {
    let found = report.problems.iter().any(|p| p.file == file && p.problem.contains(problem));
    assert!(found, "expected `{problem}` of {file} among {:#?}", report.problems);
}

/// Both ways of looking at the cache name the file and the fault.
fn assert_damaged(folder: &Path, path: &Path, opening_says: &str, verify_says: &str) {
    let error = read_error(folder).expect("opening must fail");
    assert!(error.contains(path.to_str().unwrap()) && error.contains(opening_says), "{error}");
    let file = path.strip_prefix(folder).unwrap().to_str().unwrap();
    assert_reported(&verify(folder).unwrap(), file, verify_says);
}

#[test]
fn signing_again_without_a_change_keeps_the_cache_sound() {
    let folder = copy_of_fixture();
    sign_files(folder.path());
    let report = verify(folder.path()).unwrap();
    assert!(report.is_sound() && read_error(folder.path()).is_none(), "{report:#?}");
}

#[test]
fn every_byte_of_the_manifest_is_covered() {
    let folder = copy_of_fixture();
    let path = folder.path().join(MANIFEST_NAME);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        let error = Manifest::load(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("it was changed afterwards") || error.contains("line of its own digest"),
            "{at}: {error}"
        );
    }
    for length in [0, 1, 80, 90, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        let report = verify(folder.path()).unwrap();
        assert_reported(&report, MANIFEST_NAME, "line of its own digest");
    }
    fs::write(&path, [&good[..], b" "].concat()).unwrap();
    assert_damaged(folder.path(), &path, "line of its own digest", "line of its own digest");
}

#[test]
fn newer_formats_and_unknown_features_are_refused_with_what_to_do() {
    let refused = |change: fn(&mut Value), expected: &str| {
        let folder = copy_of_fixture();
        edit(folder.path(), change);
        let error = read_error(folder.path()).unwrap();
        assert!(error.contains(expected), "{error}");
        assert_reported(&verify(folder.path()).unwrap(), MANIFEST_NAME, expected);
        error
    };
    let error = refused(
        |m| m["format"]["version"] = json!(2),
        "the cache is of format version 2; this program reads versions up to 1",
    );
    assert!(error.contains("Use the version of logitcache that wrote it, or a newer one."), "{error}");
    refused(|m| m["format"]["reader_features"] = json!(["sparse-dfl"]), "needs the reader feature `sparse-dfl`");
    refused(|m| m["format"]["name"] = json!("imagecache"), "its format is `imagecache`, expected `logitcache`");
    // A newer version may change everything else: the sentence must come before any complaint about fields.
    refused(
        |m| {
            m["format"]["version"] = json!(3);
            m.as_object_mut().unwrap().remove("teacher");
        },
        "format version 3",
    );
    // What only a program that adds to the cache must know does not hinder a reader.
    let folder = copy_of_fixture();
    edit(folder.path(), |m| m["format"]["writer_features"] = json!(["row-hashes"]));
    assert_eq!(read_error(folder.path()), None);
    let error = Manifest::load_to_extend(&Lock::acquire(folder.path()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("needs the writer feature `row-hashes`"), "{error}");
    // Fields that a later version adds without a feature are nothing a reader must know.
    let folder = copy_of_fixture();
    edit(folder.path(), |m| m["comment"] = json!("made on a Monday"));
    assert_eq!(read_error(folder.path()), None);
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let refused = |change: fn(&mut Value), expected: &str| {
        let folder = copy_of_fixture();
        edit(folder.path(), change);
        let error = read_error(folder.path()).unwrap();
        assert!(error.contains(expected), "{error}");
        assert_reported(&verify(folder.path()).unwrap(), MANIFEST_NAME, expected);
    };
    refused(|m| m["parts"][0]["name"] = json!("../../etc/passwd"), "is not named after its first image and content");
    refused(|m| m["parts"][1] = m["parts"][0].clone(), "is named twice");
    refused(|m| m["parts"][0]["content_sha256"] = json!("x"), "has no valid content digest");
    refused(|m| m["parts"][0]["images"] = json!(0), "declares 0 images");
    refused(|m| m["parts"][1]["last_image_id"] = json!(13), "in a data set of 13 samples");
    refused(|m| m["parts"][0]["images_file"]["sha256"] = json!("ABC"), "has a file without a valid digest");
    refused(|m| m["teacher"]["num_classes"] = json!(4), "it declares 4 classes with 3 names");
    refused(|m| m["teacher"]["num_classes"] = json!(4_000_000_000u32), "it declares 4000000000 classes");
    refused(|m| m["teacher"]["reg_max"] = json!(0), "it declares 0 DFL bins");
    refused(|m| m["teacher"]["strides"] = json!([8, 0]), "with strides [8, 0]");
    refused(|m| m["teacher"]["queries"] = json!(7), "and 7 queries");
    refused(|m| m["task"] = json!("segment"), "the task `segment`; this program supports detect");
    refused(|m| m["teacher"]["head"] = json!("yolov99"), "the head `yolov99`; this program supports yolov8-dfl");
    refused(|m| m["teacher"]["input_width"] = json!(4_000_000_000u32), "4000000000 x 64 pixels");
    refused(|m| m["parts"][0]["rows"] = json!(-1), "it is not a cache's manifest");
}

#[test]
fn what_the_manifest_says_of_the_whole_is_checked() {
    let reported = |change: fn(&mut Value), expected: &str| {
        let folder = copy_of_fixture();
        edit(folder.path(), change);
        assert_reported(&verify(folder.path()).unwrap(), MANIFEST_NAME, expected);
    };
    reported(|m| m["digests"]["content_sha256"] = json!("0".repeat(64)), "its content digests are");
    reported(|m| m["digests"]["labels_sha256"] = json!("0".repeat(64)), "its content digests are");
    reported(|m| m["failures"] = json!([]), "12 images and 0 failures are not 13 samples");
    reported(|m| m["failures"][0]["image_id"] = json!(3), "image 3 is among the failures and in a part");
    reported(|m| m["failures"][0]["image_id"] = json!(99), "the failure of image 99 is outside");
    reported(|m| m["digests"] = Value::Null, "with digests");
}

#[test]
fn missing_cut_longer_and_strange_files_are_named() {
    for table in ["images", "predictions"] {
        let folder = copy_of_fixture();
        let path = part_path(folder.path(), table, 1);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_damaged(folder.path(), &path, "cannot open", "cannot read it");
        fs::create_dir(&path).unwrap();
        assert_damaged(folder.path(), &path, "it is not a file", "it is not a file");
        fs::remove_dir(&path).unwrap();
        for length in [0, 1, 7, 11, 12, 100, good.len() - 1] {
            fs::write(&path, &good[..length]).unwrap();
            let expected = format!("it has {length} bytes, the manifest says {}", good.len());
            assert_damaged(folder.path(), &path, &expected, &expected);
        }
        fs::write(&path, [&good[..], &good[..]].concat()).unwrap();
        assert_damaged(folder.path(), &path, "the manifest says", "the manifest says");
        fs::write(&path, vec![0; good.len()]).unwrap();
        assert_damaged(folder.path(), &path, "does not begin and end as a Parquet file", "have the SHA-256");
    }
}

#[test]
fn swapped_parts_and_files_of_another_cache_are_named() {
    // The two tables of a part, put in each other's place and signed.
    let folder = copy_of_fixture();
    let (images, predictions) = (part_path(folder.path(), "images", 0), part_path(folder.path(), "predictions", 0));
    let (a, b) = (fs::read(&images).unwrap(), fs::read(&predictions).unwrap());
    fs::write(&images, &b).unwrap();
    fs::write(&predictions, &a).unwrap();
    assert_damaged(folder.path(), &images, "bytes, the manifest says", "bytes, the manifest says");
    sign_files(folder.path());
    assert_damaged(
        folder.path(),
        &images,
        "is not `path` as this format has it",
        "is not `path` as this format has it",
    );

    // Two parts of one cache in each other's place, signed.
    let folder = copy_of_fixture();
    let (first, second) = (part_path(folder.path(), "images", 0), part_path(folder.path(), "images", 1));
    let (a, b) = (fs::read(&first).unwrap(), fs::read(&second).unwrap());
    fs::write(&first, &b).unwrap();
    fs::write(&second, &a).unwrap();
    sign_files(folder.path());
    assert_damaged(folder.path(), &first, "rows and declares 7, the manifest says 5", "the manifest says 5");

    // A part of the same shape from a cache of another teacher, signed.
    let folder = copy_of_fixture();
    let other = tempfile::tempdir().unwrap();
    let mut m = manifest(3, 4, Store::All, 13);
    m.teacher.sha256 = "ab".repeat(32);
    let all = records(&m, 7);
    write_cache(other.path(), m, &[all[..5].to_vec(), all[5..].to_vec()]);
    let path = part_path(folder.path(), "predictions", 0);
    fs::copy(part_path(other.path(), "predictions", 0), &path).unwrap();
    sign_files(folder.path());
    assert_damaged(folder.path(), &path, "it belongs to another cache", "it belongs to another cache");
}

/// Rewrites a file of the cache with the values it has, by the `arrow` writer with other properties.
mod rewritten {
    use super::*;
    use arrow::array::RecordBatch;
    use parquet::{
        arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder, arrow_writer::ArrowWriterOptions},
        basic::Encoding,
        file::{
            metadata::KeyValue,
            properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion},
        },
    };

    /// The properties of the format; every test changes one.
    fn as_specified() -> WriterPropertiesBuilder {
        WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_encoding(Encoding::PLAIN)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
    }

    fn rewrite(folder: &Path, path: &Path, properties: WriterPropertiesBuilder, keep_info: bool) {
        let file = fs::File::open(path).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let mut info = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap();
        if !keep_info {
            info = vec![KeyValue::new("made-by".to_owned(), "hand".to_owned())];
        }
        let schema = builder.schema().clone();
        let parquet_schema = builder.parquet_schema().clone();
        let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
        let options = ArrowWriterOptions::new()
            .with_properties(properties.set_key_value_metadata(Some(info)).build())
            .with_skip_arrow_metadata(true)
            .with_parquet_schema(parquet_schema);
        let target = fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new_with_options(target, schema, options).unwrap();
        batches.iter().for_each(|b| writer.write(b).unwrap());
        writer.close().unwrap();
        sign_files(folder);
    }

    #[test]
    fn the_same_values_in_the_specified_form_are_accepted_and_in_any_other_refused() {
        let outcome = |table: &str, properties: WriterPropertiesBuilder, keep_info: bool| {
            let folder = copy_of_fixture();
            let path = part_path(folder.path(), table, 1);
            rewrite(folder.path(), &path, properties, keep_info);
            (read_error(folder.path()), verify(folder.path()).unwrap())
        };
        for table in ["images", "predictions"] {
            let (error, report) = outcome(table, as_specified(), true);
            assert!(error.is_none() && report.is_sound(), "{error:?} {report:#?}");
            let refused = |properties, keep_info, expected: &str| {
                let (error, report) = outcome(table, properties, keep_info);
                assert!(error.as_ref().is_some_and(|e| e.contains(expected)), "{error:?}");
                assert!(report.problems.iter().any(|p| p.problem.contains(expected)), "{report:#?}");
            };
            refused(as_specified().set_dictionary_enabled(true), true, "it is not one PLAIN data page of version 2");
            let pages = as_specified().set_data_page_row_count_limit(2).set_write_batch_size(1);
            refused(pages, true, "it is not one PLAIN data page of version 2");
            let old_pages = as_specified().set_writer_version(WriterVersion::PARQUET_1_0);
            refused(old_pages, true, "it is not one PLAIN data page of version 2");
            refused(as_specified(), false, "its footer does not name the cache that it belongs to");
            let uncounted =
                if table == "images" { "does not declare the length of its text" } else { "level counts do not fit" };
            refused(as_specified().set_statistics_enabled(EnabledStatistics::None), true, uncounted);
            let with_index = as_specified().set_offset_index_disabled(false);
            refused(with_index, true, "but its footer begins at byte");
        }
    }

    #[test]
    fn rows_of_an_image_may_not_span_row_groups() {
        let folder = copy_of_fixture();
        let path = part_path(folder.path(), "predictions", 1);
        rewrite(folder.path(), &path, as_specified().set_max_row_group_row_count(Some(4)), true);
        let error = read_error(folder.path()).unwrap();
        assert!(error.contains("do not lie in one row group of the predictions"), "{error}");
        let file = part_path(folder.path(), "images", 1);
        let file = file.strip_prefix(folder.path()).unwrap();
        assert_reported(&verify(folder.path()).unwrap(), file.to_str().unwrap(), "do not lie in one row group");
    }
}

#[test]
fn a_footer_that_declares_too_much_is_refused_before_memory_is_taken() {
    let refused = |table: &str, change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let folder = copy_of_fixture();
        let path = part_path(folder.path(), table, 0);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        sign_files(folder.path());
        let error = read_error(folder.path()).unwrap();
        assert!(error.contains(expected), "{error}");
        assert!(!verify(folder.path()).unwrap().is_sound());
    };
    let footer_start = |b: &[u8]| b.len() - 8 - u32::from_le_bytes(b[b.len() - 8..][..4].try_into().unwrap()) as usize;
    let length = |value: u32| {
        move |b: &mut Vec<u8>| {
            let at = b.len() - 8;
            b[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    };
    refused("images", &length(u32::MAX), "its footer declares 4294967295 bytes");
    refused("images", &length(1 << 31), "its footer declares 2147483648 bytes");
    refused("images", &length(0), "its footer does not begin with a schema");
    refused("images", &length(3), "its footer does not begin with a schema");
    // A schema of 2^28 nested elements, for a parser that recurses.
    let deep = |b: &mut Vec<u8>| {
        let start = footer_start(b);
        let thrift = [0x15, 4, 0x19, 0xfc, 0xff, 0xff, 0xff, 0x7f];
        b.truncate(start);
        b.extend(thrift);
        b.extend((thrift.len() as u32).to_le_bytes());
        b.extend(b"PAR1");
    };
    refused("predictions", &deep, "its schema declares 268435455 elements");
    // 2^31 - 1 row groups.
    let many = |b: &mut Vec<u8>| {
        let start = footer_start(b);
        let at = b[start..].windows(2).position(|w| w == [0x19, 0x1c]).unwrap() + start;
        let thrift: Vec<u8> = [&b[start..at], &[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7]].concat();
        b.truncate(start);
        b.extend(&thrift);
        b.extend((thrift.len() as u32).to_le_bytes());
        b.extend(b"PAR1");
    };
    refused("predictions", &many, "its footer cannot be parsed");
}

/// A cache of one image with `change` made to a valid record; what verify says of it.
fn broken_rule(profile: Profile, change: impl FnOnce(&mut ImageRecord)) -> Vec<String> {
    let mut m = manifest(3, 4, Store::All, 1);
    m.settings.profile = profile;
    broken(m, change)
}

/// As [`broken_rule`], in a cache of this manifest.
fn broken(m: Manifest, change: impl FnOnce(&mut ImageRecord)) -> Vec<String> {
    let mut record = record(&m, 11, 0, 5, Some(2));
    change(&mut record);
    let folder = tempfile::tempdir().unwrap();
    write_cache(folder.path(), m, &[vec![record]]);
    verify(folder.path()).unwrap().problems.into_iter().map(|p| p.problem).collect()
}

#[test]
fn every_rule_between_values_is_checked() {
    assert!(broken_rule(Profile::Mapped, |_| {}).is_empty());
    let breaks = |expected: &str, change: fn(&mut ImageRecord)| {
        let problems = broken_rule(Profile::Mapped, change);
        assert!(problems.iter().any(|p| p.contains(expected)), "expected `{expected}` in {problems:#?}");
    };
    breaks("is not one of a data set of 1 samples", |r| r.view = 1);
    breaks("its path is empty", |r| r.path.clear());
    breaks("does not fit an image of", |r| r.letterbox.scale = f32::NAN);
    breaks("does not fit an image of", |r| r.letterbox.scale *= 3.0);
    breaks("does not fit an image of", |r| r.letterbox.pad_top = 0.5);
    breaks("its label 1 is", |r| r.labels.as_mut().unwrap()[1].class_id = 3);
    breaks("its label 0 is", |r| r.labels.as_mut().unwrap()[0].box_xyxy_px.x1 = f32::INFINITY);
    breaks("its label 0 is", |r| r.labels.as_mut().unwrap()[0].box_xyxy_px.x2 = -1.0);
    breaks("are not probabilities", |r| r.dropped_max_score = 1.5);
    breaks("are not probabilities", |r| r.dropped_mean_prob = f32::NAN);
    breaks("are not probabilities", |r| r.dropped_mean_prob = 0.5);
    breaks("it dropped a score of 0.5, over min_score 0.01, with room left", |r| {
        (r.dropped_max_score, r.dropped_score_sum) = (0.5, 0.6);
    });
    breaks("dropped_score_sum is", |r| r.dropped_score_sum = 0.0);
    breaks("dropped_score_sum is", |r| r.dropped_score_sum = f32::NAN);
    breaks("dropped_score_sum is", |r| r.dropped_score_sum = 1e6);
    breaks("its anchors are not in increasing order", |r| r.predictions.anchor.swap(0, 1));
    breaks("its anchors are not in increasing order", |r| r.predictions.anchor[1] = r.predictions.anchor[0]);
    breaks("anchor 125 has the stride 16, expected Some(32)", |r| r.predictions.anchor[4] = 125);
    breaks("has the stride 64", |r| r.predictions.stride[2] = 64);
    breaks("anchor -1 has the stride", |r| r.predictions.anchor[0] = -1);
    breaks("anchor 126 has the stride", |r| r.predictions.anchor[4] = 126);
    breaks("a logit is not finite", |r| r.predictions.class_logits[3] = f16::NAN);
    breaks("a logit is not finite", |r| r.predictions.dfl_logits[70] = f16::INFINITY);
    breaks("the highest is", |r| r.predictions.class_id[2] = (r.predictions.class_id[2] + 1) % 3);
    breaks("class_id 3 has the logit None", |r| r.predictions.class_id[0] = 3);
    breaks("class_id -1 has the logit None", |r| r.predictions.class_id[0] = -1);
    breaks("the sigmoid of its highest logit", |r| r.predictions.score[1] *= 0.97);
    breaks("the sigmoid of its highest logit", |r| r.predictions.score[1] = f32::NAN);
    breaks("is not inside the image", |r| r.predictions.boxes_xyxy_px[4].x2 = r.size.width as f32 + 0.5);
    breaks("is not inside the image", |r| r.predictions.boxes_xyxy_px[4].y1 = -0.01);
    breaks("is not inside the image", |r| r.predictions.boxes_xyxy_px[0].y2 = f32::NAN);
    breaks("it keeps a score of", |r| {
        let low = -5.0f32;
        r.predictions.class_logits[..3].copy_from_slice(&[low, low - 1.0, low - 1.0].map(f16::from_f32));
        r.predictions.class_id[0] = 0;
        r.predictions.score[0] = 1.0 / (1.0 + (-low).exp());
    });
    let problems = broken_rule(Profile::Dense, |_| {});
    assert!(problems.iter().any(|p| p.contains("a dense cache keeps all 126")), "{problems:?}");
    breaks("rest_mean_prob is 0.1, and 5 of 5 rows have class logits", |r| r.rest_mean_prob = 0.1);
    breaks("4 of 5 rows have class logits, with a class_coverage of 1", |r| {
        r.predictions.class_logits.truncate(12);
    });
}

#[test]
fn every_rule_of_8_bits_and_of_left_out_class_logits_is_checked() {
    let compact = || compact_manifest(3, 4, Store::All, 1);
    assert!(broken(compact(), |_| {}).is_empty());
    let breaks = |expected: &str, change: fn(&mut ImageRecord)| {
        let problems = broken(compact(), change);
        assert!(problems.iter().any(|p| p.contains(expected)), "expected `{expected}` in {problems:#?}");
    };
    // Three of the five rows have class logits: those of the highest scores.
    let without =
        |r: &ImageRecord| rows_with_class_logits(&r.predictions.score, 3).iter().position(|has| !has).unwrap();
    let record = record(&compact(), 11, 0, 5, Some(2));
    assert_eq!(record.predictions.class_logits.len(), 9);
    assert!(without(&record) < 5);
    breaks("rest_mean_prob is NaN", |r| r.rest_mean_prob = f32::NAN);
    breaks("0 of 5 rows have class logits", |r| r.predictions.class_logits.clear());
    breaks("the highest DFL logit of a side is not 0", |r| {
        let side = &mut r.predictions.dfl_logits[4..8];
        side.iter_mut().for_each(|v| *v = Codebook::dfl().round(v.to_f32().min(-1.0)));
    });
    // With logits of 8 bits there is not even a code for such a class.
    let half = Manifest { settings: Settings { logits: LogitType::Float16, ..compact().settings }, ..compact() };
    let problems = broken(half, |r| {
        let row = rows_with_class_logits(&r.predictions.score, 3).iter().position(|has| !has).unwrap();
        r.predictions.class_id[row] = 3;
    });
    assert!(problems.iter().any(|p| p.contains("class_id 3 is not one of the teacher's")), "{problems:#?}");
    breaks("its score -0.5 is not a probability", |r| {
        let row = rows_with_class_logits(&r.predictions.score, 3).iter().position(|has| !has).unwrap();
        r.predictions.score[row] = -0.5;
    });
    breaks("the sigmoid of its highest logit", |r| {
        let row = rows_with_class_logits(&r.predictions.score, 3).iter().position(|has| *has).unwrap();
        r.predictions.score[row] = 0.999_99;
    });
}

#[test]
fn a_logit_outside_of_the_codebook_is_not_written() {
    let m = compact_manifest(3, 4, Store::All, 1);
    let folder = tempfile::tempdir().unwrap();
    let mut record = record(&m, 11, 0, 5, None);
    record.predictions.dfl_logits[3] = f16::from_f32(-0.01);
    let error = PartWriter::create(folder.path(), &m).unwrap().push(&record).unwrap_err().to_string();
    assert!(error.contains("the logit -0.0100") && error.contains("not one of the 256"), "{error}");
}

/// A cache of two images with two views each and `change` made to its records; what verify says of it.
fn broken_views(change: impl FnOnce(&mut Vec<ImageRecord>, &mut Manifest)) -> Vec<String> {
    let mut m = manifest_with_views(2, 2);
    let images = [record(&m, 11, 0, 5, Some(2)), record(&m, 11, 1, 4, None)];
    let mut records = with_views(&m, 11, &images);
    change(&mut records, &mut m);
    let folder = tempfile::tempdir().unwrap();
    write_cache(folder.path(), m, &[records]);
    verify(folder.path()).unwrap().problems.into_iter().map(|p| p.problem).collect()
}

#[test]
fn every_rule_of_views_is_checked() {
    assert_eq!(broken_views(|_, _| {}), [""; 0]);
    let breaks = |expected: &str, change: fn(&mut Vec<ImageRecord>)| {
        let problems = broken_views(|records, _| change(records));
        assert!(problems.iter().any(|p| p.contains(expected)), "expected `{expected}` in {problems:#?}");
    };
    // Records 0, 1, 2 are the views of image 0.
    let planted: [fn(&mut ViewChange); 7] = [
        |c| c.scale = c.scale.next_up(),
        |c| c.offset_x += 1.0,
        |c| c.offset_y = -c.offset_y,
        |c| c.flip = !c.flip,
        |c| c.hue = 0.0,
        |c| c.saturation = f32::NAN,
        |c| c.value = c.value.next_down(),
    ];
    for (at, plant) in planted.into_iter().enumerate() {
        for record in [1, 2, 4] {
            let problems = broken_views(|records, _| plant(&mut records[record].change));
            assert_eq!(problems.len(), if at == 5 { 2 } else { 1 }, "{at} in {record}: {problems:#?}");
            assert!(problems.iter().any(|p| p.contains("its view is made by ViewChange")), "{problems:#?}");
        }
    }
    breaks("its view is made by", |r| r[0].change = r[1].change);
    breaks("its view is made by", |r| r[1].change = r[2].change);
    breaks("is not one of a data set of 2 samples with 2 views", |r| r[5].view = 3);
    breaks("image 1 does not have all of its views 0 to 2", |r| drop(r.pop()));
    breaks("image 1 does not have all of its views 0 to 2", |r| drop(r.remove(3)));
    breaks("image 0 does not have all of its views 0 to 2", |r| drop(r.remove(2)));
    breaks("it is not the view of the same image that follows view 0", |r| drop(r.remove(1)));
    breaks("it is not the view of the same image", |r| r[2].path.push('x'));
    breaks("it is not the view of the same image", |r| r[2].file_sha256[0] ^= 1);
    breaks("it is not the view of the same image", |r| r[1].labels = None);
    breaks("it is not the view of the same image", |r| r[1].letterbox.pad_left += 1.0);

    // Views of a rule that this program does not know: no number is expected, but impossible ones are told.
    let other_rule = |change: fn(&mut ViewChange)| {
        broken_views(|records, m| {
            m.settings.view_rule = "another 1".into();
            change(&mut records[1].change);
        })
    };
    assert_eq!(other_rule(|c| c.scale *= 1.5), [""; 0]);
    assert!(other_rule(|c| c.scale = 0.0)[0].contains("its view cannot be made by"));
    assert!(other_rule(|c| c.hue = f32::INFINITY)[0].contains("its view cannot be made by"));

    // As many records as samples, but of one image.
    let problems = broken_views(|records, m| {
        records.truncate(3);
        m.dataset.samples = 3;
    });
    assert_eq!(problems, [""; 0], "unfinished is not damaged");
}

#[test]
fn more_rows_than_top_k_and_a_dropped_score_over_a_kept_one_are_reported() {
    let problems = |top_k: u32, dropped: f32| {
        let mut m = manifest(3, 4, Store::All, 1);
        let mut record = record(&m, 11, 0, 40, None);
        (record.dropped_max_score, record.dropped_score_sum) = (dropped, dropped);
        m.settings.top_k = top_k;
        let folder = tempfile::tempdir().unwrap();
        write_cache(folder.path(), m, &[vec![record]]);
        verify(folder.path()).unwrap().problems
    };
    assert!(problems(40, 0.01)[..].is_empty());
    assert!(problems(39, 0.01)[0].problem.contains("it has 40 rows, over top_k 39"));
    assert!(problems(40, 0.9)[0].problem.contains("it dropped a score of 0.9 but kept one of"));
}

#[test]
fn an_image_in_two_parts_is_reported_and_ends_the_walk() {
    let folder = tempfile::tempdir().unwrap();
    let m = manifest(3, 4, Store::All, 12);
    let all = records(&m, 1);
    std::fs::create_dir_all(folder.path()).unwrap();
    let lock = Lock::acquire(folder.path()).unwrap();
    let mut m2 = m.clone();
    for part in [&all[..6], &all[5..]] {
        let mut writer = logitcache::cache::PartWriter::create(folder.path(), &m).unwrap();
        part.iter().for_each(|r| writer.push(r).unwrap());
        m2.add_part(writer.finish().unwrap().unwrap());
    }
    m2.save(&lock).unwrap();
    assert_reported(&verify(folder.path()).unwrap(), MANIFEST_NAME, "image 5, view 0 is in the cache twice");
    let reader = CacheReader::open(folder.path()).unwrap();
    let walked: Vec<_> = reader.images().collect();
    assert!(walked.len() == 7 && walked[6].is_err());
}

#[test]
fn failures_out_of_order_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut m = manifest(3, 4, Store::All, 3);
    let failure = |image_id| Failure { image_id, path: "x".into(), stage: FailureStage::Read, reason: "gone".into() };
    m.failures = vec![failure(2), failure(1)];
    write_cache(folder.path(), m.clone(), &[vec![record(&m, 1, 0, 3, None)]]);
    assert_reported(&verify(folder.path()).unwrap(), MANIFEST_NAME, "not in increasing order of image_id");
}

/// A place in one of the cache's files.
fn place() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, u8)> {
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..8)
}

fn flip(folder: &Path, (file, at, bit): &(prop::sample::Index, prop::sample::Index, u8)) -> String {
    let files = files(folder);
    let file = &files[file.index(files.len())];
    let mut bytes = fs::read(folder.join(file)).unwrap();
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << bit;
    fs::write(folder.join(file), bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

fn overwrite(folder: &Path, (file, at, _): &(prop::sample::Index, prop::sample::Index, u8), with: &[u8]) {
    let files = files(folder);
    let path = folder.join(&files[file.index(files.len())]);
    let mut bytes = fs::read(&path).unwrap();
    let at = at.index(bytes.len());
    bytes[at..].iter_mut().zip(with).for_each(|(byte, new)| *byte = *new);
    fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_flipped_bit_anywhere_is_reported_with_its_file_and_nothing_panics(
        fixture in mapped_fixture(),
        place in place(),
    ) {
        let folder = copy_of(fixture);
        let file = flip(folder.path(), &place);
        let report = verify(folder.path()).unwrap();
        prop_assert!(report.problems.iter().any(|p| p.file == file), "{} {:#?}", file, report);
        read_error(folder.path());
    }

    #[test]
    fn a_file_cut_anywhere_is_reported_and_nothing_panics(fixture in mapped_fixture(), place in place()) {
        let folder = copy_of(fixture);
        let files = files(folder.path());
        let file = &files[place.0.index(files.len())];
        let bytes = fs::read(folder.path().join(file)).unwrap();
        fs::write(folder.path().join(file), &bytes[..place.1.index(bytes.len())]).unwrap();
        let report = verify(folder.path()).unwrap();
        prop_assert!(report.problems.iter().any(|p| Path::new(&p.file) == file), "{:#?}", report);
        prop_assert!(read_error(folder.path()).is_some());
    }

    /// Someone who also signs the files again: whatever is not noticed must not have changed any value.
    #[test]
    fn signed_damage_never_panics_and_never_changes_a_value_unnoticed(
        fixture in mapped_fixture(),
        damage in prop::collection::vec((place(), prop::collection::vec(any::<u8>(), 0..12)), 1..4),
    ) {
        let folder = copy_of(fixture);
        let path = folder.path().join(MANIFEST_NAME);
        let manifest = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        for (place, bytes) in &damage {
            if bytes.is_empty() {
                flip(folder.path(), place);
            } else {
                overwrite(folder.path(), place, bytes);
            }
        }
        fs::write(&path, manifest).unwrap();
        sign_files(folder.path());
        read_error(folder.path());
        if verify(folder.path()).unwrap().is_sound() {
            let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
            let all = |folder: &Path| -> Vec<ImageRecord> {
                CacheReader::open(folder).unwrap().images().map(|i| i.unwrap().to_record()).collect()
            };
            prop_assert_eq!(all(folder.path()), all(&fixture));
        }
    }
}

/// The committed archive of the committed cache.
mod archive {
    use super::*;
    use logitcache::{
        Error,
        cache::for_each_image,
        convert::{Conversion, ConvertOptions, Target},
        inspect,
    };
    use std::sync::atomic::AtomicBool;

    fn copy_of_archive() -> TempDir {
        copy_of("archive-v1")
    }

    /// What unpacking says; whatever that is, nothing of a cache that cannot be trusted may be left.
    fn unpack(folder: &Path) -> logitcache::Result<Vec<ImageRecord>> {
        let out = tempfile::tempdir().unwrap();
        let (cache, out) = (folder.to_owned(), out.path().join("out"));
        let target = Target::Unpacked(Profile::Mapped);
        let unpacked = Conversion::prepare(ConvertOptions { cache, target, out: out.clone(), overwrite: false })
            .and_then(|conversion| conversion.run(&AtomicBool::new(false), &|_| {}));
        if out.join(MANIFEST_NAME).exists() {
            let report = verify(&out).unwrap();
            assert!(report.is_sound() || unpacked.is_ok(), "{report:#?}");
            assert_eq!(report.complete, unpacked.is_ok());
        }
        unpacked?;
        let reader = CacheReader::open(&out)?;
        reader.images().map(|image| Ok(image?.to_record())).collect()
    }

    fn assert_archive_damaged(folder: &Path, path: &Path, expected: &str) {
        let file = path.strip_prefix(folder).unwrap().to_str().unwrap();
        assert_reported(&verify(folder).unwrap(), file, expected);
        for error in [unpack(folder).unwrap_err(), inspect::summary(folder).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.contains(expected), "{text}");
        }
    }

    #[test]
    fn signing_again_without_a_change_keeps_the_archive_sound() {
        let folder = copy_of_archive();
        sign_files(folder.path());
        let report = verify(folder.path()).unwrap();
        assert!(report.is_sound(), "{report:#?}");
        assert_eq!(unpack(folder.path()).unwrap().len(), 12);
    }

    #[test]
    fn missing_cut_and_foreign_files_are_named() {
        for table in ["images", "predictions"] {
            let folder = copy_of_archive();
            let path = part_path(folder.path(), table, 1);
            let good = fs::read(&path).unwrap();
            for length in [0, 1, 7, 11, 12, 100, good.len() - 1] {
                fs::write(&path, &good[..length]).unwrap();
                let expected = format!("it has {length} bytes, the manifest says {}", good.len());
                assert_archive_damaged(folder.path(), &path, &expected);
                sign_files(folder.path());
                assert!(!verify(folder.path()).unwrap().is_sound() && unpack(folder.path()).is_err());
                fs::write(&path, &good).unwrap();
                sign_files(folder.path());
            }
            fs::write(&path, vec![0; good.len()]).unwrap();
            assert_archive_damaged(folder.path(), &path, "have the SHA-256");
            sign_files(folder.path());
            assert_archive_damaged(folder.path(), &path, "does not begin and end as a Parquet file");
            fs::remove_file(&path).unwrap();
            assert_archive_damaged(folder.path(), &path, "cannot read it");
        }
    }

    #[test]
    fn mapped_files_in_an_archive_and_the_reverse_are_of_another_cache() {
        let (archive, cache) = (copy_of_archive(), copy_of_fixture());
        let path = part_path(archive.path(), "predictions", 0);
        fs::copy(part_path(cache.path(), "predictions", 0), &path).unwrap();
        sign_files(archive.path());
        assert_archive_damaged(archive.path(), &path, "it belongs to another cache");
        let path = part_path(cache.path(), "predictions", 0);
        fs::copy(part_path(copy_of_archive().path(), "predictions", 0), &path).unwrap();
        sign_files(cache.path());
        assert_damaged(cache.path(), &path, "it belongs to another cache", "it belongs to another cache");
        // A mapped cache that calls itself an archive, files and all, is none.
        let cache = copy_of_fixture();
        edit(cache.path(), |m| m["format"]["reader_features"] = json!(["archive"]));
        for part in 0..2 {
            let path = part_path(cache.path(), "images", part);
            let file = path.strip_prefix(cache.path()).unwrap().to_str().unwrap();
            assert_reported(&verify(cache.path()).unwrap(), file, "it belongs to another cache");
        }
        // Parts are converted side by side: either may be refused first.
        for error in [unpack(cache.path()).unwrap_err(), inspect::summary(cache.path()).unwrap_err()] {
            assert!(error.to_string().contains("it belongs to another cache"), "{error}");
        }
    }

    #[test]
    fn what_the_manifest_says_of_the_whole_must_be_what_is_written() {
        let folder = copy_of_archive();
        edit(folder.path(), |m| m["digests"]["content_sha256"] = json!("0".repeat(64)));
        assert_reported(&verify(folder.path()).unwrap(), MANIFEST_NAME, "its content digests are");
        let error = unpack(folder.path()).unwrap_err().to_string();
        assert!(error.contains("its content digests are"), "{error}");
        let folder = copy_of_archive();
        edit(folder.path(), |m| m["failures"][0]["image_id"] = json!(3));
        assert_reported(&verify(folder.path()).unwrap(), MANIFEST_NAME, "image 3 is among the failures and in a part");
        let folder = copy_of_archive();
        edit(folder.path(), |m| m["format"]["writer_features"] = json!(["row-hashes"]));
        let error = unpack(folder.path()).unwrap_err().to_string();
        assert!(error.contains("needs the writer feature `row-hashes`"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_flipped_bit_anywhere_is_reported_and_never_unpacked(place in place()) {
            let folder = copy_of_archive();
            let file = flip(folder.path(), &place);
            let report = verify(folder.path()).unwrap();
            prop_assert!(report.problems.iter().any(|p| p.file == file), "{} {:#?}", file, report);
            for error in [unpack(folder.path()).unwrap_err(), inspect::summary(folder.path()).unwrap_err()] {
                let named = matches!(&error, Error::Cache { path, .. } if path.ends_with(&file));
                prop_assert!(named, "{} {}", file, error);
            }
        }

        /// Someone who also signs the files again: what is unpacked has the values that were packed, or nothing is.
        #[test]
        fn signed_damage_never_panics_and_never_changes_a_value_unnoticed(
            damage in prop::collection::vec((place(), prop::collection::vec(any::<u8>(), 0..12)), 1..4),
        ) {
            let folder = copy_of_archive();
            let path = folder.path().join(MANIFEST_NAME);
            let manifest = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            for (place, bytes) in &damage {
                if bytes.is_empty() {
                    flip(folder.path(), place);
                } else {
                    overwrite(folder.path(), place, bytes);
                }
            }
            fs::write(&path, manifest).unwrap();
            sign_files(folder.path());
            let good = copy_of_archive();
            let _ = inspect::summary(folder.path());
            if let Ok(unpacked) = unpack(folder.path()) {
                prop_assert_eq!(unpacked, unpack(good.path()).unwrap());
            }
            if verify(folder.path()).unwrap().is_sound() {
                let all = |folder: &Path| {
                    let manifest = Manifest::load(folder).unwrap();
                    let mut records = Vec::new();
                    for part in &manifest.parts {
                        for_each_image(folder, part, &manifest, |record| {
                            records.push(record);
                            Ok::<(), logitcache_format::Error>(())
                        }).unwrap();
                    }
                    records
                };
                prop_assert_eq!(all(folder.path()), all(good.path()));
            }
        }
    }
}

#[test]
fn anchors_and_classes_that_the_head_lacks_are_refused_when_an_image_is_read() {
    for (change, words) in [
        ((|p| p.anchor[0] = 5000) as fn(&mut Predictions), "its anchor 5000 is not one of the head's 126"),
        (|p| p.anchor[0] = -3, "its anchor -3 is not one of the head's 126"),
        (|p| p.class_id[1] = 3, "its class_id 3 is not one of the teacher's 3 classes"),
    ] {
        let m = manifest(3, 4, Store::All, 1);
        let mut record = record(&m, 5, 0, 7, None);
        change(&mut record.predictions);
        let folder = tempfile::tempdir().unwrap();
        write_cache(folder.path(), m, &[vec![record]]);
        let error = CacheReader::open(folder.path()).unwrap().image(0, 0).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("verify"), "{error}");
    }
}
