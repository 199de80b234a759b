//! The letterbox against Ultralytics, number for number and level for level. `tests/fixtures/letterbox.py` made the table.

use logitcache::{
    preprocess::{LetterboxPlan, Preprocessor, RgbImage},
    types::{BoxXyxyPx, ImageSize},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Table {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    image: [u32; 2],
    input: [u32; 2],
    scale: f64,
    resized: [u32; 2],
    pad: [u32; 4],
    box_input: [f32; 4],
    box_image: [f32; 4],
    sha256: Option<String>,
}

fn entries() -> Vec<Entry> {
    let table: Table = serde_json::from_str(include_str!("../fixtures/letterbox.json")).unwrap();
    assert!(table.entries.len() > 200);
    table.entries
}

/// As `pattern` in the generator.
fn pattern(width: u32, height: u32) -> RgbImage {
    let level = |x: u32, y: u32, channel: u32| ((x * 7 + y * 13 + channel * 85 + x * y * 31 / 16) % 256) as u8;
    let pixels = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |channel| level(x, y, channel))))
        .collect();
    RgbImage { size: ImageSize { width, height }, pixels }
}

#[test]
fn plans_and_boxes_equal_ultralytics() {
    for entry in entries() {
        let [width, height] = entry.image;
        let [columns, rows] = entry.input;
        let plan = LetterboxPlan::fit(ImageSize { width, height }, rows, columns);
        let place = format!("{width} x {height} into {columns} x {rows}");
        assert_eq!([plan.resized.width, plan.resized.height], entry.resized, "{place}");
        let [left, top] = [plan.letterbox.pad_left as u32, plan.letterbox.pad_top as u32];
        let [right, bottom] = [columns - left - plan.resized.width, rows - top - plan.resized.height];
        assert_eq!([left, top, right, bottom], entry.pad, "{place}");
        assert_eq!(plan.letterbox.scale, entry.scale as f32, "{place}");
        let [x1, y1, x2, y2] = entry.box_input;
        let BoxXyxyPx { x1, y1, x2, y2 } = plan.to_image(BoxXyxyPx { x1, y1, x2, y2 });
        assert_eq!([x1, y1, x2, y2], entry.box_image, "{place}: boxes must be equal to the last bit");
    }
}

#[test]
fn pixels_equal_opencv() {
    let mut preprocessor = Preprocessor::default();
    let mut checked = 0;
    for entry in entries() {
        let Some(expected) = entry.sha256 else { continue };
        let [columns, rows] = entry.input.map(|side| side as usize);
        let image = pattern(entry.image[0], entry.image[1]);
        let plan = LetterboxPlan::fit(image.size, entry.input[1], entry.input[0]);
        let mut tensor = vec![f32::NAN; 3 * rows * columns];
        preprocessor.letterbox_into(&image, &plan, &mut tensor);
        let level = |index: usize| {
            let level = (tensor[index] * 255.0).round();
            assert_eq!(level / 255.0, tensor[index]);
            level as u8
        };
        let area = rows * columns;
        let levels: Vec<u8> = (0..area).flat_map(|p| [level(p), level(p + area), level(p + 2 * area)]).collect();
        let found: String = Sha256::digest(&levels).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected, "{:?} into {:?}", entry.image, entry.input);
        checked += 1;
    }
    assert!(checked > 40, "only {checked} pictures had pixels to compare");
}
