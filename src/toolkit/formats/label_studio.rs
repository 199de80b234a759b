//! Label Studio: `tasks.json` for its import, with boxes in per cent of the image's sides with up
//! to eight digits, and the labelling configuration. Images are found through its local file
//! storage with the new folder as the root.

use super::{Image, Target, json, number, xml};
use crate::{
    Result,
    dataset::{LABEL_STUDIO_CONFIG, Truth, UNSPLIT},
    toolkit::folder::{Stream, write_file},
};
use std::{fmt::Write as _, path::Path};

pub(super) const FILE_NAME: &str = "tasks.json";
const DIGITS: usize = 8;

pub(super) struct LabelStudio {
    file: Stream,
    splits: Vec<String>,
    classes: Vec<String>,
    images: u64,
}

impl LabelStudio {
    pub(super) fn begin(folder: &Path, splits: &[String], classes: &[String]) -> Result<Self> {
        write_file(&folder.join(LABEL_STUDIO_CONFIG), config(classes).as_bytes())?;
        let mut file = Stream::create(folder.join(FILE_NAME))?;
        file.write("[")?;
        Ok(Self { file, splits: splits.to_vec(), classes: classes.to_vec(), images: 0 })
    }

    fn result(&self, image: &Image) -> String {
        let (width, height) = (f64::from(image.size.width), f64::from(image.size.height));
        let mut text = String::with_capacity(image.boxes().len() * 320);
        for (raw, region) in image.boxes().iter().zip(1..) {
            let [x1, y1, x2, y2] = raw.xyxy_px;
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{}{{\"id\": \"{}-{region}\", \"from_name\": \"label\", \"to_name\": \"image\", \"type\": \"rectanglelabels\", \
                 \"original_width\": {}, \"original_height\": {}, \"image_rotation\": 0, \"value\": {{\"rotation\": 0",
                if region == 1 { "" } else { ", " },
                self.images,
                image.size.width,
                image.size.height
            );
            let values =
                [("x", x1 / width), ("y", y1 / height), ("width", (x2 - x1) / width), ("height", (y2 - y1) / height)];
            for (name, value) in values {
                let _ = write!(text, ", \"{name}\": ");
                number(&mut text, value * 100.0, DIGITS);
            }
            let class = self.classes.get(raw.class_id as usize).map_or("", String::as_str);
            let _ = write!(text, ", \"rectanglelabels\": [{}]}}}}", json(class));
        }
        text
    }
}

/// The labelling configuration: rectangles of these classes.
pub(crate) fn config(classes: &[String]) -> String {
    let mut config =
        "<View>\n  <Image name=\"image\" value=\"$image\"/>\n  <RectangleLabels name=\"label\" toName=\"image\">\n"
            .to_owned();
    for name in classes {
        config.push_str("    <Label value=\"");
        xml(&mut config, name);
        config.push_str("\"/>\n");
    }
    config + "  </RectangleLabels>\n</View>\n"
}

/// A path in the address of a file: what has a meaning there is written by its bytes.
pub(crate) fn address(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

impl Target for LabelStudio {
    fn append(&mut self, image: &Image) -> Result<()> {
        self.images += 1;
        let split = self.splits.get(image.split).map_or(UNSPLIT, String::as_str);
        let place = address(&format!("images/{split}/{}", image.name));
        let annotations = match image.truth {
            Truth::Labelled(_) => format!("{{\"result\": [{}]}}", self.result(image)),
            Truth::Missing | Truth::NoLabels => String::new(),
        };
        let comma = if self.images == 1 { "\n" } else { ",\n" };
        self.file.write(&format!(
            "{comma}{{\"id\": {}, \"data\": {{\"image\": \"/data/local-files/?d={place}\", \"split\": {}}}, \"annotations\": \
             [{annotations}]}}",
            self.images,
            json(split)
        ))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.file.write("\n]\n")?;
        self.file.finish()
    }
}
