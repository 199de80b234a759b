//! How long it takes to publish a cache of many shards, and to find out what is done of one; with images without predictions,
//! which nobody decoded.
//!
//! `cargo bench --bench shards [SHARDS] [IMAGES OF A SHARD]`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use logitcache::{
    cache::{
        Folder, ImageRecord, Manifest, PartWriter, Predictions, Publication, Shard, ShardJob, ShardedCache, Storage,
    },
    fsio::{Lock, create_folder},
    types::{ImageSize, Letterbox, ViewChange},
};
use std::{fs, path::Path, time::Instant};

/// Samples of the data set whose job is looked at while shards are missing.
const MANY: u64 = 50_000_000;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (shards, images) = (numbers.first().copied().unwrap_or(10_000), numbers.get(1).copied().unwrap_or(16));
    let dir = tempfile::tempdir().unwrap();
    publish(&dir.path().join("cache"), shards as u32, images);
    look(&dir.path().join("begun"), shards as u32);
}

/// A manifest without parts for a data set of so many samples.
fn base(samples: u64) -> Manifest {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache-v1");
    let mut manifest = Manifest::load(&fixture).unwrap();
    (manifest.parts, manifest.failures) = (Vec::new(), Vec::new());
    manifest.dataset.samples = samples;
    (manifest.settings.views, manifest.settings.view_rule) = (0, String::new());
    manifest
}

fn join(folder: &Path, manifest: &Manifest, shards: u32) -> ShardedCache {
    create_folder(folder).unwrap();
    let job = ShardJob::new(manifest, shards, "0".repeat(64));
    ShardedCache::join(Box::new(Folder::new(folder)), Lock::share(folder).unwrap(), &job).unwrap()
}

fn publish(folder: &Path, shards: u32, images: u64) {
    let manifest = base(u64::from(shards) * images);
    let cache = join(folder, &manifest, shards);
    for shard in cache.job().each_shard() {
        let mut writer = PartWriter::create(folder, &manifest).unwrap();
        shard.image_ids(manifest.dataset.samples).for_each(|image_id| writer.push(&record(image_id)).unwrap());
        let part = writer.finish().unwrap().unwrap();
        let done = Manifest { parts: vec![part], ..manifest.clone() };
        assert!(cache.finish(shard, &cache.record_of(shard, &done)).unwrap());
    }
    let started = Instant::now();
    let Publication::Published(published) = cache.publish().unwrap() else { panic!("shards are missing") };
    println!(
        "published {shards} shards with {} images in {:.2} s; {}",
        published.images(),
        started.elapsed().as_secs_f64(),
        memory()
    );
}

/// A worker of the last shard begins where every hundredth shard is missing.
fn look(folder: &Path, shards: u32) {
    let manifest = base(MANY);
    let cache = join(folder, &manifest, shards);
    let one = {
        let mut writer = PartWriter::create(folder, &manifest).unwrap();
        writer.push(&record(0)).unwrap();
        writer.finish().unwrap().unwrap()
    };
    for shard in cache.job().each_shard().filter(|shard| shard.number() % 100 != 0) {
        let ids = shard.image_ids(MANY);
        let mut done = manifest.clone();
        // As many parts as a build has by default.
        for first_image_id in ids.clone().step_by(4096) {
            done.parts.push(logitcache::cache::PartEntry {
                first_image_id,
                last_image_id: first_image_id,
                ..one.clone()
            });
        }
        cache.finish(shard, &cache.record_of(shard, &done)).unwrap();
    }
    drop(cache);
    let started = Instant::now();
    let cache = join(folder, &manifest, shards);
    let last = Shard::new(shards, shards).unwrap();
    assert!(cache.record(last).unwrap().is_none() && cache.progress(last).unwrap().is_none());
    let missing = cache.missing().unwrap().len();
    println!("found {missing} of {shards} shards missing in {:.3} s; {}", started.elapsed().as_secs_f64(), memory());
    assert!(Folder::new(folder).read("manifest.json", 1).unwrap().is_none());
}

fn record(image_id: i64) -> ImageRecord {
    ImageRecord {
        image_id,
        view: 0,
        path: format!("images/{image_id:012}.jpg"),
        size: ImageSize { width: 640, height: 480 },
        file_sha256: [7; 32],
        letterbox: Letterbox { scale: 1.0, pad_left: 0.0, pad_top: 80.0 },
        change: ViewChange::NONE,
        dropped_max_score: 0.0,
        dropped_mean_prob: 0.0,
        dropped_score_sum: 0.0,
        rest_mean_prob: 0.0,
        labels: None,
        predictions: Predictions::default(),
    }
}

/// The most memory that this process ever had.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    format!("peak memory {}", peak.trim())
}
