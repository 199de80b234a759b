//! Pruned students: against the whole network with the same channels silenced, against Ultralytics' counts, in and out of files.

use crate::{
    export::round_trip,
    support::{filled_model, flat, images_of},
};
use logitcache_train::student::{
    Network, Role, State, StudentModel, Values, prune,
    weights::{Description, load, save},
};
use std::collections::HashMap;
use tch::Device;

const MODELS: [&str; 5] = ["yolov8f", "yolov8n", "yolo11n", "yolo11m", "yolo26n"];

fn state(model: &str, classes: usize) -> State {
    filled_model(model.parse::<StudentModel>().unwrap(), classes)
}

/// The whole network, every channel silenced that the pruned one does not have: scale and shift 0, so
/// that a channel gives silu(0) = 0 wherever it is read. Which channels these are is told by the
/// scales alone, which are all different.
fn silenced(whole: &State, pruned: &State) -> State {
    let scales = |state: &State| -> HashMap<String, Vec<f32>> {
        let of = state.iter().filter(|(param, _)| param.role == Role::NormWeight);
        of.map(|(param, values)| (param.name.clone(), values.as_f32().to_vec())).collect()
    };
    let (before, after) = (scales(whole), scales(pruned));
    let mut silenced = 0;
    let values = whole.iter().map(|(param, values)| {
        let norm = ["bn.weight", "bn.bias"].iter().find_map(|end| param.name.strip_suffix(end));
        let Some(norm) = norm else { return values.clone() };
        let name = format!("{norm}bn.weight");
        let is_kept = before[&name].iter().map(|scale| after[&name].contains(scale));
        let values = values.as_f32().iter().zip(is_kept);
        Values::F32(
            values
                .map(|(value, kept)| {
                    if kept {
                        *value
                    } else {
                        silenced += 1;
                        0.0
                    }
                })
                .collect(),
        )
    });
    let values = values.collect();
    assert!(silenced > 0);
    State::new(whole.net().clone(), values)
}

#[track_caller]
fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 1e-3 * (1.0 + expected.abs()), "{i}: {found}, silenced it is {expected}");
    }
}

#[test]
fn a_pruned_network_gives_what_the_whole_one_gives_with_those_channels_silenced() {
    for model in MODELS {
        let whole = state(model, 3);
        let (pruned, _) = prune(&whole, 0.4).unwrap();
        let images = images_of(1, 64, 96);
        let run = |state: &State| Network::from_state(state, Device::Cpu).forward_all(&images);
        let silenced = silenced(&whole, &pruned);
        // In evaluation: in training, a normalisation of a silenced channel would still see its batch.
        let eval = |state: &State| Network::from_state(state, Device::Cpu).forward(&images, false);
        let (found, expected) = (eval(&pruned), eval(&silenced));
        close(&flat(&found.class_logits), &flat(&expected.class_logits));
        close(&flat(&found.box_values), &flat(&expected.box_values));
        // And it differs from the whole network, or nothing was tested.
        assert!(flat(&eval(&whole).class_logits) != flat(&expected.class_logits));
        // The other branch of YOLO26 too, as far as training goes: all maps have the channels that are read.
        assert_eq!(run(&pruned).len(), whole.net().head.branches.len());
    }
}

#[test]
fn counts_are_those_of_ultralytics_and_shrink_as_asked() {
    // GFLOPs at 640 of Ultralytics' tables: two for each multiply-add.
    for (model, gflops) in [("yolov8n", 8.7), ("yolov8s", 28.6), ("yolo11n", 6.5), ("yolo11m", 68.0)] {
        let macs = model.parse::<StudentModel>().unwrap().net(80).macs();
        let found = 2.0 * macs * 640.0 * 640.0 / 1e9;
        assert!((found - gflops).abs() < 0.03 * gflops, "{model}: {found} GFLOPs, Ultralytics says {gflops}");
    }
    for model in MODELS {
        let whole = state(model, 3);
        for share in [0.1, 0.3, 0.6] {
            let (pruned, counts) = prune(&whole, share).unwrap();
            let removed = 1.0 - pruned.net().macs() / whole.net().macs();
            assert!((counts.macs_removed - removed).abs() < 1e-12);
            assert!((share..share + 0.06).contains(&removed), "{model}: {removed} of {share}");
            assert_eq!(counts.parameters, [whole.net().num_parameters(), pruned.net().num_parameters()]);
            assert!(counts.parameters[1] < counts.parameters[0]);
            // The same again.
            assert_eq!(prune(&whole, share).unwrap().0, pruned);
        }
        // What was pruned may be pruned again.
        let (once, _) = prune(&whole, 0.2).unwrap();
        assert!(prune(&once, 0.2).unwrap().0.net().macs() <= 0.64 * whole.net().macs());
    }
}

#[test]
fn the_least_scales_go_first() {
    let whole = state("yolov8n", 3);
    let mut values: Vec<Values> = whole.iter().map(|(_, values)| values.clone()).collect();
    // The first convolution has 16 channels; four of them hardly count.
    let scales = whole.iter().position(|(param, _)| param.name == "model.0.bn.weight").unwrap();
    let weak = [1, 6, 7, 15];
    let Values::F32(all) = &mut values[scales] else { panic!("scales are floats") };
    weak.iter().for_each(|&channel| all[channel] = 1e-4);
    let kept: Vec<f32> = all.iter().copied().filter(|scale| *scale > 1e-3).collect();
    let (pruned, _) = prune(&State::new(whole.net().clone(), values), 0.05).unwrap();
    let (_, scales) = pruned.iter().find(|(param, _)| param.name == "model.0.bn.weight").unwrap();
    assert_eq!(scales.as_f32(), kept);
}

#[test]
fn a_pruned_student_goes_through_files_and_its_export_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pruned.safetensors");
    let description = |classes: usize| Description {
        class_names: (0..classes).map(|id| format!("class {id}")).collect(),
        imgsz: 64.into(),
    };
    for model in MODELS {
        let (pruned, _) = prune(&state(model, 3), 0.5).unwrap();
        save(&path, &pruned, &description(3)).unwrap();
        let start = load(&path, None, 0).unwrap();
        assert!(start.state == pruned && start.description == Some(description(3)));
        round_trip(&pruned, 96);

        // For other classes the class branch is new, and as wide as its model has it.
        let other = load(&path, Some(7), 1).unwrap();
        assert_eq!((other.class_branch_replaced, other.state.net().num_classes), (Some(3), 7));
        for ((param, values), (old, old_values)) in other.state.iter().zip(pruned.iter()) {
            let of_classes = pruned.net().head.is_of_classes(&param.name);
            assert!(of_classes || (param == old && values == old_values), "{}", param.name);
        }
        save(&path, &other.state, &description(7)).unwrap();
        assert!(load(&path, None, 0).unwrap().state == other.state);
        round_trip(&other.state, 64);
    }
    // A whole network's file says nothing of widths.
    save(&path, &state("yolov8f", 3), &description(3)).unwrap();
    assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("pruned"));
}

#[test]
fn what_cannot_be_pruned_is_refused() {
    let whole = state("yolov8f", 3);
    for share in [0.0, 1.0, -0.5, f64::NAN] {
        let error = prune(&whole, share).unwrap_err().to_string();
        assert!(error.contains("between 0 and 1"), "{error}");
    }
    let error = prune(&whole, 0.99).unwrap_err().to_string();
    assert!(error.contains("is the most that can be pruned"), "{error}");
    let untrained = State::random("yolov8f".parse::<StudentModel>().unwrap().net(3), 0);
    let error = prune(&untrained, 0.3).unwrap_err().to_string();
    assert!(error.contains("all alike") && error.contains("`model=`"), "{error}");

    // Words in the file that do not fit it.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pruned.safetensors");
    let (pruned, _) = prune(&whole, 0.3).unwrap();
    let class_names = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    save(&path, &pruned, &Description { class_names, imgsz: 64.into() }).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let widths = pruned.net().widths();
    let text = |widths: &[usize]| widths.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let outputs = text(&widths.outputs);
    for (from, to, says) in [
        (format!("\\\"outputs\\\":[{outputs}]"), "\\\"outputs\\\":[1]".to_owned(), "1 widths of convolutions"),
        (
            format!("[{outputs}]"),
            format!("[9{}]", outputs.strip_prefix(|c: char| c.is_ascii_digit()).unwrap()),
            "model.0",
        ),
        ("\\\"scale\\\":\\\"yolov8f\\\"".to_owned(), "\\\"scale\\\":\\\"resnet\\\"".to_owned(), "resnet"),
    ] {
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let words = std::str::from_utf8(&bytes[8..8 + header]).unwrap();
        assert!(words.contains(&from), "{from} is not in {words}");
        let words = words.replacen(&from, &to, 1);
        let changed = [&(words.len() as u64).to_le_bytes(), words.as_bytes(), &bytes[8 + header..]].concat();
        std::fs::write(&path, changed).unwrap();
        let error = load(&path, None, 0).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
