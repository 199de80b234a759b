//! A small labelled data set of drawn shapes, for tests, demonstrations and first tries.
//!
//! Six classes of shapes lie on cluttered, textured ground, over one another, in all sizes (most of them small), with
//! sensor noise and JPEG artefacts. Image `i` is drawn from (seed, `i`) alone, so it does not depend on how many others
//! there are, on the number of threads, or on their timing.

mod canvas;
mod ground;
mod scene;
mod shapes;

pub use scene::{Drawn, SceneObject, draw};
pub use shapes::ShapeClass;

use super::fault;
use crate::{Error, Result, fsio, outputs};
use image::{
    ExtendedColorType, ImageEncoder, RgbImage,
    codecs::{jpeg::JpegEncoder, png::PngEncoder},
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    fmt::Write as _,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// What a drawn data set consists of; the description is written last and begins with the command.
const DATA_YAML: &str = "data.yaml";
/// Where some training images have no labels: the data set of those that have.
const LABELLED_YAML: &str = "labelled.yaml";
const FOLDERS: [&str; 2] = ["images", "labels"];
const DRAWN_BY: &str = "# Drawn by: logitcache synth";
/// One image in this many is for validation.
const VAL_EVERY: u32 = 5;
/// COCO's limit: an object of less area is small.
const SMALL_AREA_PX: u64 = 32 * 32;

/// What to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SynthConfig {
    /// How many pictures, training and validation together; 1 to [`SynthConfig::MAX_IMAGES`].
    pub images: u32,
    /// The size that pictures vary around, in pixels; 64 to 4096.
    pub imgsz: u32,
    /// The same seed gives the same bytes (on the same kind of machine).
    pub seed: u64,
    /// Only so many training images have labels, the first ones; the others lie in `images/unlabelled`. `None`: all.
    pub labelled: Option<u32>,
    /// Whether a drawn data set that is there is removed first.
    pub overwrite: bool,
}

impl Default for SynthConfig {
    fn default() -> Self {
        Self { images: 200, imgsz: 640, seed: 0, labelled: None, overwrite: false }
    }
}

impl SynthConfig {
    /// The most pictures of one data set.
    pub const MAX_IMAGES: u32 = 999_999;

    /// How many of so many pictures are for training.
    pub fn train_images(images: u32) -> u32 {
        images - val_images_before(images)
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SynthSummary {
    /// The description to hand to `--data`.
    pub data_yaml: PathBuf,
    /// The description of the labelled images alone, where some have no labels.
    pub labelled_yaml: Option<PathBuf>,
    /// Pictures of the split `train`.
    pub train_images: u64,
    /// Of these, pictures without labels.
    pub unlabelled_images: u64,
    /// Pictures of the split `val`.
    pub val_images: u64,
    /// Labelled objects by class, in the order of class ids.
    pub objects: Vec<ClassCount>,
    /// Labelled objects whose box has less than 32 x 32 pixels.
    pub small_objects: u64,
    /// Size of all pictures together.
    pub image_bytes: u64,
}

/// How often a class occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ClassCount {
    /// The class's name.
    pub name: String,
    /// Labelled objects.
    pub objects: u64,
}

/// Draws a data set into `out`, which must be an empty folder, not exist, or (to be written over) hold a drawn one: `images/{train,val}`, `labels/{train,val}`
/// and, written last, `data.yaml`. With [`SynthConfig::labelled`] also `images/unlabelled` and `labelled.yaml`. `progress` is called with the number of finished pictures, from several threads, and
/// may stop the work.
///
/// # Errors
/// [`Error::Dataset`] when the settings are out of range or `out` is not empty, [`Error::Io`] when it cannot be written,
/// [`Error::Interrupted`] when `progress` broke off.
pub fn synth(
    out: &Path,
    config: &SynthConfig,
    progress: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<SynthSummary> {
    check(out, config)?;
    let unlabelled = config.labelled.map(|_| "images/unlabelled");
    for folder in ["images/train", "images/val", "labels/train", "labels/val"].into_iter().chain(unlabelled) {
        let path = out.join(folder);
        fs::create_dir_all(&path).map_err(|e| Error::io(&path, "create the folder", e))?;
    }
    let finished = AtomicU64::new(0);
    let stopped = AtomicBool::new(false);
    let drawn = (0..config.images)
        .into_par_iter()
        .map(|index| {
            if stopped.load(Ordering::Relaxed) {
                return Err(interrupted());
            }
            let totals = write_one(out, config, index)?;
            if progress(finished.fetch_add(1, Ordering::Relaxed) + 1).is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
            Ok(totals)
        })
        .try_reduce(Totals::default, |a, b| Ok(a.plus(b)));
    let totals = match drawn {
        Ok(totals) => totals,
        Err(error) => {
            // Half a data set is of no use, and the folder was empty before.
            for folder in FOLDERS {
                let _ = fsio::remove_folder(&out.join(folder));
            }
            return Err(error);
        }
    };
    let train = if unlabelled.is_some() { "[images/train, images/unlabelled]" } else { "images/train" };
    let labelled_yaml = unlabelled.map(|_| out.join(LABELLED_YAML));
    if let Some(path) = &labelled_yaml {
        write_file(path, description(config, "images/train").as_bytes())?;
    }
    let data_yaml = out.join(DATA_YAML);
    write_file(&data_yaml, description(config, train).as_bytes())?;
    let val_images = u64::from(val_images_before(config.images));
    let count = |class: ShapeClass| ClassCount { name: class.name().into(), objects: totals.by_class[class.id()] };
    Ok(SynthSummary {
        data_yaml,
        labelled_yaml,
        train_images: totals.images - val_images,
        unlabelled_images: totals.unlabelled,
        val_images,
        objects: ShapeClass::ALL.map(count).into(),
        small_objects: totals.small,
        image_bytes: totals.bytes,
    })
}

#[derive(Default)]
struct Totals {
    images: u64,
    unlabelled: u64,
    by_class: [u64; ShapeClass::ALL.len()],
    small: u64,
    bytes: u64,
}

impl Totals {
    fn plus(mut self, other: Self) -> Self {
        self.images += other.images;
        self.unlabelled += other.unlabelled;
        self.small += other.small;
        self.bytes += other.bytes;
        self.by_class.iter_mut().zip(other.by_class).for_each(|(sum, more)| *sum += more);
        self
    }
}

fn check(out: &Path, config: &SynthConfig) -> Result<()> {
    if !(1..=SynthConfig::MAX_IMAGES).contains(&config.images) {
        let found = format!("`images={}` is not between 1 and {}", config.images, SynthConfig::MAX_IMAGES);
        return Err(fault(out, found, "Choose another number of images."));
    }
    if !(64..=4096).contains(&config.imgsz) {
        return Err(fault(out, format!("`imgsz={}` is not between 64 and 4096", config.imgsz), "Choose another size."));
    }
    match outputs::foreign_entry(out, |_| false)? {
        None => Ok(()),
        Some(_) if config.overwrite && is_drawn(out) => {
            outputs::refuse_foreign_entries(out, "drawn data set", |name| {
                [DATA_YAML, LABELLED_YAML].contains(&name) || FOLDERS.contains(&name)
            })?;
            fsio::remove_file(&out.join(DATA_YAML))?;
            fsio::remove_file(&out.join(LABELLED_YAML))?;
            Ok(FOLDERS.iter().try_for_each(|folder| fsio::remove_folder(&out.join(folder)))?)
        }
        Some(name) => {
            let remedy = if is_drawn(out) {
                "Choose another `out=`, or remove the drawn data set that is there with `overwrite=true`."
            } else {
                "Give a new folder, or empty this one first."
            };
            Err(fault(out, format!("the folder is not empty: it holds {name}"), remedy))
        }
    }
}

/// Whether an earlier run made what is in the folder: its description, written last, says so.
fn is_drawn(out: &Path) -> bool {
    fs::read(out.join(DATA_YAML)).is_ok_and(|text| text.starts_with(DRAWN_BY.as_bytes()))
}

fn interrupted() -> Error {
    Error::Interrupted { remedy: "the drawn images were removed; run the same command again.".into() }
}

/// Every fifth picture, whatever their number: the split of an image never changes.
fn is_val(index: u32) -> bool {
    index % VAL_EVERY == 1
}

/// How many of the first `index` pictures are for validation.
fn val_images_before(index: u32) -> u32 {
    (index + VAL_EVERY - 2) / VAL_EVERY
}

/// Where a picture belongs: every fifth to `val`, of the others the first to `train`, the rest to `unlabelled`.
fn split_of(config: &SynthConfig, index: u32) -> &'static str {
    let among_train = SynthConfig::train_images(index);
    match config.labelled {
        _ if is_val(index) => "val",
        Some(labelled) if among_train >= labelled => "unlabelled",
        _ => "train",
    }
}

fn write_one(out: &Path, config: &SynthConfig, index: u32) -> Result<Totals> {
    let drawn = draw(config.seed, index, config.imgsz);
    let split = split_of(config, index);
    let suffix = if drawn.jpeg_quality.is_some() { "jpg" } else { "png" };
    let path = out.join(format!("images/{split}/{index:06}.{suffix}"));
    let bytes =
        encode(&drawn.image, drawn.jpeg_quality).map_err(|e| Error::io(&path, "encode", std::io::Error::other(e)))?;
    write_file(&path, &bytes)?;
    let mut totals = Totals { images: 1, bytes: bytes.len() as u64, ..Totals::default() };
    if split == "unlabelled" {
        return Ok(Totals { unlabelled: 1, ..totals });
    }
    write_file(&out.join(format!("labels/{split}/{index:06}.txt")), label_text(&drawn).as_bytes())?;
    for object in &drawn.objects {
        totals.by_class[object.class.id()] += 1;
        let [x1, y1, x2, y2] = object.xyxy_px.map(u64::from);
        totals.small += u64::from((x2 - x1) * (y2 - y1) < SMALL_AREA_PX);
    }
    Ok(totals)
}

fn encode(image: &RgbImage, jpeg_quality: Option<u8>) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    let (width, height) = image.dimensions();
    match jpeg_quality {
        Some(quality) => {
            JpegEncoder::new_with_quality(&mut bytes, quality).write_image(
                image,
                width,
                height,
                ExtendedColorType::Rgb8,
            )?;
        }
        None => PngEncoder::new(&mut bytes).write_image(image, width, height, ExtendedColorType::Rgb8)?,
    }
    Ok(bytes)
}

/// The picture's labels as YOLO rows.
fn label_text(drawn: &Drawn) -> String {
    let (width, height) = drawn.image.dimensions();
    let (width, height) = (f64::from(width), f64::from(height));
    drawn.objects.iter().fold(String::new(), |mut text, object| {
        let [x1, y1, x2, y2] = object.xyxy_px.map(f64::from);
        let (cx, cy) = ((x1 + x2) / 2.0 / width, (y1 + y2) / 2.0 / height);
        let (w, h) = ((x2 - x1) / width, (y2 - y1) / height);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {cx:.6} {cy:.6} {w:.6} {h:.6}", object.class.id());
        text
    })
}

fn description(config: &SynthConfig, train: &str) -> String {
    let SynthConfig { images, imgsz, seed, .. } = config;
    let labelled = config.labelled.map(|labelled| format!(" --labelled {labelled}")).unwrap_or_default();
    let names: String = ShapeClass::ALL.iter().map(|class| format!("  {}: {}\n", class.id(), class.name())).collect();
    format!(
        "{DRAWN_BY} --images {images} --imgsz {imgsz} --seed {seed}{labelled}\n\
         train: {train}\nval: images/val\nnames:\n{names}"
    )
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| Error::io(path, "write", e))
}

#[cfg(test)]
mod tests;
