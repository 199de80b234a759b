//! `data check --fix`: a copy without the faults. What was changed stands in `changes.csv`, a row
//! for each change.

use super::{
    DataSet, Manifest, Run, WriteOptions,
    write::{Job, format_of, write},
};
use crate::Result;
use std::collections::HashMap;

/// The list of changes in the new folder.
pub(super) const CHANGES_NAME: &str = "changes.csv";

/// Writes the mended copy: images and labels that cannot be read are left out, boxes are cut at the
/// edge, objects that are labelled twice and files that are there twice are kept once. `repeated`
/// has the positions of the latter.
pub(super) fn fix(
    data: &DataSet,
    repeated: &HashMap<usize, String>,
    options: &WriteOptions,
    run: &Run<'_>,
) -> Result<Manifest> {
    let format = format_of(options, data)?;
    let mut job = Job::of("check", data)?;
    job.mend = true;
    let mut at = 0;
    let mut left_out = Vec::new();
    job.entries.retain(|entry| {
        at += 1;
        let words = repeated.get(&(at - 1));
        left_out.extend(words.map(|words| (entry.sample.relative.clone(), format!("the image was left out: {words}"))));
        words.is_none()
    });
    job.left_out = left_out;
    write(&job, format, options, run)
}
