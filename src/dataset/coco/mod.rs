//! COCO `instances.json`: one file of images, categories and boxes (`[x, y, width, height]` in pixels).
//!
//! Class ids are the categories in increasing order of their ids, numbered from 0: ids that are whole numbers by value (also where
//! they are written as text), then words by their bytes. A category that only groups others is none. Crowd regions (`iscrowd`) are
//! no labels, as for Ultralytics' converter; scoring sees them. An image without annotations is background; a file without an
//! `annotations` list (as COCO's `image_info_*.json`) carries no labels.

mod file;
mod non_finite;
mod value;

use super::{
    DataSource, Dataset, DatasetFormat, FaultKind, LabelFault, Mark, RawBox, Sample, fault, files,
    notes::Note,
    paths,
    truth::{Parsed, TruthSource},
};
use crate::Result;
use file::{Annotation, Category, Image, Shape, entry_name};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};
use value::Id;

/// Opens a COCO file, given as an absolute path.
pub(super) fn open(json: &Path, source: &DataSource) -> Result<Dataset> {
    let content = file::read(json)?;
    let root = images_dir(json, source, &content.images)?;
    let pictures: Vec<PathBuf> = content.images.iter().map(|image| files::named(&root, &image.file_name)).collect();
    refuse_doubles(json, &content.images, &pictures)?;
    let mut notes = Vec::new();

    let Some(annotations) = content.annotations else {
        let samples = pictures.into_iter().map(|path| Sample::new(&root, path, TruthSource::NoLabels)).collect();
        notes.push("the file has no `annotations` list, so the data set has no labels".into());
        return Ok(Dataset::new(root, DatasetFormat::Coco, None, samples, notes));
    };
    let used: HashSet<&Id> = annotations.iter().map(|annotation| &annotation.category_id).collect();
    let (class_names, class_ids) = classes(json, content.categories, &used, &mut notes)?;
    let mut boxes = boxes_by_image(json, &content.images, annotations, &class_ids, &mut notes)?;
    let file: Arc<Path> = Arc::from(json);
    let samples = content
        .images
        .into_iter()
        .zip(pictures)
        .map(|(image, picture)| {
            let OfImage { boxes, mut faults } = boxes.remove(&image.id).unwrap_or_default();
            let declared = image.size.unwrap_or_else(|reason| {
                faults.insert(0, LabelFault::new(FaultKind::Malformed, reason));
                None
            });
            let entry = Some(format!("image id {}", image.id));
            let parsed = Parsed { file: file.clone(), entry, declared, boxes, faults };
            Sample::new(&root, picture, TruthSource::Parsed(Box::new(parsed)))
        })
        .collect();
    Ok(Dataset::new(root, DatasetFormat::Coco, Some(class_names), samples, notes))
}

/// The folder of the pictures: `--images`, or the first usual place beside the file that holds the first picture.
fn images_dir(json: &Path, source: &DataSource, images: &[Image]) -> Result<PathBuf> {
    if let Some(given) = &source.images_dir {
        let dir = paths::absolute(given);
        if files::is_dir(&dir) {
            return Ok(dir);
        }
        return Err(fault(
            given,
            "`images=` is not a folder",
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
    if let Some(dir) = tried.iter().find(|dir| files::is_file(&files::named(dir, &first.file_name))) {
        return Ok(dir.clone());
    }
    let tried: Vec<String> = tried.iter().map(|dir| dir.display().to_string()).collect();
    Err(fault(
        json,
        format!("the first image, {:?}, was not found in any of: {}", first.file_name, tried.join(", ")),
        "Give the folder of the images with `images=DIR`.",
    ))
}

/// Refuses what would give one image to two entries. `pictures` are those of `images`, in order.
fn refuse_doubles(json: &Path, images: &[Image], pictures: &[PathBuf]) -> Result<()> {
    let mut ids = HashSet::new();
    let mut first_of: HashMap<&Path, &Image> = HashMap::new();
    for (image, picture) in images.iter().zip(pictures) {
        let Image { id, file_name, .. } = image;
        if !ids.insert(id) {
            return Err(fault(json, format!("image id {id} occurs twice in `images`"), "Give every image its own id."));
        }
        if let Some(other) = first_of.insert(picture, image) {
            let found = match &other.file_name == file_name {
                true => format!("images {} and {id} both have the file_name {file_name:?}", other.id),
                false => format!(
                    "images {} and {id} have the file_names {:?} and {file_name:?}, which are the same file",
                    other.id, other.file_name
                ),
            };
            return Err(fault(json, found, "Keep one entry for each image and move the annotations to it."));
        }
    }
    Ok(())
}

/// Names in increasing order of category ids, and the class id of each category id. A category that no annotation uses and that
/// another one names as its `supercategory` is a group of classes, as in exports of Roboflow, and none itself.
fn classes(
    json: &Path,
    categories: Vec<Category>,
    used: &HashSet<&Id>,
    notes: &mut Vec<String>,
) -> Result<(Vec<String>, HashMap<Id, u32>)> {
    let mut by_id: BTreeMap<Id, Category> = BTreeMap::new();
    for category in categories {
        let id = category.id.clone();
        if let Some(other) = by_id.insert(id.clone(), category) {
            let found = format!("category id {id} occurs twice in `categories` (once as {:?})", other.name);
            return Err(fault(json, found, "Give every category its own id."));
        }
    }
    let mut below: HashMap<&str, Vec<&Id>> = HashMap::new();
    for category in by_id.values() {
        if let Some(group) = &category.supercategory {
            let members = below.entry(group).or_default();
            // Two tell whether there is another one.
            if members.len() < 2 {
                members.push(&category.id);
            }
        }
    }
    let is_group = |category: &&Category| {
        let members = below.get(category.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        !used.contains(&category.id) && members.iter().any(|&id| id != &category.id)
    };
    let mut groups = Note::new(
        "category only groups others and has no annotation; it is not used as a class",
        "categories only group others and have no annotations; they are not used as classes",
    );
    by_id.values().filter(is_group).for_each(|category| groups.add(format_args!("{:?}", category.name)));
    groups.finish(notes);
    let kept = || by_id.values().filter(|category| !is_group(category));
    let ids = kept().map(|category| category.id.clone()).zip(0..).collect();
    Ok((kept().map(|category| category.name.clone()).collect(), ids))
}

/// What the annotations say of one image.
#[derive(Default)]
struct OfImage {
    boxes: Vec<RawBox>,
    faults: Vec<LabelFault>,
}

fn boxes_by_image(
    json: &Path,
    images: &[Image],
    annotations: Vec<Annotation>,
    class_ids: &HashMap<Id, u32>,
    notes: &mut Vec<String>,
) -> Result<HashMap<Id, OfImage>> {
    let mut boxes: HashMap<Id, OfImage> = images.iter().map(|image| (image.id.clone(), OfImage::default())).collect();
    let mut crowds = Note::new(
        "crowd region is not used as an object, in image id",
        "crowd regions are not used as objects, in image ids",
    );
    let mut areas = Note::new(
        "annotation has an area that is not a number; the area of its box is used",
        "annotations have areas that are not numbers; the areas of their boxes are used",
    );
    for (position, annotation) in annotations.into_iter().enumerate() {
        let Annotation { id, image_id, category_id, shape, area, outlined } = annotation;
        let name = || entry_name("annotation", id.as_ref(), position);
        let unknown = |kind: &str, id: &Id, list: &str| {
            let found = format!("{} refers to {kind} id {id}, which is not in `{list}`", name());
            fault(json, found, format!("Add the {kind} to `{list}`, or remove its annotations."))
        };
        let Some(of_image) = boxes.get_mut(&image_id) else {
            return Err(unknown("image", &image_id, "images"));
        };
        let Some(&class_id) = class_ids.get(&category_id) else {
            return Err(unknown("category", &category_id, "categories"));
        };
        let area_px2 = area.unwrap_or_else(|reason| {
            areas.add(format_args!("{} ({reason})", name()));
            None
        });
        let (xyxy_px, mark) = match shape {
            Ok(Shape::Object(corners)) => (corners, Mark::Plain),
            Ok(Shape::Crowd(corners)) => {
                crowds.add(&image_id);
                // A crowd without a usable box tells nothing.
                let Some(corners) = corners else { continue };
                (corners, Mark::Crowd)
            }
            Err((kind, reason)) => {
                of_image.faults.push(LabelFault::new(kind, format!("{}: {reason}", name())));
                continue;
            }
        };
        of_image.boxes.push(RawBox { class_id, xyxy_px, area_px2, mark, outlined });
    }
    crowds.finish(notes);
    areas.finish(notes);
    Ok(boxes)
}
