//! Scores beside those of pycocotools, on the same truth and the same detections.

use logitcache::{
    cache::MissingLabels,
    dataset::{ClassMap, DataSource, Dataset},
    detector::{Provider, Reading},
    eval::{Inference, InferenceOptions, NmsOptions, ScoredImage, Scores, compare, score, score_and_matches},
    types::{BoxXyxyPx, Detection, TruthBox},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::{fs, num::NonZeroUsize, path::Path, process::Command, sync::atomic::AtomicBool};

fn xywh(b: &BoxXyxyPx) -> [f64; 4] {
    let [x1, y1, x2, y2] = [b.x1, b.y1, b.x2, b.y2].map(f64::from);
    [x1, y1, x2 - x1, y2 - y1]
}

/// Truth as a COCO file; image ids are positions from 1, category ids class ids from 1.
fn instances(images: &[ScoredImage], class_names: &[String]) -> Value {
    let annotations = (1..).zip(images).flat_map(|(image_id, image)| {
        image.truth.iter().map(move |t| {
            json!({"image_id": image_id, "category_id": t.class_id + 1, "bbox": xywh(&t.box_xyxy_px),
                   "area": t.area_px2, "iscrowd": u8::from(t.is_crowd)})
        })
    });
    let annotations: Vec<Value> = (1..)
        .zip(annotations)
        .map(|(id, mut annotation)| {
            annotation["id"] = json!(id);
            annotation
        })
        .collect();
    let categories: Vec<Value> = (1..).zip(class_names).map(|(id, name)| json!({"id": id, "name": name})).collect();
    let images: Vec<Value> = (1..=images.len()).map(|id| json!({"id": id, "file_name": format!("{id}.jpg")})).collect();
    json!({"info": {}, "images": images, "annotations": annotations, "categories": categories})
}

fn results(images: &[ScoredImage]) -> Value {
    let found = (1..).zip(images).flat_map(|(image_id, image)| {
        image.detections.iter().map(move |d| {
            json!({"image_id": image_id, "category_id": d.class_id + 1, "bbox": xywh(&d.box_xyxy_px),
                   "score": f64::from(d.score)})
        })
    });
    found.collect()
}

/// What pycocotools computes.
fn pycocotools(python: &Path, instances: &Value, results: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let (truth_file, results_file) = (folder.path().join("instances.json"), folder.path().join("results.json"));
    fs::write(&truth_file, instances.to_string()).unwrap();
    fs::write(&results_file, results.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/coco_numbers.py");
    let output = Command::new(python).arg(script).arg(truth_file).arg(results_file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Compares the twelve numbers (-1: no such objects) and the small objects.
#[track_caller]
fn assert_close(scores: &Scores, expected: &Value, tolerance: f64) {
    let c = &scores.coco;
    let twelve = [
        c.ap,
        c.ap_50,
        c.ap_75,
        c.ap_small,
        c.ap_medium,
        c.ap_large,
        c.ar_1,
        c.ar_10,
        c.ar_100,
        c.ar_small,
        c.ar_medium,
        c.ar_large,
    ];
    for (i, ours) in twelve.into_iter().enumerate() {
        let theirs = expected["stats"][i].as_f64().unwrap();
        assert!((ours.unwrap_or(-1.0) - theirs).abs() < tolerance, "number {i}: {ours:?}, {theirs}");
    }
    assert_eq!(scores.small.objects, expected["small"]["objects"].as_u64().unwrap());
    assert_eq!(scores.small.found, expected["small"]["found"].as_u64().unwrap());
}

/// Compares everything that pycocotools computes as well.
#[track_caller]
fn assert_same_as_pycocotools(python: &Path, scores: &Scores, instances: &Value, results: &Value) {
    let expected = pycocotools(python, instances, results);
    // The same arithmetic in the same order: far closer than the 1e-4 that a table would show.
    assert_close(scores, &expected, 1e-12);
    let close = |ours: Option<f64>, theirs: &Value| (ours.unwrap_or(-1.0) - theirs.as_f64().unwrap()).abs() < 1e-12;
    for class in &scores.classes {
        let theirs = &expected["classes"][(class.class_id + 1).to_string()];
        assert!(close(class.ap_50, &theirs[0]) && close(class.ap, &theirs[1]), "{class:?} {theirs}");
    }
}

/// Made images: some empty, crowds, areas that are not the boxes', detections near objects, on crowds and anywhere, tied scores. The last
/// class has neither objects nor detections, the one before it detections only.
fn made(random: &mut ChaCha8Rng, num_images: usize, class_names: &[String]) -> Vec<ScoredImage> {
    let image = |image_id| {
        let corners = |random: &mut ChaCha8Rng, x: f32, y: f32, w: f32, h: f32| {
            let mut near =
                |v: f32, by: f32| v + by * random.random_range(-0.2f32..0.2) * random.random_range(0.0f32..1.0);
            let (x1, y1) = (near(x, w), near(y, h));
            BoxXyxyPx { x1, y1, x2: x1 + near(w, w).max(1.0), y2: y1 + near(h, h).max(1.0) }
        };
        let (mut truth, mut detections) = (Vec::new(), Vec::new());
        if image_id % 5 != 0 {
            for _ in 0..random.random_range(1..8) {
                let (x, y) = (random.random_range(0.0..500.0), random.random_range(0.0..400.0));
                let side = [20.0, 60.0, 150.0][random.random_range(0..3usize)];
                let box_xyxy_px = corners(random, x, y, side, side);
                let class_id = random.random_range(0..class_names.len() as u32 - 2);
                let area_px2 = xywh(&box_xyxy_px)[2] * xywh(&box_xyxy_px)[3] * random.random_range(0.3..1.0);
                let is_crowd = random.random_range(0..6) == 0;
                truth.push(TruthBox { class_id, box_xyxy_px, area_px2, is_crowd });
                for _ in 0..random.random_range(0..4) {
                    // Few distinct scores, so that they tie.
                    let score = random.random_range(1..20) as f32 / 20.0;
                    let class_id = if random.random_range(0..8) == 0 { 0 } else { class_id };
                    detections.push(Detection { class_id, score, box_xyxy_px: corners(random, x, y, side, side) });
                }
            }
        }
        for _ in 0..random.random_range(0..6) {
            let class_id = random.random_range(0..class_names.len() as u32 - 1);
            let box_xyxy_px = corners(random, 200.0, 200.0, 80.0, 80.0);
            detections.push(Detection { class_id, score: random.random_range(0.0..1.0), box_xyxy_px });
        }
        detections.sort_by(|a, b| b.score.total_cmp(&a.score));
        ScoredImage { image_id, truth, detections }
    };
    (0..num_images as i64).map(image).collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("class {i}")).collect()
}

#[test]
fn made_images_score_as_with_pycocotools() {
    let Some(python) = crate::common::python("pycocotools") else { return };
    for seed in 0..4 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let class_names = names(5);
        let images = made(&mut random, 60, &class_names);
        let scores = score(&images, &class_names).unwrap();
        assert!(scores.crowd_regions > 0 && scores.coco.ap.unwrap() > 0.05, "{:?}", scores.coco);
        assert_eq!((scores.classes[3].ap, scores.classes[4].ap), (None, None), "classes without objects");
        assert_same_as_pycocotools(&python, &scores, &instances(&images, &class_names), &results(&images));
    }
}

#[test]
fn more_than_a_hundred_detections_of_a_class_are_cut_as_by_pycocotools() {
    let Some(python) = crate::common::python("pycocotools") else { return };
    let class_names = names(1);
    let cell = |i: u32| {
        let (x, y) = ((i % 16) as f32 * 40.0, (i / 16) as f32 * 30.0);
        BoxXyxyPx { x1: x, y1: y, x2: x + 30.0, y2: y + 20.0 }
    };
    let truth = |i| TruthBox { class_id: 0, box_xyxy_px: cell(i), area_px2: 600.0, is_crowd: i % 50 == 7 };
    let found = |i| Detection { class_id: 0, score: 0.9 - i as f32 / 1000.0, box_xyxy_px: cell(i) };
    let image =
        ScoredImage { image_id: 0, truth: (0..150).map(truth).collect(), detections: (0..200).map(found).collect() };
    let scores = score(std::slice::from_ref(&image), &class_names).unwrap();
    assert_eq!((scores.small.objects, scores.small.found), (147, 98));
    let images = [image];
    assert_same_as_pycocotools(&python, &scores, &instances(&images, &class_names), &results(&images));
}

/// COCO128's labels as a COCO file whose ids are neither positions nor in the order of the paths.
fn as_coco(dataset: &Dataset) -> Value {
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (i, sample) in dataset.samples.iter().enumerate() {
        let id = 10_000 - 7 * i;
        let (width, height) = image::image_dimensions(&sample.path).unwrap();
        let size = logitcache::types::ImageSize { width, height };
        let file_name = sample.path.file_name().unwrap().to_str().unwrap();
        images.push(json!({"id": id, "file_name": file_name, "width": width, "height": height}));
        if let logitcache::dataset::Truth::Labelled(labels) = sample.truth_boxes(size).unwrap() {
            for label in labels {
                annotations
                    .push(json!({"id": annotations.len() + 1, "image_id": id, "category_id": 3 * label.class_id + 5,
                    "bbox": xywh(&label.box_xyxy_px), "area": 0.6 * label.area_px2, "iscrowd": 0}));
            }
        }
    }
    let names = dataset.class_names.as_ref().unwrap();
    let categories: Vec<Value> = (0..).zip(names).map(|(i, name)| json!({"id": 3 * i + 5, "name": name})).collect();
    json!({"info": {}, "images": images, "annotations": annotations, "categories": categories})
}

#[test]
fn coco128_scores_as_with_pycocotools() {
    let (Some(shared), Some(python)) = (crate::common::shared(), crate::common::python("pycocotools")) else { return };
    let yolo = DataSource { data: shared.join("data/coco128/data.yaml"), images_dir: None, split: "train".into() };
    let coco = as_coco(&Dataset::open(&yolo).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("instances.json");
    fs::write(&file, coco.to_string()).unwrap();
    let images_dir = Some(shared.join("data/coco128/images/train2017"));
    let dataset = Dataset::open(&DataSource { data: file, images_dir, split: "train".into() }).unwrap();
    let class_names = dataset.class_names.clone().unwrap();

    let detector = Inference::open(InferenceOptions {
        model: shared.join("models/yolov12n.onnx"),
        names: None,
        reading: Reading::default(),
        imgsz: None,
        jobs: NonZeroUsize::new(2).unwrap(),
        provider: Provider::Cpu,
        ort_lib: None,
        nms: NmsOptions::SCORING,
    })
    .unwrap();
    let class_map = ClassMap::new(&class_names, &detector.model().class_names).unwrap();
    let (mut images, mut ids) = (Vec::new(), Vec::new());
    let stop = AtomicBool::new(false);
    let handed_over = detector
        .run(&dataset.samples, Some(&class_map), MissingLabels::Background, &stop, |image| {
            let image = image.unwrap();
            ids.push(
                coco["images"].as_array().unwrap().iter().find(|i| i["file_name"] == image.path).unwrap()["id"].clone(),
            );
            images.push(ScoredImage {
                image_id: image.image_id,
                truth: image.truth.unwrap(),
                detections: image.detections,
            });
            Ok(())
        })
        .unwrap();
    assert_eq!(handed_over, 128);
    let scores = score(&images, &class_names).unwrap();
    assert!(scores.coco.ap_50.unwrap() > 0.5 && scores.detections > 10_000, "{:?}", scores.coco);

    let found = ids.iter().zip(&images).flat_map(|(id, image)| {
        image.detections.iter().map(move |d| {
            json!({"image_id": id, "category_id": 3 * d.class_id + 5, "bbox": xywh(&d.box_xyxy_px), "score": f64::from(d.score)})
        })
    });
    // pycocotools breaks ties by image id, which here falls as the position rises: only equal scores can tell the two apart.
    assert_close(&scores, &pycocotools(&python, &coco, &found.collect()), 1e-4);
}

#[test]
fn no_detections_and_no_objects_are_no_error() {
    let class_names = names(2);
    let truth = vec![TruthBox {
        class_id: 1,
        box_xyxy_px: BoxXyxyPx { x1: 0.0, y1: 0.0, x2: 9.0, y2: 9.0 },
        area_px2: 81.0,
        is_crowd: false,
    }];
    let nothing_found = score(&[ScoredImage { image_id: 0, truth, detections: vec![] }], &class_names).unwrap();
    assert_eq!((nothing_found.coco.ap, nothing_found.small.recall), (Some(0.0), Some(0.0)));
    assert_eq!(nothing_found.best_f1.unwrap().f1, 0.0);
    let nothing_there = score(&[ScoredImage { image_id: 0, truth: vec![], detections: vec![] }], &class_names).unwrap();
    assert_eq!((nothing_there.coco.ap, nothing_there.best_f1, nothing_there.small.recall), (None, None, None));
    assert_eq!(score(&[], &class_names).unwrap().images, 0);
}

#[test]
fn a_foreign_class_and_numbers_that_are_none_are_refused() {
    let class_names = names(2);
    let found = Detection { class_id: 2, score: 0.5, box_xyxy_px: BoxXyxyPx::default() };
    let image = |found| [ScoredImage { image_id: 7, truth: vec![], detections: vec![found] }];
    let refused = |found| score(&image(found), &class_names).unwrap_err().to_string();
    assert!(refused(found).contains("image 7: class id 2 is not among 2 class names"));
    assert!(refused(Detection { class_id: 0, score: f32::NAN, ..found }).contains("not a finite number"));
}

#[test]
fn a_clear_difference_is_more_than_chance_and_none_is_not() {
    let class_names = names(5);
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let images = made(&mut random, 80, &class_names);
    let mut better = images.clone();
    for image in &mut better {
        let right = image.truth.iter().filter(|t| !t.is_crowd);
        image.detections =
            right.map(|t| Detection { class_id: t.class_id, score: 0.9, box_xyxy_px: t.box_xyxy_px }).collect();
    }
    let matches = |images: &[ScoredImage]| score_and_matches(images, &class_names).unwrap();
    let ((first, first_matches), (second, second_matches)) = (matches(&images), matches(&better));
    let result = compare(&first_matches, &second_matches).unwrap();
    let ap = result.ap.unwrap();
    assert!((ap.value - (second.coco.ap.unwrap() - first.coco.ap.unwrap())).abs() < 1e-12);
    assert!(ap.low < ap.value && ap.value < ap.high && ap.low > 0.0 && ap.more_than_chance, "{ap:?}");
    assert!(result.ap_50.unwrap().more_than_chance && result.small_recall.unwrap().more_than_chance);
    assert_eq!(compare(&first_matches, &second_matches).unwrap(), result, "the same whenever it is asked");
    let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(
        threads.install(|| compare(&first_matches, &second_matches)).unwrap(),
        result,
        "on any number of threads"
    );
    let same = compare(&first_matches, &first_matches).unwrap().ap.unwrap();
    assert!((same.value, same.low, same.high, same.more_than_chance) == (0.0, 0.0, 0.0, false), "{same:?}");

    let fewer = score_and_matches(&images[..9], &class_names).unwrap().1;
    assert!(compare(&first_matches, &fewer).unwrap_err().to_string().contains("80 and 9 images"));
}
