//! Label Studio's JSON.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn region(label: &str, value: [f64; 4]) -> Value {
    let [x, y, width, height] = value;
    json!({
        "type": "rectanglelabels", "original_width": 100, "original_height": 50, "from_name": "label", "to_name": "image",
        "value": {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]},
    })
}

fn task(image: &str, regions: &[Value]) -> Value {
    json!({"id": 1, "data": {"image": image}, "annotations": [{"result": regions}]})
}

fn made(tasks: &[Value]) -> Made {
    Made::new(&[
        ("tasks.json", &serde_json::to_string(tasks).unwrap()),
        ("images/a b.jpg", ""),
        ("images/train/c.jpg", ""),
    ])
}

fn raw(sample: &Sample) -> Vec<RawBox> {
    match sample.annotated(SIZE).truth {
        Truth::Labelled(boxes) => boxes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn regions_are_per_cent_of_the_image() {
    let mut turned = region("dog", [10.0, 10.0, 20.0, 10.0]);
    turned["value"]["rotation"] = json!(90);
    let polygon = json!({
        "type": "polygonlabels", "original_width": 100, "original_height": 50,
        "value": {"points": [[10, 20], [30, 20], [20, 60]], "polygonlabels": ["ant"]},
    });
    let brush = json!({"type": "brushlabels", "value": {"rle": [1, 2], "brushlabels": ["dog"]}});
    let tasks = [
        task(
            "/data/local-files/?d=images/a%20b.jpg",
            &[region("dog", [10.0, 20.0, 30.0, 40.0]), polygon, brush, turned],
        ),
        json!({"id": 2, "data": {"image": "s3://bucket/far/c.jpg", "split": "train"}, "annotations": []}),
    ];
    let made = made(&tasks);
    let all = Dataset::open_all(made.0.path(), None).unwrap();
    let (name, dataset) = &all[0];
    assert_eq!((name.as_str(), relatives(dataset)), (UNSPLIT, vec!["images/a b.jpg"]));
    assert_eq!(dataset.class_names.as_deref().unwrap(), ["ant", "dog"], "sorted, without a configuration");
    let found = raw(&dataset.samples[0]);
    assert_eq!(found[0].xyxy_px, [10.0, 10.0, 40.0, 30.0]);
    assert_eq!(found[1].xyxy_px, [10.0, 10.0, 30.0, 30.0]);
    let turned = found[2].xyxy_px.map(|v| (v * 1e6).round() / 1e6);
    assert_eq!(turned, [5.0, 5.0, 10.0, 25.0], "about its upper left corner, clockwise");
    assert_eq!(
        found.iter().map(|raw| (raw.class_id, raw.outlined)).collect::<Vec<_>>(),
        [(1, false), (0, true), (1, true)]
    );
    assert!(dataset.notes[0].starts_with("1 region is neither a box"), "{:?}", dataset.notes);
    let (name, train) = &all[1];
    assert_eq!((name.as_str(), relatives(train)), ("train", vec!["images/train/c.jpg"]));
    assert_eq!(train.samples[0].annotated(SIZE).truth, Truth::Missing, "nobody annotated it");
}

#[test]
fn the_configuration_gives_the_order_of_the_classes() {
    let made = made(&[task("c.jpg", &[region("ant", [1.0, 1.0, 5.0, 5.0])])]);
    let config = "<View><Image name=\"image\" value=\"$image\"/><RectangleLabels name=\"label\" toName=\"image\">\
                  <Label value=\"zebra\"/><Label value=\"ant\"/></RectangleLabels><Labels><Label value=\"bee\"/></Labels></View>";
    made.write("label_config.xml", config);
    let dataset = made.open("tasks.json").unwrap();
    assert_eq!(dataset.class_names.as_deref().unwrap(), ["zebra", "ant", "bee"]);
    assert_eq!(raw(&dataset.samples[0])[0].class_id, 1);
}

#[test]
fn a_wrong_region_costs_its_image_and_a_wrong_file_all() {
    let change = |change: fn(&mut Value)| {
        let mut region = region("dog", [1.0, 2.0, 3.0, 4.0]);
        change(&mut region);
        region
    };
    for (wrong, words) in [
        (change(|r| r["value"]["x"] = json!("one")), "region 1: x is missing or no number"),
        (change(|r| r["value"]["width"] = json!(-3)), "its width or height is below 0"),
        (change(|r| r["original_width"] = json!(0)), "original_width is 0"),
        (change(|r| r["value"]["rectanglelabels"] = json!([])), "it has no label"),
    ] {
        let made = made(&[task("c.jpg", &[wrong, region("dog", [1.0, 2.0, 3.0, 4.0])])]);
        let sample = &made.open("tasks.json").unwrap().samples[0];
        assert_eq!((sample.annotated(SIZE).faults.len(), raw(sample).len()), (1, 1));
        let reason = sample.labels(SIZE).unwrap_err();
        assert!(reason.contains(words) && reason.contains("task 1"), "{reason}");
    }
    for (text, words) in [
        ("[{\"data\": {\"text\": \"a\"}}]", "has no image in its `data`"),
        ("[{\"data\": {\"image\": \"a.jpg\"}", "not a JSON export of Label Studio"),
        ("[{\"data\": {\"image\": \"a.jpg\"}}] x", "not a JSON export of Label Studio"),
        ("[{\"data\": 5}]", "not a JSON export of Label Studio"),
        ("[1, \"data\"]", "a task (an object with `data`)"),
        ("[]", "not a COCO instances file"),
    ] {
        let made = Made::new(&[("tasks.json", text)]);
        let error = made.error("tasks.json");
        assert!(error.contains(words) && error.len() < 600, "{text} gave: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_values_give_boxes_or_an_error(
        numbers in prop::collection::vec(prop::num::f64::ANY, 4),
        kind in "(rectangle|polygon|ellipse|brush)?labels",
        side in "(0|1|640|1e3|-1|0\\.5|\"a\"|null)",
        label in "(\\PC){0,3}",
        image in "(\\PC|%[0-9a-f]{0,2}|/|\\?d=){1,8}",
    ) {
        let number = |at: usize| numbers.get(at).copied().filter(|v| v.is_finite()).unwrap_or(0.0);
        let side: Value = serde_json::from_str(&side).unwrap();
        let region = json!({
            "type": kind, "original_width": side, "original_height": 50,
            "value": {"x": number(0), "y": number(1), "width": number(2), "height": number(3), "radiusX": number(2),
                      "radiusY": number(3), "rotation": number(1), "points": [[number(0), number(1)], [number(2), number(3)]],
                      (kind.clone()): [label]},
        });
        let made = made(&[task(&image, &[region])]);
        if let Ok(dataset) = made.open("tasks.json") {
            prop_assert_eq!(dataset.samples.len(), 1);
        }
    }
}
