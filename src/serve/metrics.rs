//! Counters in Prometheus' text format (version 0.0.4).

use std::{
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS_S: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What is counted since the start.
#[derive(Default)]
pub(super) struct Metrics {
    /// By status.
    requests: Mutex<Vec<(u16, u64)>>,
    /// Pictures that a model ran on, by bound; the last one is without bound.
    latency: [AtomicU64; BOUNDS_S.len() + 1],
    latency_sum_us: AtomicU64,
    /// Pictures that were answered from the results of an equal request.
    pub(super) reused: AtomicU64,
    /// Pictures that could not be read.
    pub(super) unreadable: AtomicU64,
    /// Pictures that were refused because too many waited.
    pub(super) refused: AtomicU64,
}

impl Metrics {
    pub(super) fn answered(&self, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        match requests.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => requests.push((status, 1)),
        }
    }

    pub(super) fn detected(&self, took: Duration) {
        let bucket = BOUNDS_S.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(BOUNDS_S.len());
        if let Some(count) = self.latency.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.latency_sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The text, with the pictures that wait now.
    pub(super) fn text(&self, waiting: usize) -> String {
        let mut out = String::new();
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP logitcache_{name} {help}\n# TYPE logitcache_{name} {kind}");
        };
        head(&mut out, "requests_total", "counter", "Answered requests by status.");
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        requests.sort_unstable();
        for (status, count) in requests {
            let _ = writeln!(out, "logitcache_requests_total{{status=\"{status}\"}} {count}");
        }
        head(&mut out, "detect_seconds", "histogram", "Time from a picture's arrival to its detections.");
        let mut sum = 0;
        for (at, count) in self.latency.iter().enumerate() {
            sum += count.load(Ordering::Relaxed);
            let bound = BOUNDS_S.get(at).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            let _ = writeln!(out, "logitcache_detect_seconds_bucket{{le=\"{bound}\"}} {sum}");
        }
        let seconds = self.latency_sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "logitcache_detect_seconds_sum {seconds}\nlogitcache_detect_seconds_count {sum}");
        let counters = [
            ("pictures_reused_total", "Pictures answered from the results of an equal request.", &self.reused),
            ("pictures_unreadable_total", "Pictures that could not be read.", &self.unreadable),
            ("pictures_refused_total", "Pictures refused because too many waited.", &self.refused),
        ];
        for (name, help, count) in counters {
            head(&mut out, name, "counter", help);
            let _ = writeln!(out, "logitcache_{name} {}", count.load(Ordering::Relaxed));
        }
        head(&mut out, "pictures_waiting", "gauge", "Pictures that wait for a model.");
        let _ = writeln!(out, "logitcache_pictures_waiting {waiting}");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::default();
        metrics.answered(200);
        metrics.answered(404);
        metrics.answered(200);
        metrics.detected(Duration::from_millis(7));
        metrics.detected(Duration::from_secs(60));
        let text = metrics.text(3);
        for line in [
            "logitcache_requests_total{status=\"200\"} 2",
            "logitcache_requests_total{status=\"404\"} 1",
            "logitcache_detect_seconds_bucket{le=\"0.005\"} 0",
            "logitcache_detect_seconds_bucket{le=\"0.01\"} 1",
            "logitcache_detect_seconds_bucket{le=\"30\"} 1",
            "logitcache_detect_seconds_bucket{le=\"+Inf\"} 2",
            "logitcache_detect_seconds_count 2",
            "logitcache_pictures_waiting 3",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is missing in:\n{text}");
        }
    }
}
