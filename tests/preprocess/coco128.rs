//! Real photographs: the pixels that the teacher sees are those that Ultralytics would show it, every one.
//! `tests/fixtures/coco128_pixels.py` made the digests.

use logitcache::preprocess::{DecodeLimits, LetterboxPlan, Preprocessor, RgbImage, decode_into};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs};

#[derive(Deserialize)]
struct Expected {
    decoded: String,
    letterboxed: BTreeMap<u32, String>,
}

fn digest(levels: &[u8]) -> String {
    Sha256::digest(levels).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn pixels_of_coco128_equal_ultralytics() {
    let Some(shared) = crate::common::shared() else { return };
    let table: BTreeMap<String, Expected> =
        serde_json::from_str(include_str!("../fixtures/coco128_pixels.json")).unwrap();
    assert_eq!(table.len(), 128);
    let mut preprocessor = Preprocessor::default();
    let mut image = RgbImage::empty();
    for (name, expected) in table {
        let bytes = fs::read(shared.join("data/coco128/images/train2017").join(&name)).unwrap();
        decode_into(&bytes, &DecodeLimits::default(), &mut image).unwrap();
        assert_eq!(digest(&image.pixels), expected.decoded, "{name}");
        for (side, expected) in expected.letterboxed {
            let plan = LetterboxPlan::fit(image.size, side, side);
            let area = side as usize * side as usize;
            let mut tensor = vec![f32::NAN; 3 * area];
            preprocessor.letterbox_into(&image, &plan, &mut tensor);
            let level = |index: usize| (tensor[index] * 255.0).round() as u8;
            let levels: Vec<u8> = (0..area).flat_map(|p| [level(p), level(p + area), level(p + 2 * area)]).collect();
            assert_eq!(digest(&levels), expected, "{name} at {side}");
        }
    }
}
