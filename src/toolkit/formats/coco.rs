//! COCO: a JSON file for each split, `bbox` as x, y, width and height in pixels with up to six
//! digits. Category ids are the class ids counted from 1, image and annotation ids count from 1 in
//! each file.

use super::{Image, Target, json, number};
use crate::{Result, toolkit::folder::Stream};
use std::{fmt::Write as _, path::Path};

const DIGITS: usize = 6;

pub(super) struct Coco {
    files: Vec<SplitFile>,
    classes: Vec<String>,
}

struct SplitFile {
    /// Begins with the images; the annotations follow at the end.
    file: Stream,
    annotations: Stream,
    images: u64,
    boxes: u64,
}

impl Coco {
    pub(super) fn begin(folder: &Path, splits: &[String], classes: &[String]) -> Result<Self> {
        let files = splits.iter().map(|name| {
            let place = folder.join("annotations");
            let mut file = Stream::create(place.join(format!("instances_{name}.json")))?;
            file.write(
                "{\"info\": {\"description\": \"written by logitcache data\"}, \"licenses\": [],\n\"images\": [",
            )?;
            let annotations = Stream::create(place.join(format!(".annotations_{name}")))?;
            Ok(SplitFile { file, annotations, images: 0, boxes: 0 })
        });
        Ok(Self { files: files.collect::<Result<_>>()?, classes: classes.to_vec() })
    }
}

impl Target for Coco {
    fn append(&mut self, image: &Image) -> Result<()> {
        let Some(of) = self.files.get_mut(image.split) else { return Ok(()) };
        let comma = if of.images == 0 { "\n" } else { ",\n" };
        of.images += 1;
        let (id, name) = (of.images, json(&image.name));
        let (width, height) = (image.size.width, image.size.height);
        of.file.write(&format!(
            "{comma}{{\"id\": {id}, \"file_name\": {name}, \"width\": {width}, \"height\": {height}}}"
        ))?;
        let mut text = String::with_capacity(image.boxes().len() * 128);
        for raw in image.boxes() {
            text.push_str(if of.boxes == 0 { "\n" } else { ",\n" });
            of.boxes += 1;
            let [x1, y1, x2, y2] = raw.xyxy_px;
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{{\"id\": {}, \"image_id\": {id}, \"category_id\": {}, \"iscrowd\": {}, \"segmentation\": [], \"area\": ",
                of.boxes,
                u64::from(raw.class_id) + 1,
                u8::from(raw.is_crowd())
            );
            number(&mut text, raw.area_px2.unwrap_or((x2 - x1) * (y2 - y1)), DIGITS);
            for (value, before) in [(x1, ", \"bbox\": ["), (y1, ", "), (x2 - x1, ", "), (y2 - y1, ", ")] {
                text.push_str(before);
                number(&mut text, value, DIGITS);
            }
            text.push_str("]}");
        }
        of.annotations.write(&text)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let categories =
            self.classes.iter().zip(1u32..).map(|(name, id)| format!("\n{{\"id\": {id}, \"name\": {}}}", json(name)));
        let categories = categories.collect::<Vec<_>>().join(",");
        for SplitFile { mut file, annotations, images, .. } in self.files {
            if images == 0 {
                // A split without images could not be read again.
                annotations.remove()?;
                file.remove()?;
                continue;
            }
            file.write("\n],\n\"annotations\": [")?;
            file.take(annotations)?;
            file.write(&format!("\n],\n\"categories\": [{categories}\n]}}\n"))?;
            file.finish()?;
        }
        Ok(())
    }
}
