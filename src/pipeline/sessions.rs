//! How a model is run over images: the sessions side by side, the images of one run, the decoding threads.

use crate::{
    Error, Result,
    detector::{BatchSize, Detector, DetectorSession, MAX_BATCH, Provider, SelfCheck, SessionOptions},
};
use std::{num::NonZeroUsize, panic, thread};

/// Decoding threads that `--jobs` may ask for, for each processor.
const DECODERS_PER_PROCESSOR: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// Images per run of a model with a dynamic batch, where the user names no number.
const BATCH_ON_GPU: usize = 16;

/// Processors that this process may use.
fn processors() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Decoding threads. Threads that wait for a slow disk are worth having; beyond this they only cost memory.
pub(crate) fn useful_jobs(jobs: NonZeroUsize) -> NonZeroUsize {
    jobs.min(processors().saturating_mul(DECODERS_PER_PROCESSOR))
}

/// Sessions side by side: more than there are processors would only take memory; on a GPU one. OpenVINO binds the threads of every session to
/// the same processors, so two sessions of one thread share one processor (92 instead of 46 ms an image on two): it gets one session.
pub(crate) fn num_sessions(provider: Provider, jobs: NonZeroUsize) -> usize {
    match provider {
        Provider::Cpu => jobs.min(processors()).get(),
        Provider::Openvino | Provider::Cuda | Provider::Tensorrt => 1,
    }
}

/// Threads of one session. On the CPU one, so that no core waits for another's share of a layer.
fn session_threads(provider: Provider, jobs: NonZeroUsize) -> usize {
    match provider {
        Provider::Openvino => jobs.min(processors()).get(),
        Provider::Cpu | Provider::Cuda | Provider::Tensorrt => 1,
    }
}

/// Images of one run.
///
/// # Errors
/// [`Error::Mismatch`] where the model cannot take the number that the user wants.
pub(crate) fn batch_size(model: &Detector, provider: Provider, wanted: Option<NonZeroUsize>) -> Result<usize> {
    let wanted = wanted.map(|b| b.get());
    if model.one_image_a_run {
        let (images, remedy) = match (model.batch, wanted) {
            (BatchSize::Fixed(1) | BatchSize::Dynamic, None | Some(1)) => return Ok(1),
            (BatchSize::Fixed(fixed), _) if fixed > 1 => {
                (fixed, "Export it with dynamic=True or a batch of 1, or quantize it statically.")
            }
            (_, wanted) => (wanted.unwrap_or(1), "Leave `batch=` out, or quantize the model statically."),
        };
        return Err(Error::Mismatch {
            found: format!(
                "{} computes its quantization scales over all images of a batch (dynamic quantization): with {images} \
                 in a batch, the result of an image would depend on the others",
                model.path.display()
            ),
            remedy: remedy.into(),
        });
    }
    match (model.batch, wanted) {
        (BatchSize::Fixed(fixed), Some(wanted)) if wanted != fixed => Err(Error::Mismatch {
            found: format!("`batch={wanted}` was asked for, but {} takes exactly {fixed}", model.path.display()),
            remedy: "Leave `batch=` out, or export the model with dynamic=True.".into(),
        }),
        (BatchSize::Fixed(fixed), _) => Ok(fixed),
        (BatchSize::Dynamic, Some(wanted)) if wanted > MAX_BATCH => Err(Error::Mismatch {
            found: format!("`batch={wanted}` was asked for; supported are 1 to {MAX_BATCH}"),
            remedy: "Give a smaller `batch=`; on a CPU 1 is the fastest.".into(),
        }),
        (BatchSize::Dynamic, Some(wanted)) => Ok(wanted),
        (BatchSize::Dynamic, None) => Ok(match provider {
            Provider::Cpu | Provider::Openvino => 1,
            Provider::Cuda | Provider::Tensorrt => BATCH_ON_GPU,
        }),
    }
}

/// Proves the model's head and makes the sessions, at the same time: both are part of what a short run takes.
///
/// # Errors
/// As [`Detector::self_check`] and [`DetectorSession::new`].
pub(crate) fn start_sessions(
    model: &Detector,
    provider: Provider,
    jobs: NonZeroUsize,
) -> Result<(SelfCheck, Vec<DetectorSession>)> {
    let options = SessionOptions { provider, intra_threads: session_threads(provider, jobs) };
    thread::scope(|threads| {
        let check = threads.spawn(|| model.self_check(&options));
        let sessions: Result<Vec<_>> =
            (0..num_sessions(provider, jobs)).map(|_| DetectorSession::new(model, &options)).collect();
        // A refused model says more than a session that cannot be made of it.
        let check = check.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?;
        Ok((check, sessions?))
    })
}
