//! Reading the predictions of one image of a large cache, in random order, warm: microseconds from Rust.
//!
//! `cargo bench --bench random_reads -- CACHE LARGE [IMAGES]`: makes LARGE of the images of CACHE, again and again with new ids,
//! up to IMAGES (20,000), where it is not there yet. `benches/random_reads.py` reads LARGE from Python, beside other formats.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use logitcache::{
    cache::{CacheReader, ImageRecord, PartWriter, Values, decode_f16},
    fsio::Lock,
};
use std::{hint::black_box, path::Path, time::Instant};

const IMAGES: u64 = 20_000;
const IMAGES_PER_PART: u64 = 4096;
const READS: usize = 100_000;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let [cache, large, more @ ..] = given.as_slice() else {
        println!("skipped: random_reads needs two folders, CACHE and LARGE");
        return;
    };
    let images = more.first().map_or(IMAGES, |images| images.parse().unwrap());
    let large = Path::new(large);
    if !large.exists() {
        make(Path::new(cache), large, images);
    }
    let started = Instant::now();
    let reader = CacheReader::open(large).unwrap();
    let opened = started.elapsed();
    let ids: Vec<i64> = reader.keys().map(|key| key.unwrap().0).collect();
    println!("{} images opened in {:.2} ms", ids.len(), opened.as_secs_f64() * 1e3);

    let order = shuffled(&ids);
    for (what, read) in READERS {
        let mut times = Vec::with_capacity(order.len() + READS);
        for id in order.iter().cycle().take(order.len() + READS) {
            let started = Instant::now();
            black_box(read(&reader, *id));
            times.push(started.elapsed());
        }
        // The first round over all images warmed up.
        times.drain(..order.len());
        times.sort();
        let at = |share: f64| times[(share * (READS - 1) as f64) as usize].as_secs_f64() * 1e6;
        println!("{what}: p50 {:.2} us, p99 {:.2} us", at(0.5), at(0.99));
    }
}

type Read = fn(&CacheReader, i64) -> usize;

const READERS: [(&str, Read); 2] = [
    ("columns as slices of the map", |reader, id| reader.image(id, 0).unwrap().unwrap().predictions.len()),
    ("the same, and every logit as float16", |reader, id| {
        let p = reader.image(id, 0).unwrap().unwrap().predictions;
        let count = |values: Values<'_, 2>| decode_f16(values).collect::<Vec<_>>().len();
        count(p.class_logits) + p.dfl_logits.map_or(0, count)
    }),
];

fn make(cache: &Path, large: &Path, images: u64) {
    let source = CacheReader::open(cache).unwrap();
    let records: Vec<ImageRecord> = source.images().map(|image| image.unwrap().to_record()).collect();
    let mut manifest = source.manifest().clone();
    manifest.parts.clear();
    manifest.failures.clear();
    manifest.dataset.samples = images;
    std::fs::create_dir_all(large).unwrap();
    let lock = Lock::acquire(large).unwrap();
    for first in (0..images).step_by(IMAGES_PER_PART as usize) {
        let mut writer = PartWriter::create(large, &manifest).unwrap();
        for (id, record) in (first..images.min(first + IMAGES_PER_PART)).zip(records.iter().cycle()) {
            let path = format!("images/{id:012}.jpg");
            writer.push(&ImageRecord { image_id: id as i64, path, ..record.clone() }).unwrap();
        }
        manifest.add_part(writer.finish().unwrap().unwrap());
    }
    manifest.save(&lock).unwrap();
    manifest.digests = Some(CacheReader::open(large).unwrap().content_digests().unwrap());
    manifest.complete = true;
    manifest.save(&lock).unwrap();
}

/// The ids in an order that is the same in every run (splitmix64).
fn shuffled(ids: &[i64]) -> Vec<i64> {
    let mut state = 0u64;
    let mut ids = ids.to_vec();
    for at in (1..ids.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ids.swap(at, ((z ^ (z >> 31)) % (at as u64 + 1)) as usize);
    }
    ids
}
