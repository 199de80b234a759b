//! Whole data sets, real and made here.

mod coco;
mod cvat;
mod folders;
mod label_studio;
mod real;
mod voc;
mod yolo;

use super::*;
use crate::types::LabelBox;
use std::{collections::BTreeMap, fs, os::unix::fs::symlink};
use tempfile::TempDir;

const SIZE: ImageSize = ImageSize { width: 100, height: 50 };

/// A folder of public data beside the project, or `None` with a line that says so.
fn shared(place: &str) -> Option<PathBuf> {
    let base = std::env::var_os("LOGITCACHE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = base.join("data").join(place);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// A data set made of empty files.
struct Made(TempDir);

impl Made {
    fn new(files: &[(&str, &str)]) -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            made.write(path, content);
        }
        made
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn open(&self, data: &str) -> Result<Dataset> {
        open(self.path(data), None, "train")
    }

    /// The error's text without the temporary folder's name.
    fn error(&self, data: &str) -> String {
        self.shown(self.open(data).unwrap_err())
    }

    fn shown(&self, text: impl ToString) -> String {
        text.to_string().replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

fn open(data: PathBuf, images_dir: Option<PathBuf>, split: &str) -> Result<Dataset> {
    Dataset::open(&DataSource { data, images_dir, split: split.into() })
}

fn relatives(dataset: &Dataset) -> Vec<&str> {
    dataset.samples.iter().map(|s| s.relative.as_str()).collect()
}

/// `(class id, box)` of a sample's labels.
fn boxes(sample: &Sample, size: ImageSize) -> Vec<(u32, [f32; 4])> {
    let plain = |l: LabelBox| (l.class_id, [l.box_xyxy_px.x1, l.box_xyxy_px.y1, l.box_xyxy_px.x2, l.box_xyxy_px.y2]);
    match sample.labels(size).unwrap() {
        Truth::Labelled(labels) => labels.into_iter().map(plain).collect(),
        other => panic!("{} is {other:?}", sample.relative),
    }
}

fn size_of(sample: &Sample) -> ImageSize {
    let (width, height) = image::image_dimensions(&sample.path).unwrap();
    ImageSize { width, height }
}

const NAMES: &str = "names: [cat, dog]\n";
