//! Data sets of several formats as one ordered, deterministic list of samples, and the drawing of synthetic ones.
//!
//! [`Dataset::open`] lists the pictures and knows where their labels are; pictures themselves are read later, by whoever
//! decodes them. Labels of an image come from [`Sample::labels`], in the data set's own class ids and in pixels of the
//! picture after EXIF orientation; [`ClassMap`] turns those ids into the teacher's.
//!
//! What is the same for every format: samples are sorted by the bytes of their `path` column, a picture is listed once,
//! boxes are clipped to the picture, and a box of which nothing is left (or that had no area) is dropped.

mod annotated;
mod class_map;
mod coco;
mod cvat;
mod files;
mod folder;
mod label_studio;
mod listed;
mod moved;
mod name_map;
mod notes;
mod splits;
pub mod synth;
mod truth;
mod unread;
mod voc;
mod without_area;
pub(crate) mod yolo;

#[cfg(test)]
mod tests;

pub use annotated::{Annotated, FaultKind, LabelFault, Mark, RawBox};
pub use class_map::ClassMap;
pub use files::IMAGE_SUFFIXES;
pub use label_studio::CONFIG_NAME as LABEL_STUDIO_CONFIG;
pub use logitcache_format::paths;
pub use moved::refuse_if_moved;
pub use name_map::{NameMap, refuse_foreign_names};
pub use splits::UNSPLIT;
pub use truth::Truth;

use crate::{
    Error, Result, remote,
    types::{ImageSize, PassedOver, PassedOverFile, TruthBox},
};
use files::{Found, Skipped};
use logitcache_format::{MadeFolder, MissingLabels};
use notes::Note;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};
use truth::TruthSource;
use without_area::WithoutArea;

const FORMS: &str = "DATA is one of: an Ultralytics data.yaml, a COCO instances.json with `images=DIR`, a folder of \
                     Pascal VOC XML (with `images=DIR` if the images are elsewhere), an annotations.xml of CVAT for images, a \
                     JSON export of Label Studio, a plain folder of images.";

/// What the user pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSource {
    /// `DATA`: a `data.yaml`, a COCO JSON file, or a folder.
    pub data: PathBuf,
    /// `--images DIR`: where the pictures of a COCO or VOC data set lie.
    pub images_dir: Option<PathBuf>,
    /// `--split`: `train`, `val` or `test` of a `data.yaml`; a list in `ImageSets/Main` of a whole Pascal VOC release.
    /// The other formats have no splits and do not look at it.
    pub split: String,
}

/// How a data set is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatasetFormat {
    /// Ultralytics `data.yaml` with one label text file per image.
    Yolo,
    /// One COCO `instances.json`.
    Coco,
    /// One Pascal VOC XML file per image.
    Voc,
    /// One `annotations.xml` of CVAT for images 1.1.
    Cvat,
    /// One JSON export of Label Studio.
    LabelStudio,
    /// A folder of images without labels.
    Folder,
}

impl DatasetFormat {
    /// As manifests and messages show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yolo => "yolo",
            Self::Coco => "coco",
            Self::Voc => "voc",
            Self::Cvat => "cvat",
            Self::LabelStudio => "label-studio",
            Self::Folder => "folder",
        }
    }
}

/// One split of a data set: its pictures in their final order, and where their labels are.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// What [`Sample::relative`] is relative to; absolute.
    pub root: PathBuf,
    /// How it is written down.
    pub format: DatasetFormat,
    /// Class names by class id; `None` where the data set carries no labels at all.
    pub class_names: Option<Vec<String>>,
    /// Sorted by the bytes of [`Sample::relative`], each of which occurs once. Never empty.
    pub samples: Vec<Sample>,
    /// What a user should be told, a line each: counts with the first few cases.
    pub notes: Vec<String>,
    /// Files that are no samples because they are of kinds that are not decoded.
    pub passed_over: PassedOver,
    /// Labels that are there and were not read, and what to do about it; one of the notes.
    pub unread_labels: Option<String>,
}

/// One picture of a data set.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Where to open it; absolute. It may turn out to be missing or no picture.
    pub path: PathBuf,
    /// The `path` column: relative to [`Dataset::root`], in the form of [`paths::to_column`].
    pub relative: String,
    truth: TruthSource,
    without_area: Arc<WithoutArea>,
}

impl Dataset {
    /// Lists one split of a data set. Reads folders, list files, COCO JSON and VOC XML; no pictures and no YOLO labels.
    ///
    /// # Errors
    /// [`Error::Dataset`] or [`Error::Io`] when the data set as a whole cannot be used: nothing there, not one of the
    /// formats, no such split, a list that cannot be parsed, no pictures. What is wrong with one image is told by
    /// [`Sample::labels`] or when it is decoded.
    pub fn open(source: &DataSource) -> Result<Self> {
        let data = paths::absolute(&remote::local(&source.data)?);
        remote::pull_listing(&data)?;
        source.images_dir.as_deref().map_or(Ok(()), remote::pull_images)?;
        let metadata = std::fs::metadata(&data).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => fault(&source.data, "there is no such file or folder", FORMS),
            _ => Error::io(&source.data, "open", e),
        })?;
        let mut dataset = if metadata.is_dir() {
            open_folder(&data, source)
        } else {
            match data.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase().as_str() {
                "yaml" | "yml" => yolo::open(&data, refuse_images_dir(source)?),
                "json" if label_studio::is_one(&data) => listed::choose(source, label_studio::open(&data, source)?),
                "json" => refuse_unknown_split(source).and_then(|()| coco::open(&data, source)),
                "xml" => listed::choose(source, cvat::open(&data, source)?),
                _ => Err(fault(&source.data, "this file is neither a .yaml, a .json nor an .xml file", FORMS)),
            }
        }?;
        dataset.finish(&data)?;
        Ok(dataset)
    }

    /// Pictures named one by one and folders of them (everything below included), without labels; sorted as every data set. A named
    /// file is taken for a picture whatever its name, and whether it is there shows when it is read. Paths are relative to the
    /// current folder.
    ///
    /// # Errors
    /// [`Error::Io`] when a folder cannot be read, [`Error::Dataset`] when there is no picture.
    pub fn of_paths(given: &[PathBuf]) -> Result<Self> {
        let (mut notes, mut found) = (Vec::new(), Found::default());
        for path in given {
            let absolute = paths::absolute(path);
            if files::is_dir(&absolute) {
                let mut below = files::walk(&absolute, &mut notes)?;
                found.images.append(&mut below.images);
                found.passed_over.append(&mut below.passed_over);
            } else {
                found.images.push(absolute);
            }
        }
        let mut dataset = folder::open(&paths::absolute(Path::new(".")), found, notes);
        dataset.finish(given.first().map_or(Path::new("."), PathBuf::as_path))?;
        Ok(dataset)
    }

    /// Without anything that was passed over or not read.
    fn new(
        root: PathBuf,
        format: DatasetFormat,
        class_names: Option<Vec<String>>,
        samples: Vec<Sample>,
        notes: Vec<String>,
    ) -> Self {
        Self { root, format, class_names, samples, notes, passed_over: PassedOver::default(), unread_labels: None }
    }

    fn with_passed_over(mut self, skipped: impl IntoIterator<Item = Skipped>) -> Self {
        // A picture that is a sample all the same (a file of labels names it) fails by name when it
        // is decoded.
        let samples: HashSet<&Path> = self.samples.iter().map(|sample| sample.path.as_path()).collect();
        let skipped = skipped.into_iter().filter(|(path, _)| !samples.contains(path.as_path()));
        let shown = |(path, reason): Skipped| PassedOverFile {
            path: paths::to_column(&paths::relative_to(&self.root, &path)),
            reason,
        };
        let files: BTreeSet<PassedOverFile> = skipped.map(shown).collect();
        self.passed_over = PassedOver { count: files.len() as u64, files: files.into_iter().collect() };
        self
    }

    fn with_unread_labels(mut self, unread: Option<String>) -> Self {
        self.notes.extend(unread.clone());
        self.unread_labels = unread;
        self
    }

    /// The classes that labels of this split use. Reads YOLO label files; what cannot be used of them shows no class here and becomes a
    /// failure of its image later.
    pub fn used_classes(&self) -> BTreeSet<u32> {
        let of_sample = |sample: &Sample| sample.truth.classes().into_iter().collect::<BTreeSet<u32>>();
        let both = |mut a: BTreeSet<u32>, mut b: BTreeSet<u32>| {
            a.append(&mut b);
            a
        };
        self.samples.par_iter().map(of_sample).reduce(BTreeSet::new, both)
    }

    /// Sorts, removes duplicates, refuses an empty list.
    fn finish(&mut self, data: &Path) -> Result<()> {
        if self.samples.is_empty() {
            let found = format!("no images found (supported: {})", IMAGE_SUFFIXES.join(", "));
            let told = self.notes.iter().fold(String::new(), |told, note| told + "\n  note: " + note);
            let remedy = if data.is_dir() {
                "Give the folder that holds the images, or a folder above it."
            } else {
                "Check the folders that it names."
            };
            return Err(fault(data, found + &told, remedy));
        }
        let files = self.samples.iter().flat_map(|sample| [Some(sample.path.as_path()), sample.label_file()]);
        remote::refuse_unlisted(data, files.flatten())?;
        self.samples.sort_by(|a, b| a.relative.as_bytes().cmp(b.relative.as_bytes()));
        let shared = Arc::<WithoutArea>::default();
        self.samples.iter_mut().for_each(|sample| sample.without_area = shared.clone());
        let mut twice = Note::new("entry repeats an image and was dropped", "entries repeat an image and were dropped");
        self.samples.dedup_by(|later, earlier| {
            let same = later.relative == earlier.relative;
            if same {
                twice.add(&later.relative);
            }
            same
        });
        twice.finish(&mut self.notes);
        Ok(())
    }
}

impl Dataset {
    /// What was left out of the labels that were read so far: boxes without area. A user should be told.
    pub fn boxes_without_area(&self) -> Option<String> {
        self.samples.first().and_then(|sample| sample.without_area.note())
    }
}

impl Sample {
    /// A sample at `path`, which is absolute and clean.
    fn new(root: &Path, path: PathBuf, truth: TruthSource) -> Self {
        let relative = paths::to_column(&paths::relative_to(root, &path));
        Self { path, relative, truth, without_area: Arc::default() }
    }

    /// A picture without labels that a cache names `relative`, in a data set whose root is `root` (absolute).
    ///
    /// # Errors
    /// In words, where `relative` is not a path of the format.
    pub fn of_picture(root: &Path, relative: &str) -> std::result::Result<Self, String> {
        let path = paths::absolute(&root.join(paths::from_column(relative)?));
        Ok(Self { path, relative: relative.to_owned(), truth: TruthSource::NoLabels, without_area: Arc::default() })
    }

    /// The ground truth of this picture, whose size after EXIF orientation is `size`. A YOLO label file is read now.
    ///
    /// # Errors
    /// Why this image's labels cannot be used, in words that name the label file and the line or entry.
    pub fn labels(&self, size: ImageSize) -> std::result::Result<Truth, String> {
        Ok(self.truth_boxes(size)?.labels())
    }

    /// All that the data set says of this picture, faults included.
    pub fn annotated(&self, size: ImageSize) -> Annotated {
        self.truth.annotated(size)
    }

    /// The file that has its labels, where there is one.
    pub fn label_file(&self) -> Option<&Path> {
        self.truth.file()
    }

    /// [`Sample::labels`] with what scoring needs besides: crowd regions and areas.
    ///
    /// # Errors
    /// As [`Sample::labels`].
    pub fn truth_boxes(&self, size: ImageSize) -> std::result::Result<Truth<TruthBox>, String> {
        let (truth, without_area) = self.truth.boxes(size)?;
        self.without_area.add(&self.relative, without_area);
        Ok(truth)
    }
}

/// Refuses a folder that this program made for another purpose.
fn refuse_other_folders(data: &Path) -> Result<()> {
    match MadeFolder::of(data) {
        Some(what) => Err(fault(data, format!("this is the folder of a {what}, not a data set"), FORMS)),
        None => Ok(()),
    }
}

/// A folder is what its content says: a `data.yaml` at its top, VOC XML somewhere below, the one
/// file at its top that is a `data.yaml` under another name, or just pictures.
fn open_folder(data: &Path, source: &DataSource) -> Result<Dataset> {
    for name in ["data.yaml", "data.yml"] {
        let yaml = data.join(name);
        if yaml.is_file() {
            let mut dataset = yolo::open(&yaml, refuse_images_dir(source)?)?;
            dataset.notes.push(format!("{} describes this folder and was read", yaml.display()));
            return Ok(dataset);
        }
    }
    refuse_other_folders(data)?;
    let mut notes = Vec::new();
    let found = files::walk(data, &mut notes)?;
    if let Some(dataset) = voc::open(data, source, &found, &mut notes)? {
        return Ok(dataset.with_passed_over(found.passed_over));
    }
    if source.images_dir.is_some() {
        let found = "`images=` was given, but this folder holds no Pascal VOC XML files";
        return Err(fault(&source.data, found, FORMS));
    }
    let descriptions = yolo::descriptions(data);
    if let [yaml] = descriptions.as_slice() {
        let mut dataset = yolo::open(yaml, &source.split).map_err(or_the_pictures_alone)?;
        dataset.notes.push(format!("{} describes this folder and was read", yaml.display()));
        return Ok(dataset);
    }
    refuse_unknown_split(source)?;
    let unread = unread::of_folder(data, &found, &descriptions);
    Ok(folder::open(data, found, notes).with_unread_labels(unread))
}

/// A description under a name of its own may be of another machine; the pictures can be had without
/// it.
fn or_the_pictures_alone(error: Error) -> Error {
    match error {
        Error::Dataset { path, found, remedy } => {
            let remedy =
                format!("{remedy} Or give only the folder of the images, not this file, to use them without labels.");
            Error::Dataset { path, found, remedy }
        }
        other => other,
    }
}

fn refuse_images_dir(source: &DataSource) -> Result<&str> {
    match source.images_dir {
        None => Ok(&source.split),
        Some(_) => Err(fault(
            &source.data,
            "a data.yaml names its own image folders, so `images=` cannot be used with it",
            "Leave `images=` out, or change train, val and test in the file.",
        )),
    }
}

/// The names of splits that everybody uses. A format without splits takes any of them for the whole.
const USUAL_SPLITS: [&str; 3] = ["train", "val", "test"];

/// Refuses a misspelled split where the data set has none to choose from: the results would carry its name.
fn refuse_unknown_split(source: &DataSource) -> Result<()> {
    if source.split.is_empty() || USUAL_SPLITS.contains(&source.split.as_str()) {
        return Ok(());
    }
    let found =
        format!("there is no split {:?}: this data set has no splits, all of its images are used", source.split);
    Err(fault(&source.data, found, "Leave `split=` out, or give the file or folder that holds the images you want."))
}

/// Refuses a meaning for missing label files where the format has no label files.
///
/// # Errors
/// [`Error::Mismatch`].
pub fn refuse_meaning_without_label_files(dataset: &Dataset, meaning: MissingLabels) -> Result<()> {
    let tells = matches!(dataset.format, DatasetFormat::Yolo | DatasetFormat::LabelStudio);
    if meaning == MissingLabels::Background || tells {
        return Ok(());
    }
    let what = match dataset.format {
        DatasetFormat::Coco => "a COCO file: an image without annotations is a background image",
        DatasetFormat::Voc => "Pascal VOC: an image without an XML file is not part of the data set",
        DatasetFormat::Cvat => "a CVAT file: an image without boxes is a background image",
        DatasetFormat::Yolo | DatasetFormat::LabelStudio | DatasetFormat::Folder => {
            "a folder of images: none of them has labels"
        }
    };
    Err(Error::Mismatch {
        found: format!("`missing_labels=unlabelled` is about label files, and this data set is {what}"),
        remedy: "Leave it out.".into(),
    })
}

/// [`Error::Dataset`] in one line.
fn fault(path: &Path, found: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::Dataset { path: path.to_path_buf(), found: found.into(), remedy: remedy.into() }
}
