//! A list of images, one a line.

use crate::{Error, Result, cache::CacheReader, text};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

/// The lines of a text file that names images by their paths or the ends of these; a `./` before
/// them says nothing.
///
/// # Errors
/// [`Error::Io`]; [`Error::Dataset`] of a file that is no text.
pub(crate) fn read_list(list: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(list).map_err(|e| Error::io(list, "read the list of images", e))?;
    let text = text::decode(&bytes).map_err(|found| Error::Dataset {
        path: list.to_path_buf(),
        found: format!("this is not a list of images: {found}"),
        remedy: "Save it as UTF-8.".into(),
    })?;
    let lines = text::rows(&text).map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(|line| line.strip_prefix("./").unwrap_or(line).to_owned()).collect())
}

/// The images of a cache that a text file lists: paths in the data set or their ends, one a line.
#[derive(Debug)]
pub(crate) struct List {
    path: PathBuf,
    /// Each line and how many images it named.
    lines: Vec<(String, u64)>,
    /// Numbers of lines, by the file name at their end.
    by_name: HashMap<String, Vec<usize>>,
}

impl List {
    /// # Errors
    /// As [`read_list`].
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let lines: BTreeSet<String> = read_list(path)?.into_iter().collect();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, line) in lines.iter().enumerate() {
            by_name.entry(line.rsplit('/').next().unwrap_or(line).to_owned()).or_default().push(at);
        }
        Ok(Self { path: path.to_path_buf(), lines: lines.into_iter().map(|line| (line, 0)).collect(), by_name })
    }

    /// The ids of the images of a cache that a file lists.
    ///
    /// # Errors
    /// As of [`Self::read`] and [`Self::refuse_others`]; [`Error::Cache`] of a damaged cache.
    pub(crate) fn ids(path: &Path, reader: &CacheReader) -> Result<HashSet<i64>> {
        let mut list = Self::read(path)?;
        let mut ids = HashSet::new();
        for image in reader.images() {
            let image = image?;
            if image.view == 0 && list.names(image.path) {
                ids.insert(image.image_id);
            }
        }
        list.refuse_others()?;
        Ok(ids)
    }

    /// Whether a line names this image, which is remembered.
    pub(crate) fn names(&mut self, image: &str) -> bool {
        let name = image.rsplit('/').next().unwrap_or(image);
        let mut named = false;
        for &at in self.by_name.get(name).into_iter().flatten() {
            if let Some((_, count)) = self.lines.get_mut(at).filter(|(line, _)| Path::new(image).ends_with(line)) {
                *count += 1;
                named = true;
            }
        }
        named
    }

    /// Once all images were asked for: every line is to name one.
    ///
    /// # Errors
    /// [`Error::Dataset`] of a line that named no image or several.
    pub(crate) fn refuse_others(self) -> Result<()> {
        let Some((line, count)) = self.lines.into_iter().find(|(_, count)| *count != 1) else { return Ok(()) };
        let found = match count {
            0 => format!("{line:?} is no image of the cache"),
            several => format!("{line:?} fits {several} images of the cache"),
        };
        let remedy =
            "Give images as the cache has them (relative to the data set), or the ends of their paths, one a line.";
        Err(Error::Dataset { path: self.path, found, remedy: remedy.into() })
    }
}
