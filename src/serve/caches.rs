//! `/v1/caches`: the images of a cache, by filters and one by one.
//!
//! What filters ask of is computed once, on a thread that starts with the server: about 100 bytes an image. Everything else is
//! read from the map when it is shown.

use super::{answer::Fault, detect::corners, pictures, server::App};
use crate::{
    Result,
    cache::{CacheReader, ImageView, Places, open_finished},
    eval::{NmsOptions, disagreement, entropy_bits, kept_rows, row_detections, teacher_boxes},
    types::Detection,
};
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    cmp::Ordering,
    fs,
    sync::{
        Arc, OnceLock,
        atomic::{self, AtomicBool},
    },
    thread,
};
use tokio::task::spawn_blocking;

/// Boxes that uncertainty counts.
const DOUBTED: NmsOptions = NmsOptions { conf: 0.05, iou: 0.7, max_detections: 300, multi_label: false };
/// Most images of an answer.
const MOST_LISTED: usize = 1000;
/// Most predictions of an answer, those of the highest scores.
const MOST_PREDICTIONS: usize = 300;
/// Classes of a prediction that are told.
const TOLD_CLASSES: usize = 10;
/// Sides of small pictures in pixels.
const SIDES_PX: std::ops::RangeInclusive<u32> = 32..=640;

/// A cache that is shown.
pub(super) struct ServedCache {
    pub(super) reader: CacheReader,
    name: String,
    /// Ids of the images, each once, in order.
    pub(super) ids: Vec<i64>,
    index: OnceLock<std::result::Result<Vec<Entry>, String>>,
    /// Suspected label errors, once somebody asked.
    pub(super) issues: OnceLock<std::result::Result<crate::issues::IssuesReport, Fault>>,
    /// Whether they are being looked for.
    issues_begun: AtomicBool,
}

/// What filters ask of an image.
#[derive(Debug, Clone)]
struct Entry {
    uncertainty: f32,
    disagreement: Option<f32>,
    /// Each class that was detected, with its highest score.
    classes: Vec<(u32, f32)>,
}

impl ServedCache {
    /// Opens a cache and begins to look through it.
    ///
    /// # Errors
    /// As [`open_finished`].
    pub(super) fn open(name: String, folder: &std::path::Path) -> Result<Arc<Self>> {
        let reader = open_finished(folder)?;
        let mut ids = Vec::new();
        for key in reader.keys() {
            let (id, view) = key?;
            if view == 0 {
                ids.push(id);
            }
        }
        let cache = Arc::new(Self {
            reader,
            name,
            ids,
            index: OnceLock::new(),
            issues: OnceLock::new(),
            issues_begun: AtomicBool::new(false),
        });
        let own = Arc::clone(&cache);
        thread::spawn(move || {
            let entries: std::result::Result<Vec<Entry>, String> =
                own.ids.par_iter().map(|&id| own.entry(id)).collect();
            let _ = own.index.set(entries);
        });
        Ok(cache)
    }

    /// View 0 of an image by its position.
    pub(super) fn at(&self, index: usize) -> std::result::Result<ImageView<'_>, Fault> {
        let found =
            self.ids.get(index).map(|&id| self.reader.image(id, 0)).transpose().map_err(|e| Fault::of(&e.into()))?;
        found.flatten().ok_or_else(|| Fault::not_found(format!("the cache has no image number {index}")))
    }

    /// Whether the caller is the first who wants to look for label errors.
    pub(super) fn begin_issues(&self) -> bool {
        !self.issues_begun.swap(true, atomic::Ordering::Relaxed)
    }

    fn entry(&self, id: i64) -> std::result::Result<Entry, String> {
        let image = self.reader.image(id, 0).map_err(|e| e.to_string())?.ok_or("an image is missing")?;
        Ok(self.look(&image).1)
    }

    /// The teacher's boxes as `predict` shows them, and what filters ask of them.
    fn look(&self, image: &ImageView<'_>) -> (Vec<Detection>, Entry) {
        let teacher = &self.reader.manifest().teacher;
        let boxes = teacher_boxes(image, teacher, &NmsOptions::PREDICTING);
        let doubted = teacher_boxes(image, teacher, &DOUBTED);
        let bits: f64 = doubted.iter().map(|found| entropy_bits(f64::from(found.score))).sum();
        let labels: Option<Vec<Detection>> = image.labels.map(|labels| {
            let of = |label: crate::types::LabelBox| Detection {
                class_id: label.class_id,
                score: 1.0,
                box_xyxy_px: label.box_xyxy_px,
            };
            labels.iter().map(of).collect()
        });
        let mut classes: Vec<(u32, f32)> = Vec::new();
        for found in &boxes {
            // The highest score of a class comes first.
            if !classes.iter().any(|(class, _)| *class == found.class_id) {
                classes.push((found.class_id, found.score));
            }
        }
        let entry = Entry {
            uncertainty: (bits / doubted.len().max(1) as f64) as f32,
            disagreement: labels.map(|labels| disagreement(&boxes, &labels) as f32),
            classes,
        };
        (boxes, entry)
    }

    /// The index, once it is there.
    fn index(&self) -> std::result::Result<&[Entry], Fault> {
        match self.index.get() {
            Some(Ok(entries)) => Ok(entries),
            Some(Err(reason)) => Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", reason.clone())
                .remedy("Run `verify()` on the cache.")),
            None => Err(Fault::new(StatusCode::ACCEPTED, "reading", "the cache is still being read").retry_after(1)),
        }
    }
}

/// A cache by its id in a request.
///
/// # Errors
/// 404; 410 of a cache that was removed.
pub(super) fn cache_of(app: &App, id: &str) -> std::result::Result<(usize, Arc<ServedCache>), Fault> {
    let at: Option<usize> = id.strip_prefix('c').and_then(|at| at.parse().ok());
    let found = at.and_then(|at| Some((at, Arc::clone(app.caches.get(at)?))));
    let missing = || Fault::not_found(format!("there is no cache {id:?}")).remedy("GET /v1/caches lists them.");
    let (at, cache) = found.ok_or_else(missing)?;
    // A cache that was removed is still in the map, but nobody should take it for what there is.
    if fs::symlink_metadata(cache.reader.folder()).is_err() {
        let said = format!("the cache {} was removed", cache.reader.folder().display());
        return Err(Fault::new(StatusCode::GONE, "removed", said).remedy("Start the server again without it."));
    }
    Ok((at, cache))
}

/// A cache.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CacheInfo {
    /// What requests call it: `c0`, `c1` and so on.
    id: String,
    /// The name of its folder.
    name: String,
    /// Images, each counted once.
    images: usize,
    /// The teacher's class names by class id.
    classes: Vec<String>,
    /// Augmented views of each image.
    views: u32,
    /// The data set, as the cache names it.
    dataset: String,
    /// Whether it holds labels.
    labels: bool,
}

/// The caches, and what can be done with them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CachesAnswer {
    caches: Vec<CacheInfo>,
    /// Whether this server runs SQL; it does not.
    sql: bool,
    /// Whether verdicts on suspected label errors are taken (`--reviews`).
    reviews: bool,
}

/// `GET /v1/caches`
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<CachesAnswer> {
    let info = |(at, cache): (usize, &Arc<ServedCache>)| {
        let manifest = cache.reader.manifest();
        CacheInfo {
            id: format!("c{at}"),
            name: cache.name.clone(),
            images: cache.ids.len(),
            classes: manifest.teacher.class_names.clone(),
            views: manifest.settings.views,
            dataset: manifest.dataset.root.clone(),
            labels: manifest.dataset.labels == crate::cache::LabelsState::Stored,
        }
    };
    let caches = app.caches.iter().enumerate().map(info).collect();
    Json(CachesAnswer { caches, sql: false, reviews: app.reviews.is_some() })
}

/// The order of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sort {
    /// As in the cache.
    #[default]
    Index,
    /// What differs most from the labels first.
    Disagreement,
    /// What the teacher is least sure of first.
    Uncertainty,
}

/// The query of a list of images.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub(super) struct ImagesQuery {
    /// Images of the list that are passed over (0).
    #[serde(default)]
    offset: usize,
    /// Most images of the answer, up to 1000 (200).
    limit: Option<usize>,
    /// Only images with a detection of this class id.
    class: Option<u32>,
    /// Only images with a detection (of `class`) of at least this score.
    min_score: Option<f32>,
    /// Only images that differ from their labels by at least this, 0 to 1.
    min_disagreement: Option<f32>,
    /// Only images of at least this uncertainty, 0 to 1.
    min_uncertainty: Option<f32>,
    /// The order.
    #[serde(default)]
    sort: Sort,
    /// Only images whose path holds this text.
    text: Option<String>,
}

/// An image in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListedImage {
    /// Its position in the cache.
    index: usize,
    /// Relative to the data set.
    path: String,
    /// After EXIF orientation.
    width_px: u32,
    /// After EXIF orientation.
    height_px: u32,
    /// Boxes of the teacher with a score over 0.25, after suppression.
    detections: usize,
    /// The highest score of these, 0 without any.
    top_score: f32,
    /// Mean entropy in bits of the boxes with a score over 0.05, 0 to 1.
    uncertainty: f32,
    /// How much the boxes differ from the labels, 0 to 1; null without labels.
    disagreement: Option<f32>,
}

/// A part of a list of images.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ImagesAnswer {
    /// Images that the filters leave.
    total: usize,
    images: Vec<ListedImage>,
}

/// Runs what reads from the disk beside the threads that answer.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> std::result::Result<T, Fault> + Send + 'static,
) -> std::result::Result<T, Fault> {
    let broken = |_| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be finished");
    spawn_blocking(work).await.map_err(broken)?
}

/// `GET /v1/caches/{cache}/images`
pub(super) async fn images(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    query: std::result::Result<Query<ImagesQuery>, QueryRejection>,
) -> std::result::Result<Json<ImagesAnswer>, Fault> {
    let (_, cache) = cache_of(&app, &id)?;
    let Query(query) = query.map_err(|e| Fault::bad_request(e.body_text()))?;
    beside(move || {
        let order = order(&cache, &query)?;
        let limit = query.limit.unwrap_or(200).min(MOST_LISTED);
        let page = order.iter().skip(query.offset).take(limit);
        let images = page.map(|&index| listed(&cache, index)).collect::<std::result::Result<_, _>>()?;
        Ok(Json(ImagesAnswer { total: order.len(), images }))
    })
    .await
}

/// Positions of the images that the filters leave, in the order that was asked for.
fn order(cache: &ServedCache, query: &ImagesQuery) -> std::result::Result<Vec<usize>, Fault> {
    let mut order: Vec<usize> = (0..cache.ids.len()).collect();
    let ImagesQuery { class, min_score, min_disagreement, min_uncertainty, sort, .. } = *query;
    let plain = class.is_none() && min_score.is_none() && min_disagreement.is_none() && min_uncertainty.is_none();
    if !plain || sort != Sort::Index {
        let index = cache.index()?;
        order.retain(|&at| {
            let Some(entry) = index.get(at) else { return false };
            let of_class = |(own, score): &(u32, f32)| {
                class.is_none_or(|class| class == *own) && min_score.is_none_or(|least| *score >= least)
            };
            let shows = (class.is_none() && min_score.is_none()) || entry.classes.iter().any(of_class);
            let differs = min_disagreement.is_none_or(|least| entry.disagreement.is_some_and(|own| own >= least));
            shows && differs && min_uncertainty.is_none_or(|least| entry.uncertainty >= least)
        });
        let value = |at: usize| {
            index.get(at).map_or(-1.0, |entry| match sort {
                Sort::Index => 0.0,
                Sort::Disagreement => entry.disagreement.unwrap_or(-1.0),
                Sort::Uncertainty => entry.uncertainty,
            })
        };
        order.sort_by(|&a, &b| value(b).partial_cmp(&value(a)).unwrap_or(Ordering::Equal).then(a.cmp(&b)));
    }
    if let Some(text) = query.text.as_deref().filter(|text| !text.is_empty()) {
        let mut kept = Vec::new();
        for index in order {
            if cache.at(index)?.path.contains(text) {
                kept.push(index);
            }
        }
        order = kept;
    }
    Ok(order)
}

fn listed(cache: &ServedCache, index: usize) -> std::result::Result<ListedImage, Fault> {
    let image = cache.at(index)?;
    let (boxes, entry) = cache.look(&image);
    Ok(ListedImage {
        index,
        path: image.path.to_owned(),
        width_px: image.size.width,
        height_px: image.size.height,
        detections: boxes.len(),
        top_score: boxes.first().map_or(0.0, |found| found.score),
        uncertainty: entry.uncertainty,
        disagreement: entry.disagreement,
    })
}

/// A label.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownLabel {
    /// The teacher's class id.
    class_id: u32,
    name: String,
    /// Left, top, right, bottom in pixels of the image.
    box_xyxy_px: [f32; 4],
}

/// A prediction of the teacher that the cache keeps.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownPrediction {
    class_id: u32,
    /// 0 to 1.
    score: f32,
    /// Left, top, right, bottom in pixels of the image.
    box_xyxy_px: [f32; 4],
    /// Input pixels per cell of the grid; null for a head of queries.
    stride_px: Option<u32>,
    /// Column and row of the cell.
    cell: Option<[u32; 2]>,
    /// The most probable classes, the first the most.
    classes: Vec<ClassScore>,
    /// Probabilities of the bins of left, top, right and bottom; null where the cache does not store them.
    dfl: Option<Vec<Vec<f32>>>,
    /// Whether suppression leaves it, with a score over 0.25.
    kept: bool,
}

/// A class of a prediction.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ClassScore {
    class_id: u32,
    /// 0 to 1; from a sigmoid, so they need not sum to 1.
    score: f32,
}

/// One image with all that the cache knows of view 0.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ImageDetail {
    #[serde(flatten)]
    listed: ListedImage,
    /// Null for an image without labels.
    labels: Option<Vec<ShownLabel>>,
    /// The 300 of the highest scores at most, highest first.
    predictions: Vec<ShownPrediction>,
}

/// `GET /v1/caches/{cache}/images/{index}`
pub(super) async fn image(
    State(app): State<Arc<App>>,
    Path((id, index)): Path<(String, usize)>,
) -> std::result::Result<Json<ImageDetail>, Fault> {
    let (_, cache) = cache_of(&app, &id)?;
    beside(move || detail(&cache, index).map(Json)).await
}

fn detail(cache: &ServedCache, index: usize) -> std::result::Result<ImageDetail, Fault> {
    let image = cache.at(index)?;
    let teacher = &cache.reader.manifest().teacher;
    let rows = row_detections(&image);
    let kept = kept_rows(&rows, &NmsOptions::PREDICTING.for_head(teacher.one_to_one));
    let own = image.predictions.to_predictions();
    let class_logits = image.predictions.all_class_logits();
    let places = teacher.places();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| rows[b].score.total_cmp(&rows[a].score).then(a.cmp(&b)));
    order.truncate(MOST_PREDICTIONS);
    let prediction = |&row: &usize| {
        let found = rows.get(row)?;
        let anchor = own.anchor.get(row).and_then(|anchor| usize::try_from(*anchor).ok());
        let cell = match &places {
            Places::Grid(grid) => anchor.filter(|anchor| *anchor < grid.num_anchors()).map(|anchor| grid.cell(anchor)),
            Places::Queries(_) => None,
        };
        let logits = class_logits.chunks_exact(image.predictions.class_len.max(1)).nth(row).unwrap_or_default();
        let score = |logit: f32| image.predictions.head.probability(logit);
        let mut classes: Vec<ClassScore> =
            (0u32..).zip(logits).map(|(class_id, &logit)| ClassScore { class_id, score: score(logit) }).collect();
        classes.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.class_id.cmp(&b.class_id)));
        classes.truncate(TOLD_CLASSES);
        let bins = image.predictions.dfl_len / 4;
        let dfl = (bins > 0).then(|| {
            let sides = own.dfl_logits.chunks_exact(bins).skip(row * 4).take(4);
            sides.map(|side| softmax(&side.iter().map(|logit| logit.to_f32()).collect::<Vec<f32>>())).collect()
        });
        Some(ShownPrediction {
            class_id: found.class_id,
            score: found.score,
            box_xyxy_px: corners(found.box_xyxy_px),
            stride_px: cell.map(|cell| cell.stride),
            // A cell's centre lies half a cell from its corner.
            cell: cell.map(|cell| [cell.centre_x as u32, cell.centre_y as u32]),
            classes,
            dfl,
            kept: kept.contains(&row),
        })
    };
    let name = |class_id: u32| teacher.class_names.get(class_id as usize).cloned().unwrap_or_default();
    let label = |label: crate::types::LabelBox| ShownLabel {
        class_id: label.class_id,
        name: name(label.class_id),
        box_xyxy_px: corners(label.box_xyxy_px),
    };
    Ok(ImageDetail {
        labels: image.labels.map(|labels| labels.iter().map(label).collect()),
        predictions: order.iter().filter_map(prediction).collect(),
        listed: listed(cache, index)?,
    })
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f32 = exps.iter().sum();
    exps.into_iter().map(|exp| exp / sum).collect()
}

/// `GET /v1/caches/{cache}/images/{index}/picture`
pub(super) async fn picture(
    State(app): State<Arc<App>>,
    Path((id, index)): Path<(String, usize)>,
) -> std::result::Result<Response, Fault> {
    let (_, cache) = cache_of(&app, &id)?;
    let (kind, bytes) = beside(move || pictures::whole(&cache.reader, &cache.at(index)?)).await?;
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "private, max-age=60")], bytes).into_response())
}

/// The query of a small picture.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ThumbnailQuery {
    /// Its longer side in pixels, 32 to 640 (160).
    size: Option<u32>,
}

/// `GET /v1/caches/{cache}/images/{index}/thumbnail`
pub(super) async fn thumbnail(
    State(app): State<Arc<App>>,
    Path((id, index)): Path<(String, usize)>,
    query: std::result::Result<Query<ThumbnailQuery>, QueryRejection>,
) -> std::result::Result<Response, Fault> {
    let Query(query) = query.map_err(|e| Fault::bad_request(e.body_text()))?;
    let side_px = query.size.unwrap_or(160).clamp(*SIDES_PX.start(), *SIDES_PX.end());
    let (at, cache) = cache_of(&app, &id)?;
    let image_id = cache.at(index)?.image_id;
    let key = (at, image_id, side_px);
    let bytes = match app.thumbnails.get(&key) {
        Some(bytes) => bytes,
        None => {
            // The semaphore is never closed.
            let place = Arc::clone(&app.thumbnails.places).acquire_owned().await.ok();
            let bytes = beside(move || pictures::small(&cache.reader, &cache.at(index)?, side_px)).await?;
            drop(place);
            app.thumbnails.put(key, bytes)
        }
    };
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=3600")];
    Ok((headers, bytes.as_ref().clone()).into_response())
}
