//! How far a training run is: a bar over all steps, and a line for each epoch.

use crate::train::StepLosses;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use logitcache::cli::output;
use std::time::{Duration, Instant};

/// Time between two plain lines within an epoch.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Shows steps and epochs on stderr.
pub struct TrainProgress {
    kind: Kind,
    epochs: usize,
    batches: usize,
    started: Instant,
    steps_to_do: usize,
    steps_done: usize,
}

enum Kind {
    Bar(ProgressBar),
    Lines { last: Instant },
    Nothing,
}

impl TrainProgress {
    /// For a run of `epochs` of `batches` steps, of which some epochs are done.
    pub fn new(epochs: usize, epochs_done: usize, batches: usize, quiet: bool) -> Self {
        let steps_to_do = epochs.saturating_sub(epochs_done) * batches;
        let kind = if quiet {
            Kind::Nothing
        } else if output::stderr_is_terminal() {
            let bar = ProgressBar::new(steps_to_do as u64);
            // The template is fixed; if it ever did not parse, indicatif's own default serves.
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {msg}, steps {per_sec}, {eta} left") {
                bar.set_style(style);
            }
            Kind::Bar(bar)
        } else {
            Kind::Lines { last: Instant::now() }
        };
        Self { kind, epochs, batches, started: Instant::now(), steps_to_do, steps_done: 0 }
    }

    /// A step is done; `losses` are the epoch's means so far.
    pub fn step(&mut self, epoch: usize, batch: usize, losses: &StepLosses, lr: f64) {
        self.steps_done += 1;
        let line = || {
            let [b, c, d, teacher @ ..] = losses;
            let mut line = format!(
                "epoch {}/{}, step {}/{}, box {b:.2} cls {c:.2} dfl {d:.2}",
                epoch + 1,
                self.epochs,
                batch + 1,
                self.batches
            );
            // All three are 0 where nothing is distilled.
            if teacher.iter().any(|part| *part != 0.0) {
                let [b, c, d] = teacher;
                line += &format!(", teacher box {b:.2} cls {c:.2} dfl {d:.2}");
            }
            line + &format!(", lr {lr:.1e}")
        };
        match &mut self.kind {
            Kind::Bar(bar) => {
                bar.set_message(line());
                bar.inc(1);
            }
            Kind::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let per_step = self.started.elapsed().as_secs_f64() / self.steps_done as f64;
                let left = per_step * self.steps_to_do.saturating_sub(self.steps_done) as f64;
                let left = HumanDuration(Duration::from_secs_f64(left));
                output::note(&format!("{}, steps {:.2}/s, {left} left", line(), per_step.recip()));
            }
            Kind::Lines { .. } | Kind::Nothing => {}
        }
    }

    /// An epoch is done.
    pub fn epoch(&mut self, line: &str) {
        match &mut self.kind {
            Kind::Bar(bar) => bar.suspend(|| output::note(line)),
            Kind::Lines { last } => {
                *last = Instant::now();
                output::note(line);
            }
            Kind::Nothing => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Kind::Bar(bar) = self.kind {
            bar.finish_and_clear();
        }
    }
}
