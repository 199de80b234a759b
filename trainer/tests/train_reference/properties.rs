//! What must hold whatever the numbers.

use crate::{Golden, Labels, assert_close, finite, head, zero};
use logitcache::types::ImageSize;
use logitcache_train::{
    student::HeadOutput,
    train::ClsLoss,
    train::loss::{Anchors, DistillOptions, DistillParts, LossInput, TeacherTargets, distill_loss, task_loss},
};
use tch::{Kind, Tensor};

const SIZE: ImageSize = ImageSize { width: 64, height: 64 };
const CLS_LOSSES: [ClsLoss; 3] = [ClsLoss::SoftmaxKl, ClsLoss::Bckd, ClsLoss::Bce];

fn options(cls_loss: ClsLoss) -> DistillOptions {
    DistillOptions { cls_loss, temperature: 4.0, parts: DistillParts::All }
}

/// A teacher that says of every 7th anchor what the student says.
fn echo(student: &HeadOutput, floor: f64) -> TeacherTargets {
    let (batch, _, count) = student.class_logits.size3().unwrap();
    let cell = Tensor::arange_start_step(0, batch * count, 7, (Kind::Int64, tch::Device::Cpu));
    let (batch_index, anchor) = (cell.divide_scalar_mode(count, "floor"), cell.remainder(count));
    let class_logits = crate::rows(&student.class_logits.detach(), &batch_index, &anchor);
    TeacherTargets {
        score: class_logits.sigmoid().amax([1i64].as_slice(), false),
        dfl_logits: Some(crate::rows(&student.box_values.detach(), &batch_index, &anchor)),
        boxes_xyxy_input_px: Tensor::from_slice(&[4.0f32, 4.0, 30.0, 40.0]).repeat([cell.size()[0], 1]),
        floor_prob: Tensor::full([batch, count], floor, (Kind::Float, tch::Device::Cpu)),
        dropped_score_sum: 0.0,
        image_weight: Tensor::ones([batch], (Kind::Float, tch::Device::Cpu)),
        class_logits,
        batch_index,
        anchor,
    }
}

fn nothing(batch: i64, classes: i64, anchors: &Anchors, floor: f64) -> TeacherTargets {
    let (float, long) = ((Kind::Float, tch::Device::Cpu), (Kind::Int64, tch::Device::Cpu));
    TeacherTargets {
        batch_index: Tensor::zeros([0], long),
        anchor: Tensor::zeros([0], long),
        score: Tensor::zeros([0], float),
        class_logits: Tensor::zeros([0, classes], float),
        dfl_logits: Some(Tensor::zeros([0, 64], float)),
        boxes_xyxy_input_px: Tensor::zeros([0, 4], float),
        floor_prob: Tensor::full([batch, anchors.len()], floor, float),
        dropped_score_sum: 0.0,
        image_weight: Tensor::ones([batch], float),
    }
}

#[test]
fn a_student_that_equals_its_teacher_has_nothing_to_learn() {
    for cls_loss in [ClsLoss::SoftmaxKl, ClsLoss::Bckd] {
        let (student, anchors) = head(2, 5, SIZE, 6.0);
        let loss = distill_loss(&LossInput::new(&student, &anchors), &echo(&student, f64::NAN), &options(cls_loss));
        for part in [&loss.cls_part, &loss.dfl_part] {
            assert!(part.double_value(&[]).abs() < 1e-6, "{cls_loss:?} {part:?}");
        }
        loss.total.backward();
        let largest = student.class_logits.grad().abs().max().double_value(&[]);
        assert!(largest < 1e-7, "{cls_loss:?} {largest}");
    }
    // The boxes are other ones, so the bins are looked at without them.
    let (student, anchors) = head(2, 5, SIZE, 6.0);
    let input = LossInput::new(&student, &anchors);
    let mut teacher = echo(&student, f64::NAN);
    teacher.score = teacher.score.zeros_like();
    let without = distill_loss(&input, &teacher, &options(ClsLoss::SoftmaxKl));
    without.total.backward();
    assert!(zero(&student.box_values.grad()) && zero(&student.class_logits.grad()));
}

#[test]
fn the_bins_pull_nowhere_once_they_agree() {
    let (student, anchors) = head(1, 2, SIZE, 6.0);
    let teacher = echo(&student, f64::NAN);
    let input = LossInput::new(&student, &anchors);
    let with = distill_loss(&input, &teacher, &options(ClsLoss::SoftmaxKl)).total;
    let without =
        distill_loss(&input, &TeacherTargets { dfl_logits: None, ..teacher }, &options(ClsLoss::SoftmaxKl)).total;
    let grads = Tensor::run_backward(&[with - without], &[&student.box_values], false, false);
    assert!(grads[0].abs().max().double_value(&[]) < 1e-6);
}

#[test]
fn nothing_kept_is_no_loss_but_that_of_the_floor() {
    for cls_loss in CLS_LOSSES {
        for floor in [f64::NAN, 0.0, 0.001] {
            let (student, anchors) = head(2, 3, SIZE, 6.0);
            let teacher = nothing(2, 3, &anchors, floor);
            let loss = distill_loss(&LossInput::new(&student, &anchors), &teacher, &options(cls_loss));
            loss.total.backward();
            let (classes, bins) = (student.class_logits.grad(), student.box_values.grad());
            assert!(zero(&loss.box_part) && zero(&loss.dfl_part) && zero(&bins));
            let learns = !floor.is_nan() && cls_loss != ClsLoss::SoftmaxKl;
            assert!(finite(&loss.total) && finite(&classes), "{cls_loss:?} {floor}");
            assert_eq!((zero(&loss.total), zero(&classes)), (!learns, !learns), "{cls_loss:?} {floor}");
        }
    }
}

#[test]
fn the_floor_of_a_kept_anchor_does_not_count() {
    for cls_loss in CLS_LOSSES {
        let (student, anchors) = head(2, 3, SIZE, 6.0);
        let input = LossInput::new(&student, &anchors);
        let mut teacher = echo(&student, 0.01);
        let before = distill_loss(&input, &teacher, &options(cls_loss)).total;
        let value = Tensor::from(0.9f32);
        let _ = teacher.floor_prob.index_put_(&[Some(&teacher.batch_index), Some(&teacher.anchor)], &value, false);
        assert_eq!(before, distill_loss(&input, &teacher, &options(cls_loss)).total);
    }
}

/// The live teacher beside a cache that lacks some anchors: the class losses have the same divisor.
#[test]
fn dropped_anchors_count_in_the_divisor() {
    for cls_loss in [ClsLoss::Bckd, ClsLoss::Bce] {
        let (student, anchors) = head(2, 3, SIZE, 6.0);
        let input = LossInput::new(&student, &anchors);
        let of = |dropped_score_sum: f64| {
            let teacher = TeacherTargets { dropped_score_sum, ..echo(&student, 0.01) };
            let kept = teacher.score.sum(None).double_value(&[]);
            let loss = distill_loss(&input, &teacher, &options(cls_loss));
            (loss.cls_part.double_value(&[]) * (kept + dropped_score_sum).max(1.0), loss.dfl_part)
        };
        let ((none, none_dfl), (some, some_dfl)) = (of(0.0), of(7.0));
        assert!(none > 0.0 && (none - some).abs() < 1e-4 * none, "{cls_loss:?}: {none} {some}");
        assert_eq!(none_dfl, some_dfl, "a mean over the kept anchors");
    }
}

/// In the total an image counts with its weight; the parts are without it.
#[test]
fn images_weigh_in_the_total_alone() {
    for cls_loss in CLS_LOSSES {
        let (student, anchors) = head(2, 3, SIZE, 6.0);
        let gradient = |weights: [f32; 2]| {
            let input = LossInput::new(&student, &anchors);
            let mut teacher = echo(&student, 0.01);
            // Other targets than the student's own outputs.
            teacher.class_logits = teacher.class_logits.flip([1]);
            teacher.image_weight = Tensor::from_slice(&weights);
            let loss = distill_loss(&input, &teacher, &options(cls_loss));
            let grads =
                Tensor::run_backward(&[&loss.total], &[&student.class_logits, &student.box_values], false, false);
            (loss.cls_part, loss.box_part, grads)
        };
        let (cls, boxes, all) = gradient([1.0, 1.0]);
        for (weights, image) in [([0.25, 0.0], 0), ([0.0, 0.25], 1)] {
            let (same_cls, same_boxes, found) = gradient(weights);
            assert_eq!((&cls, &boxes), (&same_cls, &same_boxes));
            for (found, all) in found.iter().zip(&all) {
                assert!(zero(&found.get(1 - image)), "{cls_loss:?}");
                let difference = (found.get(image) - all.get(image) * 0.25).abs().max().double_value(&[]);
                let size = all.get(image).abs().max().double_value(&[]);
                assert!(size > 0.0 && difference < 1e-5 * size, "{cls_loss:?}: {difference} of {size}");
            }
        }
    }
}

#[test]
fn an_unlabelled_image_counts_nothing_in_the_task_loss() {
    let golden = Golden::load("task_small");
    let (student, anchors) = golden.head();
    let mut labels = Labels::of(&golden);
    // The fourth image of this file has no boxes: unlabelled, it is as if the batch had three images.
    labels.labelled[3] = false;
    let loss = task_loss(&LossInput::new(&student, &anchors), &labels.targets());
    loss.total.backward();
    let (classes, bins) = (student.class_logits.grad(), student.box_values.grad());
    assert!(zero(&classes.get(3)) && zero(&bins.get(3)) && !zero(&classes.get(1)));

    let three = |of: &Tensor| of.detach().narrow(0, 0, 3).set_requires_grad(true);
    let smaller = HeadOutput { box_values: three(&student.box_values), class_logits: three(&student.class_logits) };
    labels.labelled.pop();
    let expected = task_loss(&LossInput::new(&smaller, &anchors), &labels.targets());
    assert_close("classes", &loss.cls_part, &expected.cls_part, 1e-6);
    assert_close("boxes", &loss.box_part, &expected.box_part, 1e-6);
    expected.total.backward();
    // The total is times the number of images, four against three.
    assert_close("gradient", &classes.narrow(0, 0, 3), &(smaller.class_logits.grad() * (4.0 / 3.0)), 1e-6);
}

#[test]
fn without_labelled_images_the_task_loss_is_zero_with_a_gradient_of_zero() {
    let (student, anchors) = head(2, 3, SIZE, 6.0);
    let labels = Labels { labelled: vec![false; 2], batch_index: vec![], class_id: vec![], boxes: vec![] };
    let loss = task_loss(&LossInput::new(&student, &anchors), &labels.targets());
    loss.total.backward();
    assert!(zero(&loss.total) && zero(&student.class_logits.grad()) && zero(&student.box_values.grad()));
}

#[test]
fn boxes_that_hold_no_anchor_or_no_pixel_leave_the_background() {
    let (student, anchors) = head(1, 3, SIZE, 6.0);
    let input = LossInput::new(&student, &anchors);
    let of = |boxes: &[f32]| {
        let labels = Labels {
            labelled: vec![true],
            batch_index: vec![0; boxes.len() / 4],
            class_id: vec![1; boxes.len() / 4],
            boxes: boxes.to_vec(),
        };
        task_loss(&input, &labels.targets()).total
    };
    let none = of(&[]);
    assert_eq!(none, of(&[500.0, 500.0, 520.0, 520.0])); // outside the input
    assert_eq!(none, of(&[0.0; 4])); // Ultralytics' padding
    assert!(finite(&of(&[30.0, 30.0, 30.0, 30.0]))); // no area, but enlarged for the search
}

#[test]
fn bfloat16_logits_and_other_memory_orders_are_taken() {
    let golden = Golden::load("task_small");
    let (student, anchors) = golden.head();
    let (labels, teacher) = (Labels::of(&golden), Golden::load("distill_bckd").teacher());
    let through = |of: &Tensor, kind| of.transpose(1, 2).contiguous().transpose(1, 2).to_kind(kind);
    for kind in [Kind::Float, Kind::BFloat16] {
        let head = HeadOutput {
            box_values: through(&student.box_values, kind),
            class_logits: through(&student.class_logits, kind),
        };
        let task = task_loss(&LossInput::new(&head, &anchors), &labels.targets());
        let relative = if kind == Kind::Float { 1e-5 } else { 0.05 };
        assert_close("task", &task.total, &golden.get("total"), relative);
        task.total.backward();

        let head = HeadOutput {
            // the teacher's golden is of three images and four classes
            box_values: head.box_values.narrow(0, 0, 3),
            class_logits: head.class_logits.narrow(0, 0, 3).repeat([1, 2, 1]).narrow(1, 0, 4),
        };
        for cls_loss in CLS_LOSSES {
            let loss = distill_loss(&LossInput::new(&head, &anchors), &teacher, &options(cls_loss));
            assert!(finite(&loss.total) && loss.total.kind() == Kind::Float);
            loss.total.backward();
        }
        assert!(finite(&student.class_logits.grad()) && finite(&student.box_values.grad()));
    }
}

#[test]
fn extreme_logits_stay_finite() {
    let (student, anchors) = head(1, 3, SIZE, 6.0);
    let scaled = HeadOutput {
        box_values: (student.box_values.detach() * 50.0).set_requires_grad(true),
        class_logits: ((student.class_logits.detach() + 3.0) * 30.0).set_requires_grad(true),
    };
    let labels = Labels {
        labelled: vec![true],
        batch_index: vec![0, 0],
        class_id: vec![0, 2],
        boxes: vec![1.0, 2.0, 50.0, 60.0, 20.0, 20.0, 30.0, 30.0],
    };
    let input = LossInput::new(&scaled, &anchors);
    let mut total = task_loss(&input, &labels.targets()).total;
    for cls_loss in CLS_LOSSES {
        total += distill_loss(&input, &echo(&student, 0.001), &options(cls_loss)).total;
    }
    total.backward();
    assert!(finite(&total) && finite(&scaled.class_logits.grad()) && finite(&scaled.box_values.grad()));
}
