//! Label text files: `class cx cy w h` a line, all four divided by the picture's size, or `class x y x y x y ...`.
//!
//! The rules are those of Ultralytics' `verify_image_label`, with the line named where it says "corrupt".

use crate::dataset::{Annotated, FaultKind, LabelFault, RawBox, files, truth::Truth};
use crate::{
    text,
    types::{ImageSize, TruthBox},
};
use std::{collections::HashSet, io, path::Path};

/// The most that is read of one label file: some hundred thousand boxes.
const CAP_BYTES: u64 = 8 << 20;
/// Coordinates may leave 0..1 by this much, as rounding of other programs makes them.
const TOLERANCE: f64 = 0.01;
/// A polygon has at least this many points.
const MIN_POINTS: usize = 3;
/// Faults of one file that are told one by one; after them the file is not read further.
const MOST_FAULTS: usize = 1000;

/// Reads the labels of one image of the given size, and how many boxes were left out because they have no area;
/// [`Truth::Missing`] where the file does not exist.
///
/// # Errors
/// What is wrong, naming the file and, counted from 1, the line.
pub(in crate::dataset) fn read(
    path: &Path,
    num_classes: usize,
    size: ImageSize,
) -> Result<(Truth<TruthBox>, usize), String> {
    let Some(rows) = rows(path, num_classes)? else { return Ok((Truth::Missing, 0)) };
    let kept: Vec<TruthBox> = rows.iter().filter_map(|row| row.to_pixels(size).clip(size)).collect();
    let left_out = rows.len() - kept.len();
    Ok((Truth::Labelled(kept), left_out))
}

/// The class ids in a label file; none where it cannot be used, which its image tells.
pub(in crate::dataset) fn classes(path: &Path, num_classes: usize) -> Vec<u32> {
    let rows = rows(path, num_classes).ok().flatten().unwrap_or_default();
    rows.iter().map(|row| row.class_id).collect()
}

/// All rows of a file; `None` where it does not exist.
fn rows(path: &Path, num_classes: usize) -> Result<Option<Vec<Row>>, String> {
    let Some(bytes) = bytes(path).map_err(|words| format!("{}: {words}", path.display()))? else { return Ok(None) };
    let text = text::decode(&bytes).map_err(|found| format!("{}: {}", path.display(), not_text(&found)))?;
    let rows =
        parse(&text, num_classes).map_err(|(line, reason)| format!("{} line {line}: {reason}", path.display()))?;
    Ok(Some(rows))
}

/// As [`read`], with every fault beside the rows that are good; nothing is clipped or left out.
pub(in crate::dataset) fn annotated(path: &Path, num_classes: usize, size: ImageSize) -> Annotated {
    let unreadable = |words: String| Annotated {
        truth: Truth::Labelled(Vec::new()),
        faults: vec![LabelFault::new(FaultKind::Unreadable, words)],
        repeated: 0,
    };
    let bytes = match bytes(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Annotated { truth: Truth::Missing, faults: Vec::new(), repeated: 0 },
        Err(words) => return unreadable(words),
    };
    let text = match text::decode(&bytes) {
        Ok(text) => text,
        Err(found) => return unreadable(not_text(&found)),
    };
    let Rows { rows, faults, repeated } = parse_all(&text, num_classes, MOST_FAULTS);
    let named =
        |(line, fault): (usize, LabelFault)| LabelFault::new(fault.kind, format!("line {line}: {}", fault.words));
    Annotated {
        truth: Truth::Labelled(rows.iter().map(|row| row.to_pixels(size)).collect()),
        faults: faults.into_iter().map(named).collect(),
        repeated,
    }
}

/// The bytes of a label file; `None` where it does not exist.
fn bytes(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match files::read_capped(path, CAP_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(format!("cannot read the label file: {e}")),
    }
}

fn not_text(found: &str) -> String {
    format!("the label file is not text: {found}")
}

/// One object, in fractions of the picture's size.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    class_id: u32,
    cx: f64,
    cy: f64,
    w: f64,
    h: f64,
    /// The box around a polygon.
    polygon: bool,
}

impl Row {
    fn to_pixels(self, size: ImageSize) -> RawBox {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let xyxy_px = [
            (self.cx - self.w / 2.0) * width,
            (self.cy - self.h / 2.0) * height,
            (self.cx + self.w / 2.0) * width,
            (self.cy + self.h / 2.0) * height,
        ];
        RawBox { outlined: self.polygon, ..RawBox::object(self.class_id, xyxy_px) }
    }
}

/// What a label file holds.
#[derive(Debug, Default)]
struct Rows {
    /// Equal ones once.
    rows: Vec<Row>,
    /// What is wrong, with the number of its line.
    faults: Vec<(usize, LabelFault)>,
    /// Rows that repeat another one.
    repeated: usize,
}

/// All rows, equal ones once, or the first fault.
fn parse(text: &str, num_classes: usize) -> Result<Vec<Row>, (usize, String)> {
    let parsed = parse_all(text, num_classes, 1);
    match parsed.faults.into_iter().next() {
        Some((line, fault)) => Err((line, fault.words)),
        None => Ok(parsed.rows),
    }
}

/// Reads rows up to the given number of faults. A row of more than six columns makes the whole file one of polygons; each then
/// becomes the box around it.
fn parse_all(text: &str, num_classes: usize, most_faults: usize) -> Rows {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let lines = || text.split(['\n', '\r']).zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let polygons = lines().any(|(line, _)| line.split_whitespace().nth(6).is_some());
    let mut seen = HashSet::new();
    let mut parsed = Rows::default();
    for (line, number) in lines() {
        match parse_row(line, polygons, num_classes) {
            // Distinct polygons may share a box and are distinct objects.
            Ok((row, identity)) => match seen.insert((row.class_id, identity)) {
                true => parsed.rows.push(row),
                false => parsed.repeated += 1,
            },
            Err(fault) => parsed.faults.push((number, fault)),
        }
        if parsed.faults.len() >= most_faults {
            break;
        }
    }
    parsed
}

/// One row, and its coordinates as bits of f32: what Ultralytics compares to find duplicates.
fn parse_row(line: &str, polygon: bool, num_classes: usize) -> Result<(Row, Vec<u32>), LabelFault> {
    let mut words = line.split_whitespace();
    let class_id = parse_class(words.next().unwrap_or_default(), num_classes)?;
    let values = words.map(parse_number).collect::<Result<Vec<f64>, LabelFault>>()?;
    let row = if polygon {
        if values.len() < 2 * MIN_POINTS || !values.len().is_multiple_of(2) {
            return Err(malformed(format!(
                "{} columns in a file of polygons; each row is a class and at least {MIN_POINTS} points of x and y",
                values.len() + 1
            )));
        }
        let around = |offset: usize| {
            let along = values.iter().skip(offset).step_by(2);
            along.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
        };
        let ((x1, x2), (y1, y2)) = (around(0), around(1));
        Row { class_id, cx: (x1 + x2) / 2.0, cy: (y1 + y2) / 2.0, w: x2 - x1, h: y2 - y1, polygon }
    } else {
        let [cx, cy, w, h] = values[..] else {
            return Err(malformed(wrong_columns(&values)));
        };
        Row { class_id, cx, cy, w, h, polygon }
    };
    for (name, value, low) in
        [("cx", row.cx, -TOLERANCE), ("cy", row.cy, -TOLERANCE), ("width", row.w, 0.0), ("height", row.h, 0.0)]
    {
        if !(low..=1.0 + TOLERANCE).contains(&value) {
            return Err(LabelFault::new(
                FaultKind::OutOfRange,
                format!("{name} is {value}, outside 0 to 1; coordinates are divided by the image's size"),
            ));
        }
    }
    // Adding zero makes -0 the same as 0.
    let identity = values.iter().map(|&v| (v as f32 + 0.0).to_bits()).collect();
    Ok((row, identity))
}

/// What is wrong with a row that has not four coordinates.
fn wrong_columns(values: &[f64]) -> String {
    let found = format!("{} columns; a row is `class cx cy w h`, five columns", values.len() + 1);
    match values {
        [.., score] if values.len() == 5 && (0.0..=1.0).contains(score) => format!(
            "{found}. The last one, {score}, looks like a score: these are predictions. For labels save them without scores \
             (predict or val with save_txt, without save_conf), or cut the last column off"
        ),
        _ => found,
    }
}

fn malformed(words: String) -> LabelFault {
    LabelFault::new(FaultKind::Malformed, words)
}

fn parse_number(word: &str) -> Result<f64, LabelFault> {
    match word.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(LabelFault::new(FaultKind::NonFinite, format!("{} is not a finite number", shown(word)))),
        Err(_) => Err(malformed(format!("{} is not a number", shown(word)))),
    }
}

/// A class id, which some programs write as `3.0`.
fn parse_class(word: &str, num_classes: usize) -> Result<u32, LabelFault> {
    let value = parse_number(word)?;
    if value.fract() != 0.0 {
        return Err(malformed(format!("class {} is not a whole number", shown(word))));
    }
    if !(0.0..num_classes as f64).contains(&value) {
        return Err(LabelFault::new(
            FaultKind::UnknownClass,
            format!(
                "class {} does not exist: the data set's classes are 0 to {}",
                shown(word),
                num_classes.saturating_sub(1)
            ),
        ));
    }
    Ok(value as u32)
}

/// A word of the file, quoted and kept short.
fn shown(word: &str) -> String {
    let mut start: String = word.chars().take(24).collect();
    if start.len() < word.len() {
        start.push_str("...");
    }
    format!("{start:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: ImageSize = ImageSize { width: 100, height: 200 };

    fn boxes(text: &str) -> Vec<(u32, [f32; 4])> {
        let rows = parse(text, 3).unwrap();
        let clipped = rows.iter().filter_map(|row| row.to_pixels(SIZE).clip(SIZE));
        clipped
            .map(|l| (l.class_id, [l.box_xyxy_px.x1, l.box_xyxy_px.y1, l.box_xyxy_px.x2, l.box_xyxy_px.y2]))
            .collect()
    }

    #[test]
    fn rows_become_pixels() {
        assert_eq!(boxes("0 0.5 0.5 0.2 0.1"), [(0, [40.0, 90.0, 60.0, 110.0])]);
        assert_eq!(boxes("\u{feff}2.0\t.5 5e-1   1 1\r\n\r\n  \n"), [(2, [0.0, 0.0, 100.0, 200.0])]);
        assert_eq!(
            boxes("0 .5 .5 .2 .1\r1 .5 .5 .2 .1"),
            [(0, [40.0, 90.0, 60.0, 110.0]), (1, [40.0, 90.0, 60.0, 110.0])]
        );
        assert_eq!(boxes(""), []);
        assert_eq!(boxes("\n \n"), []);
    }

    #[test]
    fn boxes_are_clipped_and_empty_ones_dropped() {
        assert_eq!(boxes("0 1.0 0.0 0.2 0.2"), [(0, [90.0, 0.0, 100.0, 20.0])]);
        assert_eq!(boxes("0 1.01 -0.01 1.01 1"), [(0, [50.5, 0.0, 100.0, 98.0])]);
        assert_eq!(boxes("0 0.5 0.5 0 0.2\n1 1.009 0.5 0.001 0.2"), []);
    }

    #[test]
    fn polygons_become_the_box_around() {
        assert_eq!(boxes("1 0.1 0.2 0.5 0.1 0.3 0.6"), [(1, [10.0, 20.0, 50.0, 120.0])]);
        let two = boxes("1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n1 0.1 0.1 0.5 0.1 0.5 0.5");
        assert_eq!(two.len(), 2, "different polygons with the same box are two objects");
    }

    #[test]
    fn equal_rows_count_once() {
        assert_eq!(boxes("0 .5 .5 .2 .1\n1 .5 .5 .2 .1\n0 0.50 .5 .2 .1\n0 .5 .5 .2 .1").len(), 2);
        let polygon = "1 0.1 0.2 0.5 0.1 0.3 0.6\n";
        assert_eq!(boxes(&polygon.repeat(3)).len(), 1);
    }

    #[test]
    fn every_wrong_row_is_named() {
        for (text, line, words) in [
            ("0 .5 .5 .2 .1\n\n3 .5 .5 .2 .1", 3, "class \"3\" does not exist: the data set's classes are 0 to 2"),
            ("-1 .5 .5 .2 .1", 1, "class \"-1\" does not exist"),
            ("0.5 .5 .5 .2 .1", 1, "class \"0.5\" is not a whole number"),
            ("cat .5 .5 .2 .1", 1, "\"cat\" is not a number"),
            ("nan .5 .5 .2 .1", 1, "\"nan\" is not a finite number"),
            ("0 .5 NaN .2 .1", 1, "\"NaN\" is not a finite number"),
            ("0 .5 inf .2 .1", 1, "\"inf\" is not a finite number"),
            ("0 .5 1e999 .2 .1", 1, "is not a finite number"),
            ("0 .5 half .2 .1", 1, "\"half\" is not a number"),
            ("0 .5 .5 .2 .1\n0 1.02 .5 .2 .1", 2, "cx is 1.02, outside 0 to 1"),
            ("0 .5 -.02 .2 .1", 1, "cy is -0.02, outside 0 to 1"),
            ("0 .5 .5 -.001 .1", 1, "width is -0.001, outside 0 to 1"),
            ("0 .5 .5 .2 320", 1, "height is 320, outside 0 to 1"),
            ("0 .5 .5 .2", 1, "4 columns; a row is `class cx cy w h`"),
            (
                "0 .5 .5 .2 .1 .9",
                1,
                "6 columns; a row is `class cx cy w h`, five columns. The last one, 0.9, looks like a score",
            ),
            ("0 .5 .5 .2 .1 1", 1, "without save_conf"),
            ("0 .5 .5 .2 .1 7", 1, "6 columns; a row is `class cx cy w h`, five columns"),
            ("0", 1, "1 columns"),
            ("0 .1 .1 .2 .2 .3 .3\n0 .5 .5 .2 .1", 2, "5 columns in a file of polygons"),
            ("0 .1 .1 .2 .2 .3 .3 .4", 1, "8 columns in a file of polygons"),
            ("0 .1 .1 .2 .2 .3 1.8", 1, "height is 1.7"),
            ("this is not a label", 1, "\"this\" is not a number"),
            ("0 .5 .5 .2 .1 # note", 1, "\"#\" is not a number"),
            ("0,.5,.5,.2,.1", 1, "\"0,.5,.5,.2,.1\" is not a number"),
        ] {
            let (found_line, reason) = parse(text, 3).unwrap_err();
            assert_eq!(found_line, line, "{text:?}: {reason}");
            assert!(reason.contains(words), "{text:?} gave: {reason}");
        }
        let (_, reason) = parse(&"x".repeat(1_000_000), 3).unwrap_err();
        assert!(reason.len() < 100, "an error message stays short: {}", reason.len());
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "(\\PC|[0-9. eE+\\-\n\r\t]){0,80}") {
            let _ = parse(&text, 3);
        }

        #[test]
        fn accepted_boxes_lie_in_the_picture(values in prop::collection::vec((0u32..4, -0.02f64..1.02, -0.02f64..1.02, -0.02f64..1.02, -0.02f64..1.02), 1..5)) {
            let text: String = values.iter().map(|(c, x, y, w, h)| format!("{c} {x} {y} {w} {h}\n")).collect();
            if let Ok(rows) = parse(&text, 3) {
                for label in rows.iter().filter_map(|row| row.to_pixels(SIZE).clip(SIZE)) {
                    let b = label.box_xyxy_px;
                    prop_assert!(label.class_id < 3);
                    prop_assert!(0.0 <= b.x1 && b.x1 < b.x2 && b.x2 <= 100.0);
                    prop_assert!(0.0 <= b.y1 && b.y1 < b.y2 && b.y2 <= 200.0);
                }
            }
        }
    }
}
