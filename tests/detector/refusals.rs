//! Files that are no teachers: refused with a sentence that helps, whatever bytes they hold.

use std::{fs, path::PathBuf};

use logitcache::{
    Error,
    detector::{Detector, DetectorOptions},
    types::Store,
};
use proptest::prelude::*;

fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

fn options() -> DetectorOptions {
    DetectorOptions { imgsz: None, store: Store::All, names: None, ..DetectorOptions::default() }
}

#[track_caller]
fn refused(name: &str, says: &[&str]) {
    let error = Detector::load(models().join(name), &options()).unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error:?}");
    for part in [name].iter().chain(says) {
        assert!(error.to_string().contains(part), "{part:?} is missing in: {error}");
    }
}

#[test]
fn exports_of_other_kinds() {
    refused("yolov8-nms.onnx", &["nms=True", "[1, 300, 6]", "without nms=True"]);
    refused("yolov8-classify.onnx", &["image classification", "[1, 6]", "task=detect"]);
    refused("yolov8-segment.onnx", &["instance segmentation", "output1", "task=detect"]);
}

#[test]
fn files_that_are_no_models() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(models().join("yolov8-static.onnx")).unwrap();
    let cases: [(&str, &[u8], &str); 5] = [
        ("empty.onnx", b"", "it is empty"),
        ("text.onnx", b"this is no model, only words in a file\n", "not a complete ONNX model"),
        ("checkpoint.onnx", b"PK\x03\x04 and so on", "PyTorch checkpoints"),
        ("half.onnx", &whole[..whole.len() / 2], "not a complete ONNX model"),
        ("zeros.onnx", &[0; 4096], "not a complete ONNX model"),
    ];
    for (name, bytes, says) in cases {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = Detector::load(&path, &options()).unwrap_err();
        assert!(matches!(error, Error::Model { .. }), "{error:?}");
        assert!(error.to_string().contains(says) && error.to_string().contains(name), "{error}");
    }
    assert!(matches!(Detector::load(dir.path().join("absent.onnx"), &options()), Err(Error::Io { .. })));
    let folder = Detector::load(dir.path(), &options()).unwrap_err();
    assert!(matches!(&folder, Error::Model { .. }) && folder.to_string().contains("not a file"), "{folder}");
}

#[cfg(unix)]
#[test]
fn a_file_over_the_limit_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge.onnx");
    // Sparse: it takes no room.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = Detector::load(&path, &options()).unwrap_err().to_string();
    assert!(error.contains("1099511627776 bytes"), "{error}");
}

fn fixtures() -> Vec<Vec<u8>> {
    ["yolov8-static.onnx", "yolov8-fp16-io.onnx", "yolov10-end2end.onnx"]
        .map(|name| fs::read(models().join(name)).unwrap())
        .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Detector::from_bytes("random.onnx", bytes, &options());
    }

    #[test]
    fn truncated_models_never_panic_nor_pass(which in 0usize..3, part in 0.0f64..1.0) {
        let mut bytes = fixtures().swap_remove(which);
        bytes.truncate((bytes.len() as f64 * part) as usize);
        prop_assert!(Detector::from_bytes("cut.onnx", bytes, &options()).is_err());
    }

    #[test]
    fn changed_models_never_panic(which in 0usize..3, changes in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 1..12)) {
        let mut bytes = fixtures().swap_remove(which);
        let len = bytes.len() as f64;
        for (at, value) in changes {
            bytes[(at * len) as usize] = value;
        }
        let _ = Detector::from_bytes("changed.onnx", bytes, &options());
    }
}
