//! The chosen images as a data set without labels.

use super::{SelectOptions, SelectReport, Selected};
use crate::{
    Result,
    cache::CacheReader,
    dataset::{Dataset, RawBox, Truth},
    issues::labels,
    toolkit::{Job, Labeller, Manifest, Relabelled, Run, WriteOptions, folder_of, origin_of, write},
    types::ImageSize,
};
use std::path::Path;

/// The chosen images with their numbers, in the new folder.
const TABLE: &str = "selected.csv";
/// Their paths, a line each, as `list=` and `labelled=` of other commands take them.
const LIST: &str = "selected.txt";

/// What helps where the data set lacks an image.
const NOT_THERE: &str = "Give the data set that the cache was built from with `data=`.";

/// Takes the labels away, and writes why each image was chosen.
struct Unlabelled<'a>(&'a [Selected]);

impl Labeller for Unlabelled<'_> {
    fn table(&self) -> (&'static str, &'static [&'static str]) {
        (TABLE, &["rank", "uncertainty_bits", "disagreement", "expected_objects"])
    }

    fn relabel(&self, at: usize, _size: ImageSize, _truth: Truth<RawBox>) -> Result<Relabelled, String> {
        let chosen = self.0.get(at).ok_or("the image was not chosen")?;
        let disagreement = chosen.disagreement.map_or_else(String::new, |value| format!("{value:.4}"));
        let row = vec![
            (at + 1).to_string(),
            format!("{:.4}", chosen.uncertainty_bits),
            disagreement,
            format!("{:.2}", chosen.expected_objects),
        ];
        Ok(Relabelled { truth: Truth::Missing, rows: vec![row] })
    }

    fn files(&self) -> Vec<(&'static str, String)> {
        vec![(LIST, self.0.iter().map(|chosen| format!("{}\n", chosen.path)).collect())]
    }
}

/// Writes the data set.
///
/// # Errors
/// [`crate::Error::Mismatch`] where the data set lacks a chosen image; those of writing a data set.
pub(super) fn data_set(
    out: &Path,
    options: &SelectOptions,
    reader: &CacheReader,
    report: &SelectReport,
    run: &Run<'_>,
) -> Result<Manifest> {
    let split = &reader.manifest().dataset.split;
    let source = labels::source(reader, options.data.as_deref(), options.images_dir.clone())?;
    let dataset = Dataset::open(&source)?;
    let samples = labels::Files::of(&dataset);
    let files =
        report.selected.iter().map(|chosen| samples.find(&chosen.path, NOT_THERE)).collect::<Result<Vec<_>>>()?;
    let classes = dataset.class_names.clone().unwrap_or_else(|| reader.manifest().teacher.class_names.clone());
    let folder = folder_of(&dataset.samples);
    let mut job = Job::of_split("select", origin_of(&dataset, &source.data), classes, split, &files, &folder);
    job.settings = vec![format!("method={}", options.method.as_str()), format!("budget={}", options.budget)];
    let labeller = Unlabelled(&report.selected);
    job.labeller = Some(&labeller);
    let write_options = WriteOptions { out: out.to_path_buf(), to: Some(options.to), link: options.link };
    write(&job, options.to, &write_options, run)
}
