//! A new cache under construction.

use super::CacheWritten;
use crate::{
    Error, Result,
    cache::{
        Folder, ImageDigests, ImageKey, ImageRecord, Manifest, PartEntry, PartWriter, Storage, content_digests,
        part_digests,
    },
    toolkit::{
        Run,
        folder::{NewFolder, full},
    },
};
use std::path::{Path, PathBuf};

/// Images of a part, as a build has them.
const IMAGES_PER_PART: u64 = 4096;

/// A cache that is written image by image, in order.
pub(super) struct NewCache {
    folder: NewFolder,
    out: PathBuf,
    /// Without parts that are not finished.
    manifest: Manifest,
    part: Option<PartWriter>,
    /// Of the last image.
    last_id: Option<i64>,
    images: Vec<(ImageKey, ImageDigests)>,
    labelled: u64,
}

impl NewCache {
    /// Begins a cache that `manifest` describes, whose parts do not count.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where `out` exists, [`Error::Io`].
    pub(super) fn create(out: &Path, manifest: Manifest) -> Result<Self> {
        let mut manifest = Manifest { parts: Vec::new(), complete: false, digests: None, ..manifest };
        manifest.producer = Manifest::current_producer();
        let folder = NewFolder::create(out)?;
        let (images, out) = (Vec::new(), out.to_path_buf());
        Ok(Self { folder, out, manifest, part: None, last_id: None, images, labelled: 0 })
    }

    /// Adds an image or a view of it; they come in increasing order of (image_id, view).
    pub(super) fn push(&mut self, record: &ImageRecord) -> Result<()> {
        let is_new = self.last_id.replace(record.image_id) != Some(record.image_id);
        if is_new && self.part.as_ref().is_some_and(|part| part.images() >= IMAGES_PER_PART) {
            self.end_part()?;
        }
        let part = match &mut self.part {
            Some(part) => part,
            None => self.part.insert(PartWriter::create(self.folder.path(), &self.manifest).map_err(no_space)?),
        };
        part.push(record).map_err(no_space)?;
        self.labelled += u64::from(record.view == 0 && record.labels.is_some());
        Ok(())
    }

    fn end_part(&mut self) -> Result<()> {
        let Some(part) = self.part.take() else { return Ok(()) };
        let Some(entry): Option<PartEntry> = part.finish().map_err(no_space)? else { return Ok(()) };
        self.images.extend(part_digests(self.folder.path(), &entry, &self.manifest)?);
        self.manifest.add_part(entry);
        Ok(())
    }

    /// Ends the cache and moves it to its place.
    pub(super) fn finish(mut self, sources: Vec<PathBuf>, notes: Vec<String>, run: &Run<'_>) -> Result<CacheWritten> {
        self.end_part()?;
        run.go_on()?;
        let fault = |found| Error::Cache {
            path: self.out.clone(),
            found,
            remedy: "This is a bug in the program; please report it.".into(),
        };
        let digests = content_digests(self.images).map_err(fault)?;
        let content_sha256 = digests.content_sha256.clone();
        (self.manifest.complete, self.manifest.digests) = (true, Some(digests));
        let lock = Folder::new(self.folder.path()).lock()?;
        self.manifest.save(&lock).map_err(no_space)?;
        drop(lock);
        self.folder.finish()?;
        let manifest = self.manifest;
        Ok(CacheWritten {
            sources,
            cache: self.out,
            images: manifest.images(),
            labelled_images: self.labelled,
            rows: manifest.rows(),
            bytes: manifest.bytes(),
            content_sha256,
            notes,
        })
    }
}

fn no_space(error: logitcache_format::Error) -> Error {
    full(error.into())
}
