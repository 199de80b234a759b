//! Files in, files out.

use crate::support::{filled, filled_model, fixture, golden};
use logitcache_train::student::{
    Scale, State, StudentModel, Values,
    weights::{Description, load, save},
    yolov8,
};
use sha2::{Digest, Sha256};

fn description(classes: usize) -> Description {
    Description { class_names: (0..classes).map(|id| format!("class {id}")).collect(), imgsz: 96.into() }
}

/// The generator's digest over all tensors.
fn digest(state: &State) -> String {
    let mut sha = Sha256::new();
    for (_, values) in state.iter() {
        match values {
            Values::F32(values) => values.iter().for_each(|value| sha.update(value.to_le_bytes())),
            Values::I64(values) => values.iter().for_each(|value| sha.update(value.to_le_bytes())),
        }
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_ultralytics_checkpoint_is_read_whole() {
    let expected = golden().checkpoints;
    assert_eq!(expected.len(), 2);
    for (model, expected) in expected {
        let start = load(fixture(&format!("{model}.pt")), None, 0).unwrap();
        let architecture = start.state.net();
        assert_eq!((architecture.model.as_str(), architecture.num_classes), (model.as_str(), expected.num_classes));
        assert_eq!(start.state.iter().len(), expected.tensors, "{model}");
        assert_eq!(
            digest(&start.state),
            expected.sha256,
            "{model}: float16 as float32, every tensor in the order of the state dict"
        );
        assert_eq!((start.description, start.class_branch_replaced), (None, None));
    }
}

#[test]
fn what_was_saved_comes_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("best.safetensors");
    let from_pt = load(fixture("yolov8n.pt"), None, 0).unwrap().state;
    let small = [Scale::F, Scale::P, Scale::N].map(|scale| (filled(scale, 3), 3));
    let later = ["yolo11n", "yolo11m", "yolo11l", "yolo26n", "yolo26m", "yolo26l"]
        .map(|model| (filled_model(model.parse().unwrap(), 3), 3));
    let others = [(from_pt, 4), (filled(Scale::S, 80), 80)];
    for (state, classes) in small.into_iter().chain(later).chain(others) {
        let description = description(classes);
        save(&path, &state, &description).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let start = load(&path, Some(classes), 0).unwrap();
        assert_eq!(start.state, state);
        assert_eq!((start.description.unwrap(), start.class_branch_replaced), (description.clone(), None));
        save(&path, &start.state, &description).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "the same state gives the same bytes");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn the_file_is_plain_safetensors_with_the_metadata_under_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let state = filled(Scale::N, 2);
    save(&path, &state, &description(2)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // By the format's own description: 8 bytes of length, JSON, values.
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let own: serde_json::Value = serde_json::from_str(header["__metadata__"]["logitcache"].as_str().unwrap()).unwrap();
    assert_eq!(
        own,
        serde_json::json!({"scale": "yolov8n", "names": ["class 0", "class 1"], "imgsz": 96, "stride": 32})
    );
    for (param, values) in state.iter() {
        let entry = &header[&param.name];
        assert_eq!(entry["shape"], serde_json::json!(param.shape), "{}", param.name);
        assert_eq!(entry["dtype"], if param.role.is_integer() { "I64" } else { "F32" }, "{}", param.name);
        let begin = entry["data_offsets"][0].as_u64().unwrap() as usize;
        if let Some(first) = values.as_f32().first() {
            let at = 8 + length + begin;
            assert_eq!(f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()), *first, "{}", param.name);
        }
    }
    assert_eq!(header.as_object().unwrap().len(), state.iter().len() + 1);
}

#[test]
fn another_number_of_classes_replaces_the_class_branch_alone() {
    let four = load(fixture("yolov8n.pt"), None, 0).unwrap().state;
    let start = load(fixture("yolov8n.pt"), Some(9), 5).unwrap();
    assert_eq!(start.class_branch_replaced, Some(4));
    assert_eq!(start.state.net(), &yolov8(Scale::N, 9));
    let fresh = State::random(yolov8(Scale::N, 9), 5);
    for (((param, found), (_, old)), (_, new)) in start.state.iter().zip(four.iter()).zip(fresh.iter()) {
        let expected = if param.name.starts_with("model.22.cv3.") { new } else { old };
        assert!(found == expected, "{}", param.name);
    }
}

#[test]
fn another_number_of_classes_replaces_those_of_every_branch() {
    let net = |classes| "yolo26n".parse::<StudentModel>().unwrap().net(classes);
    let four = load(fixture("yolo26n.pt"), None, 0).unwrap().state;
    let start = load(fixture("yolo26n.pt"), Some(9), 5).unwrap();
    assert_eq!((start.class_branch_replaced, start.state.net()), (Some(4), &net(9)));
    let fresh = State::random(net(9), 5);
    for (((param, found), (_, old)), (_, new)) in start.state.iter().zip(four.iter()).zip(fresh.iter()) {
        let is_of_classes = ["model.23.cv3.", "model.23.one2one_cv3."].iter().any(|name| param.name.starts_with(name));
        assert!(found == if is_of_classes { new } else { old }, "{}", param.name);
    }
}
