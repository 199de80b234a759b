//! The loop: epochs of steps, validation, checkpoints, results.

use super::{
    checkpoint,
    data::{Augment, Loader, LoaderOptions, Position},
    prepare::Run,
    results::write_curves,
    schedule::Schedule,
    step::{Measured, NUM_PARTS, StepError, StepLosses},
};
use crate::{
    Error, Result,
    eval::Scores,
    student::{
        onnx::{self, ExportOptions},
        or_shortage, weights,
    },
    types::Failure,
    words::counted,
};
use logitcache::run::{
    BEST_ONNX_NAME, BEST_WEIGHTS, CURVES_NAME, EpochRow, LAST_WEIGHTS, OptimizerKind, RESULTS_NAME, Settings, results,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

/// Batches that are ready or being made while a step runs.
const BATCHES_AHEAD: usize = 3;
/// Threads that make batches, for so many processor threads one.
const THREADS_PER_LOADER: usize = 4;
/// Ultralytics' momentum of SGD, and where it begins.
const SGD_MOMENTUM: f64 = 0.937;
const SGD_WARMUP_MOMENTUM: f64 = 0.8;
/// What is left of the learning rate in the end.
const FINAL_FRACTION: f64 = 0.01;

/// What happens while a run goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is done.
    Step {
        /// From 0.
        epoch: usize,
        /// From 0.
        batch: usize,
        /// Means of the epoch so far.
        losses: StepLosses,
        /// Learning rate of the step.
        lr: f64,
    },
    /// An epoch is done, scored (where it was to be) and written.
    Epoch(&'a EpochRow),
    /// What the user should know by now.
    Note(&'a str),
}

/// What a run did.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TrainReport {
    /// Folder of the run.
    pub run: PathBuf,
    /// Epochs done, those before a resume included.
    pub epochs: usize,
    /// Whether it came to its end: all epochs, or no better result for too long.
    pub complete: bool,
    /// Epoch of the best mAP@0.5:0.95, from 1, of equals the last; null where nothing was validated.
    pub best_epoch: Option<usize>,
    /// Its mAP@0.5:0.95.
    pub best_map50_95: Option<f64>,
    /// The last epoch's row.
    pub last: Option<EpochRow>,
    /// Scores of the best weights on the validation split, where they were the last validated.
    pub best_onnx: Option<PathBuf>,
    /// Images that were not trained on, with the reason.
    pub failures: Vec<Failure>,
    /// What the user should know of data, settings and course.
    pub notes: Vec<String>,
    /// Seconds of training, interruptions not counted.
    pub time_s: f64,
}

/// Validations without a find after which it is said what usually helps.
const PATIENT_VALIDATIONS: usize = 5;
/// An mAP@0.5 below this is shown as 0.000.
const NOTHING_FOUND: f64 = 5e-4;

const ROOM_NEEDED: &str =
    "The last checkpoint is kept. Free some space and run the same command with `resume=true` to go on.";

/// A step whose losses are not read yet.
struct StepUnderWay {
    measured: Measured,
    /// Of the epoch, from 0.
    batch: usize,
    images: usize,
    /// The pictures that went into it.
    sources: Vec<usize>,
    lr: f64,
}

/// Why an epoch ended.
enum Ended {
    Whole,
    Stopped,
}

impl Run {
    /// Trains to the end. Raising `stop` ends it after the step under way, with a checkpoint; the same run goes on from there.
    ///
    /// # Errors
    /// [`Error::Trainer`] where the loss is no number (the last checkpoint stays), [`Error::NoSpace`] and [`Error::Io`] from
    /// the files, what loading an image gives.
    pub fn train(self, stop: &AtomicBool, on_event: impl FnMut(Event<'_>)) -> Result<TrainReport> {
        self.run_to_end(stop, on_event).map_err(|error| error.or_no_space(ROOM_NEEDED))
    }

    fn run_to_end(mut self, stop: &AtomicBool, mut on_event: impl FnMut(Event<'_>)) -> Result<TrainReport> {
        let settings = self.config.settings.clone();
        let batches = self.set.images().len().div_ceil(settings.batch.max(1));
        let schedule = schedule(&settings, batches);
        let mut complete = self.is_over();
        if !complete {
            let from = Position { epoch: self.progress.epoch, batch: self.progress.batch };
            let mut loader = Loader::start(self.set.clone(), self.loader_options(), from)?;
            while !complete {
                match self.epoch(&mut loader, &schedule, stop, &mut on_event)? {
                    Ended::Stopped => break,
                    Ended::Whole => complete = self.is_over(),
                }
            }
        }
        let best_onnx = self.export_best()?;
        if complete {
            if let Some(warning) = self.learned_nothing() {
                on_event(Event::Note(&warning));
                self.notes.push(warning);
            }
            self.folder.remove_pixels()?;
        }
        Ok(TrainReport {
            run: self.folder.path().to_owned(),
            epochs: self.progress.epoch,
            complete,
            best_epoch: self.progress.best.map(|(_, epoch)| epoch),
            best_map50_95: self.progress.best.map(|(map, _)| map),
            last: self.progress.rows.last().cloned(),
            best_onnx,
            failures: self.failures,
            notes: self.notes,
            time_s: self.progress.time_s,
        })
    }

    /// Whether all epochs are done, or no result was better for too long.
    fn is_over(&self) -> bool {
        let patience = self.config.settings.patience;
        // Equal results are no better: it is the first of them that the waiting counts from.
        let first_best = self.progress.best.and_then(|(best, _)| {
            self.progress.rows.iter().find(|row| row.map50_95.is_some_and(|map| map >= best)).map(|row| row.epoch)
        });
        let waited = first_best.map_or(0, |epoch| self.progress.epoch.saturating_sub(epoch));
        self.progress.epoch >= self.config.settings.epochs || (patience > 0 && waited >= patience)
    }

    fn loader_options(&self) -> LoaderOptions {
        let settings = &self.config.settings;
        // Only anchors are bound to the grid: labels and objects follow every change.
        let augment = match (settings.augment, self.set.has_teacher()) {
            (false, _) => Augment::none(),
            (true, false) => Augment::free(),
            (true, true) => Augment::grid(),
        };
        let at_least_one = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        LoaderOptions {
            batch: at_least_one(settings.batch),
            seed: settings.seed,
            shuffle: true,
            augment,
            cached_views: settings.augment && self.set.views().count > 0,
            epochs: settings.epochs,
            epochs_without_mosaic: settings.close_mosaic,
            threads: at_least_one(self.config.threads / THREADS_PER_LOADER),
            ahead: at_least_one(BATCHES_AHEAD),
        }
    }

    /// The rest of the epoch under way.
    fn epoch(
        &mut self,
        loader: &mut Loader,
        schedule: &Schedule,
        stop: &AtomicBool,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<Ended> {
        let (started, time_before, waited_before) = (Instant::now(), self.progress.time_s, loader.times().waited);
        let (epoch, batches) = (self.progress.epoch, schedule.batches_per_epoch);
        self.progress.sums.resize(NUM_PARTS, 0.0);
        let (mut lr, mut images, mut under_way) = (0.0, 0, None::<StepUnderWay>);
        let first = self.progress.batch;
        // The losses of a step are read when the next one is on its way, so that a GPU has no pause between them.
        loop {
            let begun = self.progress.batch + usize::from(under_way.is_some());
            let wanted = begun < batches && (begun == first || !stop.load(Ordering::Relaxed));
            let next = if wanted { self.begin_step(loader, schedule)? } else { None };
            let is_last = next.is_none();
            if let Some(step) = std::mem::replace(&mut under_way, next) {
                let losses = self.finish_step(&step)?;
                lr = step.lr;
                images += step.images;
                self.progress.time_s = time_before + started.elapsed().as_secs_f64();
                on_event(Event::Step { epoch, batch: step.batch, losses, lr });
            }
            if is_last {
                break;
            }
        }
        if stop.load(Ordering::Relaxed) && self.progress.batch < batches {
            checkpoint::save(self.folder.path(), &self.trainer.state(), &self.progress)?;
            return Ok(Ended::Stopped);
        }
        let trained_s = started.elapsed().as_secs_f64();
        let waited_s = (loader.times().waited - waited_before).as_secs_f64();
        let scores = match self.is_to_be_scored(epoch) {
            true => match &self.validator {
                Some(validator) => match or_shortage(|| validator.score(self.trainer.average(), stop))?? {
                    Some(scores) => Some(scores),
                    // Interrupted while scoring: the epoch's steps are kept, and a resumed run scores them.
                    None => {
                        checkpoint::save(self.folder.path(), &self.trainer.state(), &self.progress)?;
                        return Ok(Ended::Stopped);
                    }
                },
                None => None,
            },
            false => None,
        };
        self.progress.time_s = time_before + started.elapsed().as_secs_f64();
        let row = EpochRow {
            epoch: epoch + 1,
            time_s: self.progress.time_s,
            lr: if images > 0 { lr } else { schedule.rates(epoch, batches - 1).lr[0] },
            data_wait: if trained_s > 0.0 { waited_s / trained_s } else { 0.0 },
            images_per_s: images as f64 / trained_s.max(f64::MIN_POSITIVE),
            ..self.row(scores.as_ref())
        };
        self.finish_epoch(row, scores)?;
        if let Some(row) = self.progress.rows.last() {
            on_event(Event::Epoch(row));
        }
        if let Some(note) = self.what_usually_helps() {
            on_event(Event::Note(&note));
            self.notes.push(note);
        }
        // Raised during the last step or while scoring: the epoch is whole and written.
        Ok(if stop.load(Ordering::Relaxed) && !self.is_over() { Ended::Stopped } else { Ended::Whole })
    }

    /// Begins the next step of the epoch under way; `None` where the loader has no more.
    fn begin_step(&mut self, loader: &mut Loader, schedule: &Schedule) -> Result<Option<StepUnderWay>> {
        let Some(batch) = loader.next().transpose()? else { return Ok(None) };
        let rates = schedule.rates(self.progress.epoch, batch.number);
        let measured = or_shortage(|| self.trainer.step(&batch, &rates))?;
        let (images, sources) = (batch.len(), batch.sources.clone());
        let step = StepUnderWay { measured, batch: batch.number, images, sources, lr: rates.lr[0] };
        loader.recycle(batch);
        Ok(Some(step))
    }

    /// Waits for a step and adds its losses to the epoch's. Returns their means so far.
    fn finish_step(&mut self, step: &StepUnderWay) -> Result<StepLosses> {
        let losses = or_shortage(|| step.measured.read())?.map_err(|error| self.not_a_number(error, &step.sources))?;
        self.progress.batch += 1;
        self.progress.steps += 1;
        self.progress.sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
        Ok(std::array::from_fn(|part| self.progress.sums[part] / self.progress.batch as f64))
    }

    fn is_to_be_scored(&self, epoch: usize) -> bool {
        let settings = &self.config.settings;
        (epoch + 1).is_multiple_of(settings.val_every.max(1)) || epoch + 1 == settings.epochs
    }

    /// Losses and scores of the epoch.
    fn row(&self, scores: Option<&Scores>) -> EpochRow {
        let mean = |part: usize| self.progress.sums[part] / self.progress.batch.max(1) as f64;
        let number = |value: fn(&Scores) -> Option<f64>| scores.and_then(value);
        EpochRow {
            box_loss: mean(0),
            cls_loss: mean(1),
            dfl_loss: mean(2),
            distill_box_loss: mean(3),
            distill_cls_loss: mean(4),
            distill_dfl_loss: mean(5),
            precision: number(|s| s.best_f1.map(|b| b.precision)),
            recall: number(|s| s.best_f1.map(|b| b.recall)),
            map50: number(|s| s.coco.ap_50),
            map50_95: number(|s| s.coco.ap),
            small_recall: scores.and_then(|s| s.small.recall),
            ..EpochRow::default()
        }
    }

    /// Writes what the epoch gave. The checkpoint comes last: a run killed before it does the epoch again, to the same end.
    fn finish_epoch(&mut self, row: EpochRow, scores: Option<Scores>) -> Result<()> {
        let run = self.folder.path().to_owned();
        let state = self.trainer.average().state();
        let description = self.description();
        let better = match (&scores, row.map50_95) {
            // Of equals the later: where nothing was found yet, it has learned the longest.
            (Some(_), Some(map)) => self.progress.best.is_none_or(|(best, _)| map >= best),
            // Where nothing is scored, or no object was there to be found, the last weights are the best that are known.
            (Some(_), None) => true,
            (None, _) => self.validator.is_none(),
        };
        weights::save(run.join(LAST_WEIGHTS), &state, &description)?;
        if better {
            weights::save(run.join(BEST_WEIGHTS), &state, &description)?;
            self.progress.best = row.map50_95.map(|map| (map, row.epoch)).or(self.progress.best);
        }
        self.progress.rows.push(row);
        results::write(&run.join(RESULTS_NAME), &self.progress.rows)?;
        write_curves(&run.join(CURVES_NAME), &self.progress.rows)?;
        self.progress.epoch += 1;
        self.progress.batch = 0;
        self.progress.sums = vec![0.0; NUM_PARTS];
        checkpoint::save(&run, &self.trainer.state(), &self.progress)
    }

    /// Once, where several validations (or all of a short run) have found nothing.
    fn what_usually_helps(&self) -> Option<String> {
        let scores: Vec<f64> = self.progress.rows.iter().filter_map(|row| row.map50).collect();
        let is_time = scores.len() == PATIENT_VALIDATIONS || (scores.len() < PATIENT_VALIDATIONS && self.is_over());
        // Only at the validation that makes it so, not at those that follow or after epochs without one.
        let just_scored = self.progress.rows.last().is_some_and(|row| row.map50.is_some());
        if !is_time || !just_scored || scores.iter().any(|&map| map >= NOTHING_FOUND) {
            return None;
        }
        let Settings { lr, batch, epochs, augment, .. } = &self.config.settings;
        let augmentation = if *augment { ", `augment=false` where objects are few or small" } else { "" };
        Some(format!(
            "the student finds nothing yet (mAP@0.5 is 0 after {}). What usually helps: a higher rate from random weights (`lr=0.001` to \
             0.01, now {lr}) or trained weights to start from, a smaller batch and so more steps (`batch=4`, now {batch}), more epochs \
             (now {epochs}){augmentation}",
            counted(scores.len(), "validation")
        ))
    }

    /// Where nothing is validated, the losses alone tell that a run has gone wrong.
    fn learned_nothing(&self) -> Option<String> {
        let total = |row: &EpochRow| {
            let own = row.box_loss + row.cls_loss + row.dfl_loss;
            own + row.distill_box_loss + row.distill_cls_loss + row.distill_dfl_loss
        };
        let (first, last) = (total(self.progress.rows.first()?), total(self.progress.rows.last()?));
        let rises = self.validator.is_none() && self.progress.rows.len() > 1 && last > first;
        rises.then(|| {
            format!(
                "warning: the losses rose, from {first:.3} in the first epoch to {last:.3} in the last, and nothing was validated. \
                 A lower `lr=` (now {}) usually helps",
                self.config.settings.lr
            )
        })
    }

    fn description(&self) -> weights::Description {
        weights::Description { class_names: self.config.class_names.clone(), imgsz: self.config.imgsz }
    }

    /// `best.onnx` from the best weights; `None` before the first epoch's end.
    fn export_best(&self) -> Result<Option<PathBuf>> {
        let weights = self.folder.path().join(BEST_WEIGHTS);
        if !weights.is_file() {
            return Ok(None);
        }
        let model = self.folder.path().join(BEST_ONNX_NAME);
        match &self.qat {
            None => onnx::export_file(&weights, None, None, &model, &ExportOptions::default())?,
            Some(qat) => {
                let (state, description) = onnx::source(&weights, None, None)?;
                qat.export(&model, &state, &description)?;
            }
        }
        Ok(Some(model))
    }

    fn not_a_number(&self, error: StepError, sources: &[usize]) -> Error {
        let images: Vec<&str> =
            sources.iter().filter_map(|&i| self.set.images().get(i)).map(|i| i.relative.as_str()).collect();
        let kept = match self.progress.rows.len() {
            0 => "There is no checkpoint yet".to_owned(),
            done => format!("The checkpoint after epoch {done} is kept"),
        };
        Error::Trainer {
            found: format!(
                "step {} (epoch {}, batch {}): {error}; images: {}",
                self.progress.steps + 1,
                self.progress.epoch + 1,
                self.progress.batch + 1,
                images.join(", ")
            ),
            remedy: format!("{kept}. Lower `lr=`, raise `warmup_epochs=`, or use `precision=fp32`."),
        }
    }
}

fn schedule(settings: &Settings, batches_per_epoch: usize) -> Schedule {
    let sgd = settings.optimizer == OptimizerKind::Sgd;
    Schedule {
        epochs: settings.epochs,
        batches_per_epoch,
        lr: settings.lr,
        warmup_lr: settings.warmup_lr,
        warmup_bias_lr: settings.warmup_lr,
        warmup_epochs: settings.warmup_epochs,
        momentum: if sgd { SGD_MOMENTUM } else { 0.0 },
        warmup_momentum: if sgd { SGD_WARMUP_MOMENTUM } else { 0.0 },
        decay: settings.decay,
        final_fraction: FINAL_FRACTION,
    }
}
