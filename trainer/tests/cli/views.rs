//! A cache with views from the program, and what training makes of it: the teacher, run on the student's pixels, says what is cached.

use crate::{
    common::shared,
    support::{args, build, logitcache, shapes, teacher},
};
use half::f16;
use logitcache::{
    cache::CacheReader,
    detector::{Detector, DetectorOptions, DetectorSession, Provider, SessionOptions, runtime},
    types::{InputSize, Store},
};
use logitcache_train::train::data::{
    Augment, Loader, LoaderOptions, PixelCacheOptions, Position, TrainImage, TrainSet,
};
use std::{
    collections::BTreeSet,
    fs,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

const INPUT: InputSize = InputSize { height: 96, width: 128 };
const VIEWS: usize = 3;

/// Builds a cache of `data` with views and trains through it without a student: every row of every batch must be what the
/// teacher says, to the bit, when it gets the batch's pixels.
fn assert_predictions_are_of_the_pixels(dir: &Path, data: &Path) {
    let cache = dir.join("cache");
    let size = INPUT.to_string();
    let settings = [
        ("--imgsz", size.as_str()),
        ("--top-k", "40"),
        ("--coverage", "1"),
        ("--class-coverage", "1"),
        ("--logits", "float16"),
        ("--views", "3"),
        ("--seed", "11"),
    ];
    build(data, &cache, &settings).expect(0);
    let reader = Arc::new(CacheReader::open(&cache).unwrap());
    let root = cache.join(&reader.manifest().dataset.root);
    let images: Vec<TrainImage> = reader
        .images()
        .map(|image| image.unwrap())
        .filter(|image| image.view == 0)
        .map(|image| TrainImage {
            image_id: image.image_id,
            path: root.join(image.path),
            relative: image.path.to_owned(),
            expected_sha256: Some(image.file_sha256),
            labels: image.labels.map(|labels| labels.iter().collect()),
        })
        .collect();
    let pixels = PixelCacheOptions { folder: dir.join("pixels"), max_bytes: u64::MAX };
    let stop = AtomicBool::new(false);
    let set =
        TrainSet::open(images.clone(), INPUT.into(), Some(&pixels), Some(reader.clone()), &|_| (), &stop).unwrap();
    let one = NonZeroUsize::MIN;
    let options = LoaderOptions {
        batch: one,
        seed: 3,
        shuffle: true,
        augment: Augment { mosaic_prob: 0.0, flip_prob: 0.0, translate: 0.0, ..Augment::grid() },
        cached_views: true,
        epochs: VIEWS,
        epochs_without_mosaic: 0,
        threads: one,
        ahead: one,
    };

    runtime::init(None).unwrap();
    let model = DetectorOptions { imgsz: Some(INPUT), store: Store::All, names: None, ..DetectorOptions::default() };
    let model = Detector::load(teacher(), &model).unwrap();
    let session = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };
    let mut session = DetectorSession::new(&model, &session).unwrap();
    let area = (INPUT.height * INPUT.width) as usize;
    let mut tensor = vec![0f32; 3 * area];
    let (mut rows, mut seen) = (0, BTreeSet::new());
    for batch in Loader::start(Arc::new(set), options, Position::default()).unwrap() {
        let batch = batch.unwrap();
        for (i, value) in tensor.iter_mut().enumerate() {
            *value = f32::from(batch.pixels[i % area * 3 + i / area]) / 255.0;
        }
        let heads = session.run(1, &tensor).unwrap();
        let cached = batch.teacher.as_ref().unwrap();
        let head = heads.view(0).unwrap();
        let (class_logits, dfl_logits) = (head.class_logits(), head.dfl_logits().unwrap());
        let as_stored = |logits: &[f32], at: usize| f16::from_f32(logits[at]).to_f32();
        for (row, &anchor) in cached.anchor.iter().enumerate() {
            let at = |channel: usize| channel * cached.num_anchors + anchor as usize;
            for class in 0..cached.num_classes {
                let found = cached.class_logits[row * cached.num_classes + class];
                assert_eq!(found, as_stored(class_logits, at(class)), "epoch {}, {:?}", batch.epoch, batch.indices);
            }
            for bin in 0..cached.dfl_len {
                let found = cached.dfl_logits.as_ref().unwrap()[row * cached.dfl_len + bin];
                assert_eq!(found, as_stored(dfl_logits, at(bin)));
            }
            rows += 1;
        }
        seen.insert((batch.indices[0], batch.pixels.clone()));
    }
    assert_eq!(rows, images.len() * VIEWS * 40);
    assert_eq!(seen.len(), images.len() * VIEWS, "every view of every image, no two alike");
}

#[test]
fn the_teacher_says_of_the_students_pixels_what_is_cached() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 24);
    assert_predictions_are_of_the_pixels(dir.path(), &data);
}

#[test]
fn the_teacher_says_of_photographs_what_is_cached() {
    let Some(shared) = shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(shared.join("data/coco128/images/train2017")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for path in names.iter().take(16) {
        fs::copy(path, pictures.join(path.file_name().unwrap())).unwrap();
    }
    assert_predictions_are_of_the_pixels(dir.path(), &pictures);
}

#[test]
fn training_shows_the_views_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 15);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[("--imgsz", "64"), ("--min-score", "0"), ("--views", "2")]).expect(0);
    let train = |name: &str, more: &[(&str, &str)]| {
        let fixed =
            [("--model", "yolov8n"), ("--epochs", "2"), ("--batch", "4"), ("--precision", "fp32"), ("--threads", "2")];
        let values: Vec<(&str, &str)> = fixed.iter().chain(more).copied().collect();
        let mut all = args(["train"], &[("--cache", &cache), ("--out", &dir.path().join(name))], &values);
        all.retain(|a| !a.is_empty());
        logitcache(&all)
    };
    let words = "the 2 cached views of each image";
    let run = train("views", &[]).expect(0).says(&[words]);
    assert!(run.stdout.contains("2 epochs, complete"), "{run:?}");
    let plain = train("plain", &[("--no-augment", "")]).expect(0);
    assert!(!plain.stderr.contains(words), "{plain:?}");
    let weights = |name: &str| fs::read(dir.path().join(name).join("weights/last.safetensors")).unwrap();
    assert_ne!(weights("views"), weights("plain"));
    train("again", &[]).expect(0);
    assert!(weights("views") == weights("again"), "the same views, the same weights");
}
