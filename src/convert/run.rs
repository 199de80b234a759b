//! Running a prepared conversion: part after part, several at once, each read back before it counts.

use super::{Conversion, ConvertReport};
use crate::{
    Error, Result,
    cache::{self, ContentDigests, ImageDigests, ImageKey, Manifest, PartEntry, PartWriter},
};
use rayon::prelude::*;
use std::{
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// What the threads share.
struct Shared {
    /// Names every part that is finished.
    manifest: Manifest,
    /// The images in those.
    images: Vec<(ImageKey, ImageDigests)>,
    /// What went wrong first; the other threads then stop.
    error: Option<Error>,
}

/// A lock that a panicking thread held guards nothing half done: each change is one assignment.
fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Conversion {
    /// Converts every pending part, on rayon's current pool; `on_images` is called with the number of images that are through.
    /// Raising `stop` ends it early; the parts finished so far are kept, those under construction leave nothing.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after `stop`; [`Error::Cache`] where the source is damaged; [`Error::NoSpace`], [`Error::Io`]. Finished
    /// parts are kept, and the same conversion goes on from there.
    pub fn run(self, stop: &AtomicBool, on_images: &(dyn Fn(u64) + Sync)) -> Result<ConvertReport> {
        let started = Instant::now();
        let images_before = self.images_done();
        // What a former run wrote is read again: it must still be what its manifest says.
        let out = self.options.out.as_path();
        let of_part = |part: &PartEntry| cache::part_digests(out, part, &self.manifest);
        let images = self.manifest.parts.par_iter().map(of_part).collect::<Result<Vec<_>, _>>()?.concat();

        let pending = self.pending();
        let shared = Mutex::new(Shared { manifest: self.manifest.clone(), images, error: None });
        let failed = AtomicBool::new(false);
        let ended = || stop.load(Ordering::Relaxed) || failed.load(Ordering::Acquire);
        pending.par_iter().for_each(|part| {
            if let Err(error) = self.convert(part, &shared, &ended, on_images) {
                locked(&shared).error.get_or_insert(error);
                failed.store(true, Ordering::Release);
            }
        });
        let Shared { mut manifest, images, error } = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = error {
            // Files that were named but not yet in the manifest when another part failed.
            cache::remove_leftovers(&self.lock, Some(&manifest))?;
            return Err(self.how_to_go_on(error, &manifest));
        }
        let notes = self.notes();
        let digests = self.same_content(images)?;
        let content_sha256 = digests.content_sha256.clone();
        (manifest.complete, manifest.digests) = (true, Some(digests));
        manifest.save(&self.lock).map_err(|e| self.how_to_go_on(e.into(), &manifest))?;
        Ok(ConvertReport {
            profile: self.options.target.as_str().to_owned(),
            parts: manifest.parts.len() as u64,
            images: manifest.images(),
            images_this_run: manifest.images() - images_before,
            rows: manifest.rows(),
            failures: manifest.failures.len() as u64,
            source_bytes: self.source.bytes(),
            bytes: manifest.bytes(),
            content_sha256,
            notes,
            elapsed_s: started.elapsed().as_secs_f64(),
            source: self.options.cache,
            cache: self.options.out,
        })
    }

    /// One part: read, written, read back, named in the manifest.
    fn convert(
        &self,
        part: &PartEntry,
        shared: &Mutex<Shared>,
        ended: &(dyn Fn() -> bool + Sync),
        on_images: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let stopped = || Error::Interrupted { remedy: String::new() };
        if ended() {
            return Err(stopped());
        }
        let out = self.lock.folder();
        let mut writer = PartWriter::create(out, &self.manifest)?;
        cache::for_each_image(&self.options.cache, part, &self.source, |record| {
            if ended() {
                return Err(stopped());
            }
            writer.push(&record)?;
            on_images(1);
            Ok(())
        })?;
        let written = writer.finish()?.ok_or_else(|| other_content(&self.options.cache, part))?;
        let same = (&written.name, &written.content_sha256, written.images, written.rows);
        if same != (&part.name, &part.content_sha256, part.images, part.rows) {
            return Err(other_content(&self.options.cache, part));
        }
        let digests = cache::part_digests(out, &written, &self.manifest)?;
        let mut shared = locked(shared);
        shared.images.extend(digests);
        shared.manifest.add_part(written);
        Ok(shared.manifest.save(&self.lock)?)
    }

    /// The digests over everything that was written, which must be the source's.
    fn same_content(&self, images: Vec<(ImageKey, ImageDigests)>) -> Result<ContentDigests> {
        let fault = |found: String| Error::Cache {
            path: cache::manifest_path(&self.options.cache),
            found,
            remedy: "Run `verify()` on it.".to_owned(),
        };
        let found = cache::content_digests(images).map_err(fault)?;
        match &self.source.digests {
            Some(stated) if *stated == found => Ok(found),
            stated => Err(fault(format!("its content digests are {stated:?}, its images give {found:?}"))),
        }
    }

    fn how_to_go_on(&self, error: Error, manifest: &Manifest) -> Error {
        match error {
            Error::Interrupted { .. } => Error::Interrupted {
                remedy: format!(
                    "{} of {} images are converted; run the same command to go on",
                    manifest.images(),
                    self.images()
                ),
            },
            other => {
                other.or_no_space("Every finished part is kept. Free some space and run the same command to go on.")
            }
        }
    }
}

fn other_content(cache: &Path, part: &PartEntry) -> Error {
    Error::Cache {
        path: part.images_path(cache),
        found: format!("its images do not have the content digest {} that the manifest says", part.content_sha256),
        remedy: "Run `verify()` on it.".to_owned(),
    }
}
