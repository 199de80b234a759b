//! The memory of a training step: told before libtorch asks the system for it and is killed.

use crate::{
    Error, Result, fsio,
    student::{ConvId, Ops, StudentNet, Then},
    types::{ImageSize, InputSize},
};
use indicatif::HumanBytes;
use logitcache::run::Settings;
use tch::Device;

/// Values that stay for the backward pass of one image, walking through the network.
struct Kept<'a> {
    net: &'a StudentNet,
    /// Whether maps are rounded: then each waits beside what it was before.
    rounds: bool,
    values: u64,
}

/// Channels, rows, columns.
type Shape = (u64, u64, u64);

impl Kept<'_> {
    fn keep(&mut self, shape: Shape, times: u64) -> Shape {
        self.values += times * shape.0 * shape.1 * shape.2;
        shape
    }
}

impl Ops for Kept<'_> {
    type Map = Shape;

    fn conv(&mut self, id: ConvId, x: &Shape) -> Shape {
        let spec = self.net.conv(id);
        let stride = spec.stride as u64;
        // The convolution's output, its normalisation and its activation each wait for their gradients.
        let times = match spec.then {
            Then::NormSilu if self.rounds => 4,
            Then::NormSilu => 3,
            Then::Norm => 2,
            Then::Bias => 1,
        };
        self.keep((spec.c_out as u64, x.1 / stride, x.2 / stride), times)
    }

    fn split(&mut self, x: &Shape, first: usize) -> [Shape; 2] {
        let first = first as u64;
        [(first, x.1, x.2), (x.0 - first, x.1, x.2)]
    }

    fn concat(&mut self, maps: &[&Shape]) -> Shape {
        let (rows, columns) = maps.first().map_or((0, 0), |map| (map.1, map.2));
        self.keep((maps.iter().map(|map| map.0).sum(), rows, columns), 1)
    }

    fn add(&mut self, a: &Shape, _b: &Shape) -> Shape {
        self.keep(*a, 1)
    }

    fn attention(&mut self, qkv: &Shape, heads: usize) -> [Shape; 2] {
        // The weights before and after the softmax, of every pair of cells.
        let cells = qkv.1 * qkv.2;
        self.keep((heads as u64, cells, cells), 2);
        [self.keep((qkv.0 / 2, qkv.1, qkv.2), 1); 2]
    }

    fn max_pool_5(&mut self, x: &Shape) -> Shape {
        self.keep(*x, 1)
    }

    fn upsample_2(&mut self, x: &Shape) -> Shape {
        self.keep((x.0, 2 * x.1, 2 * x.2), 1)
    }

    fn detach(&mut self, x: &Shape) -> Shape {
        *x
    }
}

/// Bytes that a step needs at least: what waits for the backward pass, and the pictures themselves. `rounds`: whether maps are
/// rounded to 8 bits.
pub fn step_bytes(net: &StudentNet, input: ImageSize, settings: &Settings, rounds: bool) -> u64 {
    let image = (3, u64::from(input.height), u64::from(input.width));
    let mut kept = Kept { net, rounds, values: 0 };
    net.run_all(&mut kept, image);
    let of_value = if settings.is_bf16() { 2 } else { 4 };
    let pixels = image.0 * image.1 * image.2;
    // The pictures as float32; beside them the loader's batches of bytes.
    (settings.batch as u64).saturating_mul(kept.values * of_value + 8 * pixels)
}

/// Refuses a step that cannot fit into this machine's memory. Of a GPU's memory nothing is known here: there libtorch says so.
///
/// # Errors
/// [`Error::Mismatch`] with the figures.
pub fn refuse_if_short(
    net: &StudentNet,
    input: ImageSize,
    settings: &Settings,
    rounds: bool,
    device: Device,
) -> Result<()> {
    let (needed, memory) = (step_bytes(net, input, settings, rounds), fsio::memory_bytes());
    if device != Device::Cpu || needed <= memory {
        return Ok(());
    }
    Err(Error::Mismatch {
        found: format!(
            "a step of {} images of {} pixels needs at least {} of memory, and there are {}",
            settings.batch,
            InputSize::from(input).in_words(),
            HumanBytes(needed),
            HumanBytes(memory)
        ),
        remedy: "Give a smaller `batch=`, `imgsz=` or `model=`.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        student::{Scale, yolov8},
        train::{ClsLoss, Decay, Distill, OptimizerKind, Precision},
    };

    /// Peaks of whole processes, of which libtorch itself has half a gigabyte (docs/benchmarks.md): never more is asked for, for what
    /// runs must not be refused, and not much less.
    #[test]
    fn a_step_is_told_as_large_as_it_was_measured() {
        let settings = |precision, batch| Settings {
            epochs: 1,
            batch,
            optimizer: OptimizerKind::Adamw,
            lr: 1e-3,
            warmup_lr: 1e-5,
            warmup_epochs: 3.0,
            decay: Decay::Cosine,
            temperature: 4.0,
            alpha: 0.7,
            cls_loss: ClsLoss::Bckd,
            distill: Distill::None,
            precision,
            seed: 0,
            augment: true,
            close_mosaic: 0,
            patience: 0,
            val_every: 1,
            prune: None,
        };
        let net = yolov8(Scale::N, 80);
        let input = |side| ImageSize { width: side, height: side };
        let bytes = |side, precision, batch| step_bytes(&net, input(side), &settings(precision, batch), false);
        for (precision, peak) in [(Precision::Fp32, 4.5e9), (Precision::Bf16, 2.7e9)] {
            let share = bytes(640, precision, 16) as f64 / peak;
            assert!((0.5..1.0).contains(&share), "{precision:?}: {share} of the measured peak");
        }
        let one = bytes(64, Precision::Fp32, 1);
        assert_eq!((bytes(64, Precision::Fp32, 7), bytes(128, Precision::Fp32, 1)), (7 * one, 4 * one));
        assert!(refuse_if_short(&net, input(64), &settings(Precision::Fp32, 1), false, Device::Cpu).is_ok());
        let error = refuse_if_short(&net, input(8192), &settings(Precision::Fp32, 1024), false, Device::Cpu);
        assert!(error.unwrap_err().to_string().contains("`batch=`"));
        assert!(refuse_if_short(&net, input(8192), &settings(Precision::Fp32, 1024), false, Device::Cuda(0)).is_ok());
    }
}
