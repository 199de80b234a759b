//! `cache merge`: the images of several caches of one teacher, or the mean of several teachers on
//! the same images.

use super::{CacheWritten, checked, ensemble, open, refuse_views, write::NewCache};
use crate::{
    Error, Result,
    cache::{CacheReader, DatasetInfo, Manifest, Samples, seen_from},
    dataset::paths,
    outputs::real_path,
    remote,
    toolkit::{Run, folder::NewFolder},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// What to unite.
#[derive(Debug, Clone)]
pub struct CacheMergeOptions {
    /// Folders of the caches, at least two.
    pub caches: Vec<PathBuf>,
    /// Whether they are of several teachers on the same images.
    pub ensemble: bool,
    /// Folder of the new cache, which must not exist.
    pub out: PathBuf,
}

/// Writes one cache of several. Without `ensemble` the images of the first cache come first,
/// numbered anew, with outputs and labels as they are; their paths are then relative to the deepest
/// folder that holds all data sets. With it, the mean of what the caches hold: see docs/format.md.
///
/// # Errors
/// [`Error::Mismatch`] where teachers, input sizes, classes or settings do not fit, an image is
/// there twice, or `out` exists; [`Error::Cache`] of a cache that is unfinished, damaged, an
/// archive or has views; [`Error::Io`], [`Error::NoSpace`], [`Error::Interrupted`], after which
/// nothing is left.
pub fn merge(options: &CacheMergeOptions, run: &Run<'_>) -> Result<CacheWritten> {
    NewFolder::refuse_existing(&options.out)?;
    let caches = options.caches.iter().map(|folder| open(folder)).collect::<Result<Vec<_>>>()?;
    if options.ensemble {
        return ensemble::write(&caches, options, run);
    }
    let Some((first, others)) = caches.split_first() else { return Err(nothing()) };
    for cache in &caches {
        refuse_views(cache)?;
    }
    for other in others {
        refuse_other_teacher(first, other)?;
    }
    let roots = caches.iter().map(root).collect::<Result<Vec<PathBuf>>>()?;
    let root = roots.iter().cloned().reduce(common).unwrap_or_default();
    let mut samples = Samples::default();
    // Sixteen bytes of a digest of each path: enough to find one that is there twice.
    let mut seen: HashSet<[u8; 16]> = HashSet::new();
    for (cache, own_root) in caches.iter().zip(&roots) {
        for image in cache.images() {
            let image = image?;
            let path = moved(cache, own_root, &root, image.path)?;
            let digest: [u8; 32] = Sha256::digest(path.as_bytes()).into();
            let mut short = [0; 16];
            short.copy_from_slice(&digest[..16]);
            if !seen.insert(short) {
                return Err(Error::Mismatch {
                    found: format!("the image {path} is in two of the caches"),
                    remedy:
                        "Leave it out of one of them with `cache_subset()`, or unite two teachers with `ensemble=true`."
                            .into(),
                });
            }
            samples.push(&path);
        }
    }
    drop(seen);
    let (samples, samples_sha256) = samples.finish();
    let dataset = DatasetInfo { samples, samples_sha256, ..dataset(&caches, options, &root)? };
    let manifest = Manifest { dataset, failures: Vec::new(), ..first.manifest().clone() };
    let mut new = NewCache::create(&options.out, manifest)?;
    (run.total)(caches.iter().map(|cache| cache.len() as u64).sum());
    let mut number = 0;
    for (cache, own_root) in caches.iter().zip(&roots) {
        for image in cache.images() {
            run.go_on()?;
            let mut record = checked(cache, &image?)?;
            record.path = moved(cache, own_root, &root, &record.path)?;
            record.image_id = number;
            number += 1;
            new.push(&record)?;
            (run.done)(false);
        }
    }
    new.finish(options.caches.clone(), Vec::new(), run)
}

fn nothing() -> Error {
    Error::Mismatch { found: "there is no cache to unite".into(), remedy: "Give at least two caches.".into() }
}

fn refuse_other_teacher(first: &CacheReader, other: &CacheReader) -> Result<()> {
    // The data sets differ; so may the number of images of a run of the teacher, and where it ran.
    let (a, b) = (first.manifest(), other.manifest());
    let same_settings = Manifest { dataset: a.dataset.clone(), ..b.clone() };
    let mut differences = a.settings_difference(&same_settings);
    differences.retain(|difference| difference.name != "settings.batch");
    let state = |m: &Manifest| (m.dataset.labels, m.dataset.class_names.clone(), m.dataset.class_map.clone());
    let found = match differences.first() {
        Some(difference) => format!(
            "{} is {} in {} and {} in {}",
            difference.name,
            difference.in_cache,
            first.folder().display(),
            difference.wanted,
            other.folder().display()
        ),
        None if state(a) != state(b) => format!(
            "the labels of {} are {:?} of {} classes, those of {} {:?} of {}, or their names differ",
            first.folder().display(),
            a.dataset.labels,
            a.dataset.class_names.len(),
            other.folder().display(),
            b.dataset.labels,
            b.dataset.class_names.len()
        ),
        None => return Ok(()),
    };
    Err(Error::Mismatch {
        found,
        remedy: "Only caches of one teacher, with the same settings and the same classes, are united. \
                 Build one of them again as the other, or unite two teachers of the same images with `ensemble=true`."
            .into(),
    })
}

/// Where the images of a cache lie.
fn root(cache: &CacheReader) -> Result<PathBuf> {
    remote::place(cache, &cache.manifest().dataset.root)
}

/// The deepest folder above both.
fn common(a: PathBuf, b: PathBuf) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

/// The path of an image, relative to another root.
fn moved(cache: &CacheReader, own_root: &Path, root: &Path, path: &str) -> Result<String> {
    if own_root == root {
        return Ok(path.to_owned());
    }
    let relative = paths::from_column(path).map_err(|found| Error::Cache {
        path: cache.folder().to_owned(),
        found,
        remedy: "Run `verify()`.".into(),
    })?;
    let path = paths::absolute(&own_root.join(relative));
    Ok(paths::to_column(path.strip_prefix(root).unwrap_or(&path)))
}

/// The united data set: what all have in common.
fn dataset(caches: &[CacheReader], options: &CacheMergeOptions, root: &Path) -> Result<DatasetInfo> {
    let seen = |cache: &CacheReader| seen_from(&cache.manifest().dataset, cache.folder(), &options.out);
    let all = caches.iter().map(seen).collect::<Result<Vec<DatasetInfo>>>()?;
    let Some(first) = all.first().cloned() else { return Err(nothing()) };
    let same = |of: &dyn Fn(&DatasetInfo) -> String| all.iter().all(|other| of(other) == of(&first));
    let place = |path: &Path| paths::to_column(&remote::from_folder(&real_path(&options.out), &real_path(path)));
    let same_source = same(&|d| format!("{:?}", (&d.format, &d.source, &d.images_dir, &d.root)));
    let mut splits: Vec<String> = Vec::new();
    all.iter().for_each(|d| {
        if !splits.contains(&d.split) {
            splits.push(d.split.clone())
        }
    });
    Ok(DatasetInfo {
        format: if same(&|d| d.format.clone()) { first.format.clone() } else { "folder".to_owned() },
        split: splits.join("+"),
        root: place(root),
        // One place to read labels from is there only if all were read from it.
        source: if same_source { first.source.clone() } else { place(root) },
        images_dir: first.images_dir.clone().filter(|_| same_source),
        ..first
    })
}
