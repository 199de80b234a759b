//! `cache subset`: some of the images.

use super::{CacheWritten, checked, open, refuse_views, write::NewCache};
use crate::{
    Error, Result,
    cache::{CacheReader, DatasetInfo, ImageView, Manifest, Samples, seen_from},
    eval::{NmsOptions, teacher_boxes},
    toolkit::{List, Run, folder::NewFolder},
    words::counted,
};
use std::{collections::BTreeSet, path::PathBuf};

/// What to keep.
#[derive(Debug, Clone)]
pub struct CacheSubsetOptions {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Keep images with a label of one of these classes, and images without labels on which the
    /// teacher sees one with a score over 0.25; all where there is none.
    pub classes: Vec<String>,
    /// Keep the images that this text file names, one a line, as paths or as the ends of paths; all
    /// where there is none.
    pub list: Option<PathBuf>,
    /// Folder of the new cache, which must not exist.
    pub out: PathBuf,
}

/// Writes a cache of some of the images. They keep their order and are numbered anew; their outputs
/// and labels stay as they are.
///
/// # Errors
/// [`Error::Cache`] of a cache that is unfinished, damaged, an archive or has views;
/// [`Error::Classes`] of a class that the teacher lacks; [`Error::Dataset`] of a line that names no
/// image or several; [`Error::Mismatch`] where nothing is left or `out` exists; [`Error::Io`],
/// [`Error::NoSpace`], [`Error::Interrupted`], after which nothing is left.
pub fn subset(options: &CacheSubsetOptions, run: &Run<'_>) -> Result<CacheWritten> {
    NewFolder::refuse_existing(&options.out)?;
    let cache = open(&options.cache)?;
    refuse_views(&cache)?;
    let manifest = cache.manifest();
    let classes = class_ids(&options.classes, manifest)?;
    let mut list = options.list.as_deref().map(List::read).transpose()?;
    let mut samples = Samples::default();
    let mut kept: Vec<i64> = Vec::new();
    for image in cache.images() {
        let image = image?;
        let named = list.as_mut().is_none_or(|list| list.names(image.path));
        if named && (classes.is_empty() || shows(&image, manifest, &classes)) {
            samples.push(image.path);
            kept.push(image.image_id);
        }
    }
    list.map_or(Ok(()), |list| list.refuse_others())?;
    if kept.is_empty() {
        return Err(Error::Mismatch {
            found: format!("no image of {} is left", options.cache.display()),
            remedy: "Nothing was written. Choose other classes or images.".into(),
        });
    }
    let (samples, samples_sha256) = samples.finish();
    let dataset = seen_from(&manifest.dataset, &options.cache, &options.out)?;
    let dataset = DatasetInfo { samples, samples_sha256, ..dataset };
    let mut new = NewCache::create(&options.out, Manifest { dataset, failures: Vec::new(), ..manifest.clone() })?;
    write(&cache, &kept, &mut new, run)?;
    let mut notes = Vec::new();
    if !manifest.failures.is_empty() {
        let failed = counted(manifest.failures.len(), "image");
        notes.push(format!("the new cache does not name the images that failed when the old one was built ({failed})"));
    }
    new.finish(vec![options.cache.clone()], notes, run)
}

fn write(cache: &CacheReader, kept: &[i64], new: &mut NewCache, run: &Run<'_>) -> Result<()> {
    (run.total)(kept.len() as u64);
    for (&image_id, number) in kept.iter().zip(0i64..) {
        run.go_on()?;
        let image = cache.image(image_id, 0)?;
        if let Some(image) = image {
            let mut record = checked(cache, &image)?;
            record.image_id = number;
            new.push(&record)?;
        }
        (run.done)(false);
    }
    Ok(())
}

fn class_ids(names: &[String], manifest: &Manifest) -> Result<BTreeSet<u32>> {
    let all = &manifest.teacher.class_names;
    let id = |name: &String| {
        let at = all.iter().position(|own| own == name).and_then(|at| u32::try_from(at).ok());
        at.ok_or_else(|| Error::Classes {
            found: format!("the teacher has no class {name:?}; it has: {}", all.join(", ")),
            remedy: "Choose with `class=`.".into(),
        })
    };
    names.iter().map(id).collect()
}

fn shows(image: &ImageView<'_>, manifest: &Manifest, classes: &BTreeSet<u32>) -> bool {
    match &image.labels {
        Some(labels) => labels.iter().any(|label| classes.contains(&label.class_id)),
        None => {
            let boxes = teacher_boxes(image, &manifest.teacher, &NmsOptions::PREDICTING);
            boxes.iter().any(|found| classes.contains(&found.class_id))
        }
    }
}
