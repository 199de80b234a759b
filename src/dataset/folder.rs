//! Pictures without labels: a plain folder with everything below it, or pictures and folders named one by one.

use super::{Dataset, DatasetFormat, Sample, fault, files, paths, truth::TruthSource};
use crate::{Error, Result};
use std::{
    io,
    path::{Path, PathBuf},
};

pub(super) fn open(root: &Path, images: Vec<PathBuf>, notes: Vec<String>) -> Dataset {
    let samples = images.into_iter().map(|path| Sample::new(root, path, TruthSource::NoLabels)).collect();
    Dataset { root: root.to_path_buf(), format: DatasetFormat::Folder, class_names: None, samples, notes }
}

impl Dataset {
    /// The pictures that a user named, one by one or as folders of them. The root is the deepest folder that holds all of it, so
    /// that pictures of the same name in different folders stay apart.
    ///
    /// # Errors
    /// [`Error::Dataset`] or [`Error::Io`]: a place that is not there, a file that is not named as a picture, no picture at all.
    pub fn of_pictures(places: &[PathBuf]) -> Result<Self> {
        let (mut images, mut notes) = (Vec::new(), Vec::new());
        let mut root: Option<PathBuf> = None;
        for place in places {
            let path = paths::absolute(place);
            let metadata = std::fs::metadata(&path).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => fault(place, "there is no such file or folder", "Check the path."),
                _ => Error::io(place, "open", e),
            })?;
            let folder = if metadata.is_dir() {
                images.extend(files::walk(&path, &mut notes)?.images);
                path.as_path()
            } else {
                let folder = path.parent().unwrap_or(Path::new("/"));
                if files::kind(&path) != files::Kind::Image {
                    let found =
                        format!("this is not named as a picture (of the kinds {})", super::IMAGE_SUFFIXES.join(", "));
                    return Err(fault(place, found, "Give pictures, or folders that hold some."));
                }
                images.push(path.clone());
                folder
            };
            root = Some(root.map_or_else(|| folder.to_path_buf(), |root| common_folder(&root, folder)));
        }
        let root = root.unwrap_or_else(|| PathBuf::from("/"));
        let mut dataset = open(&root, images, notes);
        dataset.finish(&root)?;
        Ok(dataset)
    }
}

/// The deepest folder that holds both of two absolute ones.
fn common_folder(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}
