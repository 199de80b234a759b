//! Running a prepared build: outcomes into parts, parts into the manifest.

use super::{BuildReport, prepare::Build, teach::TeacherWorker};
use crate::{
    Error, Result,
    cache::{CacheReader, ImageRecord, Manifest, PartWriter},
    fsio::Lock,
    pipeline::{self, ImageSource, Outcome},
    teacher::{Grid, Selection, Selector},
    types::{Failure, Profile, Store},
};
use std::{collections::BTreeSet, sync::atomic::AtomicBool, time::Instant};

impl Build {
    /// Runs the teacher over every pending image. `on_image(failed)` is called for each, in order. Raising `stop` ends
    /// the build early; what is in flight is finished and committed.
    ///
    /// # Errors
    /// What makes going on impossible (a full disk, a library that fails); the parts finished so far are kept, and the same build goes on
    /// from there.
    pub fn run(self, stop: &AtomicBool, mut on_image: impl FnMut(bool)) -> Result<BuildReport> {
        let started = Instant::now();
        let images_before = self.manifest.images();
        let Self { options, dataset, model, sessions, class_map, batch, lock, mut manifest, pending, .. } = self;
        if !pending.is_empty() {
            let grid = Grid::new(model.input.height, model.input.width, &model.head.strides);
            let selection = match options.profile {
                Profile::Dense => Selection::ALL,
                Profile::Mapped => {
                    Selection { min_score: options.min_score, top_k: options.top_k.get(), coverage: options.coverage }
                }
            };
            let worker = |session| TeacherWorker {
                session,
                batch,
                selector: Selector::new(grid.clone(), selection, options.store == Store::All),
            };
            let workers = sessions.into_iter().map(worker).collect();
            let source = ImageSource {
                samples: &dataset.samples,
                input: model.input,
                class_map: class_map.as_ref(),
                missing_labels: options.missing_labels,
            };
            let mut parts = Parts::new(&lock, &mut manifest, options.images_per_part.get() as i64);
            let handed_over = pipeline::run(&source, &pending, batch, workers, options.jobs, stop, |outcome| {
                on_image(outcome.is_err());
                parts.add(outcome)
            });
            let handed_over = handed_over.and_then(|n| parts.commit().map(|()| n)).map_err(how_to_go_on)?;
            manifest.complete = handed_over == pending.len();
        } else {
            manifest.complete = true;
        }
        if manifest.complete && manifest.digests.is_none() {
            manifest.digests = Some(CacheReader::with_manifest(lock.folder(), manifest.clone())?.content_digests()?);
            manifest.save(&lock).map_err(how_to_go_on)?;
        }
        let images_this_run = manifest.images() - images_before;
        let elapsed_s = started.elapsed().as_secs_f64();
        Ok(BuildReport {
            cache: options.out,
            samples: dataset.samples.len() as u64,
            images: manifest.images(),
            images_this_run,
            rows: manifest.rows(),
            bytes: manifest.bytes(),
            complete: manifest.complete,
            content_sha256: manifest.digests.map(|d| d.content_sha256),
            failures: manifest.failures,
            elapsed_s,
            images_per_s: images_this_run as f64 / elapsed_s,
        })
    }
}

/// The part under construction: images of one stretch of `images_per_part` ids, finished when the next stretch begins.
struct Parts<'a> {
    lock: &'a Lock,
    manifest: &'a mut Manifest,
    images_per_part: i64,
    stretch: Option<i64>,
    writer: Option<PartWriter>,
    /// Ids of this stretch that have an outcome.
    handled: BTreeSet<i64>,
    failures: Vec<Failure>,
}

impl<'a> Parts<'a> {
    fn new(lock: &'a Lock, manifest: &'a mut Manifest, images_per_part: i64) -> Self {
        Self {
            lock,
            manifest,
            images_per_part,
            stretch: None,
            writer: None,
            handled: BTreeSet::new(),
            failures: Vec::new(),
        }
    }

    fn add(&mut self, outcome: Outcome<Box<ImageRecord>>) -> Result<()> {
        let image_id = match &outcome {
            Ok(record) => record.image_id,
            Err(failure) => failure.image_id,
        };
        let stretch = image_id / self.images_per_part;
        if self.stretch.is_some_and(|s| s != stretch) {
            self.commit()?;
        }
        self.stretch = Some(stretch);
        self.handled.insert(image_id);
        match outcome {
            Err(failure) => self.failures.push(failure),
            Ok(record) => {
                let writer = match &mut self.writer {
                    Some(writer) => writer,
                    empty => empty.insert(PartWriter::create(self.lock.folder(), self.manifest)?),
                };
                writer.push(&record)?;
            }
        }
        Ok(())
    }

    /// Finishes the part's files, then names them in the manifest together with this stretch's failures.
    fn commit(&mut self) -> Result<()> {
        if self.stretch.take().is_none() {
            return Ok(());
        }
        if let Some(part) = self.writer.take().map(PartWriter::finish).transpose()?.flatten() {
            self.manifest.add_part(part);
        }
        // The digests are of a complete cache; a part more and they are of another one.
        self.manifest.digests = None;
        self.manifest.complete = false;
        let failures = &mut self.manifest.failures;
        failures.retain(|f| !self.handled.contains(&f.image_id));
        failures.append(&mut self.failures);
        failures.sort_by_key(|f| f.image_id);
        self.handled.clear();
        self.manifest.save(self.lock)
    }
}

/// A full disk is no damage; says so.
fn how_to_go_on(error: Error) -> Error {
    error.or_no_space("Everything finished so far is kept. Free some space and run the same command to go on.")
}
