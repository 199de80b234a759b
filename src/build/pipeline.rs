//! The parallel pipeline: rayon decodes, session threads run the teacher and select, the caller gets results in order.
//!
//! ```text
//! caller's list of images, cut into chunks of `batch`
//!   feeder thread ── free buffer + window token ──► rayon: read, decode, letterbox, labels
//!                                                     │ ready (bounded by the buffers)
//!   session threads (one ONNX Runtime session each) ◄─┘ run, select
//!     │ results, any order
//!   calling thread: reorder, hand to the sink, give the window token back
//! ```
//!
//! Memory is bounded by the buffers (model inputs) and the window (finished records that wait for an earlier one),
//! whatever the number of images.

use super::source::{ImageSource, Prepared, Scratch};
use crate::{
    Result,
    cache::ImageRecord,
    teacher::{BoxSource, HeadView, Selector, TeacherSession},
    types::{Failure, FailureStage},
};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rayon::ThreadPool;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// What became of one image.
#[derive(Debug)]
pub enum Outcome {
    /// The teacher's selected outputs.
    Done(Box<ImageRecord>),
    /// It cannot be in the cache.
    Failed(Failure),
}

/// One session with its selector; owned by one thread.
pub struct Worker {
    /// Runs the teacher.
    pub session: TeacherSession,
    /// Selects anchors.
    pub selector: Selector,
    /// Whether DFL logits are stored.
    pub store_dfl: bool,
}

/// A chunk's buffers, used again and again.
struct Slot {
    pixels: Vec<f32>,
    scratch: Scratch,
}

struct Ready {
    index: usize,
    slot: Slot,
    images: Vec<std::result::Result<Prepared, Failure>>,
}

type Results = (usize, Vec<Outcome>);

/// Runs every image of `image_ids` through decoding, teacher and selection; calls `sink` in the order of the list.
/// Raising `stop` ends it early: what is in flight is finished and handed to `sink`. Returns how many images were handed over.
///
/// # Errors
/// The first error of `sink`; what is in flight is then dropped.
pub fn run(
    source: &ImageSource<'_>,
    image_ids: &[i64],
    batch: usize,
    workers: Vec<Worker>,
    pool: &ThreadPool,
    stop: &AtomicBool,
    mut sink: impl FnMut(Outcome) -> Result<()>,
) -> Result<usize> {
    let slots = workers.len() + pool.current_num_threads() + 2;
    let window = 4 * slots;
    let (free_tx, free_rx) = bounded(slots);
    let (token_tx, token_rx) = bounded(window);
    let (ready_tx, ready_rx) = bounded::<Ready>(slots);
    let (result_tx, result_rx) = unbounded::<Results>();
    for _ in 0..slots {
        // The channel holds exactly as many as are sent here, so this cannot block or fail.
        let _ = free_tx.send(Slot { pixels: vec![0.0; batch * source.values_per_image()], scratch: Scratch::new() });
    }
    for _ in 0..window {
        let _ = token_tx.send(());
    }

    thread::scope(|threads| {
        for worker in workers {
            let (ready_rx, result_tx, free_tx) = (ready_rx.clone(), result_tx.clone(), free_tx.clone());
            threads.spawn(move || teach(worker, source, batch, &ready_rx, &result_tx, &free_tx));
        }
        drop((ready_rx, result_tx, free_tx));
        threads.spawn(move || feed(source, image_ids, batch, pool, stop, &free_rx, &token_rx, &ready_tx));

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

/// Spawns one decoding task per chunk as buffers and window allow; ends when a channel's other side is gone.
#[allow(clippy::too_many_arguments)]
fn feed(
    source: &ImageSource<'_>,
    image_ids: &[i64],
    batch: usize,
    pool: &ThreadPool,
    stop: &AtomicBool,
    free: &Receiver<Slot>,
    tokens: &Receiver<()>,
    ready: &Sender<Ready>,
) {
    let values = source.values_per_image();
    pool.in_place_scope(|tasks| {
        for (index, ids) in image_ids.chunks(batch).enumerate() {
            if stop.load(Ordering::Relaxed) || tokens.recv().is_err() {
                return;
            }
            let Ok(mut slot) = free.recv() else { return };
            tasks.spawn(move |_| {
                let images = ids
                    .iter()
                    .zip(slot.pixels.chunks_mut(values))
                    .map(|(&id, pixels)| source.prepare(id, &mut slot.scratch, pixels))
                    .collect();
                // Nobody receives after an error in the sink; the chunk is then dropped.
                let _ = ready.send(Ready { index, slot, images });
            });
        }
    });
}

/// One session thread: teacher and selection for each chunk.
fn teach(
    mut worker: Worker,
    source: &ImageSource<'_>,
    batch: usize,
    ready: &Receiver<Ready>,
    results: &Sender<Results>,
    free: &Sender<Slot>,
) {
    for Ready { index, slot, images } in ready {
        let outcomes = if images.iter().any(std::result::Result::is_ok) {
            worker.teach(source, batch, &slot.pixels, images)
        } else {
            images.into_iter().filter_map(std::result::Result::err).map(Outcome::Failed).collect()
        };
        let _ = free.send(slot);
        if results.send((index, outcomes)).is_err() {
            return;
        }
    }
}

impl Worker {
    /// Always runs the full batch, so that an image's result does not depend on how many came with it.
    fn teach(
        &mut self,
        source: &ImageSource<'_>,
        batch: usize,
        pixels: &[f32],
        images: Vec<std::result::Result<Prepared, Failure>>,
    ) -> Vec<Outcome> {
        let Self { session, selector, store_dfl } = self;
        let heads = session.run(batch, pixels);
        let teach_one = |(i, image): (usize, std::result::Result<Prepared, Failure>)| {
            let image = match image {
                Ok(image) => image,
                Err(failure) => return Outcome::Failed(failure),
            };
            let selected = match &heads {
                Ok(heads) => {
                    let boxes = match (heads.dfl_logits(i), heads.boxes(i)) {
                        (Some(dfl), _) => BoxSource::Dfl(dfl),
                        (None, boxes) => BoxSource::DecodedXywh(boxes.unwrap_or_default()),
                    };
                    let head = HeadView { class_logits: heads.class_logits(i), boxes, store_dfl: *store_dfl };
                    selector.select(head, &image.plan)
                }
                Err(reason) => Err(reason.to_string()),
            };
            match selected {
                Ok(selected) => Outcome::Done(Box::new(image.into_record(selected))),
                Err(reason) => Outcome::Failed(source.failure(image.image_id, FailureStage::Teacher, reason)),
            }
        };
        images.into_iter().enumerate().map(teach_one).collect()
    }
}
