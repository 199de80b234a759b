//! The generator's formula, its golden file, and comparisons.

use logitcache_train::student::{Role, Scale, State, StudentModel, Values};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};
use tch::Tensor;

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/fixtures/student").join(name)
}

#[derive(Deserialize)]
pub struct Golden {
    pub made_with: BTreeMap<String, String>,
    pub cases: Vec<Case>,
    pub bias_priors: BTreeMap<String, BTreeMap<String, f32>>,
    pub checkpoints: BTreeMap<String, Checkpoint>,
}

#[derive(Deserialize)]
pub struct Case {
    pub model: String,
    pub num_classes: usize,
    pub size: usize,
    pub batch: usize,
    pub parameters: usize,
    pub eval: BTreeMap<String, Sampled>,
    /// Of each branch of the head.
    pub train: Vec<BTreeMap<String, Sampled>>,
    pub gradient_norms: BTreeMap<String, f64>,
    pub running: BTreeMap<String, Running>,
    pub names: Option<Vec<(String, Vec<usize>)>>,
}

impl Case {
    pub fn model(&self) -> StudentModel {
        self.model.parse().unwrap()
    }

    pub fn state(&self) -> State {
        filled_model(self.model(), self.num_classes)
    }
}

#[derive(Deserialize)]
pub struct Sampled {
    pub step: usize,
    pub values: Vec<f32>,
    pub mean: f64,
    pub mean_abs: f64,
    /// How far PyTorch's own float32 pass comes from the float64 pass that gave the values, at most.
    pub float32_error: f64,
}

#[derive(Deserialize)]
pub struct Running {
    pub mean: Vec<f32>,
    pub var: Vec<f32>,
    pub count: i64,
}

#[derive(Deserialize)]
pub struct Checkpoint {
    pub num_classes: usize,
    pub tensors: usize,
    pub sha256: String,
}

pub fn golden() -> Golden {
    serde_json::from_str(&std::fs::read_to_string(fixture("golden.json")).unwrap()).unwrap()
}

/// `count` values in 0..1, another row for every `stream`.
pub fn noise(count: usize, stream: u32) -> Vec<f32> {
    (0..count as u32)
        .map(|i| {
            let mut h = i.wrapping_mul(2_654_435_761).wrapping_add(12_345).wrapping_add(stream.wrapping_mul(362_437));
            h ^= h >> 16;
            h = h.wrapping_mul(2_246_822_519);
            h ^= h >> 13;
            (h >> 8) as f32 / (1u32 << 24) as f32
        })
        .collect()
}

/// The state that the generator's `fill` gives a YOLOv8.
pub fn filled(scale: Scale, num_classes: usize) -> State {
    filled_model(StudentModel::YoloV8(scale), num_classes)
}

/// The state that the generator's `fill` gives a model.
pub fn filled_model(model: StudentModel, num_classes: usize) -> State {
    let architecture = model.net(num_classes);
    let params = architecture.params();
    let values = params.iter().enumerate().map(|(place, param)| {
        let u = noise(param.num_elements(), place as u32 + 1);
        let map = |f: &dyn Fn(f32) -> f32| Values::F32(u.iter().map(|&u| f(u)).collect());
        match param.role {
            Role::ConvWeight => {
                let fan_in: usize = param.shape[1..].iter().product();
                let bound = (6.0 / fan_in as f64).sqrt() as f32;
                map(&|u| (2.0 * u - 1.0) * bound)
            }
            Role::NormWeight | Role::RunningVar => map(&|u| 0.6 + u),
            Role::RunningMean => map(&|u| 0.2 * (2.0 * u - 1.0)),
            Role::Bias => map(&|u| 0.5 * (2.0 * u - 1.0)),
            Role::BatchCount => Values::I64(vec![place as i64]),
            Role::Constant => Values::F32((0..16).map(|bin| bin as f32).collect()),
        }
    });
    let values = values.collect();
    State::new(architecture, values)
}

/// The generator's pictures, `[batch, 3, size, size]`.
pub fn images(batch: usize, size: usize) -> Tensor {
    images_of(batch, size, size)
}

/// The same of any height and width.
pub fn images_of(batch: usize, height: usize, width: usize) -> Tensor {
    let shape = [batch, 3, height, width].map(|dim| dim as i64);
    Tensor::from_slice(&noise(batch * 3 * height * width, 0)).view(shape)
}

/// All values, the last dimension fastest.
pub fn flat(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.detach().contiguous();
    let mut values = vec![0f32; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values
}

#[track_caller]
pub fn close(found: f32, expected: f32, tolerance: f32, what: impl Fn() -> String) {
    let allowed = tolerance * (1.0 + expected.abs());
    assert!((found - expected).abs() <= allowed, "{}: {found}, expected {expected}", what());
}

/// Compares with the sampled values of the golden, and the means over all.
#[track_caller]
pub fn compare(found: &[f32], expected: &Sampled, tolerance: f32, what: &str) {
    assert_eq!(found.len().div_ceil(expected.step), expected.values.len(), "{what}: number of values");
    // Of the outputs' size, and what rounding costs PyTorch itself: normalisations over a few values make a lot of little.
    let most = tolerance * (1.0 + expected.mean_abs as f32) + 4.0 * expected.float32_error as f32;
    for (i, (found, expected)) in found.iter().step_by(expected.step).zip(&expected.values).enumerate() {
        assert!((found - expected).abs() <= most, "{what}, sample {i}: {found}, expected {expected} within {most}");
    }
    let count = found.len() as f64;
    let mean = found.iter().copied().map(f64::from).sum::<f64>() / count;
    let mean_abs = found.iter().map(|value| f64::from(value.abs())).sum::<f64>() / count;
    let allowed = f64::from(tolerance) * (1.0 + expected.mean_abs);
    assert!((mean - expected.mean).abs() <= allowed, "{what}: mean {mean}, expected {}", expected.mean);
    assert!(
        (mean_abs - expected.mean_abs).abs() <= allowed,
        "{what}: mean of sizes {mean_abs}, expected {}",
        expected.mean_abs
    );
}
