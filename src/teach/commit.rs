//! Running a prepared build: outcomes into parts, parts into the manifest.

use super::{
    BuildOptions, BuildReport,
    prepare::{Build, Ledger},
    select::{Selection, Selector},
    worker::TeacherWorker,
};
use crate::{
    Error, Result,
    cache::{CacheReader, Folder, ImageKey, ImageRecord, Manifest, PartWriter},
    detector::HeadSpec,
    eval::TeacherSight,
    fsio::Lock,
    pipeline::{self, ImageSource, Outcome},
    types::{Failure, FailureStage, Profile, Store},
};
use std::{collections::BTreeSet, sync::atomic::AtomicBool, time::Instant};

impl Build {
    /// Runs the teacher over every pending image and its views. `on_view` is called for each view in order, the image itself
    /// included, with whether the image has just failed; an image fails once. Raising `stop` ends
    /// the build early; what is in flight is finished and committed.
    ///
    /// # Errors
    /// What makes going on impossible (a full disk, a library that fails); the parts finished so far are kept, and the same build goes on
    /// from there.
    pub fn run(self, stop: &AtomicBool, on_view: impl FnMut(bool)) -> Result<BuildReport> {
        let of_shard = self.options.shard.is_some();
        self.run_to_end(stop, on_view).map_err(|error| if of_shard { error.or_later() } else { error })
    }

    fn run_to_end(self, stop: &AtomicBool, mut on_view: impl FnMut(bool)) -> Result<BuildReport> {
        let started = Instant::now();
        let images_before = self.manifest.images();
        let Self { options, dataset, model, sessions, class_map, batch, ledger, mut manifest, pending, plan } = self;
        let mut all_handed_over = true;
        if !pending.is_empty() {
            let selection = selection_of(&options, &model.head);
            let worker = |session| TeacherWorker {
                session,
                batch,
                selector: Selector::new(model.head.clone(), selection, options.store_of(&model.head) == Store::All),
            };
            let workers = sessions.into_iter().map(worker).collect();
            let views = options.views;
            let keys: Vec<ImageKey> =
                pending.iter().flat_map(|&image_id| views.numbers().map(move |view| (image_id, view))).collect();
            let source = ImageSource {
                samples: &dataset.samples,
                image_ids: None,
                input: model.input,
                rule: model.input_rule,
                class_map: class_map.as_ref(),
                missing_labels: options.missing_labels,
                views,
            };
            let mut parts = Parts::new(&ledger, &mut manifest, options.images_per_part.get() as i64);
            let handed_over = pipeline::run(&source, &keys, batch, workers, options.jobs, stop, |outcome| {
                on_view(parts.add(outcome)?);
                Ok(())
            });
            let handed_over = handed_over.and_then(|n| parts.commit().map(|()| n)).map_err(how_to_go_on)?;
            all_handed_over = handed_over == keys.len();
        }
        let images_this_run = manifest.images() - images_before;
        let (mut shard, mut reader) = (None, None);
        let (complete, digests) = match ledger {
            Ledger::Whole(lock) => {
                reader = finish(&lock, &mut manifest, all_handed_over)?;
                (manifest.complete, manifest.digests.clone())
            }
            Ledger::Shard(work) => {
                let (report, published) = work.finish(&manifest, &dataset, all_handed_over).map_err(how_to_go_on)?;
                shard = Some(report);
                published.map_or((false, None), |cache| (cache.complete, cache.digests))
            }
        };
        let elapsed_s = started.elapsed().as_secs_f64();
        let teacher = reader.as_ref().map(TeacherSight::of).transpose()?.flatten();
        // Labels are read while the images are: only now is it known.
        let mut notes = plan.notes;
        let found_late = dataset.boxes_without_area();
        notes.extend(found_late.clone());
        Ok(BuildReport {
            cache: options.out,
            samples: dataset.samples.len() as u64,
            images: manifest.images(),
            views: manifest.settings.views,
            images_this_run,
            rows: manifest.rows(),
            bytes: manifest.bytes(),
            complete,
            content_sha256: digests.map(|d| d.content_sha256),
            failures: manifest.failures,
            passed_over: dataset.passed_over,
            notes,
            labels_left_out: found_late,
            shard,
            teacher,
            elapsed_s,
            images_per_s: images_this_run as f64 / elapsed_s,
        })
    }
}

/// Ends a build of the whole cache; the cache, if it is complete.
fn finish(lock: &Lock, manifest: &mut Manifest, all_handed_over: bool) -> Result<Option<CacheReader>> {
    // A cache without an image is of no use, whatever is known of the failures: the same build
    // goes on with it once they are mended.
    manifest.complete = all_handed_over && manifest.images() > 0;
    if !manifest.complete {
        return Ok(None);
    }
    let complete = CacheReader::with_manifest(&Folder::new(lock.folder()), manifest.clone())?;
    if manifest.digests.is_none() {
        manifest.digests = Some(complete.content_digests()?);
        manifest.save(lock).map_err(|e| how_to_go_on(e.into()))?;
    }
    Ok(Some(complete))
}

/// Which anchors are kept.
pub(super) fn selection_of(options: &BuildOptions, head: &HeadSpec) -> Selection {
    match options.profile {
        Profile::Dense => Selection::ALL,
        Profile::Mapped => Selection {
            min_score: options.min_score,
            top_k: options.top_k.get(),
            coverage: options.coverage,
            class_coverage: options.class_coverage_of(head.num_classes),
            logits: options.logits,
        },
    }
}

/// The part under construction: images of one stretch of `images_per_part` ids, finished when the next stretch begins.
struct Parts<'a> {
    ledger: &'a Ledger,
    manifest: &'a mut Manifest,
    images_per_part: i64,
    stretch: Option<i64>,
    writer: Option<PartWriter>,
    /// The image whose views are coming in. An interrupted build may leave it without some: it is then as if never begun.
    open: OpenImage,
    /// Ids of this stretch that are in the part or failed.
    handled: BTreeSet<i64>,
    failures: Vec<Failure>,
}

/// An image on its way into a part: all of its views go there, or none.
#[derive(Default)]
struct OpenImage {
    views_seen: usize,
    records: Vec<ImageRecord>,
    /// Of the first view that failed.
    failure: Option<Failure>,
}

impl<'a> Parts<'a> {
    fn new(ledger: &'a Ledger, manifest: &'a mut Manifest, images_per_part: i64) -> Self {
        Self {
            ledger,
            manifest,
            images_per_part,
            stretch: None,
            writer: None,
            open: OpenImage::default(),
            handled: BTreeSet::new(),
            failures: Vec::new(),
        }
    }

    /// Takes in the next view; returns whether its image has failed by it.
    fn add(&mut self, outcome: Outcome<Box<ImageRecord>>) -> Result<bool> {
        let image_id = match &outcome {
            Ok(record) => record.image_id,
            Err(failure) => failure.image_id,
        };
        let stretch = image_id / self.images_per_part;
        if self.stretch.is_some_and(|s| s != stretch) {
            self.commit()?;
        }
        self.stretch = Some(stretch);
        let mut failed = false;
        match outcome {
            Ok(record) => self.open.records.push(*record),
            Err(failure) => {
                failed = self.open.failure.is_none();
                self.open.failure.get_or_insert(failure);
            }
        }
        self.open.views_seen += 1;
        if self.open.views_seen == self.manifest.settings.views().per_image() {
            self.close_image(image_id)?;
        }
        Ok(failed)
    }

    /// All views of the image are there.
    fn close_image(&mut self, image_id: i64) -> Result<()> {
        let image = std::mem::take(&mut self.open);
        self.handled.insert(image_id);
        if let Some(failure) = image.failure.or_else(|| changed_meanwhile(&image.records)) {
            self.failures.push(failure);
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            empty => empty.insert(PartWriter::create(self.ledger.folder(), self.manifest)?),
        };
        Ok(image.records.iter().try_for_each(|record| writer.push(record))?)
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
        self.ledger.save(self.manifest)
    }
}

/// The views of an image may have been read one after the other: all must be of the same file and labels.
fn changed_meanwhile(records: &[ImageRecord]) -> Option<Failure> {
    let of_data = |r: &ImageRecord| (r.file_sha256, r.labels.clone());
    let changed = records.windows(2).any(|pair| matches!(pair, [a, b] if of_data(a) != of_data(b)));
    let first = records.first().filter(|_| changed)?;
    Some(Failure {
        image_id: first.image_id,
        path: first.path.clone(),
        stage: FailureStage::Read,
        reason: "the image or its labels changed while its views were made".into(),
    })
}

/// A full disk is no damage; says so.
fn how_to_go_on(error: Error) -> Error {
    error.or_no_space("Everything finished so far is kept. Free some space and run the same command to go on.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::Predictions,
        types::{ImageSize, Letterbox, ViewChange},
    };

    #[test]
    fn views_of_two_states_of_a_file_are_a_failure() {
        let record = |view, byte, labels| ImageRecord {
            image_id: 7,
            view,
            path: "a.jpg".into(),
            size: ImageSize { width: 4, height: 3 },
            file_sha256: [byte; 32],
            letterbox: Letterbox { scale: 1.0, pad_left: 0.0, pad_top: 0.0 },
            change: ViewChange::NONE,
            dropped_max_score: 0.0,
            dropped_mean_prob: 0.0,
            dropped_score_sum: 0.0,
            rest_mean_prob: 0.0,
            labels,
            predictions: Predictions::default(),
        };
        let of = |states: [(u8, Option<Vec<_>>); 3]| {
            let records = (0..).zip(states).map(|(view, (byte, labels))| record(view, byte, labels));
            changed_meanwhile(&records.collect::<Vec<_>>())
        };
        assert_eq!(of([(1, None), (1, None), (1, None)]), None);
        let failure = of([(1, None), (1, None), (2, None)]).unwrap();
        assert_eq!((failure.image_id, failure.path.as_str(), failure.stage), (7, "a.jpg", FailureStage::Read));
        assert!(of([(1, None), (1, Some(Vec::new())), (1, None)]).is_some());
        assert_eq!(changed_meanwhile(&[]), None);
    }
}
