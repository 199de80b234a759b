//! What accuracy costs: which of several models are worth a place, and which are beaten by another one.

use super::report::ModelReport;

/// What a model gives and what it costs; `None` where it was not measured.
struct Point {
    map_50_95: f64,
    /// With one thread.
    latency_p50_ms: Option<f64>,
    file_bytes: u64,
    memory_bytes: Option<u64>,
}

impl Point {
    /// Of a model that was scored; `None` where no object was there to be found.
    fn of(model: &ModelReport) -> Option<Self> {
        Some(Self {
            map_50_95: model.scores.coco.ap?,
            latency_p50_ms: model.latency.first().map(|latency| latency.p50_ms),
            file_bytes: model.file_bytes,
            memory_bytes: model.memory_bytes,
        })
    }

    /// Whether it is at least as good in everything that was measured of both, and better in something.
    fn beats(&self, other: &Self) -> bool {
        let pairs = [
            Some((-self.map_50_95, -other.map_50_95)),
            self.latency_p50_ms.zip(other.latency_p50_ms),
            Some((self.file_bytes as f64, other.file_bytes as f64)),
            self.memory_bytes.map(|bytes| bytes as f64).zip(other.memory_bytes.map(|bytes| bytes as f64)),
        ];
        let pairs = || pairs.iter().flatten();
        pairs().all(|(own, others)| own <= others) && pairs().any(|(own, others)| own < others)
    }
}

/// Of each model the most accurate one that is better than it in every respect; `None` of those on the frontier.
fn beaten_by(points: &[Point]) -> Vec<Option<usize>> {
    let best = |point: &Point| {
        let better = (0..points.len()).filter(|&other| points[other].beats(point));
        // The first of equals: `max_by` gives the last, so the order is turned.
        better.rev().max_by(|&a, &b| points[a].map_50_95.total_cmp(&points[b].map_50_95))
    };
    points.iter().map(best).collect()
}

/// Sets [`ModelReport::beaten_by`], where each of the models has a score.
pub(super) fn tell_who_is_beaten(models: &mut [ModelReport]) {
    let points: Option<Vec<Point>> = models.iter().map(Point::of).collect();
    let beaten = points.map(|points| beaten_by(&points)).unwrap_or_default();
    let names: Vec<Option<String>> = beaten.into_iter().map(|by| Some(models[by?].name.clone())).collect();
    models.iter_mut().zip(names).for_each(|(model, by)| model.beaten_by = by);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(map_50_95: f64, latency_p50_ms: Option<f64>, file_bytes: u64) -> Point {
        Point { map_50_95, latency_p50_ms, file_bytes, memory_bytes: None }
    }

    #[test]
    fn only_what_is_worse_in_everything_is_beaten() {
        let points = [
            point(0.5, Some(10.0), 40),
            point(0.49, Some(6.0), 10),
            point(0.48, Some(12.0), 40),
            point(0.47, Some(6.0), 10),
            point(0.49, Some(6.0), 10),
        ];
        assert_eq!(beaten_by(&points), [None, None, Some(0), Some(1), None]);
        assert_eq!(beaten_by(&points[..1]), [None]);
        assert!(beaten_by(&[]).is_empty());
    }

    #[test]
    fn what_was_not_measured_does_not_count() {
        assert_eq!(beaten_by(&[point(0.5, None, 40), point(0.4, Some(1.0), 50)]), [None, Some(0)]);
    }
}
