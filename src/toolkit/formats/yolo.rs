//! YOLO as Ultralytics reads it: `class cx cy w h` a line, in fractions of the image's sides with
//! up to eight digits.

use super::{Image, Target, json, number};
use crate::{
    Error, Result,
    dataset::{Truth, UNSPLIT},
    toolkit::folder::{make_parent, write_file},
};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

pub(super) const DATA_YAML: &str = "data.yaml";
const DIGITS: usize = 8;
const SPLITS: [&str; 3] = ["train", "val", "test"];

pub(super) struct Yolo {
    folder: PathBuf,
    splits: Vec<String>,
    /// Images of each split.
    images: Vec<u64>,
    classes: Vec<String>,
}

impl Yolo {
    pub(super) fn begin(folder: &Path, splits: &[String], classes: &[String]) -> Result<Self> {
        let odd = splits.iter().find(|name| *name != UNSPLIT && !SPLITS.contains(&name.as_str()));
        if let Some(name) = odd {
            return Err(Error::Mismatch {
                found: format!("a data.yaml has the splits train, val and test, not {name:?}"),
                remedy: "Choose or name the splits so, or write another format.".into(),
            });
        }
        let images = vec![0; splits.len()];
        Ok(Self { folder: folder.to_path_buf(), splits: splits.to_vec(), images, classes: classes.to_vec() })
    }

    fn description(&self) -> String {
        let mut text = "# written by logitcache data\n".to_owned();
        // A split without images could not be read again.
        for (name, _) in self.splits.iter().zip(&self.images).filter(|(_, images)| **images > 0) {
            let key = if name == UNSPLIT { "train" } else { name };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key}: images/{name}");
        }
        text.push_str("names:\n");
        for (name, id) in self.classes.iter().zip(0u32..) {
            let _ = writeln!(text, "  {id}: {}", json(name));
        }
        text
    }
}

impl Target for Yolo {
    fn write_image(&self, image: &Image) -> Result<()> {
        // No label file means that nobody annotated the image.
        let Truth::Labelled(boxes) = &image.truth else { return Ok(()) };
        let (width, height) = (f64::from(image.size.width), f64::from(image.size.height));
        let mut text = String::with_capacity(boxes.len() * 48);
        for raw in boxes {
            let [x1, y1, x2, y2] = raw.xyxy_px;
            let _ = write!(text, "{}", raw.class_id);
            let values = [(x1 + x2) / 2.0 / width, (y1 + y2) / 2.0 / height, (x2 - x1) / width, (y2 - y1) / height];
            for value in values {
                text.push(' ');
                number(&mut text, value, DIGITS);
            }
            text.push('\n');
        }
        let split = self.splits.get(image.split).map_or("", String::as_str);
        let path = self.folder.join("labels").join(split).join(format!("{}.txt", image.stem()));
        make_parent(&path)?;
        write_file(&path, text.as_bytes())
    }

    fn append(&mut self, image: &Image) -> Result<()> {
        self.images.iter_mut().skip(image.split).take(1).for_each(|images| *images += 1);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        write_file(&self.folder.join(DATA_YAML), self.description().as_bytes())
    }
}
