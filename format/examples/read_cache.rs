//! Reads a cache with nothing but `logitcache-format`: for each of the first images its best prediction, with the class
//! distribution and the expected distance of each side.
//!
//! `cargo run -p logitcache-format --example read_cache -- CACHE`

#![allow(clippy::print_stdout, clippy::print_stderr)]

use logitcache_format::{CacheReader, Error, decode_f32};
use std::{path::Path, process::ExitCode};

const IMAGES: usize = 5;
const CLASSES: usize = 3;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: read_cache CACHE");
        return ExitCode::from(2);
    };
    match show(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn show(folder: &Path) -> Result<(), Error> {
    let cache = CacheReader::open(folder)?;
    let teacher = &cache.manifest().teacher;
    for image in cache.images().take(IMAGES) {
        let image = image?;
        let predictions = image.predictions;
        println!("{:?} ({} predictions)", image.path, predictions.len());
        let best = decode_f32(predictions.scores).enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let Some((row, score)) = best else { continue };
        let Some(b) = predictions.boxes_xyxy_px().nth(row) else { continue };
        println!("  score {score:.3} at x {:.0} to {:.0}, y {:.0} to {:.0} px", b.x1, b.x2, b.y1, b.y2);
        let logits = predictions.all_class_logits();
        let row_logits = logits.chunks_exact(predictions.class_len).nth(row).unwrap_or_default();
        let mut classes: Vec<(f32, &String)> =
            row_logits.iter().map(|&logit| predictions.head.probability(logit)).zip(&teacher.class_names).collect();
        classes.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (probability, name) in classes.iter().take(CLASSES) {
            println!("    {probability:.3} {name}");
        }
        // Each side is a distribution over distances of 0, 1, 2 ... cells: a softmax of its bins.
        if let Some(bins) = predictions.dfl_logits {
            let bins = bins.to_f32();
            let of_row = bins.chunks_exact(predictions.dfl_len).nth(row).unwrap_or_default();
            let sides = of_row.chunks_exact((predictions.dfl_len / 4).max(1)).map(expected_distance);
            println!("    left, top, right, bottom in cells: {:.2?}", sides.collect::<Vec<f32>>());
        }
    }
    Ok(())
}

/// The mean of a side's distribution over its bins, in cells.
fn expected_distance(bins: &[f32]) -> f32 {
    let highest = bins.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = bins.iter().map(|bin| (bin - highest).exp());
    let sum: f32 = weights.clone().sum();
    weights.enumerate().map(|(bin, weight)| bin as f32 * weight).sum::<f32>() / sum
}
