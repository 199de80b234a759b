//! The task loss against Ultralytics' `v8DetectionLoss`.

use crate::{Golden, Labels, assert_close, rows};
use logitcache_train::train::loss::{LossInput, assign, task_loss};
use tch::Tensor;

/// Names of the golden files.
fn files() -> Vec<String> {
    let entries = crate::folder().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = entries
        .filter_map(|name| name.strip_suffix(".npz").filter(|name| name.starts_with("task_")).map(Into::into))
        .collect();
    assert!(names.len() >= 4, "{names:?}");
    names
}

const RELATIVE: f64 = 2e-5;

#[test]
fn parts_and_total_are_ultralytics() {
    for name in &files() {
        let golden = Golden::load(name);
        let (head, anchors) = golden.head();
        let labels = Labels::of(&golden);
        let loss = task_loss(&LossInput::new(&head, &anchors), &labels.targets());
        for (part, at) in [(&loss.box_part, 0), (&loss.cls_part, 1), (&loss.dfl_part, 2)] {
            assert_close(&format!("{name} part {at}"), part, &golden.get("parts").get(at), RELATIVE);
        }
        assert_close(name, &loss.total, &golden.get("total"), RELATIVE);
    }
}

#[test]
fn gradients_are_ultralytics() {
    for name in &files() {
        let golden = Golden::load(name);
        let (head, anchors) = golden.head();
        let labels = Labels::of(&golden);
        task_loss(&LossInput::new(&head, &anchors), &labels.targets()).total.backward();
        let (image, anchor) = (golden.get("image"), golden.get("anchor"));
        let (class_grad, dfl_grad) = (head.class_logits.grad(), head.box_values.grad());
        assert_close(name, &rows(&class_grad, &image, &anchor), &golden.get("class_grad_rows"), RELATIVE);
        assert_close(
            name,
            &class_grad.flatten(0, -1).slice(0, 0, None, 17),
            &golden.get("class_grad_sample"),
            RELATIVE,
        );
        assert_close(name, &rows(&dfl_grad, &image, &anchor), &golden.get("dfl_grad_rows"), RELATIVE);
        // The sum shows that nothing lies outside these rows.
        assert_close(name, &dfl_grad.abs().sum(None), &golden.get("dfl_grad_sum"), RELATIVE);
    }
}

/// Also the anchors that cannot matter (score 0, chosen by `topk` among equals) are those of Ultralytics.
#[test]
fn assigned_anchors_are_ultralytics() {
    for name in &files() {
        let golden = Golden::load(name);
        let (head, anchors) = golden.head();
        let labels = Labels::of(&golden);
        let expected: Vec<_> = (golden.integers("image").into_iter().zip(golden.integers("anchor")))
            .zip(golden.integers("target").into_iter().zip(golden.floats("score")))
            .map(|((image, anchor), (target, score))| (image, anchor, target, score))
            .collect();
        let Some(got) = assign(&LossInput::new(&head, &anchors), &labels.targets()) else {
            assert!(expected.is_empty(), "{name}");
            continue;
        };
        let list = |of: &Tensor| Vec::<i64>::try_from(of.masked_select(&got.foreground)).unwrap();
        let score = Vec::<f32>::try_from(got.score.masked_select(&got.foreground)).unwrap();
        let mut got: Vec<_> = (list(&got.image).into_iter().zip(list(&got.anchor)))
            .zip(list(&got.target).into_iter().zip(score))
            .map(|((image, anchor), (target, score))| (image, anchor, target, score))
            .collect();
        got.sort_by_key(|&(image, anchor, ..)| (image, anchor));
        assert_eq!(got.len(), expected.len(), "{name}");
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!((got.0, got.1, got.2), (expected.0, expected.1, expected.2), "{name}");
            assert!((got.3 - expected.3).abs() <= 1e-4 * expected.3 + 1e-9, "{name}: {got:?} {expected:?}");
        }
    }
}
