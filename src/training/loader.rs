//! Batches in their order, made ahead of the training step on background threads.
//!
//! ```text
//! tokens (`ahead` of them) ──► workers: take the next number, fill a batch ──► results, any order
//!    ▲                                    ▲ spent buffers                          │
//!    └──────── Loader::next, which puts them in order, and Loader::recycle ◄───────┘
//! ```
//! A worker takes a token before a number, so the lowest number that is missing is always being worked on.

use super::{Augment, Batch, Geometry, TrainSet, set::Scratch};
use crate::{
    Error, Result,
    augment::{Views, shuffled},
};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What batches to make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoaderOptions {
    /// Images of a batch; the last of an epoch may have fewer.
    pub batch: NonZeroUsize,
    /// Everything random follows from it.
    pub seed: u64,
    /// Whether each epoch has an order of its own; else the set's.
    pub shuffle: bool,
    /// How images are changed.
    pub augment: Augment,
    /// Whether the cache's views are shown, each in its turn, instead of changes that `augment` draws.
    pub cached_views: bool,
    /// Number of epochs.
    pub epochs: usize,
    /// So many epochs at the end have no mosaic.
    pub epochs_without_mosaic: usize,
    /// Background threads.
    pub threads: NonZeroUsize,
    /// Batches in memory beside the one in use: finished or being made.
    pub ahead: NonZeroUsize,
}

impl LoaderOptions {
    /// Batches of one epoch of so many images.
    pub fn batches_per_epoch(&self, images: usize) -> usize {
        images.div_ceil(self.batch.get())
    }

    fn augment_of(&self, epoch: usize) -> Augment {
        if epoch + self.epochs_without_mosaic >= self.epochs { self.augment.without_mosaic() } else { self.augment }
    }
}

/// A place in a training: the next batch to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// From 0.
    pub epoch: usize,
    /// Batch of the epoch, from 0.
    pub batch: usize,
}

/// Where time went, in total since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoaderTimes {
    /// That [`Loader::next`] waited for a batch: what loading costs the training.
    pub waited: Duration,
    /// Of all background threads together, making batches.
    pub preparing: Duration,
    /// The part of it that cached predictions took.
    pub targets: Duration,
}

/// Makes the batches of all epochs from a position on, across epochs without a pause. Dropping it ends its threads.
#[derive(Debug)]
pub struct Loader {
    results: Option<Receiver<Made>>,
    tokens: Option<Sender<()>>,
    spent: Sender<Batch>,
    early: BTreeMap<usize, thread::Result<Result<Batch>>>,
    next: usize,
    end: usize,
    waited: Duration,
    times: Arc<Times>,
    threads: Vec<JoinHandle<()>>,
}

type Made = (usize, thread::Result<Result<Batch>>);

#[derive(Debug, Default)]
struct Times {
    preparing_ns: AtomicU64,
    targets_ns: AtomicU64,
}

/// What the workers share.
struct Shared {
    set: Arc<TrainSet>,
    options: LoaderOptions,
    per_epoch: usize,
    end: usize,
    next: AtomicUsize,
    times: Arc<Times>,
}

impl Loader {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where cached predictions cannot follow the changes asked for or the threads cannot be had.
    pub fn start(set: Arc<TrainSet>, options: LoaderOptions, from: Position) -> Result<Self> {
        if options.cached_views && set.views().count == 0 {
            return Err(Error::Mismatch {
                found: "there is no cache with views".into(),
                remedy: "Build a cache with `views=`, or train with random augmentation.".into(),
            });
        }
        if set.has_teacher() && options.augment.geometry != Geometry::Grid {
            return Err(Error::Mismatch {
                found: "scaling and free shifts move pixels off the anchor grid of the cached predictions".into(),
                remedy: "Use only changes that keep the grid with a cache.".into(),
            });
        }
        let per_epoch = options.batches_per_epoch(set.images().len());
        let first = from.epoch * per_epoch + from.batch;
        let end = options.epochs * per_epoch;
        let times = Arc::new(Times::default());
        let shared = Shared { set, options, per_epoch, end, next: AtomicUsize::new(first), times: times.clone() };
        let shared = Arc::new(shared);
        let (token_tx, token_rx) = bounded(options.ahead.get());
        for _ in 0..options.ahead.get() {
            // The channel holds exactly as many as are sent here, so this cannot block or fail.
            let _ = token_tx.send(());
        }
        let (result_tx, result_rx) = unbounded();
        let (spent_tx, spent_rx) = unbounded();
        let mut loader = Self {
            results: Some(result_rx),
            tokens: Some(token_tx),
            spent: spent_tx,
            early: BTreeMap::new(),
            next: first,
            end,
            waited: Duration::ZERO,
            times,
            threads: Vec::new(),
        };
        for number in 0..options.threads.get() {
            let (shared, token_rx, spent_rx, result_tx) =
                (shared.clone(), token_rx.clone(), spent_rx.clone(), result_tx.clone());
            let thread = thread::Builder::new().name(format!("load-{number}"));
            let thread = thread.spawn(move || work(&shared, &token_rx, &spent_rx, &result_tx));
            loader.threads.push(thread.map_err(|e| Error::Mismatch {
                found: format!("cannot start {} loading threads: {e}", options.threads),
                remedy: "Use fewer.".into(),
            })?);
        }
        Ok(loader)
    }

    /// Takes back a batch that is done with; its memory serves a later one.
    pub fn recycle(&self, batch: Batch) {
        // Where all workers are gone, nothing is left to be made.
        let _ = self.spent.send(batch);
    }

    /// Where time went so far.
    pub fn times(&self) -> LoaderTimes {
        let total = |ns: &AtomicU64| Duration::from_nanos(ns.load(Ordering::Relaxed));
        LoaderTimes {
            waited: self.waited,
            preparing: total(&self.times.preparing_ns),
            targets: total(&self.times.targets_ns),
        }
    }
}

impl Iterator for Loader {
    type Item = Result<Batch>;

    /// The next batch; `None` after the last of the last epoch, and after an error.
    fn next(&mut self) -> Option<Result<Batch>> {
        if self.next >= self.end {
            return None;
        }
        let start = Instant::now();
        let outcome = loop {
            if let Some(outcome) = self.early.remove(&self.next) {
                break outcome;
            }
            // Ends only with the workers, of which none ends before the last number is sent.
            let (number, outcome) = self.results.as_ref()?.recv().ok()?;
            self.early.insert(number, outcome);
        };
        self.waited += start.elapsed();
        self.next += 1;
        if let Some(tokens) = &self.tokens {
            // Workers that are gone need none.
            let _ = tokens.send(());
        }
        match outcome {
            Ok(Ok(batch)) => Some(Ok(batch)),
            Ok(Err(error)) => {
                self.next = self.end;
                Some(Err(error))
            }
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Workers end when either channel has lost its other side; at most one batch each is still finished.
        self.tokens = None;
        self.results = None;
        for thread in self.threads.drain(..) {
            // Panics were caught and handed over as results.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, tokens: &Receiver<()>, spent: &Receiver<Batch>, results: &Sender<Made>) {
    let mut scratch = Scratch::default();
    let mut order = (usize::MAX, Vec::new());
    while tokens.recv().is_ok() {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.end {
            return;
        }
        let batch = spent.try_recv().unwrap_or_else(|_| Batch::empty(0));
        // A panic here is a fault of this program; it goes on in the thread that asks for the batch.
        let made = catch_unwind(AssertUnwindSafe(|| shared.make(number, batch, &mut scratch, &mut order)));
        if results.send((number, made)).is_err() {
            return;
        }
    }
}

impl Shared {
    fn make(
        &self,
        number: usize,
        mut batch: Batch,
        scratch: &mut Scratch,
        (order_of, order): &mut (usize, Vec<usize>),
    ) -> Result<Batch> {
        let start = Instant::now();
        let options = &self.options;
        let images = self.set.images().len();
        batch.epoch = number / self.per_epoch;
        batch.number = number % self.per_epoch;
        batch.batches = self.per_epoch;
        if *order_of != batch.epoch {
            *order = if options.shuffle { shuffled(options.seed, batch.epoch, images) } else { (0..images).collect() };
            *order_of = batch.epoch;
        }
        let first = batch.number * options.batch.get();
        let indices = &order[first..images.min(first + options.batch.get())];
        let augment = options.augment_of(batch.epoch);
        let views = if options.cached_views { self.set.views() } else { Views::default() };
        let targets = self.set.fill(&mut batch, indices, &augment, options.seed, views, scratch)?;
        let add = |total: &AtomicU64, time: Duration| total.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        add(&self.times.preparing_ns, start.elapsed());
        add(&self.times.targets_ns, targets);
        Ok(batch)
    }
}
