//! Pictures without labels: a plain folder with everything below it, or pictures and folders named one by one.

use super::{
    Dataset, DatasetFormat, Sample, fault,
    files::{self, Found, Kind},
    notes::Note,
    paths,
    truth::TruthSource,
};
use crate::{Error, Result};
use std::{
    io,
    path::{Path, PathBuf},
};

/// `found` are the pictures below `root`, and what else lies there.
pub(super) fn open(root: &Path, found: Found, notes: Vec<String>) -> Dataset {
    let samples = found.images.into_iter().map(|path| Sample::new(root, path, TruthSource::NoLabels)).collect();
    Dataset::new(root.to_path_buf(), DatasetFormat::Folder, None, samples, notes).with_passed_over(found.passed_over)
}

impl Dataset {
    /// The pictures that a user named, one by one or as folders of them. The root is the deepest folder that holds all of it, so
    /// that pictures of the same name in different folders stay apart.
    ///
    /// A file is a picture by its name or by its bytes; one of a kind that is not decoded is passed
    /// over with a note, so that `photos/*` works.
    ///
    /// # Errors
    /// [`Error::Dataset`] or [`Error::Io`]: a place that is not there, a file that is no picture at all, no picture that is decoded.
    pub fn of_pictures(places: &[PathBuf]) -> Result<Self> {
        let (mut found, mut notes) = (Found::default(), Vec::new());
        let mut unsupported =
            Note::new("image is in a format that is not supported", "images are in formats that are not supported");
        let mut root: Option<PathBuf> = None;
        for place in places {
            let path = paths::absolute(place);
            let metadata = std::fs::metadata(&path).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => fault(place, "there is no such file or folder", "Check the path."),
                _ => Error::io(place, "open", e),
            })?;
            let folder = if metadata.is_dir() { path.as_path() } else { path.parent().unwrap_or(Path::new("/")) };
            root = Some(root.map_or_else(|| folder.to_path_buf(), |root| files::common_folder(&root, folder)));
            if metadata.is_dir() {
                let below = files::walk(&path, &mut notes)?;
                found.images.extend(below.images);
                found.passed_over.extend(below.passed_over);
                continue;
            }
            match files::named_alone(&path) {
                Kind::Image => found.images.push(path),
                Kind::UnreadableImage => {
                    unsupported.add(path.display());
                    found.passed_over.push((path.clone(), files::not_decoded(&path)));
                }
                _ => {
                    let kinds = super::IMAGE_SUFFIXES.join(", ");
                    let found =
                        format!("this is not named like an image (supported: {kinds}) and does not begin like one");
                    return Err(fault(place, found, "Give images, or folders of images."));
                }
            }
        }
        unsupported.finish(&mut notes);
        let root = root.unwrap_or_else(|| PathBuf::from("/"));
        let mut dataset = open(&root, found, notes);
        dataset.finish(&root)?;
        Ok(dataset)
    }
}
