//! COCO `instances.json`: one file of images, categories and boxes (`[x, y, width, height]` in pixels).
//!
//! Class ids are the categories in increasing order of their ids, numbered from 0. Crowd regions (`iscrowd`) are no
//! labels, as for Ultralytics' converter; scoring sees them. An image without annotations is background; a file without an
//! `annotations` list (as COCO's `image_info_*.json`) carries no labels.

use super::{
    DataSource, Dataset, DatasetFormat, Sample, fault, files,
    notes::Note,
    paths,
    truth::{Parsed, RawBox, TruthSource},
};
use crate::{Error, Result, types::ImageSize};
use serde::{Deserialize, Deserializer};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Unknown fields, among them the bulky `segmentation`, are skipped without being kept.
#[derive(Deserialize)]
struct CocoFile {
    images: Vec<CocoImage>,
    annotations: Option<Vec<Annotation>>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: i64,
    file_name: String,
    width: Option<u32>,
    height: Option<u32>,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<i64>,
    image_id: i64,
    category_id: i64,
    bbox: Option<Vec<f64>>,
    area: Option<f64>,
    #[serde(default, deserialize_with = "flag")]
    iscrowd: bool,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

/// `0`, `1`, `false`, `true` and `null` all occur.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Number(f64),
    }
    let flag = Option::<Flag>::deserialize(deserializer)?;
    Ok(match flag {
        None => false,
        Some(Flag::Bool(set)) => set,
        Some(Flag::Number(number)) => number != 0.0,
    })
}

/// Opens a COCO file, given as an absolute path.
pub(super) fn open(json: &Path, source: &DataSource) -> Result<Dataset> {
    let content = read(json)?;
    let root = images_dir(json, source, &content.images)?;
    let mut notes = Vec::new();
    refuse_doubles(json, &content.images)?;

    let Some(annotations) = content.annotations else {
        let unlabelled = |image: &CocoImage| Sample::new(&root, picture(&root, image), TruthSource::NoLabels);
        let samples = content.images.iter().map(unlabelled).collect();
        notes.push("the file has no `annotations` list, so the data set carries no labels".into());
        return Ok(Dataset::new(root, DatasetFormat::Coco, None, samples, notes));
    };
    let (class_names, class_ids) = classes(json, content.categories)?;
    let mut boxes = boxes_by_image(json, &content.images, annotations, &class_ids, &mut notes)?;
    let file: Arc<Path> = Arc::from(json);
    let samples = content
        .images
        .iter()
        .map(|image| {
            let declared = image.width.zip(image.height).filter(|&(width, height)| width > 0 && height > 0);
            let parsed = Parsed {
                file: file.clone(),
                entry: Some(format!("image id {}", image.id)),
                declared: declared.map(|(width, height)| ImageSize { width, height }),
                boxes: boxes.remove(&image.id).unwrap_or(Ok(Vec::new())),
            };
            Sample::new(&root, picture(&root, image), TruthSource::Parsed(Box::new(parsed)))
        })
        .collect();
    Ok(Dataset::new(root, DatasetFormat::Coco, Some(class_names), samples, notes))
}

fn read(json: &Path) -> Result<CocoFile> {
    let file = File::open(json).map_err(|e| Error::io(json, "open", e))?;
    serde_json::from_reader(BufReader::with_capacity(1 << 20, file)).map_err(|e| {
        if e.is_io() {
            return Error::io(json, "read", e.into());
        }
        fault(
            json,
            format!("this is not a COCO instances file: {e}"),
            "It needs the lists `images` (id, file_name), `annotations` (image_id, category_id, bbox) and `categories` (id, name).",
        )
    })
}

fn picture(root: &Path, image: &CocoImage) -> PathBuf {
    paths::absolute(&root.join(&image.file_name))
}

/// The folder of the pictures: `--images`, or the first usual place beside the file that holds the first picture.
fn images_dir(json: &Path, source: &DataSource, images: &[CocoImage]) -> Result<PathBuf> {
    if let Some(given) = &source.images_dir {
        let dir = paths::absolute(given);
        if files::is_dir(&dir) {
            return Ok(dir);
        }
        return Err(fault(
            given,
            "--images is not a folder",
            "Give the folder that the file names of the JSON are in.",
        ));
    }
    let here = json.parent().unwrap_or(Path::new("/"));
    let Some(first) = images.first() else { return Ok(here.to_path_buf()) };
    // `annotations/instances_train2017.json` goes with `train2017/` or `images/train2017/`.
    let stem = json.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let split = stem.strip_prefix("instances_").unwrap_or(stem);
    let tried: Vec<PathBuf> =
        [".", "images", split, "../images", &format!("../{split}"), &format!("../images/{split}")]
            .iter()
            .map(|place| paths::absolute(&here.join(place)))
            .collect();
    if let Some(dir) = tried.iter().find(|dir| dir.join(&first.file_name).is_file()) {
        return Ok(dir.clone());
    }
    let tried: Vec<String> = tried.iter().map(|dir| dir.display().to_string()).collect();
    Err(fault(
        json,
        format!("the first picture, {:?}, is in none of: {}", first.file_name, tried.join(", ")),
        "Say where the pictures are with --images DIR.",
    ))
}

fn refuse_doubles(json: &Path, images: &[CocoImage]) -> Result<()> {
    let mut ids = HashSet::new();
    let mut names: HashMap<&str, i64> = HashMap::new();
    for image in images {
        if !ids.insert(image.id) {
            return Err(fault(
                json,
                format!("image id {} occurs twice in `images`", image.id),
                "Give every image its own id.",
            ));
        }
        if let Some(other) = names.insert(&image.file_name, image.id) {
            let found = format!("images {other} and {} both have the file_name {:?}", image.id, image.file_name);
            return Err(fault(json, found, "Keep one entry for each picture and move the annotations to it."));
        }
    }
    Ok(())
}

/// Names in increasing order of category ids, and the class id of each category id.
fn classes(json: &Path, categories: Vec<Category>) -> Result<(Vec<String>, HashMap<i64, u32>)> {
    let mut by_id = BTreeMap::new();
    for Category { id, name } in categories {
        if let Some(other) = by_id.insert(id, name) {
            let found = format!("category id {id} occurs twice in `categories` (once as {other:?})");
            return Err(fault(json, found, "Give every category its own id."));
        }
    }
    let ids = by_id.keys().copied().zip(0..).collect();
    Ok((by_id.into_values().collect(), ids))
}

type Boxes = Result<Vec<RawBox>, String>;

fn boxes_by_image(
    json: &Path,
    images: &[CocoImage],
    annotations: Vec<Annotation>,
    class_ids: &HashMap<i64, u32>,
    notes: &mut Vec<String>,
) -> Result<HashMap<i64, Boxes>> {
    let mut boxes: HashMap<i64, Boxes> = images.iter().map(|image| (image.id, Ok(Vec::new()))).collect();
    let mut crowds = Note::new(
        "crowd region is not taken for an object, in image id",
        "crowd regions are not taken for objects, in image ids",
    );
    for (position, annotation) in annotations.into_iter().enumerate() {
        let name = match annotation.id {
            Some(id) => format!("annotation id {id}"),
            None => format!("annotation number {position} (counted from 0)"),
        };
        let unknown = |kind: &str, id: i64, list: &str| {
            let found = format!("{name} is of {kind} id {id}, which is not in `{list}`");
            fault(json, found, format!("Add the {kind} to `{list}`, or remove its annotations."))
        };
        let Some(of_image) = boxes.get_mut(&annotation.image_id) else {
            return Err(unknown("image", annotation.image_id, "images"));
        };
        let Some(&class_id) = class_ids.get(&annotation.category_id) else {
            return Err(unknown("category", annotation.category_id, "categories"));
        };
        let is_crowd = annotation.iscrowd;
        if is_crowd {
            crowds.add(annotation.image_id);
        }
        match corners(annotation.bbox.as_deref()) {
            Ok(xyxy_px) => {
                if let Ok(list) = of_image {
                    list.push(RawBox { class_id, xyxy_px, area_px2: annotation.area, is_crowd });
                }
            }
            // A crowd without a usable box tells nothing.
            Err(_) if is_crowd => {}
            Err(reason) => *of_image = Err(format!("{name}: {reason}")),
        }
    }
    crowds.finish(notes);
    Ok(boxes)
}

/// Left, top, right, bottom of a COCO `bbox`.
fn corners(bbox: Option<&[f64]>) -> Result<[f64; 4], String> {
    match bbox {
        Some(&[x, y, w, h]) if w >= 0.0 && h >= 0.0 => Ok([x, y, x + w, y + h]),
        Some([_, _, w, h]) => Err(format!("bbox has the width {w} and the height {h}")),
        Some(other) => Err(format!("bbox has {} numbers instead of x, y, width, height", other.len())),
        None => Err("bbox is missing".into()),
    }
}
