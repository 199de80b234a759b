//! The parallel pipeline: rayon decodes, worker threads run a model, the caller gets results in order.
//!
//! ```text
//! caller's list of images (or views), cut into chunks of `batch`
//!   feeder thread ── free buffer + window token ──► rayon: read, decode, letterbox, labels
//!                                                     │ ready (bounded by the buffers)
//!   worker threads (one ONNX Runtime session each) ◄──┘ run, keep what matters
//!     │ results, any order
//!   calling thread: reorder, hand to the sink, give the window token back
//! ```
//!
//! Memory is bounded by the buffers (model inputs) and the window (finished records that wait for an earlier one),
//! whatever the number of images.

mod cached;
mod sessions;
mod source;

pub(crate) use cached::{cached_ids, cached_samples, image_ids};
pub(crate) use sessions::{batch_size, num_sessions, start_sessions, useful_jobs};
pub use source::{ImageSource, Prepared, Scratch, changed_since, mapped_truth, read_file};

use crate::{
    Error, Result,
    cache::ImageKey,
    detector::Provider,
    fsio,
    types::{Failure, ImageSize, InputSize},
};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// What became of one image.
pub(crate) type Outcome<T> = std::result::Result<T, Failure>;

/// What runs the model: one outcome for each image of a chunk, whose `[batch, 3, height, width]` pixels lie in the slice.
pub(crate) trait Worker: Send {
    /// What it makes of one image.
    type Output: Send;

    /// Runs one chunk. Images that failed before come through as they are; their pixels hold anything.
    fn run(&mut self, pixels: &[f32], images: Vec<Outcome<Prepared>>) -> Vec<Outcome<Self::Output>>;
}

/// A chunk's buffers, used again and again.
struct Slot {
    pixels: Vec<f32>,
    scratch: Scratch,
}

struct Ready {
    index: usize,
    slot: Slot,
    images: Vec<Outcome<Prepared>>,
}

type Results<T> = (usize, Vec<Outcome<T>>);

/// Chunks in memory at once: one with each worker and decoder, two on the way.
fn num_slots(workers: usize, jobs: NonZeroUsize) -> usize {
    workers + jobs.get() + 2
}

/// Refuses a pipeline whose input buffers alone would fill half of the machine's memory.
///
/// # Errors
/// [`Error::Mismatch`] with the figures.
pub(crate) fn refuse_if_memory_is_short(
    provider: Provider,
    jobs: NonZeroUsize,
    batch: usize,
    input: ImageSize,
) -> Result<()> {
    let workers = num_sessions(provider, jobs);
    let per_image = 3 * u64::from(input.height) * u64::from(input.width) * size_of::<f32>() as u64;
    let needed = per_image.saturating_mul((num_slots(workers, jobs) * batch) as u64);
    let memory = fsio::memory_bytes();
    if needed <= memory / 2 {
        return Ok(());
    }
    Err(Error::Mismatch {
        found: format!(
            "{needed} bytes are needed for model inputs alone ({} chunks of {batch} images of {} pixels); this machine has {memory} bytes of memory",
            num_slots(workers, jobs),
            InputSize::from(input).in_words()
        ),
        remedy: "Give a smaller `batch=`, `jobs=` or `imgsz=`.".into(),
    })
}

/// Runs every (image_id, view) of `keys` through decoding on `jobs` threads and a worker; calls `sink` in the order of the list.
/// Raising `stop` ends it early: what is in flight is finished and handed to `sink`. Returns how many keys were handed over.
///
/// # Errors
/// The first error of `sink`; what is in flight is then dropped. [`Error::Runtime`] where threads cannot be had.
pub(crate) fn run<W: Worker>(
    source: &ImageSource<'_>,
    keys: &[ImageKey],
    batch: usize,
    workers: Vec<W>,
    jobs: NonZeroUsize,
    stop: &AtomicBool,
    mut sink: impl FnMut(Outcome<W::Output>) -> Result<()>,
) -> Result<usize> {
    let pool = ThreadPoolBuilder::new().num_threads(jobs.get()).thread_name(|i| format!("decode-{i}")).build();
    let pool = pool.map_err(|e| Error::Runtime {
        found: format!("cannot start {jobs} threads: {e}"),
        remedy: "Give a smaller `jobs=`.".into(),
    })?;
    let pool = &pool;
    let slots = num_slots(workers.len(), jobs);
    let window = 4 * slots;
    let (free_tx, free_rx) = bounded(slots);
    let (token_tx, token_rx) = bounded(window);
    let (ready_tx, ready_rx) = bounded::<Ready>(slots);
    let (result_tx, result_rx) = unbounded::<Results<W::Output>>();
    for _ in 0..slots {
        // The channel holds exactly as many as are sent here, so this cannot block or fail.
        let _ = free_tx.send(Slot { pixels: vec![0.0; batch * source.values_per_image()], scratch: source.scratch() });
    }
    for _ in 0..window {
        let _ = token_tx.send(());
    }

    // The channels move in: where the sink fails they close at once, and the threads that wait for them end.
    thread::scope(move |threads| {
        for worker in workers {
            let (ready_rx, result_tx, free_tx) = (ready_rx.clone(), result_tx.clone(), free_tx.clone());
            threads.spawn(move || work(worker, &ready_rx, &result_tx, &free_tx));
        }
        drop((ready_rx, result_tx, free_tx));
        threads.spawn(move || feed(source, keys, batch, pool, stop, &free_rx, &token_rx, &ready_tx));

        let mut waiting = BTreeMap::new();
        let (mut next, mut handed_over) = (0, 0);
        for (index, outcomes) in result_rx {
            waiting.insert(index, outcomes);
            while let Some(outcomes) = waiting.remove(&next) {
                next += 1;
                for outcome in outcomes {
                    sink(outcome)?;
                    handed_over += 1;
                }
                // The feeder is gone once every chunk was fed; then nobody waits for tokens.
                let _ = token_tx.send(());
            }
        }
        Ok(handed_over)
    })
}

/// So many images are on their way from an object store before they are decoded.
const READ_AHEAD: usize = 64;

/// Spawns one decoding task per chunk as buffers and window allow; ends when a channel's other side is gone.
#[allow(clippy::too_many_arguments)]
fn feed(
    source: &ImageSource<'_>,
    keys: &[ImageKey],
    batch: usize,
    pool: &ThreadPool,
    stop: &AtomicBool,
    free: &Receiver<Slot>,
    tokens: &Receiver<()>,
    ready: &Sender<Ready>,
) {
    let values = source.values_per_image();
    pool.in_place_scope(|tasks| {
        let mut coming = keys.iter();
        let mut begun = 0;
        for (index, keys) in keys.chunks(batch).enumerate() {
            let ahead = (index + 1) * batch + READ_AHEAD;
            for (image_id, _) in coming.by_ref().take(ahead - begun).filter(|(_, view)| *view == 0) {
                source.read_ahead(*image_id);
            }
            begun = ahead;
            if stop.load(Ordering::Relaxed) || tokens.recv().is_err() {
                return;
            }
            let Ok(mut slot) = free.recv() else { return };
            tasks.spawn(move |_| {
                let images = keys
                    .iter()
                    .zip(slot.pixels.chunks_mut(values))
                    .map(|(&key, pixels)| source.prepare(key, &mut slot.scratch, pixels))
                    .collect();
                // Nobody receives after an error in the sink; the chunk is then dropped.
                let _ = ready.send(Ready { index, slot, images });
            });
        }
    });
}

/// One worker thread.
fn work<W: Worker>(mut worker: W, ready: &Receiver<Ready>, results: &Sender<Results<W::Output>>, free: &Sender<Slot>) {
    for Ready { index, slot, images } in ready {
        let outcomes = if images.iter().any(Outcome::is_ok) {
            worker.run(&slot.pixels, images)
        } else {
            images.into_iter().filter_map(Outcome::err).map(Err).collect()
        };
        let _ = free.send(slot);
        if results.send((index, outcomes)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{augment::Views, cache::MissingLabels, dataset::Sample, preprocess::InputRule};
    use std::{path::Path, sync::mpsc, time::Duration};

    struct NoModel;

    impl Worker for NoModel {
        type Output = ();

        fn run(&mut self, _: &[f32], images: Vec<Outcome<Prepared>>) -> Vec<Outcome<()>> {
            images.into_iter().map(|image| image.map(drop)).collect()
        }
    }

    /// A sink that fails while the feeder waits for it: the run ends with the sink's error.
    #[test]
    fn an_error_of_a_slow_sink_ends_the_run() {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            let missing = |id: i64| Sample::of_picture(Path::new("/no/such"), &format!("{id}.jpg")).unwrap();
            let samples: Vec<Sample> = (0..500).map(missing).collect();
            let source = ImageSource {
                samples: &samples,
                image_ids: None,
                input: ImageSize { height: 32, width: 32 },
                rule: InputRule::default(),
                class_map: None,
                missing_labels: MissingLabels::Background,
                views: Views::default(),
            };
            let keys: Vec<ImageKey> = (0..500).map(|id| (id, 0)).collect();
            let mut handed = 0;
            let run = run(&source, &keys, 1, vec![NoModel], NonZeroUsize::MIN, &AtomicBool::new(false), |_| {
                handed += 1;
                if handed < 3 {
                    return Ok(());
                }
                // Long enough for the feeder to use up the window.
                thread::sleep(Duration::from_millis(300));
                Err(Error::Interrupted { remedy: "stop".into() })
            });
            let _ = done.send(matches!(run, Err(Error::Interrupted { .. })));
        });
        assert_eq!(ended.recv_timeout(Duration::from_secs(120)), Ok(true));
    }
}
