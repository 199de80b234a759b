//! CVAT for images 1.1: one `annotations.xml`, corners in pixels with up to six digits. `difficult`
//! and `is_crowd` are attributes of a box, as CVAT's own import of VOC and COCO makes them; each
//! split is a subset.

use super::{Image, Target, number, xml};
use crate::{
    Result,
    dataset::{Mark, UNSPLIT},
    toolkit::folder::Stream,
};
use std::{fmt::Write as _, path::Path};

pub(super) const FILE_NAME: &str = "annotations.xml";
const DIGITS: usize = 6;

pub(super) struct Cvat {
    file: Stream,
    splits: Vec<String>,
    classes: Vec<String>,
    images: u64,
}

impl Cvat {
    pub(super) fn begin(folder: &Path, splits: &[String], classes: &[String]) -> Result<Self> {
        let mut file = Stream::create(folder.join(FILE_NAME))?;
        let mut text =
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    \
                        <project>\n      <name>logitcache</name>\n      <labels>\n"
                .to_owned();
        let flag = |name: &str| {
            format!(
                "<attribute><name>{name}</name><mutable>False</mutable><input_type>checkbox</input_type>\
                 <default_value>false</default_value><values>false</values></attribute>"
            )
        };
        let attributes = flag("difficult") + &flag("is_crowd");
        for name in classes {
            text.push_str("        <label><name>");
            xml(&mut text, name);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "</name><type>any</type><attributes>{attributes}</attributes></label>");
        }
        // Datumaro looks for the subsets here.
        text.push_str("      </labels>\n      <tasks>\n");
        for (name, id) in splits.iter().zip(1..) {
            let _ = write!(text, "        <task><id>{id}</id><name>");
            xml(&mut text, name);
            text.push_str("</name><subset>");
            xml(&mut text, name);
            text.push_str("</subset></task>\n");
        }
        text.push_str("      </tasks>\n    </project>\n  </meta>\n");
        file.write(&text)?;
        Ok(Self { file, splits: splits.to_vec(), classes: classes.to_vec(), images: 0 })
    }
}

impl Target for Cvat {
    fn append(&mut self, image: &Image) -> Result<()> {
        let mut text = String::with_capacity(256 + image.boxes().len() * 160);
        let _ = write!(text, "  <image id=\"{}\" name=\"", self.images);
        self.images += 1;
        xml(&mut text, &image.name);
        text.push_str("\" subset=\"");
        let split = self.splits.get(image.split).map_or(UNSPLIT, String::as_str);
        xml(&mut text, split);
        let _ = writeln!(text, "\" width=\"{}\" height=\"{}\">", image.size.width, image.size.height);
        for raw in image.boxes() {
            text.push_str("    <box label=\"");
            xml(&mut text, self.classes.get(raw.class_id as usize).map_or("", String::as_str));
            text.push_str("\" source=\"manual\" occluded=\"0\"");
            for (name, value) in ["xtl", "ytl", "xbr", "ybr"].iter().zip(raw.xyxy_px) {
                let _ = write!(text, " {name}=\"");
                number(&mut text, value, DIGITS);
                text.push('"');
            }
            text.push_str(" z_order=\"0\">");
            match raw.mark {
                Mark::Plain => {}
                Mark::Crowd => text.push_str("<attribute name=\"is_crowd\">true</attribute>"),
                Mark::Difficult => text.push_str("<attribute name=\"difficult\">true</attribute>"),
            }
            text.push_str("</box>\n");
        }
        text.push_str("  </image>\n");
        self.file.write(&text)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.file.write("</annotations>\n")?;
        self.file.finish()
    }
}
