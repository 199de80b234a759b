//! Progress on stderr: a bar on a terminal, a plain line now and then into a pipe, nothing with `--quiet`.

use super::output;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far a long command is.
pub struct Progress {
    kind: Kind,
    total: u64,
    done: u64,
    failed: u64,
    started: Instant,
}

enum Kind {
    Bar(ProgressBar),
    Lines { last: Instant },
    Nothing,
}

impl Progress {
    /// For `total` items, all still to do.
    pub fn new(total: u64, quiet: bool) -> Self {
        let kind = if quiet || total == 0 {
            Kind::Nothing
        } else if output::stderr_is_terminal() {
            let bar = ProgressBar::new(total);
            let template = "{wide_bar} {human_pos}/{human_len} images, {per_sec}, {eta} left{msg}";
            // The template is fixed; if it ever did not parse, indicatif's own default serves.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            Kind::Bar(bar)
        } else {
            Kind::Lines { last: Instant::now() }
        };
        Self { kind, total, done: 0, failed: 0, started: Instant::now() }
    }

    /// One more item is through.
    pub fn advance(&mut self, failed: bool) {
        self.done += 1;
        self.failed += u64::from(failed);
        match &mut self.kind {
            Kind::Bar(bar) => {
                bar.inc(1);
                if failed {
                    bar.set_message(format!(", {} failed", self.failed));
                }
            }
            Kind::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let rate = self.done as f64 / self.started.elapsed().as_secs_f64();
                let left = Duration::from_secs_f64((self.total - self.done.min(self.total)) as f64 / rate);
                output::note(&format!(
                    "{}/{} images, {rate:.1}/s, {} left, {} failed",
                    self.done,
                    self.total,
                    HumanDuration(left),
                    self.failed
                ));
            }
            Kind::Lines { .. } | Kind::Nothing => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Kind::Bar(bar) = self.kind {
            bar.finish_and_clear();
        }
    }
}
