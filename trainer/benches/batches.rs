//! Milliseconds that one background thread needs for a batch of 16 images of 640 x 640: pixels, labels, cached predictions.
//!
//! `cargo bench --bench batches [FOLDER OF IMAGES]`; without a folder, `../shared/data/coco128` where it lies. The cache is made
//! for the occasion: 130 anchors an image, 80 classes, 16 bins. Each line ends with a digest of the batches, so that equal work is
//! visible beside the time.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../tests/cache_support/mod.rs"]
mod cache_support;

use logitcache::{
    cache::CacheReader,
    preprocess::LetterboxPlan,
    preprocess::{DecodeLimits, decode},
    types::{ImageSize, Store},
};
use logitcache_train::train::data::{
    Augment, Loader, LoaderOptions, PixelCacheOptions, Position, TrainImage, TrainSet,
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

const ROUNDS: usize = 5;
const SIDE: u32 = 640;
const INPUT: ImageSize = ImageSize { width: SIDE, height: SIDE };

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let shared = std::env::var("LOGITCACHE_SHARED").unwrap_or_else(|_| "../shared".into());
    let folder = PathBuf::from(given.unwrap_or_else(|| format!("{shared}/data/coco128/images/train2017")));
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: {} is missing", folder.display());
        return;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();

    let mut manifest = cache_support::manifest_with_views(1, paths.len() as u64);
    manifest.teacher = cache_support::manifest(80, 16, Store::All, paths.len() as u64).teacher;
    (manifest.teacher.input_width, manifest.teacher.input_height) = (SIDE, SIDE);
    manifest.settings.top_k = 300;
    let records: Vec<_> = (0..)
        .zip(&paths)
        .map(|(id, path)| {
            let mut record = cache_support::record(&manifest, 1, id, 130, Some(8));
            record.size = decode(&fs::read(path).unwrap(), &DecodeLimits::default()).unwrap().size;
            record.letterbox = LetterboxPlan::fit(record.size, SIDE, SIDE).letterbox;
            record
        })
        .collect();
    let images: Vec<TrainImage> = records
        .iter()
        .zip(&paths)
        .map(|(record, path)| TrainImage {
            image_id: record.image_id,
            path: path.clone(),
            relative: record.path.clone(),
            expected_sha256: None,
            labels: record.labels.clone(),
        })
        .collect();
    let temp = tempfile::tempdir().unwrap();
    let cache = temp.path().join("cache");
    let with_views = cache_support::with_views(&manifest, 1, &records);
    cache_support::write_cache(&cache, manifest, &[with_views]);
    let reader = Arc::new(CacheReader::open(&cache).unwrap());
    let pixels = PixelCacheOptions { folder: temp.path().join("pixels"), max_bytes: u64::MAX };
    let open = |pixels: Option<&PixelCacheOptions>, reader: Option<&Arc<CacheReader>>| {
        let stop = AtomicBool::new(false);
        Arc::new(TrainSet::open(images.clone(), INPUT, pixels, reader.cloned(), &|_| (), &stop).unwrap())
    };

    let (mapped, with_targets, decoded) =
        (open(Some(&pixels), None), open(Some(&pixels), Some(&reader)), open(None, None));
    let no_colours = Augment { hsv_gain: [0.0; 3], ..Augment::grid() };
    measure("plain letterbox", &mapped, Augment::none(), false);
    measure("grid, no colours", &mapped, no_colours, false);
    measure("grid", &mapped, Augment::grid(), false);
    measure("grid, cached predictions", &with_targets, Augment::grid(), false);
    measure("mosaics of cached views", &with_targets, Augment::grid(), true);
    measure("cached views", &with_targets, Augment::grid().without_mosaic(), true);
    measure("free", &mapped, Augment::free(), false);
    measure("grid, decoded each time", &decoded, Augment::grid(), false);
}

/// One epoch for the digest, then several for the least time of one.
fn measure(name: &str, set: &Arc<TrainSet>, augment: Augment, cached_views: bool) {
    let options = LoaderOptions {
        batch: NonZeroUsize::new(16).unwrap(),
        seed: 0,
        shuffle: true,
        augment,
        cached_views,
        epochs: 1,
        epochs_without_mosaic: 0,
        threads: NonZeroUsize::MIN,
        ahead: NonZeroUsize::MIN,
    };
    let mut digest = Sha256::new();
    for batch in Loader::start(set.clone(), options, Position::default()).unwrap() {
        let batch = batch.unwrap();
        digest.update(&batch.pixels);
        batch.labels.boxes_xyxy_input_px.iter().for_each(|value| digest.update(value.to_le_bytes()));
        if let Some(teacher) = &batch.teacher {
            for values in [&teacher.class_logits, &teacher.boxes_xyxy_input_px, &teacher.floor_prob] {
                values.iter().for_each(|value| digest.update(value.to_le_bytes()));
            }
        }
    }
    let batches = options.batches_per_epoch(set.images().len()) as f64;
    let (mut least_ms, mut targets_ms) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let mut loader = Loader::start(set.clone(), options, Position::default()).unwrap();
        while let Some(batch) = loader.next() {
            loader.recycle(batch.unwrap());
        }
        let times = loader.times();
        least_ms = least_ms.min(times.preparing.as_secs_f64() * 1e3 / batches);
        targets_ms = targets_ms.min(times.targets.as_secs_f64() * 1e3 / batches);
    }
    let digest: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    println!(
        "{name:<26} {least_ms:8.2} ms a batch of 16, of it {targets_ms:5.2} for cached predictions, least of {ROUNDS}, sha256 {digest}"
    );
}
