//! Milliseconds an image for each stage beside the teacher: decoding, letterbox, selection of anchors; on one thread.
//!
//! `cargo bench --bench stages [FOLDER OF IMAGES]`; without a folder, `../shared/data/coco128` where it lies. Each line
//! ends with a digest of what was computed, so that equal work is visible beside the time.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use logitcache::{
    cache::{Grid, HeadKind, Places},
    detector::{BoxRule, HeadSpec, HeadView},
    preprocess::{DecodeLimits, LetterboxPlan, Preprocessor, RgbImage, decode, decode_into},
    teach::{Selection, Selector},
    types::{ImageSize, LogitType},
};
use sha2::{Digest, Sha256};
use std::{fs, path::PathBuf, time::Instant};

const ROUNDS: usize = 9;

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
    let files: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let limits = DecodeLimits::default();

    let mut image = RgbImage::empty();
    measure("decode", &files, |bytes, digest| {
        decode_into(bytes, &limits, &mut image).unwrap();
        if let Some(digest) = digest {
            digest.update(&image.pixels);
        }
    });
    let images: Vec<RgbImage> = files.iter().map(|bytes| decode(bytes, &limits).unwrap()).collect();
    let at_640: Vec<&RgbImage> = images.iter().filter(|image| image.size.width.max(image.size.height) == 640).collect();
    for (name, images, side) in [
        ("letterbox, no resize, 640", &at_640[..], 640),
        ("letterbox, shrunk to 416", &at_640[..], 416),
        ("letterbox, enlarged to 960", &at_640[..], 960),
    ] {
        let mut preprocessor = Preprocessor::default();
        let mut tensor = vec![0f32; 3 * side as usize * side as usize];
        measure(name, images, |image, digest| {
            let plan = LetterboxPlan::fit(image.size, side, side);
            preprocessor.letterbox_into(image, &plan, &mut tensor);
            if let Some(digest) = digest {
                tensor.iter().for_each(|value| digest.update(value.to_le_bytes()));
            }
        });
    }
    select();
}

/// A head of 80 classes at 640 pixels whose logits lie as a trained detector's do: most near -9, some hundred high ones.
fn select() {
    let (num_classes, num_anchors) = (80, 8400);
    let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761).rotate_left(13) as f32 / u32::MAX as f32;
    let class_logits: Vec<f32> = (0..num_classes * num_anchors).map(|i| -11.0 + 4.0 * noise(i)).collect();
    let class_logits: Vec<f32> =
        class_logits.iter().enumerate().map(|(i, &l)| if noise(i + 7) > 0.9997 { l + 8.0 } else { l }).collect();
    let dfl: Vec<f32> = (0..64 * num_anchors).map(|i| 6.0 * noise(i + 3)).collect();
    let spec = HeadSpec {
        kind: HeadKind::Yolov8Dfl,
        num_classes,
        boxes: BoxRule::Bins { reg_max: 16 },
        places: Places::Grid(Grid::new(ImageSize { width: 640, height: 640 }, &[8, 16, 32])),
        one_to_one: false,
    };
    let head = HeadView::new(&spec, &class_logits, &dfl).unwrap();
    let mut selector = Selector::new(
        spec.clone(),
        Selection { min_score: 0.0, top_k: 1000, coverage: 0.9998, class_coverage: 0.995, logits: LogitType::Bits8 },
        true,
    );
    let plan = LetterboxPlan::fit(ImageSize { width: 640, height: 480 }, 640, 640);
    measure("select, 80 classes, 640", &[head], |head, digest| {
        let selected = selector.select(*head, &plan).unwrap();
        if let Some(digest) = digest {
            selected.predictions.anchor.iter().for_each(|anchor| digest.update(anchor.to_le_bytes()));
            digest.update(selected.dropped_mean_prob.to_le_bytes());
        }
    });
}

/// Runs `work` over all items: once for the digest, then several times for the least time.
fn measure<T>(name: &str, items: &[T], mut work: impl FnMut(&T, Option<&mut Sha256>)) {
    let mut digest = Sha256::new();
    items.iter().for_each(|item| work(item, Some(&mut digest)));
    let mut least_ms = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        items.iter().for_each(|item| work(std::hint::black_box(item), None));
        least_ms = least_ms.min(start.elapsed().as_secs_f64() * 1e3 / items.len() as f64);
    }
    let digest: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    println!(
        "{name:<28} {least_ms:7.3} ms an image over {:>3} images, least of {ROUNDS}, sha256 {digest}",
        items.len()
    );
}
