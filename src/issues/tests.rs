//! Reference values of the other methods: tests/fixtures/label_errors.py.

use super::{
    Kind, fiftyone,
    finding::Finding,
    objectlab::{Boxes, image_score},
};
use crate::types::{BoxXyxyPx, Detection, LabelBox};
use serde_json::Value;

const GOLDEN: &str = include_str!("../../tests/fixtures/label_errors.json");

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn box_of(corners: &[f64]) -> BoxXyxyPx {
    let [x1, y1, x2, y2] = [0, 1, 2, 3].map(|i| corners[i] as f32);
    BoxXyxyPx { x1, y1, x2, y2 }
}

type Image = (Vec<LabelBox>, Vec<Detection>, Vec<f64>);

fn image(value: &Value) -> Image {
    let label = |v: &Value| {
        let v = numbers(v);
        LabelBox { class_id: v[0] as u32, box_xyxy_px: box_of(&v[1..]) }
    };
    let found = |v: &Value| {
        let v = numbers(v);
        Detection { class_id: v[0] as u32, score: v[1] as f32, box_xyxy_px: box_of(&v[2..]) }
    };
    let labels = value["labels"].as_array().unwrap().iter().map(label).collect();
    let found: Vec<Detection> = value["found"].as_array().unwrap().iter().map(found).collect();
    let scores = found.iter().map(|found| f64::from(found.score)).collect();
    (labels, found, scores)
}

fn scores(findings: &[Finding], kind: Kind, labels: usize) -> Vec<Option<f64>> {
    let of = |at| findings.iter().find(|f| f.kind == kind && f.label == Some(at)).map(|f| f.score);
    (0..labels).map(of).collect()
}

#[track_caller]
fn assert_near(found: Option<f64>, expected: Option<f64>) {
    match (found, expected) {
        (Some(a), Some(b)) => assert!((a - b).abs() < 1e-6, "{a} instead of {b}"),
        (a, b) => assert_eq!(a, b),
    }
}

#[test]
fn objectlab_has_the_values_of_its_formulae() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let mut checked = 0;
    for case in golden["cases"].as_array().unwrap() {
        let images: Vec<Image> = case["images"].as_array().unwrap().iter().map(image).collect();
        let boxes: Vec<Boxes<'_>> =
            images.iter().map(|(labels, found, scores)| Boxes { labels, found, scores }).collect();
        let least = boxes.iter().map(Boxes::least_similarity).fold(1.0, f64::min);
        let expected = &case["objectlab"];
        assert!((least / expected["least_similarity"].as_f64().unwrap() - 1.0).abs() < 1e-6);
        for (boxes, expected) in boxes.iter().zip(expected["images"].as_array().unwrap()) {
            let findings = boxes.findings(least);
            for (kind, name) in [(Kind::Location, "location"), (Kind::Class, "swapped")] {
                let qualities = numbers(&expected[name]);
                for (score, quality) in scores(&findings, kind, boxes.labels.len()).into_iter().zip(qualities) {
                    assert_near(score, Some(1.0 - quality));
                    checked += 1;
                }
            }
            let missing: Vec<&Finding> = findings.iter().filter(|f| f.kind == Kind::Missing).collect();
            let overlooked = expected["overlooked"].as_array().unwrap();
            assert_eq!(missing.len(), overlooked.len());
            for (finding, expected) in missing.iter().zip(overlooked) {
                assert_eq!(finding.row, expected[0].as_u64().map(|row| row as usize));
                assert_near(Some(finding.score), Some(1.0 - expected[1].as_f64().unwrap()));
                checked += 1;
            }
            assert_near(Some(image_score(&findings)), expected["image"].as_f64());
        }
    }
    assert!(checked > 150, "{checked}");
}

#[test]
fn fiftyone_has_the_values_of_its_formulae() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let (mut matched, mut spurious, mut missing) = (0, 0, 0);
    for case in golden["cases"].as_array().unwrap() {
        for (value, expected) in case["images"].as_array().unwrap().iter().zip(case["fiftyone"].as_array().unwrap()) {
            let (labels, found, confidences) = image(value);
            let findings = fiftyone::findings(&labels, &found, &confidences);
            for (kind, name) in [(Kind::Class, "class"), (Kind::Location, "location")] {
                let expected = expected[name].as_array().unwrap();
                for (score, expected) in scores(&findings, kind, labels.len()).into_iter().zip(expected) {
                    assert_near(score, expected.as_f64());
                    matched += usize::from(score.is_some());
                }
            }
            let unmatched = scores(&findings, Kind::Spurious, labels.len());
            for (score, expected) in unmatched.into_iter().zip(expected["class"].as_array().unwrap()) {
                assert_eq!(score, expected.is_null().then_some(1.0));
                spurious += usize::from(score.is_some());
            }
            let mut rows: Vec<u64> = findings
                .iter()
                .filter(|f| f.kind == Kind::Missing)
                .filter_map(|f| f.row)
                .map(|row| row as u64)
                .collect();
            rows.sort_unstable();
            assert_eq!(
                rows.iter().copied().map(Value::from).collect::<Vec<_>>(),
                *expected["missing"].as_array().unwrap()
            );
            missing += rows.len();
        }
    }
    assert!(matched > 100 && spurious > 10 && missing > 5, "{matched} {spurious} {missing}");
}
