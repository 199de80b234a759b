//! Folders that this program made: how they are known again, in one place for every refusal.

use crate::{MANIFEST_NAME, SHARDS_FOLDER, columns::Table};
use std::{fmt, path::Path};

/// The settings of a training run, in its folder.
pub const RUN_CONFIG_NAME: &str = "config.json";
/// The folder of a training run's weights, in its folder.
pub const RUN_WEIGHTS_FOLDER: &str = "weights";

/// What a folder is that this program made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeFolder {
    /// A cache, finished or not.
    Cache,
    /// A training run.
    Run,
}

impl MadeFolder {
    /// What is in `folder`; `None` where it is neither, or cannot be read.
    pub fn of(folder: &Path) -> Option<Self> {
        let (is_file, is_dir) = (|name: &str| folder.join(name).is_file(), |name: &str| folder.join(name).is_dir());
        // A manifest alone may be that of a data set.
        if is_dir(Table::Predictions.folder()) && (is_file(MANIFEST_NAME) || is_dir(SHARDS_FOLDER)) {
            return Some(Self::Cache);
        }
        (is_file(RUN_CONFIG_NAME) && is_dir(RUN_WEIGHTS_FOLDER)).then_some(Self::Run)
    }
}

impl fmt::Display for MadeFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cache => "cache",
            Self::Run => "training run",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn folders_are_known_by_what_is_in_them() {
        for (files, folders, expected) in [
            (&[][..], &[][..], None),
            (&["manifest.json"], &[], None),
            (&["manifest.json"], &["images"], None),
            (&["manifest.json"], &["predictions"], Some(MadeFolder::Cache)),
            (&[], &["predictions", "shards"], Some(MadeFolder::Cache)),
            (&[], &["predictions"], None),
            (&["config.json"], &[], None),
            (&["config.json"], &["weights"], Some(MadeFolder::Run)),
            (&["results.csv"], &["weights"], None),
        ] {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|name| fs::write(folder.path().join(name), "{}").unwrap());
            folders.iter().for_each(|name| fs::create_dir(folder.path().join(name)).unwrap());
            assert_eq!(MadeFolder::of(folder.path()), expected, "{files:?} {folders:?}");
        }
        assert_eq!(MadeFolder::of(Path::new("/nowhere/at/all")), None);
    }
}
