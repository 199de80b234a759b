//! A data set that is not where a cache says.

use super::fault;
use crate::{Result, words::counted};
use std::path::Path;

/// Refuses where not one of a cache's pictures is there: then no picture is at fault, the data set has moved.
///
/// # Errors
/// [`crate::Error::Dataset`] naming the place, the number of pictures and the first of them.
pub fn refuse_if_moved<'a>(root: &Path, pictures: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let mut first = None;
    let mut missing = 0;
    for picture in pictures {
        // A link that leads nowhere is there, and is told of as what it is.
        if picture.symlink_metadata().is_ok() {
            return Ok(());
        }
        missing += 1;
        first.get_or_insert(picture);
    }
    let Some(first) = first else { return Ok(()) };
    let found = format!(
        "the data set of this cache has moved or was removed: of {} none exists, the first is {}",
        counted(missing, "image"),
        first.display()
    );
    let remedy = "Give its new location with `data=` (for COCO and VOC also `images=`), or move it back. The cache \
                  itself is unchanged.";
    Err(fault(root, found, remedy))
}
