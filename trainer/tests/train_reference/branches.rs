//! The loss of a head of two branches with distances against Ultralytics' `E2ELoss` (YOLO26).

use crate::{Golden, Labels, assert_close};
use logitcache_train::{
    student::StudentModel,
    train::loss::{LossInput, assign, task_loss},
};
use tch::Tensor;

const RELATIVE: f64 = 2e-5;
const FILES: [&str; 4] = ["branches_small", "branches_crowded", "branches_tiny_boxes", "branches_no_boxes"];

#[test]
fn parts_total_and_gradients_are_ultralytics() {
    for name in FILES {
        let golden = Golden::load(name);
        let labels = Labels::of(&golden);
        let (epoch, epochs) = (golden.integers("epoch")[0] as usize, golden.integers("epochs")[0] as usize);
        let net = "yolo26n".parse::<StudentModel>().unwrap().net(golden.shape().1 as usize);
        let heads = [0, 1].map(|branch| golden.head_of_distances(branch));
        assert_eq!(net.head.branches.len(), heads.len());
        let mut total = Tensor::from(0.0f32);
        for (k, ((head, anchors), branch)) in heads.iter().zip(&net.head.branches).enumerate() {
            let input = LossInput::new(head, anchors).matched(branch.matching);
            let loss = task_loss(&input, &labels.targets());
            for (part, at) in [(&loss.box_part, 0), (&loss.cls_part, 1), (&loss.dfl_part, 2)] {
                let expected = golden.get(&format!("parts_{k}")).get(at);
                assert_close(&format!("{name}, branch {k}, part {at}"), part, &expected, RELATIVE);
            }
            total += loss.total * branch.share(epoch, epochs);
        }
        assert_close(name, &total, &golden.get("total"), RELATIVE);
        total.backward();
        for (k, (head, _)) in heads.iter().enumerate() {
            let what = format!("{name}, branch {k}");
            assert_close(&what, &head.class_logits.grad(), &golden.get(&format!("class_grad_{k}")), RELATIVE);
            assert_close(&what, &head.box_values.grad(), &golden.get(&format!("box_grad_{k}")), RELATIVE);
        }
    }
}

/// Those with a score: what is chosen among anchors that are worth nothing cannot matter.
#[test]
fn assigned_anchors_are_ultralytics() {
    for name in FILES {
        let golden = Golden::load(name);
        let labels = Labels::of(&golden);
        let net = "yolo26n".parse::<StudentModel>().unwrap().net(golden.shape().1 as usize);
        for (k, branch) in net.head.branches.iter().enumerate() {
            let (head, anchors) = golden.head_of_distances(k as u32);
            let of = |what: &str| golden.integers(&format!("{what}_{k}"));
            let scores = golden.floats(&format!("score_{k}"));
            let expected: Vec<_> = (of("image").into_iter().zip(of("anchor")).zip(of("target")).zip(scores))
                .filter(|(_, score)| *score > 0.0)
                .collect();
            let got = assign(&LossInput::new(&head, &anchors).matched(branch.matching), &labels.targets());
            let Some(got) = got else {
                assert!(expected.is_empty(), "{name}");
                continue;
            };
            let used = got.score.gt(0.0);
            let list = |of: &Tensor| Vec::<i64>::try_from(of.masked_select(&used)).unwrap();
            let score = Vec::<f32>::try_from(got.score.masked_select(&used)).unwrap();
            let mut found: Vec<_> =
                (list(&got.image).into_iter().zip(list(&got.anchor)).zip(list(&got.target)).zip(score)).collect();
            found.sort_by_key(|&(slot, _)| slot);
            assert_eq!(found.len(), expected.len(), "{name}, branch {k}");
            for ((found, score), (expected, expected_score)) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "{name}, branch {k}");
                assert!((score - expected_score).abs() <= 1e-4 * expected_score + 1e-9, "{name}, branch {k}");
            }
            if branch.matching.one_to_one {
                let mut objects: Vec<i64> = found.iter().map(|((_, target), _)| *target).collect();
                objects.sort_unstable();
                assert!(objects.windows(2).all(|pair| pair[0] < pair[1]), "{name}: an object has one anchor");
            }
        }
    }
}

#[test]
fn shares_run_from_the_first_epoch_to_the_last() {
    let net = "yolo26n".parse::<StudentModel>().unwrap().net(1);
    let shares = |epoch, epochs| [0, 1].map(|branch| net.head.branches[branch].share(epoch, epochs));
    let close = |found: [f64; 2], expected: [f64; 2]| {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} {expected:?}");
    };
    close(shares(0, 8), [0.8, 0.2]);
    close(shares(7, 8), [0.1, 0.9]);
    close(shares(0, 1), [0.8, 0.2]);
    close(shares(5, 11), [0.45, 0.55]);
    let plain = "yolov8n".parse::<StudentModel>().unwrap().net(1);
    assert!([0, 3, 9].iter().all(|&epoch| plain.head.branches[0].share(epoch, 10) == 1.0));
}
