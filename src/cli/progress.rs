//! Progress on stderr: a bar on a terminal, a plain line now and then into a pipe, nothing with `--quiet`. Of a command that was
//! called, its caller is told.

use super::{
    call::{self, Event},
    output,
};
use crossbeam_channel::Sender;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Pictures, one by one.
    Images,
    /// Pictures and their views, one by one.
    Views,
    /// Bytes of files.
    Bytes,
}

/// Shows how far a long command is.
pub struct Progress {
    kind: Kind,
    unit: Unit,
    total: u64,
    done: u64,
    failed: u64,
    started: Instant,
}

enum Kind {
    Bar(ProgressBar),
    Lines { last: Instant },
    Told(Sender<Event>),
    Nothing,
}

impl Progress {
    /// For `total` of a unit, all still to do.
    pub fn new(total: u64, unit: Unit, quiet: bool) -> Self {
        let kind = if quiet || total == 0 {
            Kind::Nothing
        } else if let Some(caller) = call::events() {
            // As below: a caller that does not listen has nothing to be told.
            let _ = caller.send(Event::Total(total, unit));
            Kind::Told(caller)
        } else if output::stderr_is_terminal() {
            let bar = ProgressBar::new(total);
            let template = match unit {
                Unit::Images => "{wide_bar} {human_pos}/{human_len} images, {per_sec}, {eta} left{msg}",
                Unit::Views => "{wide_bar} {human_pos}/{human_len} views, {per_sec}, {eta} left{msg}",
                Unit::Bytes => "{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left{msg}",
            };
            // The template is fixed; if it ever did not parse, indicatif's own default serves.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            Kind::Bar(bar)
        } else {
            Kind::Lines { last: Instant::now() }
        };
        Self { kind, unit, total, done: 0, failed: 0, started: Instant::now() }
    }

    /// One more item is through.
    pub fn advance(&mut self, failed: bool) {
        self.failed += u64::from(failed);
        if let (Kind::Bar(bar), true) = (&self.kind, failed) {
            bar.set_message(format!(", {} failed", self.failed));
        }
        self.advance_by(1);
    }

    /// So much more is through.
    pub fn advance_by(&mut self, amount: u64) {
        self.done += amount;
        match &mut self.kind {
            Kind::Bar(bar) => bar.inc(amount),
            Kind::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                output::note(&self.line());
            }
            Kind::Told(caller) => {
                let _ = caller.send(Event::Done(self.done, self.failed));
            }
            Kind::Lines { .. } | Kind::Nothing => {}
        }
    }

    /// "120/4,096 images, 25.1/s, 3 minutes left, 0 failed"
    fn line(&self) -> String {
        let rate = self.done as f64 / self.started.elapsed().as_secs_f64();
        let left = HumanDuration(Duration::from_secs_f64(self.total.saturating_sub(self.done) as f64 / rate));
        match self.unit {
            Unit::Images | Unit::Views => {
                let (done, total) = (HumanCount(self.done), HumanCount(self.total));
                let what = if self.unit == Unit::Images { "images" } else { "views" };
                format!("{done}/{total} {what}, {rate:.1}/s, {left} left, {} failed", self.failed)
            }
            Unit::Bytes => {
                let (done, total) = (HumanBytes(self.done), HumanBytes(self.total));
                format!("{done}/{total}, {}/s, {left} left", HumanBytes(rate as u64))
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Kind::Bar(bar) = self.kind {
            bar.finish_and_clear();
        }
    }
}
