//! `data convert`: the same images, splits and classes in another format.

use super::{
    DataSet, Manifest, Run, WriteOptions,
    write::{Job, format_of, write},
};
use crate::Result;

/// What to convert.
#[derive(Debug)]
pub struct ConvertOptions {
    /// The data set.
    pub data: DataSet,
    /// Where and how to write it.
    pub write: WriteOptions,
}

/// Writes a data set in another format. Class order and splits are kept; what the format cannot
/// hold is in the manifest.
///
/// # Errors
/// A data set without labels, an `out` that exists, class or split names that the format cannot
/// hold; after a failed write nothing is left.
pub fn convert(options: &ConvertOptions, run: &Run<'_>) -> Result<Manifest> {
    let format = format_of(&options.write, &options.data)?;
    write(&Job::of("convert", &options.data)?, format, &options.write, run)
}
