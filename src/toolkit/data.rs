//! A data set with all its splits, under one list of classes.

use super::class_names::unite;
use crate::{
    Error, Result,
    dataset::{DataSource, Dataset, DatasetFormat, Sample, UNSPLIT},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What the user pointed at.
#[derive(Debug, Clone, Default)]
pub struct DataOptions {
    /// A `data.yaml`, a COCO JSON, an `annotations.xml` of CVAT, a JSON export of Label Studio, or
    /// a folder.
    pub data: PathBuf,
    /// Where the images lie, where the file does not tell.
    pub images_dir: Option<PathBuf>,
    /// The splits to read; all where there is none.
    pub splits: Vec<String>,
}

/// A data set, listed but not read.
#[derive(Debug)]
pub struct DataSet {
    /// As given.
    pub data: PathBuf,
    /// How it is written down.
    pub format: DatasetFormat,
    /// Names of all splits together, by class id; `None` where it carries no labels.
    pub class_names: Option<Vec<String>>,
    /// The usual ones first.
    pub splits: Vec<Split>,
    /// What a user should be told, a line each.
    pub notes: Vec<String>,
}

/// One split.
#[derive(Debug)]
pub struct Split {
    /// Its name; [`UNSPLIT`] where the data set has no splits.
    pub name: String,
    /// Its images, in order.
    pub samples: Vec<Sample>,
    /// The class of the data set for each class of this split.
    pub to_class: Vec<u32>,
    /// The deepest folder that holds all its images.
    pub folder: PathBuf,
}

impl DataSet {
    /// Lists a data set.
    ///
    /// # Errors
    /// As [`Dataset::open`]; a split that it does not have.
    pub fn open(options: &DataOptions) -> Result<Self> {
        let all = Dataset::open_all(&options.data, options.images_dir.as_deref())?;
        let has: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(unknown) = options.splits.iter().find(|name| !has.contains(&name.as_str())) {
            let has =
                if has == [UNSPLIT] { "it has no splits".to_owned() } else { format!("it has: {}", has.join(", ")) };
            return Err(Error::Dataset {
                path: options.data.clone(),
                found: format!("the data set has no split {unknown:?}; {has}"),
                remedy: "Choose with `split=`, or leave it out to read every split.".into(),
            });
        }
        let wanted = |name: &String| options.splits.is_empty() || options.splits.contains(name);
        let chosen: Vec<(String, Dataset)> = all.into_iter().filter(|(name, _)| wanted(name)).collect();
        let format = chosen.first().map_or(DatasetFormat::Folder, |(_, dataset)| dataset.format);
        let lists: Vec<&[String]> = chosen.iter().filter_map(|(_, dataset)| dataset.class_names.as_deref()).collect();
        let first = if format == DatasetFormat::Voc { voc_order(&options.data, &lists) } else { Vec::new() };
        let class_names = (!lists.is_empty()).then(|| unite(&first, &lists));
        let class_names = class_names.transpose().map_err(|found| Error::Dataset {
            path: options.data.clone(),
            found,
            remedy: "Give the two classes different names.".into(),
        })?;
        let (class_names, maps) = class_names.map_or((None, Vec::new()), |(names, maps)| (Some(names), maps));
        let mut maps = maps.into_iter();
        let mut notes = Vec::new();
        let splits = chosen.into_iter().map(|(name, mut dataset)| {
            notes.append(&mut dataset.notes);
            let to_class = dataset.class_names.as_ref().and_then(|_| maps.next()).unwrap_or_default();
            let folder = folder_of(&dataset.samples);
            Split { name, samples: dataset.samples, to_class, folder }
        });
        let splits = splits.collect();
        let mut seen = BTreeSet::new();
        notes.retain(|note| seen.insert(note.clone()));
        Ok(Self { data: options.data.clone(), format, class_names, splits, notes })
    }

    /// Images of all splits together.
    pub fn images(&self) -> usize {
        self.splits.iter().map(|split| split.samples.len()).sum()
    }

    /// Every image with the number of its split, in order.
    pub fn samples(&self) -> impl Iterator<Item = (usize, &Sample)> {
        self.splits.iter().enumerate().flat_map(|(at, split)| split.samples.iter().map(move |sample| (at, sample)))
    }

    /// The class names.
    ///
    /// # Errors
    /// [`Error::Dataset`] where the data set has no labels.
    pub fn labelled(&self) -> Result<&[String]> {
        self.class_names.as_deref().ok_or_else(|| Error::Dataset {
            path: self.data.clone(),
            found: "the data set has no labels".into(),
            remedy: "Give a data.yaml, a COCO JSON, a folder of Pascal VOC XML, an annotations.xml of CVAT or a JSON \
                     export of Label Studio."
                .into(),
        })
    }

    /// The source of one split, as other commands take it.
    pub fn source(&self, split: &str) -> DataSource {
        DataSource { data: self.data.clone(), images_dir: None, split: split.to_owned() }
    }
}

/// The order of classes in a `labelmap.txt`, as CVAT and Datumaro write it beside VOC:
/// `name:colour:parts:actions` a line. A class of it that nothing has, as `background`, is kept too
/// unless it is that one.
fn voc_order(data: &Path, lists: &[&[String]]) -> Vec<String> {
    let path = data.join(super::formats::LABEL_MAP);
    // Asked before it is opened: a named pipe would wait for a writer.
    let is_file = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
    let text = if is_file { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
    let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(':').next());
    let used = |name: &str| lists.iter().any(|list| list.iter().any(|other| other == name));
    let mut seen = BTreeSet::new();
    let names = names.map(str::trim).filter(|name| !name.is_empty() && (*name != "background" || used(name)));
    names.filter(|name| seen.insert(name.to_owned())).map(str::to_owned).collect()
}

/// The deepest folder that holds all images of a list.
pub(crate) fn folder_of(samples: &[Sample]) -> PathBuf {
    let folders = samples.iter().filter_map(|sample| sample.path.parent()).map(Path::to_path_buf);
    let common = |a: PathBuf, b: PathBuf| -> PathBuf {
        if a == b {
            a
        } else {
            a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
        }
    };
    folders.reduce(common).unwrap_or_default()
}
