//! Pictures of every kind against what OpenCV makes of them. `tests/fixtures/images/generate.py` made the files.

use logitcache::{
    preprocess::{DecodeLimits, RgbImage, decode, decode_into, size_of},
    types::ImageSize,
};
use serde_json::{Map, Value};
use std::{fs, path::PathBuf};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images")
}

fn table(name: &str) -> Map<String, Value> {
    serde_json::from_str(&fs::read_to_string(fixtures().join(name)).unwrap()).unwrap()
}

fn read(folder: &str, name: &str) -> Vec<u8> {
    fs::read(fixtures().join(folder).join(name)).unwrap()
}

/// Every file of a folder is in its table and the other way round: a fixture without a check is a mistake.
fn assert_listed(folder: &str, table: &Map<String, Value>) {
    let mut files: Vec<String> =
        fs::read_dir(fixtures().join(folder)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let mut listed: Vec<String> = table.keys().cloned().collect();
    listed.sort();
    assert_eq!(files, listed);
}

#[test]
fn good_pictures_decode_as_in_opencv() {
    let good = table("good.json");
    assert_listed("good", &good);
    let mut wrong = Vec::new();
    for (name, expected) in &good {
        let image = match decode(&read("good", name), &DecodeLimits::default()) {
            Ok(image) => image,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let side = |key: &str| u32::try_from(expected[key].as_u64().unwrap()).unwrap();
        if image.size != (ImageSize { width: side("width"), height: side("height") }) {
            wrong.push(format!("{name}: {:?} instead of {expected}", image.size));
            continue;
        }
        assert_eq!(size_of(&read("good", name), &DecodeLimits::default()).unwrap(), image.size, "{name}");
        let pixels = read("expected", &format!("{name}.rgb"));
        assert_eq!(image.pixels.len(), pixels.len(), "{name}");
        let worst = image.pixels.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        if u64::from(worst) > expected["tolerance"].as_u64().unwrap() {
            let unequal = image.pixels.iter().zip(&pixels).filter(|(a, b)| a != b).count();
            wrong.push(format!("{name}: {unequal} of {} values differ, by {worst} at most", pixels.len()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), good.len(), wrong.join("\n"));
}

#[test]
fn bad_files_are_refused_in_words() {
    let bad = table("bad.json");
    assert_listed("bad", &bad);
    let mut wrong = Vec::new();
    for (name, words) in &bad {
        let words = words.as_str().unwrap();
        match decode(&read("bad", name), &DecodeLimits::default()) {
            Ok(image) => wrong.push(format!("{name}: decoded to {:?}", image.size)),
            Err(error) if !error.to_string().contains(words) => wrong.push(format!("{name}: {error}\n  not: {words}")),
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), bad.len(), wrong.join("\n"));
}

#[test]
fn a_buffer_used_again_shows_nothing_of_before() {
    let limits = DecodeLimits::default();
    let mut image = RgbImage::empty();
    for name in ["baseline_444.jpg", "one_pixel.jpg", "cmyk_adobe.jpg", "rgb_8.png", "grey.jpg", "orientation_6.jpg"] {
        let bytes = read("good", name);
        decode_into(&bytes, &limits, &mut image).unwrap();
        assert_eq!(image, decode(&bytes, &limits).unwrap(), "{name}");
    }
    decode_into(&read("bad", "truncated_baseline.jpg"), &limits, &mut image).unwrap_err();
    assert_eq!(image, RgbImage::empty());
}

#[test]
fn the_limit_is_on_pixels() {
    let bytes = read("good", "rgb_8.png");
    let pixels = 33 * 25;
    assert!(decode(&bytes, &DecodeLimits { max_pixels: pixels }).is_ok());
    let error = decode(&bytes, &DecodeLimits { max_pixels: pixels - 1 }).unwrap_err();
    assert_eq!(error.to_string(), "this PNG declares 33 x 25 pixels, more than the limit of 824 pixels");
}
