//! All splits of a data set at once, with their names.

use super::{
    DataSource, Dataset, cvat, fault, files, label_studio,
    listed::Subsets,
    paths,
    yolo::{self, description::Description},
};
use crate::{Error, Result, remote};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The name of the one split of a data set that has no splits.
pub const UNSPLIT: &str = "all";

/// Where a split stands among others: train, val, test, then the rest.
pub(super) fn split_order(name: &str) -> usize {
    ["train", "val", "test"].iter().position(|usual| *usual == name).unwrap_or(3)
}

impl Dataset {
    /// Every split of a data set, the usual ones first; one that is named [`UNSPLIT`] where it has
    /// none. Besides what [`Dataset::open`] takes, a folder with `annotations/instances_*.json`,
    /// `annotations.xml` or `tasks.json` is a data set.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_all(data: &Path, images_dir: Option<&Path>) -> Result<Vec<(String, Self)>> {
        let given = data;
        let data = paths::absolute(&remote::local(data)?);
        remote::pull_listing(&data)?;
        let source = |data: &Path, split: &str| DataSource {
            data: data.to_path_buf(),
            images_dir: images_dir.map(Path::to_path_buf),
            split: split.to_owned(),
        };
        let one = |source: &DataSource| Ok(vec![(UNSPLIT.to_owned(), Self::open(source)?)]);
        let suffix = data.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
        if !data.exists() {
            // Says so.
            return one(&source(given, ""));
        }
        if !data.is_dir() {
            return match suffix.as_str() {
                "yaml" | "yml" => Self::open_yolo(&data, &source(&data, "")),
                "json" if label_studio::is_one(&data) => Ok(named(label_studio::open(&data, &source(&data, ""))?)),
                "json" => Ok(vec![(split_of_coco(&data), Self::open(&source(&data, ""))?)]),
                "xml" => Ok(named(cvat::open(&data, &source(&data, ""))?)),
                // Says what is wrong with it.
                _ => one(&source(given, "")),
            };
        }
        if let Some(yaml) =
            ["data.yaml", "data.yml"].map(|name| data.join(name)).into_iter().find(|yaml| yaml.is_file())
        {
            return Self::open_yolo(&yaml, &source(&yaml, ""));
        }
        if let [yaml] = yolo::descriptions(&data).as_slice() {
            return Self::open_yolo(yaml, &source(yaml, ""));
        }
        let coco = coco_files(&data);
        if !coco.is_empty() {
            let splits = coco.iter().map(|json| Ok((split_of_coco(json), Self::open(&source(json, ""))?)));
            let splits = splits.collect::<Result<Vec<_>>>()?;
            return sorted(&data, splits);
        }
        let xml = data.join("annotations.xml");
        if xml.is_file() {
            return Ok(named(cvat::open(&xml, &source(&xml, ""))?));
        }
        let tasks = data.join("tasks.json");
        if label_studio::is_one(&tasks) {
            return Ok(named(label_studio::open(&tasks, &source(&tasks, ""))?));
        }
        let lists = voc_lists(&data)?;
        if !lists.is_empty() {
            let splits = lists.into_iter().map(|name| {
                let dataset = Self::open(&source(&data, &name))?;
                Ok((name, dataset))
            });
            return sorted(&data, splits.collect::<Result<Vec<_>>>()?);
        }
        one(&source(&data, ""))
    }

    fn open_yolo(yaml: &Path, source: &DataSource) -> Result<Vec<(String, Self)>> {
        super::refuse_images_dir(source)?;
        let names = Description::read(yaml)?.split_names();
        if names.is_empty() {
            return Err(fault(yaml, "the file names no images", "Add `train:` (and `val:`, `test:`) to it."));
        }
        let splits = names.into_iter().map(|name| {
            let mut dataset = yolo::open(yaml, name)?;
            dataset.finish(yaml)?;
            Ok((name.to_owned(), dataset))
        });
        splits.collect()
    }
}

fn named(subsets: Subsets) -> Vec<(String, Dataset)> {
    subsets.into_iter().map(|(name, dataset)| (name.unwrap_or_else(|| UNSPLIT.to_owned()), dataset)).collect()
}

fn sorted(data: &Path, mut splits: Vec<(String, Dataset)>) -> Result<Vec<(String, Dataset)>> {
    splits.sort_by(|(a, _), (b, _)| (split_order(a), a).cmp(&(split_order(b), b)));
    match splits.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => {
            let found = format!("two files are of the split {:?}", pair[0].0);
            Err(fault(data, found, "Give one of the files, or move one away."))
        }
        None => Ok(splits),
    }
}

/// The split that a COCO file's name tells: `instances_train2017.json` is of `train`.
fn split_of_coco(json: &Path) -> String {
    let stem = json.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let Some(name) = stem.strip_prefix("instances_").filter(|name| !name.is_empty()) else {
        return UNSPLIT.to_owned();
    };
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if split_order(plain) < 3 { plain.to_owned() } else { name.to_owned() }
}

/// `annotations/instances_*.json` of a folder.
fn coco_files(data: &Path) -> Vec<PathBuf> {
    let entries =
        data.join("annotations").read_dir().into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with("instances_") && name.ends_with(".json")
    };
    let mut found: Vec<PathBuf> = entries.filter(is_one).collect();
    found.sort();
    found
}

/// Lists of images in a VOC release, without those of one class and without unions of others.
fn voc_lists(data: &Path) -> Result<Vec<String>> {
    let lists = data.join("ImageSets/Main");
    if !files::is_dir(&lists) {
        return Ok(Vec::new());
    }
    let entries = lists.read_dir().map_err(|e| Error::io(&lists, "read the folder", e))?;
    let names = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_list = path.extension().is_some_and(|suffix| suffix == "txt");
        path.file_stem()?.to_str().filter(|name| is_list && !name.contains('_')).map(str::to_owned)
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    let has = |name: &str| names.iter().any(|other| other == name);
    let is_union = has("trainval") && (has("train") || has("val"));
    names.retain(|name| !(is_union && name == "trainval"));
    Ok(names)
}
