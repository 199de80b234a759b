//! What must hold between the values of a cache, whatever the bytes. Each rule is stated in `docs/format.md`.

use crate::{
    Codebook, ImageKey, ImageRecord, Manifest, PartEntry, Places,
    head::HeadKind,
    rows_with_class_logits,
    types::{BoxXyxyPx, ImageSize, LogitType, Profile, ViewChange},
    verify::ViewRule,
};
use half::f16;

/// Relative slack of a probability: teachers of half precision round their sigmoid to 11 bits.
const SCORE_SLACK: f64 = 1.0 / 1024.0;

/// The rules for the images of one cache.
pub struct Rules<'a> {
    /// What the cache is.
    pub manifest: &'a Manifest,
    /// Draws the views of caches that name it.
    view_rule: Option<&'a ViewRule>,
    places: Places,
    total_anchors: u64,
}

impl<'a> Rules<'a> {
    /// The rules for the cache of this manifest.
    pub fn new(manifest: &'a Manifest, view_rule: Option<&'a ViewRule>) -> Self {
        let view_rule = view_rule.filter(|rule| rule.name == manifest.settings.view_rule);
        let places = manifest.teacher.places();
        Self { manifest, view_rule, total_anchors: places.count() as u64, places }
    }

    /// Every rule that the image breaks, in words.
    pub fn of_image(&self, record: &ImageRecord) -> Vec<String> {
        let mut broken = Vec::new();
        let samples = self.manifest.dataset.samples;
        let views = self.manifest.settings.views;
        let is_view = u32::try_from(record.view).is_ok_and(|view| view <= views);
        if u64::try_from(record.image_id).map_or(true, |id| id >= samples) || !is_view {
            broken.push(format!("its id or view is not one of a data set of {samples} samples with {views} views"));
        }
        if record.path.is_empty() {
            broken.push("its path is empty".to_owned());
        }
        broken.extend(self.letterbox(record));
        broken.extend(self.change(record));
        broken.extend(self.labels(record));
        broken.extend(self.selection(record));
        let p = &record.predictions;
        let class_len = self.manifest.class_len();
        let mut class_logits = p.class_logits.chunks_exact(class_len.max(1));
        let with = rows_with_class_logits(&p.score, p.class_row_count(class_len));
        for (row, has_class_logits) in with.into_iter().enumerate() {
            let logits = if has_class_logits { class_logits.next() } else { None };
            if let Some(problem) = self.row(record, row, logits) {
                broken.push(format!("anchor row {row}: {problem}"));
            }
        }
        if !record.predictions.anchor.is_sorted_by(|a, b| a < b) {
            broken.push("its anchors are not in increasing order".to_owned());
        }
        broken
    }

    fn letterbox(&self, record: &ImageRecord) -> Option<String> {
        let (size, l, teacher) = (record.size, &record.letterbox, &self.manifest.teacher);
        if size.width == 0 || size.height == 0 {
            return Some(format!("its size is {} x {}", size.width, size.height));
        }
        // One side fills the input; half a pixel of rounding on each side.
        let reach = |pixels: u32, pad: f32| f64::from(pixels) * f64::from(l.scale) + f64::from(pad);
        let (right, bottom) = (reach(size.width, l.pad_left), reach(size.height, l.pad_top));
        let whole = [l.pad_left, l.pad_top].iter().all(|p| *p >= 0.0 && p.fract() == 0.0);
        let inside = right <= f64::from(teacher.input_width) + 1.0 && bottom <= f64::from(teacher.input_height) + 1.0;
        let valid = l.scale > 0.0 && whole && inside; // false for NaN as well
        (!valid).then(|| {
            let (w, h) = (teacher.input_width, teacher.input_height);
            format!("its letterbox {l:?} does not fit an image of {} x {} into {w} x {h}", size.width, size.height)
        })
    }

    /// What makes the view: nothing for view 0; what the seed draws, where the rule is known.
    fn change(&self, record: &ImageRecord) -> Option<String> {
        let (settings, teacher, found) = (&self.manifest.settings, &self.manifest.teacher, record.change);
        let input = ImageSize { width: teacher.input_width, height: teacher.input_height };
        let expected = match (record.view, self.view_rule) {
            (0, _) => ViewChange::NONE,
            (view, Some(rule)) => (rule.change)(settings.views(), record.image_id, view, input),
            _ => {
                let numbers = [found.scale, found.offset_x, found.offset_y, found.hue, found.saturation, found.value];
                let valid = numbers.iter().all(|v| v.is_finite()) && found.scale > 0.0;
                return (!valid).then(|| format!("its view cannot be made by {found:?}"));
            }
        };
        (found != expected).then(|| format!("its view is made by {found:?}, expected {expected:?}"))
    }

    fn labels(&self, record: &ImageRecord) -> Option<String> {
        let labels = record.labels.as_deref().unwrap_or_default();
        let classes = self.manifest.teacher.num_classes;
        let valid =
            |b: &BoxXyxyPx| [b.x1, b.y1, b.x2, b.y2].iter().all(|v| v.is_finite()) && b.x1 <= b.x2 && b.y1 <= b.y2;
        let wrong = labels.iter().position(|l| l.class_id >= classes || !valid(&l.box_xyxy_px))?;
        Some(format!("its label {wrong} is {:?}, with {classes} classes", labels.get(wrong)))
    }

    /// How many anchors are kept, and what is said of the others.
    fn selection(&self, record: &ImageRecord) -> Option<String> {
        let settings = &self.manifest.settings;
        let kept = record.predictions.len() as u64;
        let (max, mean) = (record.dropped_max_score, record.dropped_mean_prob);
        let in_range = (0.0..=1.0).contains(&max) && (0.0..=1.0).contains(&mean);
        if !in_range || f64::from(mean) > f64::from(max) * (1.0 + SCORE_SLACK) {
            return Some(format!("dropped_max_score {max} and dropped_mean_prob {mean} are not probabilities"));
        }
        let dropped = self.total_anchors.saturating_sub(kept);
        let (sum, highest) = (f64::from(record.dropped_score_sum), f64::from(max));
        // Every dropped anchor has a score between none and the highest; one has the highest.
        let most = highest * dropped as f64 * (1.0 + SCORE_SLACK);
        if !(highest * (1.0 - SCORE_SLACK)..=most).contains(&sum) {
            return Some(format!("dropped_score_sum is {sum}, of {dropped} anchors of at most {highest}"));
        }
        let class_rows = record.predictions.class_row_count(self.manifest.class_len()) as u64;
        let rest = record.rest_mean_prob;
        if !(0.0..=1.0).contains(&rest) || (class_rows == kept && rest != 0.0) {
            return Some(format!("rest_mean_prob is {rest}, and {class_rows} of {kept} rows have class logits"));
        }
        if class_rows != kept && (settings.class_coverage >= 1.0 || class_rows == 0) {
            let share = settings.class_coverage;
            return Some(format!("{class_rows} of {kept} rows have class logits, with a class_coverage of {share}"));
        }
        if kept == self.total_anchors && (max, mean) != (0.0, 0.0) {
            return Some(format!("every anchor is kept, but dropped_max_score is {max}"));
        }
        let lowest = record.predictions.score.iter().copied().fold(f32::INFINITY, f32::min);
        match settings.profile {
            Profile::Dense if kept != self.total_anchors => {
                Some(format!("it has {kept} rows, a dense cache keeps all {}", self.total_anchors))
            }
            Profile::Dense => None,
            Profile::Mapped if kept > u64::from(settings.top_k) => {
                Some(format!("it has {kept} rows, over top_k {}", settings.top_k))
            }
            Profile::Mapped if lowest < settings.min_score => {
                Some(format!("it keeps a score of {lowest}, under min_score {}", settings.min_score))
            }
            Profile::Mapped
                if settings.coverage >= 1.0 && kept < u64::from(settings.top_k) && max > settings.min_score =>
            {
                Some(format!("it dropped a score of {max}, over min_score {}, with room left", settings.min_score))
            }
            Profile::Mapped if max > lowest => Some(format!("it dropped a score of {max} but kept one of {lowest}")),
            Profile::Mapped => None,
        }
    }

    /// What is wrong with a row; `logits` are its class logits where it has them.
    fn row(&self, record: &ImageRecord, row: usize, logits: Option<&[f16]>) -> Option<String> {
        let p = &record.predictions;
        let dfl_len = self.manifest.dfl_len();
        let missing = || Some("its columns have different lengths".to_owned());
        let (Some(&anchor), Some(&score), Some(&class_id), Some(edges)) =
            (p.anchor.get(row), p.score.get(row), p.class_id.get(row), p.boxes_xyxy_px.get(row))
        else {
            return missing();
        };
        let Some(dfl) = p.dfl_logits.get(row * dfl_len..(row + 1) * dfl_len) else { return missing() };

        if let Some(problem) = self.place(anchor, p.stride.get(row).copied()) {
            return Some(problem);
        }
        if let Some(problem) = self.logits(logits.unwrap_or_default(), dfl) {
            return Some(problem);
        }
        let outside = || Some(format!("its box {edges:?} is not inside the image"));
        let Some(logits) = logits else {
            if u32::try_from(class_id).map_or(true, |id| id >= self.manifest.teacher.num_classes) {
                return Some(format!("class_id {class_id} is not one of the teacher's"));
            }
            if !(0.0..=1.0).contains(&score) {
                return Some(format!("its score {score} is not a probability"));
            }
            return if is_inside(edges, record.size) { None } else { outside() };
        };
        let highest = logits.iter().map(|v| v.to_f64()).fold(f64::NEG_INFINITY, f64::max);
        let own = usize::try_from(class_id).ok().and_then(|id| logits.get(id)).map(|v| v.to_f64());
        if own != Some(highest) {
            return Some(format!("class_id {class_id} has the logit {own:?}, the highest is {highest}"));
        }
        let head = self.manifest.teacher.head;
        if !score_fits(head, f64::from(score), self.logits_that_round_to(highest)) {
            let expected = head.probability_f64(highest);
            return Some(format!("its score is {score}, the sigmoid of its highest logit {expected}"));
        }
        if is_inside(edges, record.size) { None } else { outside() }
    }

    /// Whether an anchor lies on the grid and has its stride; whether a query is one of the head's, and has none.
    fn place(&self, anchor: i32, stride: Option<i32>) -> Option<String> {
        let queries = self.manifest.teacher.queries;
        if queries > 0 {
            let known = u32::try_from(anchor).is_ok_and(|query| query < queries);
            return (!known || stride.is_some()).then(|| format!("there is no query {anchor} among {queries}"));
        }
        let level = usize::try_from(anchor).ok().and_then(|anchor| self.places.grid()?.level_of(anchor));
        let expected = level.map(|level| level.stride);
        let fits = expected.is_some() && expected == stride.and_then(|stride| u32::try_from(stride).ok());
        let shown = stride.map_or_else(|| "none".to_owned(), |stride| stride.to_string());
        (!fits).then(|| format!("anchor {anchor} has the stride {shown}, expected {expected:?}"))
    }

    /// What is wrong with the logits of a row by themselves.
    fn logits(&self, class: &[f16], dfl: &[f16]) -> Option<String> {
        if !class.iter().chain(dfl).all(|v| v.is_finite()) {
            return Some("a logit is not finite".to_owned());
        }
        let kind = self.manifest.settings.logits;
        if kind == LogitType::Float16 {
            return None;
        }
        let unknown = |values: &[f16], book: Option<&Codebook>| {
            book.and_then(|book| values.iter().copied().find(|v| book.code(*v).is_none()))
        };
        let logit = unknown(class, Codebook::of_class(kind)).or_else(|| unknown(dfl, Codebook::of_dfl(kind)));
        if let Some(logit) = logit {
            return Some(format!("the logit {logit} is not one of the 256 that 8 bits can have"));
        }
        let highest_is_0 = |side: &[f16]| side.iter().any(|v| v.to_f32() == 0.0);
        let sides_fit = dfl.chunks((dfl.len() / 4).max(1)).all(highest_is_0);
        (!sides_fit).then(|| "the highest DFL logit of a side is not 0".to_owned())
    }

    /// The logits, from the lowest to the highest, that are stored as this one.
    fn logits_that_round_to(&self, stored: f64) -> (f64, f64) {
        match Codebook::of_class(self.manifest.settings.logits) {
            None => {
                let rounding = (stored.abs() / 2048.0).max(2f64.powi(-25)); // half a unit in the last place
                (stored - rounding, stored + rounding)
            }
            Some(book) => {
                let cell = book.cell(f16::from_f64(stored));
                cell.map_or((stored, stored), |(low, high)| (low.into(), high.into()))
            }
        }
    }
}

/// Whether a record may follow the one before it in its part (or end it, where there is none): an image comes with all its
/// views, and they are of the same picture.
pub fn of_views(before: Option<&ImageRecord>, record: Option<&ImageRecord>, views: u32) -> Option<String> {
    let last = |r: &ImageRecord| u32::try_from(r.view).ok() == Some(views);
    match (before, record) {
        (Some(a), Some(b)) if a.image_id == b.image_id => {
            let same = (&a.path, a.size, a.file_sha256, &a.labels) == (&b.path, b.size, b.file_sha256, &b.labels)
                && a.letterbox == b.letterbox;
            let next = a.view.checked_add(1) == Some(b.view);
            (!same || !next).then(|| format!("it is not the view of the same image that follows view {}", a.view))
        }
        (before, after) => {
            let incomplete = before.filter(|r| !last(r));
            let begun = after.filter(|r| r.view != 0);
            let wanting = incomplete.or(begun)?;
            Some(format!("image {} does not have all of its views 0 to {views}", wanting.image_id))
        }
    }
}

fn is_inside(b: &BoxXyxyPx, size: ImageSize) -> bool {
    let ordered = |low: f32, high: f32, limit: u32| 0.0 <= low && low <= high && f64::from(high) <= f64::from(limit);
    ordered(b.x1, b.x2, size.width) && ordered(b.y1, b.y2, size.height) // false for NaN as well
}

/// Whether `score` can be the probability that a head of this kind gives a logit between these.
fn score_fits(head: HeadKind, score: f64, (lowest, highest): (f64, f64)) -> bool {
    let low = head.probability_f64(lowest) * (1.0 - SCORE_SLACK) - 1e-6;
    let high = head.probability_f64(highest) * (1.0 + SCORE_SLACK) + 1e-6;
    (low..=high).contains(&score) && (0.0..=1.0).contains(&score)
}

/// What a part must say at its end.
pub fn of_part_end(entry: &PartEntry, last: Option<ImageKey>, content_sha256: String) -> Option<String> {
    if last.map(|(id, _)| id) != Some(entry.last_image_id) {
        return Some(format!("its last image is {last:?}, the manifest says {}", entry.last_image_id));
    }
    let stated = &entry.content_sha256;
    (content_sha256 != *stated).then(|| format!("its content digest is {content_sha256}, the manifest says {stated}"))
}

/// What the manifest must say of the whole.
pub fn of_manifest(manifest: &Manifest) -> Vec<String> {
    let mut broken = Vec::new();
    let samples = manifest.dataset.samples;
    let failures = &manifest.failures;
    if !failures.is_sorted_by(|a, b| a.image_id < b.image_id) {
        broken.push("the failures are not in increasing order of image_id".to_owned());
    }
    if let Some(failure) = failures.iter().find(|f| u64::try_from(f.image_id).map_or(true, |id| id >= samples)) {
        broken.push(format!("the failure of image {} is outside the {samples} samples", failure.image_id));
    }
    let accounted = manifest.images().saturating_add(failures.len() as u64);
    if manifest.complete && (accounted != samples || manifest.digests.is_none()) {
        broken.push(format!(
            "it is marked as complete, but {} images and {} failures are not {samples} samples with digests",
            manifest.images(),
            failures.len()
        ));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: HeadKind = HeadKind::Yolov8Dfl;

    #[test]
    fn the_sigmoid_of_any_logit_fits_after_rounding_and_other_scores_do_not() {
        let half = |logit: f64| {
            let stored = f16::from_f64(logit).to_f64();
            (stored - stored.abs() / 2048.0 - 1e-8, stored + stored.abs() / 2048.0 + 1e-8)
        };
        for step in -1500..1500 {
            let logit = f64::from(step) / 100.0;
            let score = f64::from(HEAD.probability_f64(logit) as f32);
            assert!(score_fits(HEAD, score, half(logit)), "{logit}");
            let half_precision = f16::from_f64(score).to_f64();
            assert!(score_fits(HEAD, half_precision, half(logit)), "{logit} in half precision");
            let eight_bits = Codebook::class().cell(Codebook::class().round(logit as f32)).unwrap();
            assert!(score_fits(HEAD, score, (eight_bits.0.into(), eight_bits.1.into())), "{logit} in 8 bits");
            if (-6.0..6.0).contains(&logit) {
                assert!(!score_fits(HEAD, score * 1.02, half(logit)) || score > 0.9, "{logit}");
                assert!(!score_fits(HEAD, score * 0.98, half(logit)), "{logit}");
            }
        }
        assert!(!score_fits(HEAD, f64::NAN, (0.0, 0.0)) && !score_fits(HEAD, 1.5, (9.0, 9.0)));
    }
}
