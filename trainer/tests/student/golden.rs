//! Forward, gradients and running statistics against Ultralytics' PyTorch model, weights set by the same formula.

use crate::support::{Case, close, compare, filled, flat, golden, images, noise};
use logitcache_train::student::{HeadOutput, Network, Scale, State, StudentModel, Values, yolov8};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

const TOLERANCE: f32 = 1e-4;

fn network(case: &Case) -> Network {
    Network::from_state(&case.state(), Device::Cpu)
}

fn param<'n>(network: &'n Network, name: &str) -> &'n Tensor {
    &network.params().iter().find(|param| param.spec.name == name).unwrap().tensor
}

#[test]
fn the_golden_says_what_made_it() {
    let made_with = golden().made_with;
    assert!(made_with["torch"].starts_with("2.11.0"), "{made_with:?}");
    assert_eq!(made_with["ultralytics"], "8.4.190");
}

#[test]
fn names_shapes_and_order_are_those_of_the_state_dict() {
    let golden = golden();
    let named: Vec<_> = golden.cases.iter().filter_map(|case| Some((case.model(), case.names.as_ref()?))).collect();
    assert_eq!(named.len(), 3, "one of each family");
    for (model, names) in named {
        let own: Vec<_> = model.net(80).params().into_iter().map(|param| (param.name, param.shape)).collect();
        assert_eq!(own, *names, "{model}");
    }
}

#[test]
fn parameters_are_counted_as_ultralytics_counts_them() {
    for case in golden().cases {
        let net = case.model().net(case.num_classes);
        assert_eq!(net.num_parameters(), case.parameters, "{}, {} classes", case.model, case.num_classes);
    }
}

#[test]
fn evaluation_gives_ultralytics_raw_outputs() {
    for case in golden().cases {
        let output = network(&case).forward(&images(case.batch, case.size), false);
        let anchors: usize = [8, 16, 32].map(|stride| (case.size / stride).pow(2)).iter().sum();
        let shape = |channels: usize| [case.batch, channels, anchors].map(|dim| dim as i64).to_vec();
        assert_eq!(output.box_values.size(), shape(case.model().net(1).head.boxes.channels()));
        assert_eq!(output.class_logits.size(), shape(case.num_classes));
        assert!(!output.class_logits.requires_grad());
        let what = format!("{}, {} classes", case.model, case.num_classes);
        compare(&flat(&output.box_values), &case.eval["box_values"], TOLERANCE, &format!("{what}, boxes"));
        compare(&flat(&output.class_logits), &case.eval["class_logits"], TOLERANCE, &format!("{what}, classes"));
    }
}

/// The generator's scalar: the outputs of all branches weighed by noise, summed.
fn scalar(branches: &[HeadOutput]) -> Tensor {
    let weigh = |tensor: &Tensor, stream| {
        let weights: Vec<f32> = noise(tensor.numel(), stream).iter().map(|u| 2.0 * u - 1.0).collect();
        (tensor * Tensor::from_slice(&weights).view_as(tensor)).sum(Kind::Float)
    };
    let of_branch =
        |(k, output): (u32, &HeadOutput)| weigh(&output.box_values, 1 + 2 * k) + weigh(&output.class_logits, 2 + 2 * k);
    (0..).zip(branches).map(of_branch).reduce(|sum, scalar| sum + scalar).unwrap()
}

#[test]
fn training_gives_ultralytics_outputs_gradients_and_running_statistics() {
    for case in golden().cases {
        let network = network(&case);
        let branches = network.forward_all(&images(case.batch, case.size));
        let what = format!("{}, {} classes", case.model, case.num_classes);
        assert_eq!(branches.len(), case.train.len(), "{what}");
        for (branch, expected) in branches.iter().zip(&case.train) {
            compare(&flat(&branch.box_values), &expected["box_values"], TOLERANCE, &format!("{what}, boxes"));
            compare(&flat(&branch.class_logits), &expected["class_logits"], TOLERANCE, &format!("{what}, classes"));
        }
        for (name, expected) in &case.running {
            let found = |part: &str| param(&network, &format!("{name}.{part}"));
            for (part, expected) in [("running_mean", &expected.mean), ("running_var", &expected.var)] {
                for (found, expected) in flat(found(part)).iter().zip(expected) {
                    close(*found, *expected, TOLERANCE, || format!("{what}, {name}.{part}"));
                }
            }
            assert_eq!(found("num_batches_tracked").int64_value(&[]), expected.count, "{what}, {name}");
        }
        scalar(&branches).backward();
        for (name, expected) in &case.gradient_norms {
            let norm = param(&network, name).grad().to_kind(Kind::Double).norm().double_value(&[]);
            // Gradients pass back through some sixty normalisations over as few as four values.
            assert!(
                (norm - expected).abs() <= 1e-3 * expected,
                "{what}, gradient of {name}: {norm}, expected {expected}"
            );
        }
        if let Some(name) = &network.net().head.dfl_name {
            let untouched = param(&network, name);
            assert!(!untouched.requires_grad() && !untouched.grad().defined());
        }
    }
}

#[test]
fn a_random_start_has_ultralytics_priors_and_repeats() {
    for model in ["yolov8n", "yolo11n", "yolo26n"] {
        random_start(model);
    }
}

fn random_start(model: &str) {
    let state = |seed, classes| State::random(model.parse::<StudentModel>().unwrap().net(classes), seed);
    let (first, again, other) = (state(7, 7), state(7, 7), state(8, 7));
    assert_eq!(first, again);
    assert_ne!(first, other);
    let priors = golden().bias_priors.remove(model).unwrap();
    assert_eq!(priors.len(), 6 * first.net().head.branches.len());
    for (param, values) in first.iter() {
        let values = values.as_f32();
        if let Some(prior) = priors.get(&param.name) {
            assert!(
                values.iter().all(|value| (value - prior).abs() < 1e-6),
                "{}: {values:?}, expected {prior}",
                param.name
            );
        } else if param.shape.len() == 4 && !param.name.contains("dfl") {
            // Uniform within 1 / sqrt(fan in): as large as that, and with its spread.
            let bound = 1.0 / (param.shape[1..].iter().product::<usize>() as f32).sqrt();
            let largest = values.iter().fold(0.0f32, |max, value| max.max(value.abs()));
            let spread = (values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32).sqrt();
            assert!(largest <= bound && largest > 0.95 * bound, "{}: {largest}, bound {bound}", param.name);
            let few = values.len() < 1000;
            assert!(
                (spread * 3f32.sqrt() / bound - 1.0).abs() < if few { 0.2 } else { 0.1 },
                "{}: spread {spread}",
                param.name
            );
        }
    }
    // Another number of classes changes nothing outside the class branch.
    for ((param, a), (_, b)) in first.iter().zip(state(7, 3).iter()) {
        assert!(a == b || first.net().head.is_of_classes(&param.name), "{}", param.name);
    }
}

/// Ultralytics copies the first branch of a fresh head.
#[test]
fn the_branches_of_a_random_head_start_alike() {
    let state = State::random("yolo26n".parse::<StudentModel>().unwrap().net(3), 7);
    let values: BTreeMap<&str, &[f32]> =
        state.iter().map(|(param, values)| (param.name.as_str(), values.as_f32())).collect();
    let of_second: Vec<&&str> = values.keys().filter(|name| name.contains("one2one_")).collect();
    assert_eq!(of_second.len(), 120);
    for name in of_second {
        assert_eq!(values[name], values[name.replace("one2one_", "").as_str()], "{name}");
    }
}

/// The second branch sends nothing back, and is not run where nothing is trained.
#[test]
fn what_is_trained_beside_the_first_branch_stays_apart() {
    let network = Network::random("yolo26n".parse::<StudentModel>().unwrap().net(3), 1, Device::Cpu);
    let branches = network.forward_all(&images(2, 64));
    (branches[1].box_values.sum(Kind::Float) + branches[1].class_logits.sum(Kind::Float)).backward();
    for param in network.params().iter().filter(|param| param.spec.role.is_trained()) {
        let is_second = param.spec.name.contains("one2one_");
        assert_eq!(param.tensor.grad().defined(), is_second, "{}", param.spec.name);
    }
    let before = network.state();
    network.forward(&images(2, 64), true);
    for ((spec, now), (_, before)) in network.state().iter().zip(before.iter()) {
        let moves = spec.name.contains(".bn.running_") || spec.name.contains("num_batches");
        assert_eq!(now != before, moves && !spec.name.contains("one2one_"), "{}", spec.name);
    }
}

#[test]
fn weights_are_channels_last_and_come_back_unchanged() {
    let state = filled(Scale::N, 3);
    let network = Network::from_state(&state, Device::Cpu);
    let weight = param(&network, "model.1.conv.weight");
    assert_eq!((weight.size(), weight.stride()), (vec![32, 16, 3, 3], vec![144, 1, 48, 16]));
    assert_eq!(network.state(), state);

    let copy = network.copy();
    assert_eq!(copy.state(), state);
    assert!(copy.params().iter().all(|param| !param.tensor.requires_grad()));
    network.forward(&images(2, 64), true);
    assert_ne!(network.state(), state, "the running statistics moved");
    assert_eq!(copy.state(), state, "a copy is apart");
}

#[test]
fn autocast_gives_float32_close_to_the_plain_pass() {
    let network = Network::random(yolov8(Scale::N, 3), 1, Device::Cpu);
    let images = images(2, 64);
    let plain = network.copy().forward(&images, true);
    let output = {
        let _autocast = logitcache_train::student::native::Autocast::new(Device::Cpu);
        network.forward(&images, true)
    };
    assert_eq!((output.box_values.kind(), output.class_logits.kind()), (Kind::Float, Kind::Float));
    // bfloat16 has 8 bits, and the errors of some sixty layers add up.
    let mean_abs = |tensor: &Tensor| tensor.abs().mean(Kind::Float).double_value(&[]);
    let (difference, size) = (mean_abs(&(&output.box_values - &plain.box_values)), mean_abs(&plain.box_values));
    assert!(difference > 0.0 && difference < 0.1 * size, "{difference} of {size}");
    scalar(&[output]).backward();
    assert!(param(&network, "model.0.conv.weight").grad().abs().sum(Kind::Float).double_value(&[]) > 0.0);
}

#[test]
fn values_that_do_not_fit_are_a_panic() {
    let architecture = yolov8(Scale::N, 1);
    let mut values: Vec<Values> =
        State::random(architecture.clone(), 0).iter().map(|(_, values)| values.clone()).collect();
    values[1] = Values::F32(vec![0.0; 3]);
    assert!(std::panic::catch_unwind(|| State::new(architecture, values)).is_err());
}
