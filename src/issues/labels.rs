//! The labels that are judged: those of the cache, or those that the data set has now.

use crate::{
    Error, Result,
    cache::{CacheReader, ImageView, LabelsState, MissingLabels},
    dataset::{ClassMap, DataSource, Dataset, Sample},
    pipeline::mapped_truth,
    toolkit::List,
    training::images::source_of,
    types::{LabelBox, TruthBox},
    words::counted,
};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// The labels of images.
pub(crate) struct Labels<'a> {
    source: Source<'a>,
    /// The only images whose labels count, by their ids; `None`: all.
    only: Option<HashSet<i64>>,
}

/// Where labels come from.
enum Source<'a> {
    /// As the teacher's build found them.
    Cached,
    /// As they are now, by the path of the image.
    Now { samples: HashMap<&'a str, &'a Sample>, map: ClassMap, missing: MissingLabels },
}

/// Lists the data set whose labels are to be judged.
///
/// # Errors
/// As [`Dataset::open`].
pub(crate) fn open(reader: &CacheReader, data: &Path, images_dir: Option<PathBuf>) -> Result<Dataset> {
    Dataset::open(&source(reader, Some(data), images_dir)?)
}

/// The data set of a cache, or the one that the user names.
///
/// # Errors
/// [`Error::Cache`] where the manifest's path is none.
pub(crate) fn source(reader: &CacheReader, data: Option<&Path>, images_dir: Option<PathBuf>) -> Result<DataSource> {
    let own = source_of(reader, &reader.manifest().dataset.split)?;
    Ok(match data {
        Some(data) => DataSource { data: data.to_path_buf(), images_dir, ..own },
        None => own,
    })
}

/// The images of a data set by the paths that a cache has for them.
pub(crate) struct Files<'a> {
    root: &'a Path,
    samples: HashMap<&'a str, &'a Sample>,
}

impl<'a> Files<'a> {
    pub(crate) fn of(dataset: &'a Dataset) -> Self {
        let samples = dataset.samples.iter().map(|sample| (sample.relative.as_str(), sample)).collect();
        Self { root: &dataset.root, samples }
    }

    /// # Errors
    /// [`Error::Mismatch`] where the data set lacks the image; `remedy` says what to do.
    pub(crate) fn find(&self, path: &str, remedy: &str) -> Result<&'a Sample> {
        self.samples.get(path).copied().ok_or_else(|| Error::Mismatch {
            found: format!("the image {path} of the cache is not in the data set {}", self.root.display()),
            remedy: remedy.into(),
        })
    }
}

/// The classes of a data set as those of a cache's teacher, with notes for the user.
///
/// # Errors
/// [`Error::Classes`] of classes that the teacher lacks.
pub(crate) fn class_map(dataset: &Dataset, reader: &CacheReader) -> Result<(ClassMap, Vec<String>)> {
    let manifest = reader.manifest();
    let found = ClassMap::of(dataset, &manifest.teacher.class_names, &manifest.dataset.class_map);
    found.map_err(|error| match error {
        // Only a build can map classes; its cache keeps how.
        Error::Classes { found, .. } => Error::Classes {
            found,
            remedy:
                "Give a data set with the class names of the cache, or build the cache again with `map=` for these \
                     classes."
                    .into(),
        },
        other => other,
    })
}

/// What helps where images without labels are taken for labelled ones.
pub(crate) const UNLABELLED: &str = "An image without a label file counts as labelled, without objects; if it is one that nobody has \
     labelled yet, build the cache with `missing_labels=unlabelled`.";

impl<'a> Labels<'a> {
    /// Those of `dataset`, or of the cache where there is none; with notes for the user.
    ///
    /// # Errors
    /// [`Error::Dataset`] without labels, [`Error::Classes`] of classes that the teacher lacks.
    pub(crate) fn of(dataset: Option<&'a Dataset>, reader: &CacheReader) -> Result<(Self, Vec<String>)> {
        let Some(dataset) = dataset else { return Ok((Self { source: Source::Cached, only: None }, Vec::new())) };
        let manifest = reader.manifest();
        if dataset.class_names.is_none() {
            return Err(Error::Dataset {
                path: dataset.root.clone(),
                found: "the data set has no labels".into(),
                remedy: "Leave out `data=` for the labels of the cache, or give a labelled data set.".into(),
            });
        }
        let (map, notes) = class_map(dataset, reader)?;
        let samples = dataset.samples.iter().map(|sample| (sample.relative.as_str(), sample)).collect();
        let source = Source::Now { samples, map, missing: manifest.settings.missing_labels };
        Ok((Self { source, only: None }, notes))
    }

    /// Lets the labels of these images count alone; all do where there is no list.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Dataset`] of a line that names no image of the cache or several.
    pub(crate) fn among(&mut self, list: Option<&Path>, reader: &CacheReader) -> Result<()> {
        self.only = list.map(|list| List::ids(list, reader)).transpose()?;
        Ok(())
    }

    /// The labels of an image; `None` where nobody labelled it.
    ///
    /// # Errors
    /// In words, what is wrong with them.
    pub(crate) fn get(&self, image: &ImageView<'_>) -> Result<Option<Vec<LabelBox>>, String> {
        if self.only.as_ref().is_some_and(|only| !only.contains(&image.image_id)) {
            return Ok(None);
        }
        match &self.source {
            Source::Cached => Ok(image.labels.map(|labels| labels.iter().collect())),
            Source::Now { samples, map, missing } => {
                let sample = samples.get(image.path).ok_or("the image is not in the data set")?;
                let truth = mapped_truth(sample, map, image.size, *missing)?;
                Ok(truth.map(|truth| truth.iter().filter_map(TruthBox::label).collect()))
            }
        }
    }

    /// Why there is nothing to judge.
    pub(crate) fn none(&self, reader: &CacheReader, images: usize) -> Error {
        let found = match (&self.source, reader.manifest().dataset.labels) {
            (Source::Now { .. }, _) => format!("the data set has no label on {}", counted(images, "labelled image")),
            (_, LabelsState::Ignored) => "the cache was built without the labels of its data set".to_owned(),
            (_, LabelsState::Absent) => "the cache has no labels: its data set had none".to_owned(),
            (_, LabelsState::Stored) => format!("the cache has {} and no label", counted(images, "labelled image")),
        };
        Error::Cache {
            path: reader.folder().to_owned(),
            found,
            remedy: "Build a cache of a data set with labels, or name such a data set with `data=`.".into(),
        }
    }
}
