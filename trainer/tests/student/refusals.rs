//! Files that are no start, each with its message.

use crate::support::{filled, fixture};
use logitcache::Error;
use logitcache_train::student::{
    Scale,
    weights::{Description, load, save},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::Path;

#[track_caller]
fn refused(path: &Path, says: &[&str]) {
    let error = load(path, None, 0).unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&path.display().to_string()), "{text}");
    for part in says {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

/// A tensor to write: name, type, shape, bytes.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

/// Saves a good file, changes its tensors and its metadata, and expects a refusal.
#[track_caller]
fn changed(change: impl FnOnce(&mut Vec<Entry>), metadata: Option<&str>, says: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    save(&path, &filled(Scale::N, 2), &Description { class_names: vec!["a".into(), "b".into()], imgsz: 640.into() })
        .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut entries: Vec<Entry> = file
        .iter()
        .map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    change(&mut entries);
    let views = entries
        .iter()
        .map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let metadata = metadata.map(|text| std::iter::once(("logitcache".to_owned(), text.to_owned())).collect());
    std::fs::write(&path, safetensors::serialize(views, metadata).unwrap()).unwrap();
    refused(&path, says);
}

fn entry<'e>(entries: &'e mut [Entry], name: &str) -> &'e mut Entry {
    entries.iter_mut().find(|entry| entry.0 == name).unwrap()
}

#[test]
fn missing_and_misshapen_tensors_are_named_with_the_shapes() {
    changed(
        |entries| entries.retain(|entry| entry.0 != "model.9.cv1.bn.running_var"),
        None,
        &["model.9.cv1.bn.running_var [128] is missing"],
    );
    changed(
        |entries| entry(entries, "model.1.conv.weight").2 = vec![32, 3, 16, 3],
        None,
        &["model.1.conv.weight has the shape [32, 3, 16, 3], expected [32, 16, 3, 3]"],
    );
    changed(
        |entries| entry(entries, "model.0.conv.weight").2 = vec![12, 4, 3, 3],
        None,
        &["model.0.conv.weight has the shape [12, 4, 3, 3]", "8 (f, p), 16 (n)"],
    );
    changed(
        |entries| entries.push(("model.23.conv.weight".into(), Dtype::F32, vec![1], vec![0; 4])),
        None,
        &["not a YOLOv8, YOLO11 or YOLO26 detector", "yolov8n has no tensor model.23.conv.weight"],
    );
    changed(
        |entries| entry(entries, "model.22.cv3.0.2.weight").2 = vec![2 * 64, 1, 1, 1, 1],
        None,
        &["model.22.cv3.0.2.weight has the shape [128, 1, 1, 1, 1]", "[C, c, 1, 1]"],
    );
}

#[test]
fn values_that_no_network_has_are_refused() {
    changed(
        |entries| entry(entries, "model.5.bn.bias").3[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
        None,
        &["model.5.bn.bias holds the value NaN"],
    );
    changed(
        |entries| entry(entries, "model.5.bn.running_var").3[..4].copy_from_slice(&(-1f32).to_le_bytes()),
        None,
        &["model.5.bn.running_var holds a negative variance, -1"],
    );
    changed(
        |entries| entry(entries, "model.22.dfl.conv.weight").3[..4].copy_from_slice(&1f32.to_le_bytes()),
        None,
        &["model.22.dfl.conv.weight is not 0, 1, .., 15"],
    );
    changed(
        |entries| entry(entries, "model.5.bn.bias").1 = Dtype::I32,
        None,
        &["model.5.bn.bias holds int32, expected float16, bfloat16, float32 or float64"],
    );
}

#[test]
fn metadata_that_does_not_belong_is_refused() {
    changed(|_| {}, Some("{"), &["metadata", "cannot be read"]);
    changed(
        |_| {},
        Some(r#"{"scale": "yolov8n", "names": ["a"], "imgsz": 640, "stride": 32}"#),
        &["names 1 classes, its head has 2"],
    );
}

#[test]
fn a_fused_model_and_other_tasks_are_refused_with_the_reason() {
    changed(
        |entries| {
            entries.retain(|entry| !entry.0.contains(".bn."));
            entries.push(("model.0.conv.bias".into(), Dtype::F32, vec![16], vec![0; 64]));
        },
        None,
        &["batch normalisations are fused", "model.0.bn.weight"],
    );
    changed(
        |entries| entries.push(("model.22.cv4.0.0.conv.weight".into(), Dtype::F32, vec![1], vec![0; 4])),
        None,
        &["another task", "model.22.cv4"],
    );
    changed(
        |entries| entries.retain(|entry| !entry.0.starts_with("model.22.")),
        None,
        &["not a YOLOv8 detector", "model.22.cv3.0.2.weight"],
    );
}

#[test]
fn files_of_other_kinds_are_refused() {
    refused(&fixture("dict.pt"), &["not a YOLOv8 model", "weights.fc.weight", "yolov8n"]);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    refused(&write("a.onnx", b"\x08\x08"), &["ONNX export", "fused", ".safetensors"]);
    refused(&write("a.bin", b"x"), &["type \"bin\"", ".pt"]);
    refused(&write("a.pt", b"not a checkpoint"), &["not a complete PyTorch checkpoint"]);
    refused(&write("empty.pt", b""), &["not a complete PyTorch checkpoint"]);
    refused(&write("a.safetensors", b"short"), &["not a complete safetensors file"]);
    refused(folder.path(), &["not a file"]);
    let missing = load(folder.path().join("missing.pt"), None, 0).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing:?}");
}

#[test]
fn cut_files_are_refused_wherever_they_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.safetensors");
    save(&good, &filled(Scale::N, 1), &Description { class_names: vec!["a".into()], imgsz: 640.into() }).unwrap();
    for source in [fixture("yolov8n.pt"), good] {
        let bytes = std::fs::read(&source).unwrap();
        let cut = folder.path().join("cut").with_extension(source.extension().unwrap());
        for share in [1, 10, 50, 90, 99] {
            std::fs::write(&cut, &bytes[..bytes.len() * share / 100]).unwrap();
            refused(&cut, &["not a complete"]);
        }
    }
}

#[test]
fn a_damaged_checkpoint_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pt");
    let bytes = std::fs::read(fixture("yolov8n.pt")).unwrap();
    // The pickle comes first in the archive: every so-manieth byte of it, and of the values, is changed in turn.
    for at in (0..bytes.len()).step_by(bytes.len() / 60) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xA5;
        std::fs::write(&path, &damaged).unwrap();
        if let Err(error) = load(&path, None, 0) {
            assert!(matches!(error, Error::Model { .. }), "{error:?}");
        }
    }
}
