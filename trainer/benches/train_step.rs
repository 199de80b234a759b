//! Milliseconds of one training step: forward, loss, backward, clipping, AdamW, moving average.
//!
//! `cargo bench --bench train_step -- [bf16|fp32] [STEPS]`: YOLOv8n, 80 classes, 640 pixels, 16 images, from labels alone and with a
//! teacher's cached predictions beside them. Data are made up from a formula, the same for every run; the losses of the first
//! step stand beside the time as its digest. `benches/train_speed.py --step` runs it beside PyTorch.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use logitcache::types::ImageSize;
use logitcache_train::{
    student::{Network, Scale, native, yolov8},
    train::{
        ClsLoss, Decay, Distill, OptimizerKind, Precision, Settings, Trainer,
        data::{Batch, LabelBatch, TeacherBatch},
        loss::{DistillOptions, DistillParts},
        schedule::Rates,
    },
};
use std::time::Instant;
use tch::Device;

const BATCH: usize = 16;
const SIDE: u32 = 640;
const CLASSES: usize = 80;
const ANCHORS: usize = 8400;
/// Boxes an image, as in COCO.
const LABELS: usize = 7;
/// Kept anchors an image, as with YOLO12n on COCO128.
const KEPT: usize = 131;

fn main() {
    native::init().unwrap();
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let precision = if words.iter().any(|w| w == "fp32") { Precision::Fp32 } else { Precision::Bf16 };
    let steps = words.iter().find_map(|w| w.parse().ok()).unwrap_or(9);
    tch::set_num_threads(std::thread::available_parallelism().unwrap().get() as i32);
    for with_teacher in [false, true] {
        let options = DistillOptions { cls_loss: ClsLoss::SoftmaxKl, temperature: 4.0, parts: DistillParts::All };
        let student = Network::random(yolov8(Scale::N, CLASSES), 0, Device::Cpu);
        let input = ImageSize { width: SIDE, height: SIDE };
        let mut trainer = Trainer::new(student, input, &settings(precision), with_teacher.then_some(options));
        let batch = batch(with_teacher);
        let rates = Rates { lr: [1e-4; 3], momentum: 0.0 };
        let first = trainer.step(&batch, &rates).read().unwrap();
        let mut times: Vec<f64> = (0..steps)
            .map(|_| {
                let start = Instant::now();
                trainer.step(&batch, &rates).read().unwrap();
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let name = if with_teacher { "labels and teacher" } else { "labels" };
        println!(
            "{precision:?} {name}: {:.1} ms a step (median of {steps}, {:.1} .. {:.1}); first losses {first:.4?}",
            times[steps / 2],
            times[0],
            times[steps - 1]
        );
    }
}

fn settings(precision: Precision) -> Settings {
    Settings {
        epochs: 1,
        batch: BATCH,
        optimizer: OptimizerKind::Adamw,
        lr: 1e-4,
        warmup_lr: 1e-4,
        warmup_epochs: 0.0,
        decay: Decay::Cosine,
        temperature: 4.0,
        alpha: 0.7,
        cls_loss: ClsLoss::SoftmaxKl,
        distill: Distill::All,
        precision,
        seed: 0,
        augment: false,
        close_mosaic: 0,
        patience: 0,
        val_every: 1,
        prune: None,
    }
}

/// A number in 0..1 that looks random.
fn noise(i: usize) -> f32 {
    (i as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519) as f32 / u32::MAX as f32
}

fn batch(with_teacher: bool) -> Batch {
    let side = SIDE as f32;
    let boxes = |count: usize, salt: usize| -> Vec<f32> {
        (0..count)
            .flat_map(|i| {
                let [x, y, w, h] = [0, 1, 2, 3].map(|k| noise(salt + 4 * i + k));
                let (w, h) = (16.0 + 300.0 * w * w, 16.0 + 300.0 * h * h);
                let (x, y) = (x * (side - w), y * (side - h));
                [x, y, x + w, y + h]
            })
            .collect()
    };
    let rows = BATCH * KEPT;
    let teacher = TeacherBatch {
        batch_index: (0..rows).map(|i| (i / KEPT) as i64).collect(),
        anchor: (0..rows).map(|i| ((i % KEPT) * 64) as i64).collect(),
        score: (0..rows).map(noise).collect(),
        class_id: vec![0; rows],
        class_logits: (0..rows * CLASSES).map(|i| 8.0 * noise(i) - 9.0).collect(),
        dfl_logits: Some((0..rows * 64).map(|i| 6.0 * noise(i) - 3.0).collect()),
        boxes_xyxy_input_px: boxes(rows, 77),
        floor_prob: vec![1e-4; BATCH * ANCHORS],
        dropped_score_sum: vec![1.0; BATCH],
        num_classes: CLASSES,
        dfl_len: 64,
        num_anchors: ANCHORS,
    };
    Batch {
        epoch: 0,
        number: 0,
        batches: 1,
        input: ImageSize { width: SIDE, height: SIDE },
        indices: (0..BATCH).collect(),
        sources: (0..BATCH).collect(),
        pixels: (0..BATCH * 3 * (SIDE * SIDE) as usize).map(|i| (noise(i) * 255.0) as u8).collect(),
        labelled: vec![true; BATCH],
        labels: LabelBatch {
            batch_index: (0..BATCH * LABELS).map(|i| (i / LABELS) as i64).collect(),
            class_id: (0..BATCH * LABELS).map(|i| (i % CLASSES) as i64).collect(),
            boxes_xyxy_input_px: boxes(BATCH * LABELS, 5),
        },
        teacher: with_teacher.then_some(teacher),
        objects: None,
    }
}
