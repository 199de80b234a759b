//! Where a run's data lie: kept in its `config.json`, so that a report finds them again.

use crate::dataset::{DataSource, NameMap, paths};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Places of what a run used, relative to its folder where that can be expressed, in the form of the cache's `path` column. They do not
/// decide what comes out of a run and are not compared on resume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunData {
    /// Folder of the cache; null without one.
    pub cache: Option<String>,
    /// The data set that it was validated on (a data.yaml, a JSON file, a folder); null without validation.
    pub val_source: Option<String>,
    /// `--images` of that data set; null where it was not given.
    pub val_images_dir: Option<String>,
    /// The split that it was validated on; null without validation.
    pub val_split: Option<String>,
    /// Classes of the data set that are a class of the student under another name, each with that name.
    pub class_map: NameMap,
}

impl RunData {
    /// As the configuration of the run in `run` keeps them.
    pub fn new(run: &Path, cache: Option<&Path>, validation: Option<&DataSource>, class_map: &NameMap) -> Self {
        let run = paths::absolute(run);
        let from_run = |path: &Path| paths::to_column(&paths::relative_to(&run, &paths::absolute(path)));
        Self {
            cache: cache.map(from_run),
            val_source: validation.map(|source| from_run(&source.data)),
            val_images_dir: validation.and_then(|source| source.images_dir.as_deref()).map(from_run),
            val_split: validation.map(|source| source.split.clone()),
            class_map: class_map.clone(),
        }
    }

    /// The cache's folder, seen from here; `None` where the run had none or its text is no path.
    pub fn cache_folder(&self, run: &Path) -> Option<PathBuf> {
        place(run, self.cache.as_deref()?)
    }

    /// The data set that the run was validated on, seen from here.
    pub fn validation(&self, run: &Path) -> Option<DataSource> {
        Some(DataSource {
            data: place(run, self.val_source.as_deref()?)?,
            images_dir: self.val_images_dir.as_deref().and_then(|dir| place(run, dir)),
            split: self.val_split.clone()?,
        })
    }
}

fn place(folder: &Path, text: &str) -> Option<PathBuf> {
    paths::from_column(text).ok().map(|path| paths::absolute(&folder.join(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_and_move_with_the_folders() {
        let source = DataSource {
            data: "/home/me/sets/coco/data.yaml".into(),
            images_dir: Some("/home/me/sets/images".into()),
            split: "val".into(),
        };
        let none = NameMap::default();
        let data = RunData::new(Path::new("/home/me/runs/a"), Some(Path::new("/home/me/cache")), Some(&source), &none);
        assert_eq!(data.cache.as_deref(), Some("../../cache"));
        assert_eq!(data.validation(Path::new("/home/me/runs/a")), Some(source));
        assert_eq!(data.cache_folder(Path::new("/moved/runs/a")), Some("/moved/cache".into()));
        let nothing = RunData::new(Path::new("run"), None, None, &none);
        assert_eq!(nothing, RunData::default());
        assert_eq!(nothing.validation(Path::new("run")), None);
    }
}
