//! Detections beside those of Ultralytics' `predict` on the same ONNX file (tests/fixtures/predict.py).

use logitcache::{
    cache::MissingLabels,
    dataset::Dataset,
    detector::{Provider, Reading},
    eval::{Inference, InferenceOptions, NmsOptions},
    types::{BoxXyxyPx, Detection, InputSize},
};
use serde::Deserialize;
use std::{collections::HashMap, fs, num::NonZeroUsize, path::Path, sync::atomic::AtomicBool};

#[derive(Deserialize)]
struct Golden {
    model_sha256: String,
    /// Class, score, x1, y1, x2, y2 by file name.
    images: HashMap<String, Vec<[f32; 6]>>,
}

fn detector(model: &Path, nms: NmsOptions) -> Inference {
    let jobs = NonZeroUsize::new(2).unwrap();
    let model = model.to_owned();
    Inference::open(InferenceOptions {
        model,
        names: None,
        reading: Reading::default(),
        imgsz: None,
        jobs,
        provider: Provider::Cpu,
        ort_lib: None,
        nms,
    })
    .unwrap()
}

fn side_differences(a: &BoxXyxyPx, b: &[f32]) -> f32 {
    [a.x1, a.y1, a.x2, a.y2].iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn same(found: &Detection, row: &[f32; 6]) -> bool {
    found.class_id == row[0] as u32
        && (found.score - row[1]).abs() <= 0.02
        && side_differences(&found.box_xyxy_px, &row[2..]) <= 1.0
}

#[test]
fn coco128_detections_are_those_of_ultralytics() {
    let Some(shared) = crate::common::shared() else { return };
    let golden: Golden = serde_json::from_str(include_str!("../fixtures/predict.json")).unwrap();
    let detector = detector(&shared.join("models/yolov12n.onnx"), NmsOptions::PREDICTING);
    assert_eq!(
        logitcache::cache::to_hex(&detector.model().sha256),
        golden.model_sha256,
        "the golden is of another file"
    );
    let dataset = Dataset::of_paths(&[shared.join("data/coco128/images/train2017")]).unwrap();
    assert_eq!(dataset.samples.len(), golden.images.len());
    let (mut theirs, mut ours, mut matched) = (0, 0, 0);
    let stop = AtomicBool::new(false);
    detector
        .run(&dataset.samples, None, MissingLabels::Background, &stop, |image| {
            let image = image.unwrap();
            assert!(image.truth.is_none());
            assert!(image.detections.windows(2).all(|w| w[0].score >= w[1].score));
            let name = Path::new(&image.path).file_name().unwrap().to_str().unwrap();
            let mut rows = golden.images[name].clone();
            (ours, theirs) = (ours + image.detections.len(), theirs + rows.len());
            for found in &image.detections {
                if let Some(at) = rows.iter().position(|row| same(found, row)) {
                    rows.swap_remove(at);
                    matched += 1;
                }
            }
            Ok(())
        })
        .unwrap();
    println!("{matched} of {theirs} boxes of Ultralytics and of {ours} here");
    assert!(theirs > 500, "{theirs}");
    assert!(f64::from(matched) >= 0.99 * theirs as f64 && f64::from(matched) >= 0.99 * ours as f64);
}

#[test]
fn every_kind_of_head_detects_and_the_number_of_threads_changes_nothing() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5u32 {
        let pixel = |x: u32, y: u32| image::Rgb([(x * 3 + number * 40) as u8, (y * 5) as u8, (x * y / 7) as u8]);
        image::RgbImage::from_fn(70 + number * 9, 60, pixel).save(folder.path().join(format!("{number}.png"))).unwrap();
    }
    fs::write(folder.path().join("broken.png"), "no picture").unwrap();
    let dataset = Dataset::of_paths(&[folder.path().to_owned()]).unwrap();
    let nms = NmsOptions { conf: 0.0, iou: 1.0, ..NmsOptions::SCORING };
    let run = |model: &str, imgsz, jobs| {
        let options = InferenceOptions {
            model: models.join(model),
            names: None,
            reading: Reading::default(),
            imgsz,
            jobs: NonZeroUsize::new(jobs).unwrap(),
            provider: Provider::Cpu,
            ort_lib: None,
            nms,
        };
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        let stop = AtomicBool::new(false);
        Inference::open(options)
            .unwrap()
            .run(&dataset.samples, None, MissingLabels::Background, &stop, |image| {
                match image {
                    Ok(image) => images.push(image),
                    Err(failure) => failures.push(failure),
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(failures.len(), 1);
        assert!(failures[0].path.ends_with("broken.png"), "{failures:?}");
        assert_eq!(images.iter().map(|i| i.image_id).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        images
    };
    for (model, imgsz) in [
        ("yolo26-no-dfl.onnx", None),
        ("yolov8-batch4.onnx", None),
        ("yolov8-dynamic.onnx", Some(160.into())),
        ("yolov8-dynamic.onnx", Some(InputSize { height: 96, width: 160 })),
        ("yolov8-p2.onnx", None),
    ] {
        let images = run(model, imgsz, 1);
        assert!(
            images.iter().all(|image| image.detections.len() == 300),
            "{model}: nothing is dropped, so the limit is reached"
        );
        for image in &images {
            let (width, height) = (image.size.width as f32, image.size.height as f32);
            for b in image.detections.iter().map(|d| d.box_xyxy_px) {
                let inside = |v: f32, most: f32| (0.0..=most).contains(&v);
                assert!(
                    [b.x1, b.x2].iter().all(|&x| inside(x, width)) && [b.y1, b.y2].iter().all(|&y| inside(y, height)),
                    "{b:?}"
                );
                // A head without DFL may give negative distances (these have random weights); an expectation over bins is none.
                assert!(model == "yolo26-no-dfl.onnx" || (b.x1 <= b.x2 && b.y1 <= b.y2), "{model}: {b:?}");
            }
        }
        assert_eq!(run(model, imgsz, 3), images, "{model}");
    }
}
