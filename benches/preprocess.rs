//! Milliseconds an image for decoding, and for the letterbox into a 640 x 640 tensor, on one thread.
//!
//! `cargo bench --bench preprocess [FOLDER OF IMAGES]`; without a folder, `../shared/data/coco128` where it lies. Each line
//! ends with a digest of what was computed, so that equal work is visible beside the time.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use logitcache::{
    preprocess::{DecodeLimits, Preprocessor, RgbImage, decode, decode_into},
    types::Letterbox,
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
            let plan = Letterbox::fit(image.size, side, side);
            preprocessor.letterbox_into(image, &plan, &mut tensor);
            if let Some(digest) = digest {
                tensor.iter().for_each(|value| digest.update(value.to_le_bytes()));
            }
        });
    }
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
