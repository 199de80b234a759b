//! The loss against a teacher's objects: PyTorch's numbers with Ultralytics' assigner, and the task loss as its limit.

use crate::{Golden, Labels, assert_close, head, zero};
use logitcache::types::ImageSize;
use logitcache_train::{
    student::Matching,
    train::{
        ClsLoss,
        loss::{DistillOptions, DistillParts, LossInput, ObjectTargets, object_loss, task_loss},
    },
};
use tch::{Device, Kind, Tensor};

const RELATIVE: f64 = 2e-5;

struct Objects {
    labels: Labels,
    score: Tensor,
    class_logits: Tensor,
    image_weight: Vec<f32>,
}

impl Objects {
    fn of(golden: &Golden) -> Self {
        Self {
            labels: Labels::of(golden),
            score: golden.get("score"),
            class_logits: golden.get("class_logits"),
            image_weight: vec![1.0; golden.shape().0 as usize],
        }
    }

    fn targets(&self) -> ObjectTargets<'_> {
        ObjectTargets {
            batch_index: &self.labels.batch_index,
            class_id: &self.labels.class_id,
            boxes_xyxy_input_px: &self.labels.boxes,
            score: self.score.shallow_clone(),
            class_logits: self.class_logits.shallow_clone(),
            image_weight: Tensor::from_slice(&self.image_weight),
        }
    }
}

#[test]
fn parts_and_gradients_are_pytorchs() {
    let files = [
        ("objects_softmax-kl", ClsLoss::SoftmaxKl, DistillParts::All),
        ("objects_bckd", ClsLoss::Bckd, DistillParts::All),
        ("objects_bce", ClsLoss::Bce, DistillParts::All),
        ("objects_cls", ClsLoss::Bckd, DistillParts::Cls),
    ];
    for (name, cls_loss, parts) in files {
        let golden = Golden::load(name);
        let (student, anchors) = golden.head();
        let options = DistillOptions { cls_loss, temperature: golden.number("temperature"), parts };
        let loss = object_loss(&LossInput::new(&student, &anchors), &Objects::of(&golden).targets(), &options);
        for (part, at) in [(&loss.box_part, 0), (&loss.cls_part, 1), (&loss.dfl_part, 2)] {
            assert_close(&format!("{name} part {at}"), part, &golden.get("parts").get(at), RELATIVE);
        }
        assert_close(name, &loss.total, &golden.get("total"), RELATIVE);
        loss.total.backward();
        assert_close(name, &student.class_logits.grad(), &golden.get("class_grad"), RELATIVE);
        if parts == DistillParts::All {
            assert_close(name, &student.box_values.grad(), &golden.get("dfl_grad"), RELATIVE);
        }
    }
}

#[test]
fn a_one_to_one_branch_of_distances_learns_objects() {
    let golden = Golden::load("objects_one_to_one");
    let (student, anchors) = golden.head_of_distances(0);
    let input = LossInput::new(&student, &anchors).matched(Matching { candidates: 7, one_to_one: true });
    let options = DistillOptions { cls_loss: ClsLoss::Bckd, temperature: 4.0, parts: DistillParts::All };
    let loss = object_loss(&input, &Objects::of(&golden).targets(), &options);
    for (part, at) in [(&loss.box_part, 0), (&loss.cls_part, 1), (&loss.dfl_part, 2)] {
        assert_close(&format!("part {at}"), part, &golden.get("parts").get(at), RELATIVE);
    }
    loss.total.backward();
    assert_close("classes", &student.class_logits.grad(), &golden.get("class_grad"), RELATIVE);
    assert_close("boxes", &student.box_values.grad(), &golden.get("dfl_grad"), RELATIVE);
}

/// Pseudo-labels: objects of one certain class are labels.
#[test]
fn of_certain_objects_it_is_the_task_loss() {
    for name in ["task_small", "task_crowded", "task_no_boxes"] {
        let golden = Golden::load(name);
        let ((student, anchors), labels) = (golden.head(), Labels::of(&golden));
        let (_, classes, _) = golden.shape();
        let count = labels.class_id.len() as i64;
        let certain = Tensor::full([count, classes], -40.0, (Kind::Float, Device::Cpu)).scatter_value(
            1,
            &Tensor::from_slice(&labels.class_id).view([count, 1]),
            40.0,
        );
        let objects = Objects {
            score: Tensor::ones([count], (Kind::Float, Device::Cpu)),
            class_logits: certain,
            image_weight: vec![1.0; labels.labelled.len()],
            labels,
        };
        let options = DistillOptions { cls_loss: ClsLoss::Bce, temperature: 4.0, parts: DistillParts::All };
        let gradients = |total: &Tensor| {
            Tensor::run_backward(&[total], &[&student.class_logits, &student.box_values], false, false)
        };
        let input = LossInput::new(&student, &anchors);
        let loss = object_loss(&input, &objects.targets(), &options);
        let found = gradients(&loss.total);
        let input = LossInput::new(&student, &anchors);
        let expected = task_loss(&input, &objects.labels.targets());
        for (found, expected) in found.iter().zip(&gradients(&expected.total)) {
            assert_close(name, found, expected, RELATIVE);
        }
        assert_close(name, &loss.total, &expected.total, RELATIVE);
    }
}

#[test]
fn images_weigh_in_the_total_alone() {
    let golden = Golden::load("objects_bckd");
    for cls_loss in [ClsLoss::SoftmaxKl, ClsLoss::Bckd, ClsLoss::Bce] {
        let (student, anchors) = golden.head();
        let options = DistillOptions { cls_loss, temperature: 4.0, parts: DistillParts::All };
        let mut objects = Objects::of(&golden);
        let mut gradient = |weights: [f32; 3]| {
            objects.image_weight = weights.to_vec();
            let loss = object_loss(&LossInput::new(&student, &anchors), &objects.targets(), &options);
            let at = [&student.class_logits, &student.box_values];
            (loss.cls_part.double_value(&[]), Tensor::run_backward(&[&loss.total], &at, false, false))
        };
        let (cls, all) = gradient([1.0; 3]);
        let (same, half) = gradient([0.5, 1.0, 0.0]);
        assert_eq!(cls, same, "{cls_loss:?}");
        for (half, all) in half.iter().zip(&all) {
            assert!(zero(&half.get(2)), "{cls_loss:?}");
            assert_close("half", &half.get(0), &(all.get(0) * 0.5), 1e-5);
        }
    }
}

#[test]
fn without_objects_every_anchor_is_background() {
    let (student, anchors) = head(2, 3, ImageSize { width: 64, height: 64 }, 6.0);
    let float = (Kind::Float, Device::Cpu);
    let objects = Objects {
        labels: Labels { labelled: vec![true; 2], batch_index: vec![], class_id: vec![], boxes: vec![] },
        score: Tensor::zeros([0], float),
        class_logits: Tensor::zeros([0, 3], float),
        image_weight: vec![1.0; 2],
    };
    for (cls_loss, learns) in [(ClsLoss::SoftmaxKl, false), (ClsLoss::Bckd, true), (ClsLoss::Bce, true)] {
        let options = DistillOptions { cls_loss, temperature: 4.0, parts: DistillParts::All };
        let loss = object_loss(&LossInput::new(&student, &anchors), &objects.targets(), &options);
        let at = [&student.class_logits, &student.box_values];
        let grads = Tensor::run_backward(&[&loss.total], &at, false, false);
        assert!(zero(&loss.box_part) && zero(&loss.dfl_part) && zero(&grads[1]), "{cls_loss:?}");
        assert_eq!(!zero(&grads[0]), learns, "{cls_loss:?}");
    }
}
