//! What rounding costs: both models on the same images.

use super::QuantizeOptions;
use crate::{
    Error, Result,
    cache::MissingLabels,
    dataset::{DataSource, NameMap, Sample},
    detector::Detector,
    eval::{
        Comparison, Difference, Eval, EvalOptions, Inference, InferenceOptions, NmsOptions, ScoredImage, Scores,
        score_and_matches,
    },
    toolkit::Run,
    types::{Detection, TruthBox},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// From this score on a detection of the float32 model is taken for an object, where there are no labels.
const OBJECT_SCORE: f32 = 0.25;

/// Both models on the same images; mean average precision as COCO's.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Accuracy {
    /// The labelled data set; none where the float32 model's own detections (scores over 0.25) stand for labels.
    pub data: Option<PathBuf>,
    /// Its split.
    pub split: Option<String>,
    /// Images scored.
    pub images: u64,
    /// Of these, images that the calibration used.
    pub calibration_images: u64,
    /// mAP@0.5 of the float32 model; none against itself.
    pub model_map_50: Option<f64>,
    /// mAP@0.5:0.95 of the float32 model; none against itself.
    pub model_map_50_95: Option<f64>,
    /// mAP@0.5 of the new one.
    pub out_map_50: Option<f64>,
    /// mAP@0.5:0.95 of the new one.
    pub out_map_50_95: Option<f64>,
    /// The new one's mAP@0.5:0.95 less the float32 model's, with its interval over the choice of images; none against itself.
    pub difference: Option<Difference>,
}

/// What helps where classes differ: this command has no way to map them.
const OTHER_CLASSES: &str = "Give a data set with the model's class names; or, where the model's own names are wrong, the right \
    ones with `names=FILE`. Without `data=`, the model's own detections are taken for labels.";

/// Scores both models on labelled images; `used` are those of the calibration.
pub(super) fn against_labels(
    options: &QuantizeOptions,
    source: &DataSource,
    models: [(Detector, u64); 2],
    used: &[Sample],
    run: &Run<'_>,
) -> Result<Accuracy> {
    let eval = Eval::of_models(
        EvalOptions {
            models: vec![options.model.clone(), options.out.clone()],
            source: source.clone(),
            class_map: NameMap::default(),
            missing_labels: MissingLabels::Background,
            detector: inference(options),
            latency_runs: 0,
        },
        models.into(),
    )
    .map_err(|error| match error {
        Error::Classes { found, .. } => Error::Classes { found, remedy: OTHER_CLASSES.into() },
        other => other,
    })?;
    let calibration_images = among(used, eval.samples());
    (run.total)(eval.num_images());
    let report = eval.run(run.stop, |failed| (run.done)(failed))?;
    let of = |model: usize| report.models.get(model).map(|model| &model.scores.coco);
    let difference = report.models.get(1).and_then(|model| model.against_first.as_ref());
    Ok(Accuracy {
        data: Some(source.data.clone()),
        split: Some(source.split.clone()),
        images: report.images,
        calibration_images,
        model_map_50: of(0).and_then(|scores| scores.ap_50),
        model_map_50_95: of(0).and_then(|scores| scores.ap),
        out_map_50: of(1).and_then(|scores| scores.ap_50),
        out_map_50_95: of(1).and_then(|scores| scores.ap),
        difference: difference.and_then(|Comparison { ap, .. }| *ap),
    })
}

/// How many of `samples` are among the `used` ones.
fn among(used: &[Sample], samples: &[Sample]) -> u64 {
    let used: HashSet<&Path> = used.iter().map(|sample| sample.path.as_path()).collect();
    samples.iter().filter(|sample| used.contains(sample.path.as_path())).count() as u64
}

/// Scores the new model on what the float32 model detects; `None` where that is nothing. `used` are the images of the calibration.
pub(super) fn against_model(
    options: &QuantizeOptions,
    samples: &[Sample],
    [model, out]: [Detector; 2],
    used: &[Sample],
    run: &Run<'_>,
) -> Result<Option<Accuracy>> {
    if samples.is_empty() {
        return Ok(None);
    }
    (run.total)(2 * samples.len() as u64);
    let class_names = model.class_names.clone();
    let truth = detections(options, samples, model, run)?;
    let found = detections(options, samples, out, run)?;
    let both = truth.iter().zip(&found).enumerate();
    let images: Vec<ScoredImage> = both
        .filter_map(|(image_id, (truth, found))| {
            let seen = truth.as_ref()?.iter().filter(|found| found.score > OBJECT_SCORE);
            let truth = seen.map(|found| TruthBox::of_box(found.class_id, found.box_xyxy_px)).collect::<Vec<_>>();
            Some(ScoredImage { image_id: image_id as i64, truth, detections: found.clone()? })
        })
        .collect();
    if images.iter().all(|image| image.truth.is_empty()) {
        return Ok(None);
    }
    let (Scores { coco, .. }, _) = score_and_matches(&images, &class_names)?;
    Ok(Some(Accuracy {
        data: None,
        split: None,
        images: images.len() as u64,
        calibration_images: among(used, samples),
        model_map_50: None,
        model_map_50_95: None,
        out_map_50: coco.ap_50,
        out_map_50_95: coco.ap,
        difference: None,
    }))
}

/// Of each sample; `None` of those that failed.
fn detections(
    options: &QuantizeOptions,
    samples: &[Sample],
    detector: Detector,
    run: &Run<'_>,
) -> Result<Vec<Option<Vec<Detection>>>> {
    let inference = Inference::start(detector, inference(options))?;
    let mut all = Vec::with_capacity(samples.len());
    inference.run(samples, None, MissingLabels::Unlabelled, run.stop, |image| {
        (run.done)(image.is_err());
        all.push(image.ok().map(|image| image.detections));
        Ok(())
    })?;
    run.go_on()?;
    Ok(all)
}

fn inference(options: &QuantizeOptions) -> InferenceOptions {
    InferenceOptions {
        model: options.model.clone(),
        names: options.names.clone(),
        reading: options.reading.clone(),
        imgsz: options.imgsz,
        jobs: options.jobs,
        provider: options.provider,
        ort_lib: options.ort_lib.clone(),
        nms: NmsOptions::SCORING,
    }
}
