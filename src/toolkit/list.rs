//! A list of images, one a line.

use crate::{Error, Result, text};
use std::{fs, path::Path};

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
