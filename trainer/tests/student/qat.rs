//! Training with a quantized file's rounding: against what ONNX Runtime computes with the integers of the file.

use crate::support::{filled_model, flat, images_of};
use logitcache::detector::{
    ActivationRange, ActivationSession, Detector, DetectorOptions, DetectorSession, Placement, Provider, Quantizable,
    QuantizePlan, SessionOptions, runtime,
};
use logitcache_train::student::{
    Network, Qat, Role, State, StudentModel,
    onnx::{self, ExportOptions},
    weights::Description,
};
use std::{
    collections::HashMap,
    fs,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex},
};
use tch::{Device, Kind, Tensor};

const OPTIONS: SessionOptions = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };

/// Height and width.
const SIZE: (usize, usize) = (64, 96);

fn state(model: &str) -> State {
    filled_model(model.parse::<StudentModel>().unwrap(), 3)
}

fn description() -> Description {
    let imgsz = logitcache::types::InputSize { height: SIZE.0 as u32, width: SIZE.1 as u32 };
    Description { class_names: ["a", "b", "c"].map(str::to_owned).to_vec(), imgsz }
}

/// A student's float32 file with the ranges that one image gives.
struct Float {
    quantizable: Quantizable,
    ranges: HashMap<String, ActivationRange>,
}

impl Float {
    fn new(state: &State) -> Self {
        let bytes = onnx::bytes(state, &description(), &ExportOptions::default()).unwrap();
        let detector = Detector::from_bytes("student.onnx", bytes.clone(), &DetectorOptions::default()).unwrap();
        let quantizable = Quantizable::of_bytes(&detector, &bytes).unwrap();
        let tensors = quantizable.to_observe(Placement::Operators);
        let ranges = Arc::new(Mutex::new(HashMap::new()));
        let (seen, names) = (ranges.clone(), tensors.clone());
        let observe = move |tensor: usize, _: &[usize], values: &[f32]| {
            let ends = values.iter().fold((0.0f32, 0.0f32), |(low, high), value| (low.min(*value), high.max(*value)));
            seen.lock().unwrap().insert(names[tensor].clone(), ActivationRange::around(ends.0, ends.1));
            Ok::<(), String>(())
        };
        let mut session = ActivationSession::new(&detector, &tensors, Box::new(observe)).unwrap();
        session.run(&flat(&images_of(1, SIZE.0, SIZE.1))).unwrap();
        let ranges = ranges.lock().unwrap().clone();
        Self { quantizable, ranges }
    }

    /// Writes a file in which these layers compute with integers and the others do not.
    fn quantize(&self, placement: Placement, layers: Range<usize>, out: &Path) {
        let others = self.quantizable.layers().iter().enumerate().filter(|(layer, _)| !layers.contains(layer));
        let float_layers = others.map(|(_, layer)| layer.output.clone()).collect();
        let (ranges, input_means) = (&self.ranges, &HashMap::new());
        let plan = QuantizePlan { placement, ranges, input_means, float_layers: &float_layers };
        fs::write(out, self.quantizable.write(&plan).unwrap()).unwrap();
    }
}

/// All layers that can.
fn quantize(state: &State, out: &Path) {
    Float::new(state).quantize(Placement::Operators, 0..usize::MAX, out);
}

/// Class logits and box values of each image, as the file gives them.
fn of_file(path: &Path) -> Vec<Vec<f32>> {
    let detector = Detector::load(path, &DetectorOptions::default()).unwrap();
    let mut session = DetectorSession::new(&detector, &OPTIONS).unwrap();
    let mut run = |pixels: Tensor| {
        let heads = session.run(1, &flat(&pixels)).unwrap();
        let head = heads.view(0).unwrap();
        [head.class_logits(), head.dfl_logits().unwrap_or_default()].concat()
    };
    images().map(&mut run).collect()
}

/// The same in libtorch.
fn of_network(network: &Network) -> Vec<Vec<f32>> {
    let run = |pixels: Tensor| {
        let head = network.forward(&pixels, false);
        let boxes = if network.net().head.reg_max() > 0 { flat(&head.box_values) } else { Vec::new() };
        [flat(&head.class_logits), boxes].concat()
    };
    images().map(run).collect()
}

fn images() -> impl Iterator<Item = Tensor> {
    let image = images_of(1, SIZE.0, SIZE.1);
    [image.shallow_clone(), image.flip([3]), image.flip([1])].into_iter()
}

fn mean_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / a.len() as f64
}

/// Layers that compute with integers at once: behind many of them nothing could be compared, see below.
const AT_ONCE: usize = 3;

/// Models with the first part of the names of their layers that are tried, and where they are rounded. YOLO11 has attention.
const CASES: [(&str, &str, Placement); 3] = [
    ("yolov8f", "model.", Placement::Operators),
    ("yolov8f", "model.", Placement::LayerInputs),
    ("yolo11n", "model.10.", Placement::Operators),
];

#[test]
fn the_forward_pass_is_that_of_the_file() {
    runtime::init(None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quantized.onnx");
    for (model, part, placement) in CASES {
        let state = state(model);
        let plain = Float::new(&state);
        let float = of_network(&Network::from_state(&state, Device::Cpu));
        let layers = plain.quantizable.layers();
        let tried: Vec<usize> = (0..layers.len()).filter(|&layer| layers[layer].name.starts_with(part)).collect();
        for &first in tried.iter().step_by(AT_ONCE) {
            plain.quantize(placement, first..first + AT_ONCE, &file);
            let what = format!("{model}, {AT_ONCE} layers from {first}, {}", placement.as_str());
            let qat = match Qat::open(&file, &state, &description()) {
                Ok(qat) => qat,
                Err(error) => {
                    // The last ones stay float32.
                    assert!(error.to_string().contains("it rounds nothing"), "{what}: {error}");
                    continue;
                }
            };
            let network = Network::from_state(&state, Device::Cpu).rounded(Some(qat.tensors.clone()));
            let (found, expected) = (of_network(&network), of_file(&file));
            // Both sides sum in float32, so of some ten thousand values one falls on the other side of the border between two
            // levels, and all that follows sees it. This is so in few images; what is computed differently, in all.
            let least = found.iter().zip(&expected).zip(&float).map(|((found, expected), float)| {
                mean_difference(found, expected) / (mean_difference(float, expected) + 1e-4)
            });
            let least = least.fold(f64::INFINITY, f64::min);
            assert!(least < 0.1, "{what}: {least} of what rounding changes");

            // The file with these weights is that file again.
            if first == tried[0] {
                qat.export(&file, &state, &description()).unwrap();
                let again = of_file(&file);
                let least = again.iter().zip(&expected).map(|(again, expected)| mean_difference(again, expected));
                assert!(least.fold(f64::INFINITY, f64::min) < 1e-4, "{what}");
            }
        }
    }
}

#[test]
fn gradients_reach_every_weight_and_statistics_stay() {
    runtime::init(None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for model in ["yolov8f", "yolo26n"] {
        let (state, file) = (state(model), folder.path().join("quantized.onnx"));
        quantize(&state, &file);
        let qat = Qat::open(&file, &state, &description()).unwrap();
        let network = Network::from_state(&state, Device::Cpu).rounded(Some(qat.tensors));
        let heads = network.forward_all(&images_of(2, SIZE.0, SIZE.1));
        let sum = heads
            .iter()
            .map(|head| head.box_values.square().sum(Kind::Float) + head.class_logits.square().sum(Kind::Float));
        sum.reduce(|a, b| a + b).unwrap().backward();
        for param in network.params().iter().filter(|param| param.spec.role.is_trained()) {
            let gradient = param.tensor.grad();
            assert!(gradient.defined(), "{} has no gradient", param.spec.name);
            assert!(
                gradient.abs().sum(Kind::Double).double_value(&[]) > 0.0,
                "{} has a gradient of 0",
                param.spec.name
            );
        }
        let fixed = |role| matches!(role, Role::RunningMean | Role::RunningVar | Role::BatchCount);
        let after = network.state();
        let pairs = state.iter().zip(after.iter()).filter(|((param, _), _)| fixed(param.role));
        pairs.for_each(|((param, before), (_, after))| assert!(before == after, "{} changed", param.name));
    }
}

#[test]
fn a_file_of_another_student_is_refused() {
    runtime::init(None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, float) = (folder.path().join("quantized.onnx"), folder.path().join("float.onnx"));
    quantize(&state("yolov8f"), &file);
    onnx::export(&float, &state("yolov8n"), &description(), &ExportOptions::default()).unwrap();
    let refused = |file: &Path, model: &str| Qat::open(file, &state(model), &description()).unwrap_err().to_string();
    let text = refused(&file, "yolov8n");
    assert!(text.contains("its layer model.0.conv has weights of the shape"), "{text}");
    let text = refused(&file, "yolo11n");
    assert!(text.contains("its layer model.0.conv"), "{text}");
    let text = refused(&float, "yolov8n");
    assert!(text.contains("it rounds nothing"), "{text}");
    fs::write(&file, b"nothing of the kind").unwrap();
    let text = refused(&file, "yolov8n");
    assert!(text.contains("quantized.onnx") && text.contains("`quantize()`"), "{text}");
    let text = refused(&folder.path().join("missing.onnx"), "yolov8n");
    assert!(text.contains("missing.onnx"), "{text}");
}
