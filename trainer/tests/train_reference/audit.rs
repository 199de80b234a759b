//! The gradients that `logitcache audit` compares are those of the trainer's losses.

use logitcache::{
    audit::{HeadRows, Student, Targets, Term, gradient},
    cache::{Grid, HeadKind},
    types::ImageSize,
};
use logitcache_train::train::ClsLoss;
use logitcache_train::{
    student::HeadOutput,
    train::loss::{
        Anchors, BOX_GAIN, CLS_GAIN, DFL_GAIN, DistillOptions, DistillParts, LossInput, TeacherTargets, distill_loss,
    },
};
use tch::{Device, Kind, Tensor};

const CLASSES: usize = 5;
const SIDE: u32 = 64;

fn wave(n: usize, step: f64, size: f64, shift: f64) -> Vec<f32> {
    (0..n).map(|i| ((i as f64 * step).sin() * size + shift) as f32).collect()
}

#[test]
fn gradients_of_the_audit_are_those_of_training() {
    let grid = Grid::new(ImageSize { width: SIDE, height: SIDE }, &[8, 16, 32]);
    let n = grid.num_anchors();
    let kind = HeadKind::Yolov8Dfl;
    let rows = HeadRows {
        kind,
        class_len: CLASSES,
        dfl_len: 64,
        class_logits: wave(n * CLASSES, 0.37, 3.0, -3.0),
        dfl_logits: wave(n * 64, 1.1, 2.0, 0.0),
    };
    let anchors = vec![0usize, 3, 17, 40, 63, 64, 70, 79, 80, 83];
    let count = anchors.len();
    let strides: Vec<f32> = anchors.iter().map(|&a| grid.cell(a).stride as f32).collect();
    let boxes_px: Vec<[f32; 4]> = anchors
        .iter()
        .enumerate()
        .map(|(i, &a)| {
            let (cell, spread) = (grid.cell(a), 4.0 + 3.0 * i as f32);
            let (x, y) = (cell.centre_x * cell.stride as f32, cell.centre_y * cell.stride as f32);
            [x - spread, y - 0.5 * spread, x + 1.5 * spread, y + 0.7 * spread]
        })
        .collect();
    let targets = Targets {
        kind,
        weights: wave(count, 0.9, 0.4, 0.5),
        class_logits: wave(count * CLASSES, 2.3, 4.0, -2.0),
        dfl_logits: wave(count * 64, 0.6, 3.0, 0.0),
        boxes_xyxy_cells: boxes_px.iter().zip(&strides).map(|(b, s)| b.map(|v| v / s)).collect(),
        floor_prob: 0.003,
        dropped_score_sum: 1.7,
        anchors: anchors.clone(),
    };
    let student = Student::new(rows.clone());

    let by_channel = |values: &[f32], len: usize| {
        Tensor::from_slice(values).view([1, n as i64, len as i64]).transpose(1, 2).contiguous()
    };
    let teacher = TeacherTargets {
        batch_index: Tensor::zeros([count as i64], (Kind::Int64, Device::Cpu)),
        anchor: Tensor::from_slice(&anchors.iter().map(|&a| a as i64).collect::<Vec<_>>()),
        score: Tensor::from_slice(&targets.weights),
        class_logits: Tensor::from_slice(&targets.class_logits).view([count as i64, CLASSES as i64]),
        dfl_logits: Some(Tensor::from_slice(&targets.dfl_logits).view([count as i64, 64])),
        boxes_xyxy_input_px: Tensor::from_slice(&boxes_px.concat()).view([count as i64, 4]),
        floor_prob: Tensor::full([1, n as i64], 0.003, (Kind::Float, Device::Cpu)),
        dropped_score_sum: 1.7,
        image_weight: Tensor::ones([1], (Kind::Float, Device::Cpu)),
    };
    let loss_anchors = Anchors::new(grid.clone(), Device::Cpu);
    let of_training = |cls_loss: ClsLoss| {
        let head = HeadOutput {
            class_logits: by_channel(&rows.class_logits, CLASSES).set_requires_grad(true),
            box_values: by_channel(&rows.dfl_logits, 64).set_requires_grad(true),
        };
        let options = DistillOptions { cls_loss, temperature: 3.0, parts: DistillParts::All };
        distill_loss(&LossInput::new(&head, &loss_anchors), &teacher, &options).total.backward();
        let flat = |grad: Tensor| Vec::<f32>::try_from(grad.transpose(1, 2).contiguous().view([-1])).unwrap();
        (flat(head.class_logits.grad()), flat(head.box_values.grad()))
    };
    let of_audit = |term: Term| {
        let mut out = Vec::new();
        let weight = gradient(term, &student, &targets, &grid, 3.0, &mut out);
        out.into_iter().map(|g| (f64::from(g) / weight) as f32).collect::<Vec<_>>()
    };
    let assert_close = |name: &str, found: &[f32], expected: &[f32]| {
        let size = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(size > 0.0 && found.len() == expected.len());
        for (at, (f, e)) in found.iter().zip(expected).enumerate() {
            assert!((f - e).abs() < 2e-5 * size, "{name} at {at}: {f} {e} (of {size})");
        }
    };
    let terms = [(Term::SoftmaxKl, ClsLoss::SoftmaxKl), (Term::Bckd, ClsLoss::Bckd), (Term::Bce, ClsLoss::Bce)];
    for (term, cls_loss) in terms {
        let (class_grad, dfl_grad) = of_training(cls_loss);
        let scaled: Vec<f32> = of_audit(term).iter().map(|g| g * CLS_GAIN as f32).collect();
        assert_close(term.as_str(), &scaled, &class_grad);
        let (dfl, boxes) = (of_audit(Term::Dfl), of_audit(Term::Box));
        let both: Vec<f32> = dfl.iter().zip(&boxes).map(|(d, b)| d * DFL_GAIN as f32 + b * BOX_GAIN as f32).collect();
        assert_close("dfl and box", &both, &dfl_grad);
    }
}
