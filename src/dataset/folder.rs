//! A plain folder of images, everything below it included: no labels.

use super::{Dataset, DatasetFormat, Sample, truth::TruthSource};
use std::path::{Path, PathBuf};

pub(super) fn open(root: &Path, images: Vec<PathBuf>, notes: Vec<String>) -> Dataset {
    let samples = images.into_iter().map(|path| Sample::new(root, path, TruthSource::NoLabels)).collect();
    Dataset { root: root.to_path_buf(), format: DatasetFormat::Folder, class_names: None, samples, notes }
}
