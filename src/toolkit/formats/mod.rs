//! Writers of the formats, a file each. Readers are those of [`crate::dataset`].

mod coco;
mod cvat;
pub(crate) mod label_studio;
mod voc;
mod yolo;

use super::folder::NewFolder;
use crate::{
    Result,
    dataset::{DatasetFormat, Mark, RawBox, Truth},
    types::ImageSize,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
};

pub(super) use voc::{LABEL_MAP, in_label_map};

/// A format that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `data.yaml`, and a text file of labels for each image.
    Yolo,
    /// `annotations/instances_SPLIT.json`.
    Coco,
    /// `Annotations/*.xml`, `JPEGImages`, `ImageSets/Main/SPLIT.txt`, `labelmap.txt`.
    Voc,
    /// `annotations.xml` of CVAT for images 1.1.
    Cvat,
    /// `tasks.json` and `label_config.xml` of Label Studio.
    LabelStudio,
}

impl Format {
    /// As options and files show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yolo => "yolo",
            Self::Coco => "coco",
            Self::Voc => "voc",
            Self::Cvat => "cvat",
            Self::LabelStudio => "label-studio",
        }
    }

    /// The format in which a data set like this is written again; `None` for a folder without
    /// labels.
    pub fn of(format: DatasetFormat) -> Option<Self> {
        match format {
            DatasetFormat::Yolo => Some(Self::Yolo),
            DatasetFormat::Coco => Some(Self::Coco),
            DatasetFormat::Voc => Some(Self::Voc),
            DatasetFormat::Cvat => Some(Self::Cvat),
            DatasetFormat::LabelStudio => Some(Self::LabelStudio),
            DatasetFormat::Folder => None,
        }
    }

    /// Whether it marks regions of many objects.
    pub(super) fn holds_crowds(self) -> bool {
        matches!(self, Self::Coco | Self::Cvat)
    }

    /// Whether it marks objects that are hard to see.
    pub(super) fn holds_difficult(self) -> bool {
        matches!(self, Self::Voc | Self::Cvat)
    }

    /// How it marks a box that may be no object, so that training and scoring ignore it; `None`: it cannot.
    pub(crate) fn mark_of_uncertain(self) -> Option<Mark> {
        if self.holds_difficult() { Some(Mark::Difficult) } else { self.holds_crowds().then_some(Mark::Crowd) }
    }

    /// Whether an image that nobody annotated differs from one without objects.
    pub(super) fn holds_unlabelled(self) -> bool {
        matches!(self, Self::Yolo | Self::LabelStudio)
    }

    /// Where an image lies in the new folder. `name` is as of [`super::names`].
    pub(super) fn image_path(self, split: &str, name: &str) -> PathBuf {
        match self {
            Self::Voc => Path::new("JPEGImages").join(name),
            _ => Path::new("images").join(split).join(name),
        }
    }

    /// What is to be given as DATA, relative to the new folder.
    pub(super) fn data_path(self) -> Option<&'static str> {
        match self {
            Self::Yolo => Some(yolo::DATA_YAML),
            Self::Cvat => Some(cvat::FILE_NAME),
            Self::LabelStudio => Some(label_studio::FILE_NAME),
            Self::Coco | Self::Voc => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yolo => "YOLO",
            Self::Coco => "COCO",
            Self::Voc => "Pascal VOC",
            Self::Cvat => "CVAT",
            Self::LabelStudio => "Label Studio",
        })
    }
}

/// An image with its labels as it is written. The boxes are those that the format holds, of classes
/// of the new data set.
#[derive(Debug)]
pub(super) struct Image {
    /// Number of its split.
    pub(super) split: usize,
    /// As of [`super::names`].
    pub(super) name: String,
    /// Whether it is in the folder already, for another split.
    pub(super) again: bool,
    pub(super) size: ImageSize,
    pub(super) truth: Truth<RawBox>,
}

impl Image {
    fn boxes(&self) -> &[RawBox] {
        match &self.truth {
            Truth::Labelled(boxes) => boxes,
            Truth::Missing | Truth::NoLabels => &[],
        }
    }

    /// Its name without the suffix.
    fn stem(&self) -> &str {
        match self.name.rsplit_once('.') {
            Some((stem, suffix)) if !suffix.contains('/') => stem,
            _ => &self.name,
        }
    }
}

/// The files of one format under construction.
pub(super) trait Target: Send + Sync {
    /// Writes what lies in files of this image alone; called from several threads.
    fn write_image(&self, _image: &Image) -> Result<()> {
        Ok(())
    }

    /// Writes what lies in files of all images; called in their order.
    fn append(&mut self, image: &Image) -> Result<()>;

    /// Ends all files.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Begins the files of a format.
pub(super) fn begin(
    format: Format,
    folder: &NewFolder,
    splits: &[String],
    classes: &[String],
) -> Result<Box<dyn Target>> {
    let path = folder.path();
    Ok(match format {
        Format::Yolo => Box::new(yolo::Yolo::begin(path, splits, classes)?),
        Format::Coco => Box::new(coco::Coco::begin(path, splits, classes)?),
        Format::Voc => Box::new(voc::Voc::begin(path, splits, classes)?),
        Format::Cvat => Box::new(cvat::Cvat::begin(path, splits, classes)?),
        Format::LabelStudio => Box::new(label_studio::LabelStudio::begin(path, splits, classes)?),
    })
}

/// A number with at most so many digits after the point and no zeros at its end.
pub(crate) fn number(out: &mut String, value: f64, digits: usize) {
    let start = out.len();
    // Writing to a String cannot fail.
    let _ = write!(out, "{value:.digits$}");
    if digits > 0 {
        let kept = out[start..].trim_end_matches('0').trim_end_matches('.').len();
        out.truncate(start + kept);
        if &out[start..] == "-0" {
            out.replace_range(start.., "0");
        }
    }
}

/// Text in an XML file, or in an attribute of one. Characters that XML cannot hold are replaced.
pub(crate) fn xml(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// A string of a JSON file, quoted; YAML takes it as well.
pub(crate) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_zeros_at_their_end() {
        let shown = |value, digits| {
            let mut out = "x".to_owned();
            number(&mut out, value, digits);
            out
        };
        for (value, text) in
            [(1.0, "x1"), (100.0, "x100"), (0.5, "x0.5"), (1.23456, "x1.2346"), (-0.00001, "x0"), (0.0, "x0")]
        {
            assert_eq!(shown(value, 4), text);
        }
        assert_eq!(shown(100.0, 0), "x100");
    }

    #[test]
    fn xml_is_escaped() {
        let mut out = String::new();
        xml(&mut out, "a<b>&\"c\"\u{1}\n");
        assert_eq!(out, "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}&#10;");
    }
}
