//! Pascal VOC as a whole release: an XML file for each image, lists of the splits, and the order of
//! the classes in `labelmap.txt` as CVAT and Datumaro write it. Corners are in pixels with up to
//! six digits, counted from 0 as they are read here.

use super::{Image, Target, number, xml};
use crate::{
    Result,
    dataset::Mark,
    toolkit::folder::{Stream, make_parent, write_file},
};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// The file that tells the order of the classes.
pub(in crate::toolkit) const LABEL_MAP: &str = "labelmap.txt";
const DIGITS: usize = 6;

pub(super) struct Voc {
    folder: PathBuf,
    classes: Vec<String>,
    /// The lists of the splits, and how many images each has.
    lists: Vec<(Stream, u64)>,
}

impl Voc {
    pub(super) fn begin(folder: &Path, splits: &[String], classes: &[String]) -> Result<Self> {
        let lists = splits.iter().map(|name| Stream::create(folder.join(format!("ImageSets/Main/{name}.txt"))));
        let lists = lists.map(|list| Ok((list?, 0))).collect::<Result<_>>()?;
        make_parent(&folder.join("Annotations/x"))?;
        Ok(Self { folder: folder.to_path_buf(), classes: classes.to_vec(), lists })
    }
}

/// Whether `labelmap.txt` can hold a name.
pub(in crate::toolkit) fn in_label_map(name: &str) -> bool {
    !name.contains(':') && !name.starts_with('#')
}

impl Target for Voc {
    fn write_image(&self, image: &Image) -> Result<()> {
        if image.again {
            return Ok(());
        }
        let mut text = String::with_capacity(256 + image.boxes().len() * 256);
        text.push_str("<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>");
        xml(&mut text, &image.name);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "</filename>\n\t<size>\n\t\t<width>{}</width>\n\t\t<height>{}</height>\n\t\t<depth>3</depth>\n\t</size>\n\
             \t<segmented>0</segmented>\n",
            image.size.width, image.size.height
        );
        for raw in image.boxes() {
            text.push_str("\t<object>\n\t\t<name>");
            xml(&mut text, self.classes.get(raw.class_id as usize).map_or("", String::as_str));
            let difficult = u8::from(raw.mark == Mark::Difficult);
            let _ = write!(
                text,
                "</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n\t\t<difficult>{difficult}</difficult>\n\
                 \t\t<bndbox>\n"
            );
            for (tag, value) in ["xmin", "ymin", "xmax", "ymax"].iter().zip(raw.xyxy_px) {
                let _ = write!(text, "\t\t\t<{tag}>");
                number(&mut text, value, DIGITS);
                let _ = writeln!(text, "</{tag}>");
            }
            text.push_str("\t\t</bndbox>\n\t</object>\n");
        }
        text.push_str("</annotation>\n");
        write_file(&self.folder.join("Annotations").join(format!("{}.xml", image.stem())), text.as_bytes())
    }

    fn append(&mut self, image: &Image) -> Result<()> {
        match self.lists.get_mut(image.split) {
            Some((list, images)) => {
                *images += 1;
                list.write(&format!("{}\n", image.stem()))
            }
            None => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<()> {
        make_parent(&self.folder.join("JPEGImages/x"))?;
        let mut text = "# label:color_rgb:parts:actions\n".to_owned();
        for name in self.classes.iter().filter(|name| in_label_map(name)) {
            let _ = writeln!(text, "{name}:::");
        }
        write_file(&self.folder.join(LABEL_MAP), text.as_bytes())?;
        // A split without images could not be read again.
        let end = |(list, images): (Stream, u64)| if images > 0 { list.finish() } else { list.remove() };
        self.lists.into_iter().try_for_each(end)
    }
}
