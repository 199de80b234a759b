//! Doors to parsers that are private, for the fuzz targets in `fuzz/` and the replay of their corpora. No part of the interface.

use crate::{dataset::yolo::description::Description, detector::Detector};

/// Parses a `data.yaml`.
///
/// # Errors
/// What was found and the remedy.
pub fn data_yaml(bytes: &[u8]) -> Result<(), (String, String)> {
    Description::parse(bytes).map(|_| ())
}

/// Makes the models that run from the teacher.
pub fn edit_teacher(model: &Detector) {
    assert!(!model.edited_bytes().is_empty() && !model.check_bytes().is_empty());
}
