//! `/v1/models`, `/v1/detect`

use super::{
    answer::Fault,
    engine::{Ask, Found, LatencyMs},
    recent::Recent,
    server::App,
};
use crate::{
    detector::Detector,
    eval::{Candidate, NmsOptions},
    predict::count,
    types::{BoxXyxyPx, Detection},
};
use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Multipart, Query, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// Most pictures of one request.
const MOST_PICTURES: usize = 64;
/// Pictures of one request that wait for the model at once.
const AT_ONCE: usize = 4;
/// Bytes of results that are kept for equal requests, about.
const KEPT_BYTES: usize = 32 << 20;

/// A model.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ModelInfo {
    /// What requests call it: `m0`, `m1` and so on.
    id: String,
    /// The name of its file.
    name: String,
    /// What kind of detector it is.
    family: String,
    /// Class names by class id.
    classes: Vec<String>,
    /// Width and height of its input.
    input_size_px: [u32; 2],
    /// The score over which a box is shown where a request does not say.
    conf: f32,
    /// The overlap over which the box of the lower score is removed where a request does not say.
    iou: f64,
    /// Whether it gives each object one box, so that nothing is suppressed.
    one_to_one: bool,
}

/// The models.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ModelsAnswer {
    models: Vec<ModelInfo>,
}

/// `GET /v1/models`
pub(super) async fn models(State(app): State<Arc<App>>) -> Json<ModelsAnswer> {
    let info = |(at, engine): (usize, &super::engine::Engine)| {
        let Detector { class_names, input, head, .. } = &*engine.model;
        ModelInfo {
            id: format!("m{at}"),
            name: engine.name.clone(),
            family: engine.model.family().to_owned(),
            classes: class_names.clone(),
            input_size_px: [input.width, input.height],
            conf: NmsOptions::PREDICTING.conf,
            iou: NmsOptions::PREDICTING.iou,
            one_to_one: head.one_to_one,
        }
    };
    Json(ModelsAnswer { models: app.engines.iter().enumerate().map(info).collect() })
}

/// The query of a detection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(super) struct DetectQuery {
    /// `m0`, `m1` and so on; the first model where it is left out.
    model: Option<String>,
    /// A detection's score is greater than this, 0 to 1 (0.25).
    conf: Option<f32>,
    /// Two detections of a class overlap by at most this, 0 to 1 (0.7).
    iou: Option<f64>,
    /// Most detections of a picture, 1 to 1000 (300).
    max_det: Option<usize>,
    /// Also the boxes before suppression with a score over this, 0.001 to 1, at most 2000.
    candidates: Option<f32>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DetectAnswer {
    /// The model that ran.
    model: String,
    /// As asked for.
    conf: f32,
    /// As asked for.
    iou: f64,
    /// In the order of the request.
    images: Vec<ImageAnswer>,
    /// Objects of all pictures, the most frequent class first.
    counts: Vec<Count>,
}

/// A picture: what was found, or why it could not be read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ImageAnswer {
    /// It could be read.
    Found(Box<ImageFound>),
    /// It could not.
    Failed {
        /// As in the request.
        name: String,
        /// Why.
        error: Fault,
    },
}

/// What was found on a picture.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct ImageFound {
    /// As in the request.
    name: String,
    /// After EXIF orientation.
    width_px: u32,
    /// After EXIF orientation.
    height_px: u32,
    /// Highest score first.
    detections: Vec<DetectedBox>,
    /// Objects of each class, the most frequent first.
    counts: Vec<Count>,
    /// Where the time went.
    latency_ms: LatencyMs,
    /// Whether an equal picture was asked for with the same settings before: then `latency_ms` is of that time.
    reused: bool,
    /// The boxes before suppression, in its order.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<Vec<CandidateBox>>,
    /// Boxes before suppression that are over the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates_left_out: Option<usize>,
}

/// A detection.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct DetectedBox {
    class_id: u32,
    name: String,
    /// 0 to 1.
    score: f32,
    /// Left, top, right, bottom in pixels of the picture.
    box_xyxy_px: [f32; 4],
}

/// A box before suppression.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct CandidateBox {
    class_id: u32,
    score: f32,
    /// Left, top, right, bottom in pixels of the picture, clipped to it.
    box_xyxy_px: [f32; 4],
    /// In pixels of the model's input, as suppression compares it.
    box_xyxy_input_px: [f32; 4],
}

/// Objects of a class.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Count {
    class_id: u32,
    name: String,
    count: u64,
}

/// `POST /v1/detect`
pub(super) async fn detect(
    State(app): State<Arc<App>>,
    query: Result<Query<DetectQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Fault> {
    let Query(query) = query.map_err(|e| Fault::bad_request(e.body_text()))?;
    let (at, ask) = asked(&query, app.engines.len())?;
    let engine = app.engines.get(at).ok_or_else(|| Fault::not_found("there is no such model"))?;
    let pictures = pictures(request).await?;
    let one = |(name, bytes): (String, Bytes)| {
        let app = &app;
        async move {
            let key = key(at, &ask, &bytes);
            if let Some(found) = app.results.get(&key) {
                app.metrics.reused.fetch_add(1, Ordering::Relaxed);
                return (name, Ok((found, true)));
            }
            let since = Instant::now();
            let found = engine.run(bytes, ask).await;
            let found = found.map(|found| {
                app.metrics.detected(since.elapsed());
                (app.results.put(key, found), false)
            });
            (name, found)
        }
    };
    // In order, some at once: a request of many pictures leaves places in the queue to others.
    let found: Vec<_> = stream::iter(pictures.into_iter().map(one)).buffered(AT_ONCE).collect().await;
    let mut images = Vec::with_capacity(found.len());
    let mut detections: Vec<Detection> = Vec::new();
    for (name, found) in found {
        match found {
            Ok((found, reused)) => {
                detections.extend(&found.detections);
                images.push(ImageAnswer::Found(Box::new(answer(name, &found, reused, &engine.model.class_names))));
            }
            // The whole request is to be sent again.
            Err(fault) if fault.status() != StatusCode::UNPROCESSABLE_ENTITY => {
                if fault.status() == StatusCode::TOO_MANY_REQUESTS {
                    app.metrics.refused.fetch_add(1, Ordering::Relaxed);
                }
                return Err(fault);
            }
            Err(error) => {
                app.metrics.unreadable.fetch_add(1, Ordering::Relaxed);
                images.push(ImageAnswer::Failed { name, error });
            }
        }
    }
    let any = images.iter().any(|image| matches!(image, ImageAnswer::Found(_)));
    let status = if any { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let counts = counts(&detections, &engine.model.class_names);
    let model = format!("m{at}");
    Ok((status, Json(DetectAnswer { model, conf: ask.nms.conf, iou: ask.nms.iou, images, counts })).into_response())
}

/// The number of the model, and what is asked of it.
fn asked(query: &DetectQuery, models: usize) -> Result<(usize, Ask), Fault> {
    let at = match query.model.as_deref() {
        None => 0,
        Some(id) => id.strip_prefix('m').and_then(|at| at.parse().ok()).unwrap_or(usize::MAX),
    };
    if at >= models {
        let found = query.model.as_deref().unwrap_or("m0");
        return Err(Fault::not_found(format!("there is no model {found:?}")).remedy("GET /v1/models lists them."));
    }
    let default = NmsOptions::PREDICTING;
    let within = |name: &str, value: f64, low: f64, high: f64| match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err(Fault::bad_request(format!("{name} is {value}; it must be from {low} to {high}"))),
    };
    let conf = query.conf.unwrap_or(default.conf);
    let iou = query.iou.unwrap_or(default.iou);
    let max_detections = query.max_det.unwrap_or(default.max_detections);
    within("conf", f64::from(conf), 0.0, 1.0)?;
    within("iou", iou, 0.0, 1.0)?;
    within("max_det", max_detections as f64, 1.0, 1000.0)?;
    if let Some(least) = query.candidates {
        within("candidates", f64::from(least), 0.001, 1.0)?;
    }
    Ok((at, Ask { nms: NmsOptions { conf, iou, max_detections, multi_label: false }, candidates: query.candidates }))
}

/// The pictures of a request with their names: the fields `image` of a form, or the bare body.
async fn pictures(request: Request) -> Result<Vec<(String, Bytes)>, Fault> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut pictures = Vec::new();
    if kind.starts_with("multipart/") {
        let form = Multipart::from_request(request, &()).await;
        let mut form = form.map_err(|e| Fault::bad_request(e.body_text()))?;
        while let Some(field) = form.next_field().await.map_err(of_form)? {
            if field.name() != Some("image") {
                continue;
            }
            if pictures.len() == MOST_PICTURES {
                return Err(Fault::bad_request(format!("a request has at most {MOST_PICTURES} pictures")));
            }
            let name = field.file_name().unwrap_or("image").to_owned();
            pictures.push((name, field.bytes().await.map_err(of_form)?));
        }
    } else {
        let bytes = Bytes::from_request(request, &()).await;
        let bytes = bytes.map_err(|e| Fault::new(e.status(), "body", e.body_text()))?;
        pictures.push(("image".to_owned(), bytes));
    }
    if pictures.iter().all(|(_, bytes)| bytes.is_empty()) {
        let remedy = "Send pictures as fields `image` of a form (multipart/form-data), or one as the body.";
        return Err(Fault::bad_request("the request holds no picture").remedy(remedy));
    }
    Ok(pictures)
}

fn of_form(error: axum::extract::multipart::MultipartError) -> Fault {
    Fault::new(error.status(), "form", error.body_text())
}

fn answer(name: String, found: &Found, reused: bool, names: &[String]) -> ImageFound {
    let name_of = |class_id: u32| names.get(class_id as usize).cloned().unwrap_or_else(|| class_id.to_string());
    let detection = |found: &Detection| DetectedBox {
        class_id: found.class_id,
        name: name_of(found.class_id),
        score: found.score,
        box_xyxy_px: corners(found.box_xyxy_px),
    };
    let candidate = |found: &Candidate| CandidateBox {
        class_id: found.detection.class_id,
        score: found.detection.score,
        box_xyxy_px: corners(found.detection.box_xyxy_px),
        box_xyxy_input_px: corners(found.box_xyxy_input_px),
    };
    let candidates = found.candidates.as_ref();
    ImageFound {
        name,
        width_px: found.size.width,
        height_px: found.size.height,
        detections: found.detections.iter().map(detection).collect(),
        counts: counts(&found.detections, names),
        latency_ms: found.latency,
        reused,
        candidates: candidates.map(|(all, _)| all.iter().map(candidate).collect()),
        candidates_left_out: candidates.map(|(_, left_out)| *left_out),
    }
}

pub(super) fn corners(b: BoxXyxyPx) -> [f32; 4] {
    [b.x1, b.y1, b.x2, b.y2]
}

fn counts(detections: &[Detection], names: &[String]) -> Vec<Count> {
    let own = count(detections, names).into_iter();
    own.map(|c| Count { class_id: c.class_id, name: c.class, count: c.count }).collect()
}

/// What decides a result: the model, the settings and the bytes of the picture.
type Key = [u8; 32];

fn key(model: usize, ask: &Ask, bytes: &[u8]) -> Key {
    let mut digest = Sha256::new();
    let settings = format!("{model} {ask:?} ");
    digest.update(settings.as_bytes());
    digest.update(bytes);
    digest.finalize().into()
}

/// Results of the last pictures.
pub(super) struct Results(Recent<Key, Found>);

impl Default for Results {
    fn default() -> Self {
        Self(Recent::new(KEPT_BYTES))
    }
}

impl Results {
    fn get(&self, key: &Key) -> Option<Arc<Found>> {
        self.0.get(key)
    }

    fn put(&self, key: Key, found: Found) -> Arc<Found> {
        let candidates = found.candidates.as_ref().map_or(0, |(all, _)| all.len() * size_of::<Candidate>());
        let bytes = 256 + candidates + found.detections.len() * size_of::<Detection>();
        self.0.put(key, found, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ImageSize;

    fn query(text: &str) -> Result<(usize, Ask), Fault> {
        asked(&Query::try_from_uri(&format!("http://x/?{text}").parse().unwrap()).unwrap().0, 2)
    }

    #[test]
    fn settings_have_ranges_and_defaults() {
        let (at, ask) = query("").unwrap();
        assert_eq!((at, ask.nms, ask.candidates), (0, NmsOptions::PREDICTING, None));
        let (at, ask) = query("model=m1&conf=0.5&iou=0.6&max_det=7&candidates=0.05").unwrap();
        assert_eq!((at, ask.nms.conf, ask.nms.iou, ask.nms.max_detections), (1, 0.5, 0.6, 7));
        assert_eq!(ask.candidates, Some(0.05));
        for wrong in ["conf=1.5", "conf=-1", "conf=NaN", "iou=2", "max_det=0", "max_det=1001", "candidates=0"] {
            assert_eq!(query(wrong).unwrap_err().status(), StatusCode::BAD_REQUEST, "{wrong}");
        }
        for wrong in ["model=m2", "model=x", "model=m-1", "model="] {
            assert_eq!(query(wrong).unwrap_err().status(), StatusCode::NOT_FOUND, "{wrong}");
        }
    }

    #[test]
    fn results_are_kept_up_to_a_limit_and_told_apart_by_settings() {
        let results = Results::default();
        let found = |n: usize| Found {
            size: ImageSize { width: 1, height: 1 },
            detections: vec![Detection { class_id: 0, score: 0.5, box_xyxy_px: BoxXyxyPx::default() }; n],
            candidates: None,
            latency: LatencyMs::default(),
        };
        let (_, ask) = query("").unwrap();
        let (_, other) = query("conf=0.3").unwrap();
        let keys = [key(0, &ask, b"a"), key(1, &ask, b"a"), key(0, &other, b"a"), key(0, &ask, b"b")];
        assert!((0..4).all(|i| (0..i).all(|j| keys[i] != keys[j])));
        results.put(keys[0], found(1));
        assert!(results.get(&keys[0]).is_some() && results.get(&keys[1]).is_none());
        results.put(keys[1], found(KEPT_BYTES / size_of::<Detection>()));
        assert!(results.get(&keys[0]).is_none(), "the oldest made room");
    }
}
