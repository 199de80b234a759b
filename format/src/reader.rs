//! Reads a cache: maps every part, finds images, walks them in order.

use super::{
    ContentDigests, ContentHasher, ImageDigests, ImageKey, ImageView, MANIFEST_NAME, Manifest, PartEntry,
    REMEDY_VERIFY,
    part::MappedPart,
    storage::{Folder, Storage},
};
use crate::{Error, Result, paths};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    path::{Path, PathBuf},
};

/// A mapped cache. Opening reads the manifest and the footers, nothing that grows with rows or images but those;
/// every part is validated before anything of it is exposed. The bytes of the values are not hashed: that is `verify`'s.
///
/// The files must not change while the reader lives; a cache's files never do (see `docs/format.md`, "Immutability").
#[derive(Debug)]
pub struct CacheReader {
    folder: PathBuf,
    manifest: Manifest,
    parts: Vec<MappedPart>,
    /// Highest last_image_id over the parts up to each one.
    reach: Vec<i64>,
}

impl CacheReader {
    /// Opens the cache in `folder`, finished or not.
    ///
    /// # Errors
    /// [`Error::Cache`] naming the manifest or part file that is damaged, missing, of a newer format or of another cache.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::with_manifest(&Folder::new(folder), Manifest::load(folder)?)
    }

    /// Opens a cache that lies in a [`Storage`].
    ///
    /// # Errors
    /// As [`CacheReader::open`].
    pub fn open_in(storage: &dyn Storage) -> Result<Self> {
        let manifest = Manifest::load_from(storage)?.ok_or_else(|| Error::Cache {
            path: storage.folder().to_owned(),
            found: format!("there is no {MANIFEST_NAME}, so it is not a cache"),
            remedy: "Check the location: give the one that a build wrote to.".to_owned(),
        })?;
        Self::with_manifest(storage, manifest)
    }

    /// Opens the parts that `manifest` names, wherever they lie.
    ///
    /// # Errors
    /// As [`CacheReader::open`].
    pub fn with_manifest(storage: &dyn Storage, manifest: Manifest) -> Result<Self> {
        let folder = storage.folder();
        if manifest.is_archive() {
            return Err(cannot_be_mapped(folder, &manifest));
        }
        let open = |part: &PartEntry| MappedPart::open(storage, part, &manifest);
        let mut parts = manifest.parts.iter().map(open).collect::<Result<Vec<_>>>()?;
        parts.sort_by_key(|p| p.entry().first_image_id);
        let reach = parts.iter().scan(i64::MIN, |reach, p| {
            *reach = p.entry().last_image_id.max(*reach);
            Some(*reach)
        });
        let reach = reach.collect();
        Ok(Self { folder: folder.to_path_buf(), manifest, parts, reach })
    }

    /// The cache's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the cache is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A path of the manifest's `dataset`, which is relative to the cache, seen from here; absolute.
    ///
    /// # Errors
    /// [`Error::Cache`] where the text is no path of the format.
    pub fn place(&self, text: &str) -> Result<PathBuf> {
        let path = paths::from_column(text).map_err(|found| Error::Cache {
            path: self.folder.clone(),
            found,
            remedy: "Name the data set with `data=`.".to_owned(),
        })?;
        Ok(paths::absolute(&self.folder.join(path)))
    }

    /// Number of images (and views).
    pub fn len(&self) -> usize {
        self.parts.iter().map(MappedPart::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One image and view; `None` where the cache does not hold it.
    ///
    /// # Errors
    /// [`Error::Cache`] where its values are damaged.
    pub fn image(&self, image_id: i64, view: i32) -> Result<Option<ImageView<'_>>> {
        let begun = self.parts.partition_point(|p| p.entry().first_image_id <= image_id);
        let candidates = self.parts.iter().zip(&self.reach).take(begun).rev();
        for (part, _) in candidates.take_while(|(_, reach)| **reach >= image_id) {
            if let Some(row) = part.find((image_id, view)) {
                return part.image(row).map(Some);
            }
        }
        Ok(None)
    }

    /// The first image whose `path` is this; looks at every image until then.
    ///
    /// # Errors
    /// [`Error::Cache`] where values are damaged.
    pub fn find_path(&self, path: &str) -> Result<Option<ImageView<'_>>> {
        self.images().find(|image| image.as_ref().map_or(true, |i| i.path == path)).transpose()
    }

    /// Every image in order of (image_id, view), whatever part it is in. Ends after the first error.
    pub fn images(&self) -> impl Iterator<Item = Result<ImageView<'_>>> {
        self.places().map(|place| place.and_then(|p| p.part.image(p.row)))
    }

    /// (image_id, view) of every image in order: what a build that goes on need not do again. Ends after the first error.
    pub fn keys(&self) -> impl Iterator<Item = Result<ImageKey>> {
        self.places().map(|place| place.map(|p| p.key))
    }

    /// Digests of the content, from the digests stored per image (`verify` computes those anew as well).
    ///
    /// # Errors
    /// [`Error::Cache`] where values are damaged.
    pub fn content_digests(&self) -> Result<ContentDigests> {
        let mut hasher = ContentHasher::default();
        for image in self.images() {
            let image = image?;
            hasher.push(&ImageDigests {
                file: image.file_sha256,
                record: image.record_sha256,
                labels: image.labels_sha256,
            });
        }
        Ok(hasher.finish())
    }

    fn places(&self) -> Places<'_> {
        let mut places = Places { parts: &self.parts, next: BinaryHeap::new(), last: None, failed: false };
        for at in 0..self.parts.len() {
            places.queue(at, 0);
        }
        places
    }
}

/// An archive as what it is, with the command that makes a cache for readers of it.
fn cannot_be_mapped(folder: &Path, manifest: &Manifest) -> Error {
    Error::Cache {
        path: folder.to_owned(),
        found: "this cache is an archive, which cannot be mapped".to_owned(),
        remedy: manifest.how_to_unpack(folder),
    }
}

/// Where an image is.
struct Place<'a> {
    key: ImageKey,
    part: &'a MappedPart,
    row: usize,
}

/// Merges the sorted parts: the heap holds the next image of each.
struct Places<'a> {
    parts: &'a [MappedPart],
    /// (image_id, view), part, row.
    next: BinaryHeap<Reverse<(ImageKey, usize, usize)>>,
    last: Option<ImageKey>,
    failed: bool,
}

impl Places<'_> {
    fn queue(&mut self, part: usize, row: usize) {
        if let Some(key) = self.parts.get(part).and_then(|p| p.key(row)) {
            self.next.push(Reverse((key, part, row)));
        }
    }
}

impl<'a> Iterator for Places<'a> {
    type Item = Result<Place<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let Reverse((key, at, row)) = self.next.pop()?;
        let part = self.parts.get(at)?;
        if let Some(last) = self.last.filter(|&last| last >= key) {
            self.failed = true;
            return Some(Err(Error::Cache {
                path: part.table(super::columns::Table::Images).path().to_path_buf(),
                found: format!(
                    "image {}, view {} is in the cache twice or out of order (after {last:?})",
                    key.0, key.1
                ),
                remedy: REMEDY_VERIFY.to_owned(),
            }));
        }
        self.last = Some(key);
        self.queue(at, row + 1);
        Some(Ok(Place { key, part, row }))
    }
}
