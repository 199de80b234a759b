//! The distillation losses against their definitions in float64 over every anchor.

use crate::{Golden, assert_close, rows};
use logitcache_train::train::ClsLoss;
use logitcache_train::train::loss::{DistillOptions, DistillParts, LossInput, distill_loss};

const RELATIVE: f64 = 2e-5;

const CASES: [(&str, ClsLoss, DistillParts); 4] = [
    ("distill_softmax-kl", ClsLoss::SoftmaxKl, DistillParts::All),
    ("distill_bckd", ClsLoss::Bckd, DistillParts::All),
    ("distill_bce", ClsLoss::Bce, DistillParts::All),
    ("distill_cls", ClsLoss::SoftmaxKl, DistillParts::Cls),
];

#[test]
fn parts_and_gradients_are_those_of_the_definitions() {
    for (name, cls_loss, parts) in CASES {
        let golden = Golden::load(name);
        let (head, anchors) = golden.head();
        let options = DistillOptions { cls_loss, temperature: golden.number("temperature"), parts };
        let loss = distill_loss(&LossInput::new(&head, &anchors), &golden.teacher(), &options);
        for (part, at) in [(&loss.box_part, 0), (&loss.cls_part, 1), (&loss.dfl_part, 2)] {
            assert_close(&format!("{name} part {at}"), part, &golden.get("parts").get(at), RELATIVE);
        }
        assert_close(name, &loss.total, &golden.get("total"), RELATIVE);

        loss.total.backward();
        assert_close(name, &head.class_logits.grad(), &golden.get("class_grad"), RELATIVE);
        if parts == DistillParts::Cls {
            assert!(!head.box_values.grad().defined());
            continue;
        }
        let (image, anchor) = (golden.get("batch_index"), golden.get("anchor"));
        let dfl_grad = head.box_values.grad();
        assert_close(name, &rows(&dfl_grad, &image, &anchor), &golden.get("dfl_grad_rows"), RELATIVE);
        assert_close(name, &dfl_grad.abs().sum(None), &golden.get("dfl_grad_sum"), RELATIVE);
    }
}

/// A student of distances learns those of the teacher's boxes.
#[test]
fn distances_are_taught_by_their_difference() {
    let golden = Golden::load("distill_distances");
    let (head, anchors) = golden.head_of_distances(0);
    let options = DistillOptions { cls_loss: ClsLoss::SoftmaxKl, temperature: 4.0, parts: DistillParts::All };
    let loss = distill_loss(&LossInput::new(&head, &anchors), &golden.teacher(), &options);
    for (part, at) in [(&loss.box_part, 0), (&loss.cls_part, 1), (&loss.dfl_part, 2)] {
        assert_close(&format!("part {at}"), part, &golden.get("parts").get(at), RELATIVE);
    }
    loss.total.backward();
    assert_close("classes", &head.class_logits.grad(), &golden.get("class_grad"), RELATIVE);
    let (image, anchor, grad) = (golden.get("batch_index"), golden.get("anchor"), head.box_values.grad());
    assert_close("boxes", &rows(&grad, &image, &anchor), &golden.get("dfl_grad_rows"), RELATIVE);
    assert_close("boxes", &grad.abs().sum(None), &golden.get("dfl_grad_sum"), RELATIVE);
}
