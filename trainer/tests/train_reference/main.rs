//! Losses, optimizers and schedule against Ultralytics and PyTorch: `tests/fixtures/train` (its generator says what is in there).
#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audit;
mod branches;
mod distill;
mod objects;
mod optim;
mod properties;
mod task;

use logitcache::cache::Grid;
use logitcache::types::ImageSize;
use logitcache_train::{
    student::HeadOutput,
    train::loss::{Anchors, TaskTargets, TeacherTargets},
};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// The arrays of one golden file.
struct Golden(Vec<(String, Tensor)>);

impl Golden {
    fn load(name: &str) -> Self {
        let path = folder().join(format!("{name}.npz"));
        Self(Tensor::read_npz(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn find(&self, name: &str) -> Option<Tensor> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor.shallow_clone())
    }

    fn get(&self, name: &str) -> Tensor {
        self.find(name).unwrap_or_else(|| panic!("no array {name}"))
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.get(name).flatten(0, -1).try_into().unwrap()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        self.get(name).flatten(0, -1).try_into().unwrap()
    }

    fn number(&self, name: &str) -> f64 {
        self.get(name).double_value(&[])
    }

    /// Batch, classes, and the input.
    fn shape(&self) -> (i64, i64, ImageSize) {
        let [batch, classes, height, width] = self.integers("size")[..] else { panic!("size") };
        (batch, classes, ImageSize { width: width as u32, height: height as u32 })
    }

    /// The head's output that the file's numbers belong to, and its anchors.
    fn head(&self) -> (HeadOutput, Anchors) {
        let (batch, classes, size) = self.shape();
        head(batch, classes, size, self.number("spread"))
    }

    /// The same of a branch of a head with distances.
    fn head_of_distances(&self, branch: u32) -> (HeadOutput, Anchors) {
        let (batch, classes, size) = self.shape();
        let anchors = Anchors::new(Grid::new(size, &[8, 16, 32]), Device::Cpu);
        let first = 20_000_000 * branch;
        let class_logits = noise(&[batch, classes, anchors.len()], first) * 9.0 - 7.5;
        let distances = noise(&[batch, 4, anchors.len()], first + 1_000_000) * 5.0 - 0.5;
        let head = HeadOutput {
            box_values: distances.set_requires_grad(true),
            class_logits: class_logits.set_requires_grad(true),
        };
        (head, anchors)
    }

    /// The teacher's side of a `distill_*` file.
    fn teacher(&self) -> TeacherTargets {
        TeacherTargets {
            batch_index: self.get("batch_index"),
            anchor: self.get("anchor"),
            score: self.get("score"),
            class_logits: self.get("class_logits"),
            dfl_logits: self.find("dfl_logits"),
            boxes_xyxy_input_px: self.get("boxes"),
            floor_prob: self.get("floor_prob"),
            dropped_score_sum: 0.0,
            image_weight: Tensor::ones([self.shape().0], (tch::Kind::Float, tch::Device::Cpu)),
        }
    }
}

fn folder() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/fixtures/train")
}

/// Ground truth with owners.
struct Labels {
    labelled: Vec<bool>,
    batch_index: Vec<i64>,
    class_id: Vec<i64>,
    boxes: Vec<f32>,
}

impl Labels {
    fn of(golden: &Golden) -> Self {
        Self {
            labelled: vec![true; golden.shape().0 as usize],
            batch_index: golden.integers("batch_index"),
            class_id: golden.integers("class_id"),
            boxes: golden.floats("boxes"),
        }
    }

    fn targets(&self) -> TaskTargets<'_> {
        TaskTargets {
            labelled: &self.labelled,
            batch_index: &self.batch_index,
            class_id: &self.class_id,
            boxes_xyxy_input_px: &self.boxes,
        }
    }
}

/// Values in 0..1 that look random, from a formula, for the indices from `first` on; the generator repeats it.
fn noise(shape: &[i64], first: u32) -> Tensor {
    let len: i64 = shape.iter().product();
    let values: Vec<f32> = (first..first + len as u32)
        .map(|i| {
            let mut h = i.wrapping_mul(2_654_435_761).wrapping_add(12_345);
            h ^= h >> 16;
            h = h.wrapping_mul(2_246_822_519);
            h ^= h >> 13;
            (h >> 8) as f32 / (1u32 << 24) as f32
        })
        .collect();
    Tensor::from_slice(&values).view(shape)
}

/// Raw outputs by formula, leaves of the graph.
fn head(batch: i64, classes: i64, size: ImageSize, spread: f64) -> (HeadOutput, Anchors) {
    let anchors = Anchors::new(Grid::new(size, &[8, 16, 32]), Device::Cpu);
    let class_logits = noise(&[batch, classes, anchors.len()], 0) * 9.0 - 7.5;
    let dfl_logits = (noise(&[batch, 64, anchors.len()], 1_000_000) - 0.5) * spread;
    let head = HeadOutput {
        box_values: dfl_logits.set_requires_grad(true),
        class_logits: class_logits.set_requires_grad(true),
    };
    (head, anchors)
}

/// Rows `[n, channels]` of a `[B, channels, A]` tensor.
fn rows(of: &Tensor, image: &Tensor, anchor: &Tensor) -> Tensor {
    of.transpose(1, 2).index(&[Some(image), Some(anchor)])
}

/// Every value within `relative` of the largest expected one (and what is under 1e-9 counts as nothing: scores are sixth powers
/// of differences). Not finite never passes.
fn assert_close(what: &str, got: &Tensor, expected: &Tensor, relative: f64) {
    let (got, expected) = (got.detach().to_kind(Kind::Double), expected.detach().to_kind(Kind::Double));
    assert_eq!(got.size(), expected.size(), "{what}");
    if got.numel() == 0 {
        return;
    }
    let error = (&got - &expected).abs().max().double_value(&[]);
    let largest = expected.abs().max().double_value(&[]);
    assert!(
        error <= relative * largest + 1e-9,
        "{what}: off by {error}, values up to {largest}\n{got:?}\n{expected:?}"
    );
}

fn zero(tensor: &Tensor) -> bool {
    tensor.abs().sum(Kind::Double).double_value(&[]) == 0.0
}

fn finite(tensor: &Tensor) -> bool {
    tensor.isfinite().all().int64_value(&[]) == 1
}
