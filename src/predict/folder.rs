//! The folder of results: pictures with boxes, one label file each, COCO results of all.
//!
//! ```text
//! DIR/
//!   street.jpg, yard/gate.png     the pictures with boxes, named as the originals
//!   labels/street.txt, labels/yard/gate.txt
//!   detections.json
//! ```

use super::{PredictOptions, PredictedImage};
use crate::{
    Error, Result,
    dataset::{Dataset, IMAGE_SUFFIXES, Sample},
    draw::{self, Mark},
    eval::DetectedImage,
    fsio, outputs,
    pipeline::read_file,
    preprocess::{self, DecodeLimits},
    types::{Detection, Failure, FailureStage, ImageSize},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Name of the COCO results in the folder; a folder that holds one was made by an earlier run and is written to again.
pub const DETECTIONS_FILE: &str = "detections.json";

/// Folder of the label files.
pub const LABELS_FOLDER: &str = "labels";

/// It is there while results are being written: a folder that an interrupted run left is known by it.
const UNFINISHED_FILE: &str = ".predict-unfinished";

/// A folder that may be written to: nothing in it is lost but results of an earlier run.
pub(super) struct Folder {
    path: PathBuf,
    /// By image id, relative to the folder.
    label_files: Vec<PathBuf>,
    /// Whether label files have the score as a sixth column.
    with_score: bool,
}

impl Folder {
    /// Looks before anything is written.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where a picture lies in the folder, where the folder holds other things, or where two pictures would share a
    /// label file.
    pub(super) fn check(path: &Path, dataset: &Dataset, options: &PredictOptions) -> Result<Self> {
        refuse_folder_with_pictures(path, dataset)?;
        refuse_foreign_files(path, options.overwrite)?;
        Ok(Self { path: path.to_owned(), label_files: label_files(dataset)?, with_score: options.save_conf })
    }

    pub(super) fn create(&self) -> Result<()> {
        fsio::create_folder(&self.path.join(LABELS_FOLDER))?;
        Ok(fsio::write_atomic(&self.path.join(UNFINISHED_FILE), b"")?)
    }

    /// Draws a picture with its boxes and writes its label file. The picture is decoded anew: keeping all decoded pictures
    /// on their way through the model would take much memory.
    ///
    /// # Errors
    /// What makes writing impossible. A picture that cannot be drawn (it changed meanwhile) is an inner failure.
    pub(super) fn write_image(
        &self,
        image: DetectedImage,
        dataset: &Dataset,
        class_names: &[String],
    ) -> Result<std::result::Result<DetectedImage, Failure>> {
        let index = usize::try_from(image.image_id).unwrap_or(usize::MAX);
        let (Some(sample), Some(label_file)) = (dataset.samples.get(index), self.label_files.get(index)) else {
            return Ok(Ok(image));
        };
        let target = self.path.join(relative(sample, dataset));
        let bytes = match drawn(sample, &image, class_names, &target) {
            Ok(bytes) => bytes,
            Err(reason) => {
                let DetectedImage { image_id, path, .. } = image;
                return Ok(Err(Failure { image_id, path, stage: FailureStage::Decode, reason }));
            }
        };
        write(&target, &bytes)?;
        let lines = yolo_lines(&image.detections, image.size, self.with_score);
        write(&self.path.join(LABELS_FOLDER).join(label_file), lines.as_bytes())?;
        Ok(Ok(image))
    }

    /// Writes the COCO results of all pictures.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub(super) fn write_detections(&self, images: &[PredictedImage]) -> Result<()> {
        let path = self.path.join(DETECTIONS_FILE);
        let results: Vec<_> = images.iter().flat_map(coco_results).collect();
        let text = serde_json::to_vec(&results).map_err(|e| Error::io(&path, "encode", io::Error::other(e)))?;
        fsio::write_atomic(&path, &text)?;
        Ok(fsio::remove_file(&self.path.join(UNFINISHED_FILE))?)
    }
}

/// The picture's path below the root, as bytes: the `path` column escapes names that are not UTF-8.
fn relative<'a>(sample: &'a Sample, dataset: &Dataset) -> &'a Path {
    sample.path.strip_prefix(&dataset.root).unwrap_or(&sample.path)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fsio::create_folder(folder)?;
    }
    Ok(fsio::write_atomic(path, bytes)?)
}

/// The picture file's bytes with the boxes drawn.
fn drawn(sample: &Sample, found: &DetectedImage, class_names: &[String], target: &Path) -> Result<Vec<u8>, String> {
    let bytes = read_file(&sample.path)?;
    let mut picture = preprocess::decode(&bytes, &DecodeLimits::default()).map_err(|e| e.to_string())?;
    if picture.size != found.size {
        return Err("the image changed while it was processed".into());
    }
    let marks: Vec<Mark> = found.detections.iter().map(|d| Mark::detection(d, class_names)).collect();
    draw::draw(&mut picture, &marks);
    // A picture that was told by its bytes alone has a name that says no format.
    let named = target.extension().is_some_and(|suffix| {
        suffix.to_str().is_some_and(|suffix| IMAGE_SUFFIXES.contains(&suffix.to_ascii_lowercase().as_str()))
    });
    draw::encode(&picture, if named { target } else { Path::new("any.png") })
        .map_err(|e| format!("the drawn picture cannot be written: {e}"))
}

/// Ultralytics' form: class, centre, width and height as parts of the picture's sides, which any trainer takes as labels; with
/// `save_conf` the score behind them. An empty file says that nothing was found.
fn yolo_lines(detections: &[Detection], size: ImageSize, with_score: bool) -> String {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let mut text = String::new();
    for Detection { class_id, score, box_xyxy_px: b } in detections {
        let [x1, y1, x2, y2] = [b.x1, b.y1, b.x2, b.y2].map(f64::from);
        let (x, y) = ((x1 + x2) / 2.0 / width, (y1 + y2) / 2.0 / height);
        let (w, h) = ((x2 - x1) / width, (y2 - y1) / height);
        // Writing to a String cannot fail.
        let _ = write!(text, "{class_id} {x:.6} {y:.6} {w:.6} {h:.6}");
        let _ = if with_score { writeln!(text, " {score:.6}") } else { writeln!(text) };
    }
    text
}

/// One entry of a COCO results list; `file_name` goes beyond the format, for joining with a list of images of other ids.
#[derive(Serialize)]
struct CocoResult<'a> {
    image_id: i64,
    file_name: &'a str,
    category_id: u32,
    /// Left, top, width, height in pixels.
    bbox: [f32; 4],
    score: f32,
}

fn coco_results(image: &PredictedImage) -> impl Iterator<Item = CocoResult<'_>> {
    image.detections.iter().map(|Detection { class_id, score, box_xyxy_px: b }| CocoResult {
        image_id: image.image_id,
        file_name: &image.path,
        category_id: *class_id,
        bbox: [b.x1, b.y1, b.x2 - b.x1, b.y2 - b.y1],
        score: *score,
    })
}

/// `yard/gate.png` has `yard/gate.txt`; where pictures differ in their suffix alone, each keeps its own: `gate.png.txt`.
fn label_files(dataset: &Dataset) -> Result<Vec<PathBuf>> {
    let pictures: Vec<&Path> = dataset.samples.iter().map(|sample| relative(sample, dataset)).collect();
    let mut stems: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for picture in &pictures {
        *stems.entry(picture.with_extension("txt")).or_default() += 1;
    }
    let mut owners: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    let own = |picture: &&Path| {
        let stem = picture.with_extension("txt");
        if stems.get(&stem) == Some(&1) { stem } else { with_txt_behind(picture) }
    };
    let files: Vec<PathBuf> = pictures.iter().map(own).collect();
    for (file, picture) in files.iter().zip(&pictures) {
        if let Some(other) = owners.insert(file.clone(), picture) {
            return Err(Error::Mismatch {
                found: format!(
                    "{} and {} would have the same label file {}",
                    other.display(),
                    picture.display(),
                    file.display()
                ),
                remedy: "Rename one of them, or give them one at a time with another `out=`.".into(),
            });
        }
    }
    Ok(files)
}

fn with_txt_behind(picture: &Path) -> PathBuf {
    let mut name = picture.as_os_str().to_owned();
    name.push(".txt");
    name.into()
}

/// Pictures in the folder could be written over, and label files of a data set beside them.
fn refuse_folder_with_pictures(path: &Path, dataset: &Dataset) -> Result<()> {
    // What is not there holds nothing.
    let Ok(folder) = path.canonicalize() else { return Ok(()) };
    let mut pictures = HashSet::new();
    for sample in &dataset.samples {
        // The name in its folder, and what it leads to.
        let parent = sample.path.parent().and_then(|parent| parent.canonicalize().ok());
        let named = parent.zip(sample.path.file_name()).map(|(parent, name)| parent.join(name));
        let places = [named, sample.path.canonicalize().ok()];
        if places.iter().flatten().any(|place| place.starts_with(&folder)) {
            return Err(Error::Mismatch {
                found: format!("the image {} is in the output folder {}", sample.path.display(), path.display()),
                remedy: "Choose another `out=`: images and labels there could be overwritten.".into(),
            });
        }
        pictures.extend(places.into_iter().flatten());
    }
    // A link inside the folder can lead out of it, to a picture.
    for sample in &dataset.samples {
        let target = folder.join(relative(sample, dataset));
        let real = target.parent().and_then(|parent| parent.canonicalize().ok()).zip(target.file_name());
        if real.is_some_and(|(parent, name)| pictures.contains(&parent.join(name))) {
            return Err(Error::Mismatch {
                found: format!("{} would overwrite the image {}", target.display(), sample.path.display()),
                remedy: "Choose another `out=`.".into(),
            });
        }
    }
    Ok(())
}

/// A folder is written to when it is new, empty, or of an earlier run; and where the user insists.
fn refuse_foreign_files(path: &Path, overwrite: bool) -> Result<()> {
    let Some(name) = outputs::foreign_entry(path, |_| false)? else { return Ok(()) };
    let earlier = fs::File::open(path.join(DETECTIONS_FILE)).is_ok_and(|file| {
        let mut head = [0; 64];
        let length = file.take(head.len() as u64).read(&mut head).unwrap_or(0);
        is_ours(&head[..length])
    });
    if overwrite {
        return Ok(());
    }
    if earlier || path.join(UNFINISHED_FILE).is_file() {
        return match foreign_file(path) {
            None => Ok(()),
            Some(foreign) => Err(Error::Mismatch {
                found: format!("{} holds {}, which no earlier run wrote", path.display(), foreign.display()),
                remedy: "Choose a new or empty folder for `out=`, or write into this one with `overwrite=true`.".into(),
            }),
        };
    }
    Err(Error::Mismatch {
        found: format!("{} holds {name} and no {DETECTIONS_FILE} of an earlier run", path.display()),
        remedy: "Choose a new or empty folder for `out=`, or write into this one with `overwrite=true`.".into(),
    })
}

/// A file that cannot be a result: neither an image, nor text below the folder of labels, nor one of the two files at the top.
fn foreign_file(path: &Path) -> Option<PathBuf> {
    let labels = path.join(LABELS_FOLDER);
    let is_result = |file: &Path| {
        let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default().to_ascii_lowercase();
        match file.strip_prefix(&labels) {
            Ok(_) => suffix == "txt",
            Err(_) => {
                [DETECTIONS_FILE, UNFINISHED_FILE].iter().any(|name| file == path.join(name))
                    || IMAGE_SUFFIXES.contains(&suffix.as_str())
            }
        }
    };
    let files = WalkDir::new(path).sort_by_file_name().into_iter().filter_map(Result::ok);
    let mut files = files.filter(|entry| !entry.file_type().is_dir()).map(walkdir::DirEntry::into_path);
    files.find(|file| !is_result(file)).map(|file| file.strip_prefix(path).map_or(file.clone(), Path::to_owned))
}

/// COCO results of others have no `file_name` behind the id; an empty list has no author.
fn is_ours(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let after_id =
        text.strip_prefix("[{\"image_id\":").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    text == "[]" || after_id.is_some_and(|rest| rest.starts_with(",\"file_name\":"))
}
