//! Boxes without area, which are left out of an image's labels: counted while labels are read, told at the end.

use super::notes::Note;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// How many boxes of which image were left out. Shared by the samples of a data set; the order of reading does not matter.
#[derive(Debug, Default)]
pub(super) struct WithoutArea(Mutex<BTreeMap<String, usize>>);

impl WithoutArea {
    /// Remembers that so many boxes of an image (as the `path` column shows it) were left out.
    pub(super) fn add(&self, image: &str, boxes: usize) {
        if boxes > 0 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(image.to_owned(), boxes);
        }
    }

    /// What a user should be told, if there was any.
    pub(super) fn note(&self) -> Option<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = found.values().sum();
        let (boxes, were) =
            if total == 1 { ("1 box has".to_owned(), "was") } else { (format!("{total} boxes have"), "were") };
        let mut note = Note::new("image", "images");
        found.keys().for_each(|image| note.add(image));
        let mut lines = Vec::new();
        note.finish(&mut lines);
        lines
            .pop()
            .map(|images| format!("{boxes} no area inside the image and {were} left out of the labels of {images}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_in_their_order_once_each() {
        let found = WithoutArea::default();
        assert_eq!(found.note(), None);
        found.add("b.jpg", 2);
        found.add("a.jpg", 0);
        found.add("a.jpg", 1);
        found.add("b.jpg", 2);
        let note = "3 boxes have no area inside the image and were left out of the labels of 2 images: a.jpg, b.jpg";
        assert_eq!(found.note().as_deref(), Some(note));
        let one = WithoutArea::default();
        one.add("a.jpg", 1);
        let note = "1 box has no area inside the image and was left out of the labels of 1 image: a.jpg";
        assert_eq!(one.note().as_deref(), Some(note));
    }
}
