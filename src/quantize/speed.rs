//! Which of two models is faster here.

use crate::{
    Error, Result,
    detector::{Detector, Provider},
    eval::{TimedSession, WARM_UP_RUNS, thread_counts},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::num::NonZeroUsize;

/// A model is called faster where it was in this share of the pairs of runs.
const SURE: f64 = 0.9;
/// Of fewer pairs nothing is said.
pub const LEAST_PAIRS: u32 = 10;

/// Two models in turns on the same image: what disturbs one run disturbs its neighbour too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Speed {
    /// Threads of each session.
    pub threads: usize,
    /// Pairs of runs.
    pub runs: u32,
    /// Median of the float32 model, in milliseconds an image.
    pub model_p50_ms: f64,
    /// Median of the new one.
    pub out_p50_ms: f64,
    /// Median of the ratios of the pairs: float32 time divided by new time.
    pub speed_up: f64,
    /// Share of the pairs in which the new one was faster.
    pub faster_share: f64,
    /// What may be said of it.
    pub verdict: Verdict,
}

/// What the pairs of runs show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The new model was faster in at least 90 % of the pairs, of which there are at least 10.
    Faster,
    /// It was slower in at least 90 % of them.
    Slower,
    /// Neither.
    NotShown,
}

/// Times `model` and `out` with one thread and with all. `go_on` is asked before each pair.
///
/// # Errors
/// As [`crate::detector::DetectorSession::new`]; [`Error::Model`] where a run fails; the error of `go_on`.
pub(super) fn speed(
    model: &Detector,
    out: &Detector,
    provider: Provider,
    pixels: &[f32],
    all_threads: NonZeroUsize,
    runs: u32,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Vec<Speed>> {
    let of_threads = |threads| {
        let mut model = TimedSession::new(model, provider, threads)?;
        let mut out = TimedSession::new(out, provider, threads)?;
        let mut pair = || {
            let times_ms = [model.run_ms(pixels)?, out.run_ms(pixels)?];
            go_on()?;
            Ok::<_, Error>(times_ms)
        };
        for _ in 0..WARM_UP_RUNS {
            pair()?;
        }
        let pairs = (0..runs).map(|_| pair()).collect::<Result<Vec<_>>>()?;
        Ok(judge(threads, &pairs))
    };
    thread_counts(provider, all_threads).into_iter().map(of_threads).collect()
}

fn judge(threads: usize, pairs: &[[f64; 2]]) -> Speed {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let of = |which: usize| median(pairs.iter().map(|pair| pair[which]).collect());
    let share = |wins: usize| wins as f64 / pairs.len().max(1) as f64;
    let faster = share(pairs.iter().filter(|[model, out]| out < model).count());
    let slower = share(pairs.iter().filter(|[model, out]| out > model).count());
    Speed {
        threads,
        runs: pairs.len() as u32,
        model_p50_ms: of(0),
        out_p50_ms: of(1),
        speed_up: median(pairs.iter().map(|[model, out]| model / out).collect()),
        faster_share: faster,
        verdict: if pairs.len() < LEAST_PAIRS as usize {
            Verdict::NotShown
        } else if faster >= SURE {
            Verdict::Faster
        } else if slower >= SURE {
            Verdict::Slower
        } else {
            Verdict::NotShown
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faster_is_said_only_of_what_nearly_always_was() {
        let verdict = |faster: usize, slower: usize| {
            let pairs = [vec![[2.0, 1.0]; faster], vec![[1.0, 1.5]; slower]].concat();
            judge(1, &pairs).verdict
        };
        assert_eq!(verdict(18, 2), Verdict::Faster);
        assert_eq!(verdict(17, 3), Verdict::NotShown);
        assert_eq!(verdict(2, 18), Verdict::Slower);
        assert_eq!((verdict(9, 0), verdict(0, 9)), (Verdict::NotShown, Verdict::NotShown));
        assert_eq!((verdict(10, 0), verdict(0, 10)), (Verdict::Faster, Verdict::Slower));
        assert_eq!(judge(1, &[[1.0, 1.0]; 20]).verdict, Verdict::NotShown);
        let one = judge(2, &[[3.0, 1.0], [3.0, 1.5], [30.0, 2.0]]);
        assert_eq!((one.threads, one.model_p50_ms, one.out_p50_ms, one.speed_up), (2, 3.0, 1.5, 3.0));
    }
}
