//! What is in a cache or a detector's file: a summary over all images, one image's predictions, and these drawn on the image.

mod model;
mod picture;

pub use model::{ModelSummary, model};
pub use picture::{SHOWN_CONF, draw_image, picture};
pub(crate) use picture::{image_file, read_same_file, read_same_image};

use crate::{
    Error, Result,
    cache::{
        CacheReader, DatasetInfo, Folder, ImageView, Manifest, Settings, Teacher, decode_f32, decode_i32,
        for_each_image,
    },
    types::{BoxXyxyPx, Failure, ImageSize, LabelBox, Letterbox, ViewChange},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;

/// Classes shown beside the first one for each prediction of an image.
const RUNNERS_UP: usize = 2;

/// Summary of a cache.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CacheSummary {
    /// Name and version of the format.
    pub format: String,
    /// Program that wrote it.
    pub producer: String,
    /// Whether it is an archive: compressed, to be converted before it is trained from.
    pub archive: bool,
    /// Whether every sample of the data set is in the cache or a named failure, and at least one is
    /// in the cache.
    pub complete: bool,
    /// Images; each is there with all its views.
    pub images: u64,
    /// Images with ground truth (background images included).
    pub labelled_images: u64,
    /// Ground-truth boxes.
    pub label_boxes: u64,
    /// Kept anchors, those of views included.
    pub rows: u64,
    /// Bytes of the Parquet files.
    pub bytes: u64,
    /// `bytes / images`.
    pub bytes_per_image: f64,
    /// The teacher.
    pub teacher: Teacher,
    /// The data set.
    pub dataset: DatasetInfo,
    /// The settings of the build.
    pub settings: Settings,
    /// Per class of the teacher, the anchors where it is the highest.
    pub classes: Vec<ClassSummary>,
    /// Images that are not in the cache.
    pub failures: Vec<Failure>,
    /// Digest over the logical content, once complete.
    pub content_sha256: Option<String>,
}

/// The anchors whose highest class this is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ClassSummary {
    /// Teacher's class id.
    pub class_id: usize,
    /// Its name.
    pub name: String,
    /// Number of kept anchors.
    pub count: u64,
    /// Their mean score, 0 where there are none.
    pub mean_score: f64,
    /// Ground-truth boxes of this class.
    pub label_boxes: u64,
}

/// One image of a cache.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ImageSummary {
    /// Position in the data set.
    pub image_id: i64,
    /// 0, or the number of an augmented view.
    pub view: i32,
    /// Relative to the data set.
    pub path: String,
    /// After EXIF orientation.
    pub size: ImageSize,
    /// How it was fitted into the input.
    pub letterbox: Letterbox,
    /// What makes the view of the letterboxed image.
    pub change: ViewChange,
    /// Digest of the image file.
    pub file_sha256: String,
    /// Highest class probability among the anchors not kept.
    pub dropped_max_score: f32,
    /// Mean class probability over anchors not kept and classes.
    pub dropped_mean_prob: f32,
    /// Sum of the highest class probabilities of the anchors that were not kept.
    pub dropped_score_sum: f32,
    /// Mean probability of the other classes over the rows whose class logits are not stored.
    pub rest_mean_prob: f32,
    /// Ground truth; `None` for an unlabelled image.
    pub labels: Option<Vec<LabelSummary>>,
    /// Kept anchors, highest score first.
    pub predictions: Vec<PredictionSummary>,
}

/// One ground-truth box.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LabelSummary {
    /// Class name.
    pub class: String,
    /// In pixels of the image.
    pub box_xyxy_px: BoxXyxyPx,
}

/// One kept anchor.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PredictionSummary {
    /// Flattened index.
    pub anchor: i32,
    /// Input pixels per cell.
    pub stride: Option<i32>,
    /// Highest class probability.
    pub score: f32,
    /// Its class.
    pub class: String,
    /// In pixels of the image.
    pub box_xyxy_px: BoxXyxyPx,
    /// The next classes by probability.
    pub runners_up: Vec<ClassProb>,
}

/// A class and its probability.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ClassProb {
    /// Class name.
    pub class: String,
    /// Its probability, 0..=1, from the stored logit.
    pub prob: f32,
}

/// Counts over the images of a cache.
struct Tally {
    classes: Vec<ClassSummary>,
    score_sums: Vec<f64>,
    labelled_images: u64,
    label_boxes: u64,
}

impl Tally {
    fn new(class_names: &[String]) -> Self {
        let classes: Vec<ClassSummary> = (0..).zip(class_names).map(ClassSummary::empty).collect();
        Self { score_sums: vec![0.0; classes.len()], classes, labelled_images: 0, label_boxes: 0 }
    }

    /// One view of an image: score and class of its rows, the labels where it is labelled (`None` of any view but the first, which
    /// repeat them).
    fn add(&mut self, rows: impl Iterator<Item = (f32, i32)>, labels: Option<impl Iterator<Item = LabelBox>>) {
        for (score, class_id) in rows {
            let index = class_id as usize;
            if let (Some(class), Some(sum)) = (self.classes.get_mut(index), self.score_sums.get_mut(index)) {
                class.count += 1;
                *sum += f64::from(score);
            }
        }
        let Some(labels) = labels else { return };
        self.labelled_images += 1;
        for label in labels {
            self.label_boxes += 1;
            if let Some(class) = self.classes.get_mut(label.class_id as usize) {
                class.label_boxes += 1;
            }
        }
    }

    fn of_mapped(cache: &Path, manifest: &Manifest) -> Result<Self> {
        let mut tally = Self::new(&manifest.teacher.class_names);
        let reader = CacheReader::with_manifest(&Folder::new(cache), manifest.clone())?;
        for image in reader.images() {
            let image = image?;
            let p = &image.predictions;
            let labels = image.labels.as_ref().filter(|_| image.view == 0).map(|l| l.iter());
            tally.add(decode_f32(p.scores).zip(decode_i32(p.class_ids)), labels);
        }
        Ok(tally)
    }

    /// Reads everything, digests first: compressed files are not parsed before they are known to be whole.
    fn of_archive(cache: &Path, manifest: &Manifest) -> Result<Self> {
        let mut tally = Self::new(&manifest.teacher.class_names);
        for part in &manifest.parts {
            for_each_image(cache, part, manifest, |record| {
                let p = &record.predictions;
                let rows = p.score.iter().copied().zip(p.class_id.iter().copied());
                let labels = record.labels.as_ref().filter(|_| record.view == 0);
                tally.add(rows, labels.map(|l| l.iter().copied()));
                Ok::<(), Error>(())
            })?;
        }
        Ok(tally)
    }
}

/// Summarises a cache. Of one that can be mapped it reads the scores and classes of every row, not the logits.
///
/// # Errors
/// As [`CacheReader::open`]; of an archive, as [`for_each_image`].
pub fn summary(cache: &Path) -> Result<CacheSummary> {
    let manifest = Manifest::load(cache)?;
    let tally = if manifest.is_archive() { Tally::of_archive } else { Tally::of_mapped };
    let Tally { mut classes, score_sums, labelled_images, label_boxes } = tally(cache, &manifest)?;
    for (class, sum) in classes.iter_mut().zip(score_sums) {
        class.mean_score = if class.count == 0 { 0.0 } else { sum / class.count as f64 };
    }
    let archive = manifest.is_archive();
    let (images, rows, bytes) = (manifest.images(), manifest.rows(), manifest.bytes());
    Ok(CacheSummary {
        format: format!("{} {}", manifest.format.name, manifest.format.version),
        producer: manifest.producer,
        archive,
        complete: manifest.complete,
        images,
        labelled_images,
        label_boxes,
        rows,
        bytes,
        bytes_per_image: if images == 0 { 0.0 } else { bytes as f64 / images as f64 },
        teacher: manifest.teacher,
        dataset: manifest.dataset,
        settings: manifest.settings,
        classes,
        failures: manifest.failures,
        content_sha256: manifest.digests.map(|d| d.content_sha256),
    })
}

/// The predictions of a view of one image (0: of the image itself), by its id, its path in the data set, or the end of its path
/// where only one image has it.
///
/// # Errors
/// [`Error::Cache`] when no image or several fit, or where there is no such view; as [`CacheReader::open`].
pub fn image(cache: &Path, wanted: &str, view: i32) -> Result<ImageSummary> {
    let reader = CacheReader::open(cache)?;
    Ok(ImageSummary::of(&find_view(&reader, wanted, view)?, &reader.manifest().teacher))
}

/// The view of the image that `wanted` means, see [`image()`].
fn find_view<'a>(reader: &'a CacheReader, wanted: &str, view: i32) -> Result<ImageView<'a>> {
    let image = find(reader, wanted)?;
    if view == 0 {
        return Ok(image);
    }
    reader.image(image.image_id, view)?.ok_or_else(|| Error::Cache {
        path: reader.folder().to_owned(),
        found: format!("image {} has no view {view}", image.image_id),
        remedy: format!("Give a `view=` of 0 to {}.", reader.manifest().settings.views),
    })
}

/// The image that `wanted` means, see [`image()`].
///
/// # Errors
/// As there.
pub fn find<'a>(reader: &'a CacheReader, wanted: &str) -> Result<ImageView<'a>> {
    if let Ok(id) = wanted.parse()
        && let Some(image) = reader.image(id, 0)?
    {
        return Ok(image);
    }
    let mut found = Vec::new();
    for image in reader.images() {
        let image = image?;
        if image.path == wanted {
            return Ok(image);
        }
        let ends_so = image.view == 0 && image.path.strip_suffix(wanted).is_some_and(|head| head.ends_with('/'));
        if ends_so {
            found.push(image);
        }
    }
    if found.len() == 1
        && let Some(image) = found.pop()
    {
        return Ok(image);
    }
    let failure =
        reader.manifest().failures.iter().find(|f| f.path.ends_with(wanted) || f.image_id.to_string() == wanted);
    let found = match (found.as_slice(), failure) {
        ([], Some(failure)) => format!("image {wanted} failed and is not in the cache: {}", failure.reason),
        ([], None) => format!("no image has the id, the path or the file name {wanted}"),
        (several, _) => {
            let paths: Vec<_> = several.iter().take(3).map(|image| image.path).collect();
            format!("{} images end with {wanted}: {}", several.len(), paths.join(", "))
        }
    };
    let remedy = "Give an id, or a path as the `path` column of the images table has it.".into();
    Err(Error::Cache { path: reader.folder().to_owned(), found, remedy })
}

impl ClassSummary {
    fn empty((class_id, name): (usize, &String)) -> Self {
        Self { class_id, name: name.clone(), count: 0, mean_score: 0.0, label_boxes: 0 }
    }
}

impl ImageSummary {
    fn of(image: &ImageView<'_>, teacher: &Teacher) -> Self {
        let record = image.to_record();
        let names = &teacher.class_names;
        let name = |id: usize| names.get(id).cloned().unwrap_or_else(|| id.to_string());
        let p = &record.predictions;
        let num_classes = image.predictions.class_len;
        let mut class_rows = p.class_logits.chunks_exact(num_classes.max(1));
        let has_class_logits = image.predictions.has_class_logits();
        let mut predictions: Vec<PredictionSummary> = (0..p.len())
            .map(|row| {
                // Of a row without class logits nothing is known of the other classes.
                let logits = if has_class_logits[row] { class_rows.next().unwrap_or_default() } else { &[] };
                let best = p.class_id[row] as usize;
                let mut others: Vec<usize> = (0..logits.len()).filter(|&class| class != best).collect();
                others.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
                let prob = |class: usize| image.predictions.head.probability(logits[class].to_f32());
                let runner_up = |class: usize| ClassProb { class: name(class), prob: prob(class) };
                PredictionSummary {
                    anchor: p.anchor[row],
                    stride: p.stride.get(row).copied(),
                    score: p.score[row],
                    class: name(best),
                    box_xyxy_px: p.boxes_xyxy_px[row],
                    runners_up: others.into_iter().take(RUNNERS_UP).map(runner_up).collect(),
                }
            })
            .collect();
        predictions.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.anchor.cmp(&b.anchor)));
        let label = |l: &LabelBox| LabelSummary { class: name(l.class_id as usize), box_xyxy_px: l.box_xyxy_px };
        Self {
            image_id: record.image_id,
            view: record.view,
            path: record.path,
            size: record.size,
            letterbox: record.letterbox,
            change: record.change,
            file_sha256: crate::cache::to_hex(&record.file_sha256),
            dropped_max_score: record.dropped_max_score,
            dropped_mean_prob: record.dropped_mean_prob,
            dropped_score_sum: record.dropped_score_sum,
            rest_mean_prob: record.rest_mean_prob,
            labels: record.labels.map(|labels| labels.iter().map(label).collect()),
            predictions,
        }
    }
}
