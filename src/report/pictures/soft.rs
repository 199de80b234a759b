//! Class distributions of single boxes: the teacher's from its cached logits, a student's at the same anchor.

use super::{DrawnModel, candidates::Candidate, columns::SHOWN};
use crate::{
    Error, Result,
    cache::decode_i32,
    detector::{Detector, DetectorOptions, DetectorSession, SessionOptions},
    eval::{InferenceOptions, kept_rows, row_detections},
    preprocess::{LetterboxPlan, Preprocessor, RgbImage},
    report::cache_folder::CacheFolder,
    types::{BoxXyxyPx, Detection, InputSize, Store},
};
use std::cmp::Ordering;

/// Classes of a distribution that are shown.
pub const TOP_CLASSES: usize = 5;
/// Boxes of an image whose distributions are shown.
const MAX_BOXES: usize = 4;

/// One box of the teacher.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftBox {
    /// Its number in the picture, from 1.
    pub number: usize,
    /// The teacher's class id.
    pub class_id: u32,
    /// Its name.
    pub class: String,
    /// The teacher's probability of it, 0..=1.
    pub score: f32,
    /// In pixels of the image.
    pub box_xyxy_px: BoxXyxyPx,
    /// The teacher's [`TOP_CLASSES`] most probable classes.
    pub classes: Vec<ClassProbs>,
}

/// One class's probabilities at one anchor.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassProbs {
    /// Name of the class.
    pub class: String,
    /// The teacher's, from its cached logit.
    pub teacher: f32,
    /// The models', `None` for one that lacks the class.
    pub models: Vec<Option<f32>>,
}

/// A student that answers for single anchors.
pub(super) struct SoftModel {
    pub(super) title: String,
    model: Detector,
    session: DetectorSession,
    /// The student's class id for each of the teacher's.
    of_teacher: Vec<Option<usize>>,
}

impl SoftModel {
    /// Opens a student. `Err` holds why its anchors cannot be held against the teacher's: a note, not a failure.
    ///
    /// # Errors
    /// As [`DetectorSession::new`].
    pub(super) fn open(
        model: &DrawnModel,
        cache: &CacheFolder,
        detector: &InferenceOptions,
    ) -> Result<Result<Self, String>> {
        let options = DetectorOptions {
            imgsz: detector.imgsz,
            store: Store::Cls,
            names: detector.names.clone(),
            reading: detector.reading.clone(),
            ..DetectorOptions::default()
        };
        let loaded = Detector::load(&model.path, &options)?;
        let teacher = &cache.reader.manifest().teacher;
        if teacher.places().grid().is_none() {
            return Ok(Err(format!(
                "{}: the teacher's predictions belong to queries and the student's to anchors, so its class distributions \
                 are not shown",
                model.title
            )));
        }
        if loaded.input != teacher.input() || loaded.head.places != teacher.places() {
            return Ok(Err(format!(
                "{}: its anchors ({} pixels, strides {:?}) are not the teacher's ({}, {:?}), so its class distributions are \
                 not shown",
                model.title,
                InputSize::from(loaded.input).in_words(),
                loaded.head.strides(),
                InputSize::from(teacher.input()).in_words(),
                teacher.strides
            )));
        }
        let session = SessionOptions { provider: detector.provider, intra_threads: detector.jobs.get() };
        let session = DetectorSession::new(&loaded, &session)?;
        let of_teacher =
            teacher.class_names.iter().map(|name| loaded.class_names.iter().position(|own| own == name)).collect();
        Ok(Ok(Self { title: model.title.clone(), model: loaded, session, of_teacher }))
    }

    /// The probabilities of every class of the teacher at some anchors of an image, `[anchors][classes]`.
    fn probabilities(&mut self, picture: &RgbImage, anchors: &[usize]) -> Result<Vec<Vec<Option<f32>>>> {
        let input = self.model.input;
        let plan = LetterboxPlan::by(self.model.input_rule.fit, picture.size, input);
        let mut pixels = vec![0.0; 3 * input.height as usize * input.width as usize];
        Preprocessor::new(&self.model.input_rule).letterbox_into(picture, &plan, &mut pixels);
        let cannot_run = |error: String| Error::Model {
            path: self.model.path.clone(),
            found: format!("it cannot be run: {error}"),
            remedy: "Try `provider=cpu`, or export the model again.".into(),
        };
        let heads = self.session.run(1, &pixels).map_err(|error| cannot_run(error.to_string()))?;
        let head = heads.view(0).map_err(cannot_run)?;
        let at = |anchor: usize, class: Option<usize>| class.map(|class| head.probability(anchor, class));
        let of_anchor = |&anchor: &usize| self.of_teacher.iter().map(|&class| at(anchor, class)).collect();
        Ok(anchors.iter().map(of_anchor).collect())
    }
}

/// A kept anchor of the teacher that became one of its boxes.
struct Kept {
    detection: Detection,
    anchor: usize,
    probs: Vec<f32>,
}

/// The teacher's boxes where the last model's probability of the teacher's class is furthest from the teacher's (without a model: of the
/// highest scores), [`MAX_BOXES`] at most.
pub(super) fn boxes(
    image: &Candidate,
    picture: &RgbImage,
    cache: &CacheFolder,
    models: &mut [SoftModel],
) -> Result<Vec<SoftBox>> {
    let Some(mut kept) = image.image_id.map(|id| kept_anchors(cache, id)).transpose()? else { return Ok(Vec::new()) };
    let names = &cache.reader.manifest().teacher.class_names;
    let anchors: Vec<usize> = kept.iter().map(|kept| kept.anchor).collect();
    let of_models =
        models.iter_mut().map(|model| model.probabilities(picture, &anchors)).collect::<Result<Vec<_>>>()?;
    let mut order: Vec<usize> = (0..kept.len()).collect();
    if let Some(last) = of_models.last() {
        let gap = |&i: &usize| {
            let class = kept[i].detection.class_id as usize;
            (kept[i].detection.score - last[i].get(class).copied().flatten().unwrap_or_default()).abs()
        };
        order.sort_by(|a, b| gap(b).partial_cmp(&gap(a)).unwrap_or(Ordering::Equal));
    }
    order.truncate(MAX_BOXES);
    let soft_box = |(number, i): (usize, usize)| {
        let Kept { detection, probs, .. } = &mut kept[i];
        let mut classes: Vec<usize> = (0..probs.len()).collect();
        classes.sort_by(|&a, &b| probs[b].total_cmp(&probs[a]).then(a.cmp(&b)));
        let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
        let class_probs = |&class: &usize| ClassProbs {
            class: name(class),
            teacher: probs[class],
            models: of_models.iter().map(|model| model[i].get(class).copied().flatten()).collect(),
        };
        SoftBox {
            number,
            class_id: detection.class_id,
            class: name(detection.class_id as usize),
            score: detection.score,
            box_xyxy_px: detection.box_xyxy_px,
            classes: classes.iter().take(TOP_CLASSES).map(class_probs).collect(),
        }
    };
    Ok((1..).zip(order).map(soft_box).collect())
}

/// The anchors behind the teacher's boxes on one image, highest score first.
fn kept_anchors(cache: &CacheFolder, image_id: i64) -> Result<Vec<Kept>> {
    let Some(view) = cache.reader.image(image_id, 0)? else { return Ok(Vec::new()) };
    let p = &view.predictions;
    let teacher = &cache.reader.manifest().teacher;
    let num_anchors = teacher.total_anchors();
    let boxes = row_detections(&view);
    let anchors: Vec<i32> = decode_i32(p.anchors).collect();
    let class_logits = p.all_class_logits();
    let kept = kept_rows(&boxes, &SHOWN.for_head(teacher.one_to_one)).into_iter().filter_map(|row| {
        let anchor = anchors.get(row).and_then(|&anchor| u64::try_from(anchor).ok()).filter(|&a| a < num_anchors)?;
        let logits = class_logits.get(row * p.class_len..(row + 1) * p.class_len)?;
        let probs = logits.iter().map(|&logit| p.head.probability(logit)).collect();
        Some(Kept { detection: boxes[row], anchor: usize::try_from(anchor).ok()?, probs })
    });
    Ok(kept.collect())
}
