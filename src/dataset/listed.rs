//! What CVAT and Label Studio have in common: one file that lists images by name, each with its
//! shapes and perhaps its subset, and classes by name.

use super::{
    DataSource, Dataset, DatasetFormat, FaultKind, LabelFault, RawBox, Sample, fault, files, refuse_unknown_split,
    splits::{UNSPLIT, split_order},
    truth::{Parsed, TruthSource},
};
use crate::{Result, types::ImageSize};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Subsets of images that are in none.
const NO_SUBSETS: [&str; 2] = ["default", UNSPLIT];

/// The datasets of a file: one for each subset, named; one without a name where there are none.
pub(super) type Subsets = Vec<(Option<String>, Dataset)>;

/// What such a file holds.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) classes: Classes,
    pub(super) images: Vec<ListedImage>,
    pub(super) notes: Vec<String>,
}

/// One image of such a file.
#[derive(Default)]
pub(super) struct ListedImage {
    /// Where it may lie, relative to the folder of the images; the likeliest first.
    pub(super) names: Vec<String>,
    pub(super) subset: Option<String>,
    /// Which entry of the file it is: "image 7".
    pub(super) entry: String,
    pub(super) declared: Option<ImageSize>,
    /// Whether anybody annotated it; it may show nothing.
    pub(super) annotated: bool,
    pub(super) boxes: Vec<RawBox>,
    pub(super) faults: Vec<LabelFault>,
}

/// Class names and their numbers. Those that the file declares come first, in its order; those that
/// it only uses follow.
#[derive(Default)]
pub(super) struct Classes {
    names: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Classes {
    /// The number of a class, which is new if there was none of this name.
    pub(super) fn id(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        id
    }

    /// Sorts names that the file does not declare, of which there are so many. Gives the new number
    /// of each old one.
    pub(super) fn sort_undeclared(&mut self, declared: usize) -> Vec<u32> {
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        if let Some(rest) = order.get_mut(declared..) {
            rest.sort_by(|&a, &b| self.names[a].cmp(&self.names[b]));
        }
        let mut new = vec![0; order.len()];
        order.iter().zip(0..).for_each(|(&old, id)| new[old] = id);
        self.names = order.iter().map(|&old| std::mem::take(&mut self.names[old])).collect();
        new
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

impl Listed {
    /// Turns the list into data sets, the usual subsets first. `declared` classes keep their order,
    /// others are sorted behind them.
    pub(super) fn finish(
        mut self,
        file: &Path,
        format: DatasetFormat,
        declared: usize,
        source: &DataSource,
    ) -> Result<Subsets> {
        let new_ids = self.classes.sort_undeclared(declared);
        let root = root(file, source)?;
        let file_name: Arc<Path> = Arc::from(file);
        let mut subsets: BTreeMap<(usize, Option<String>), Vec<Sample>> = BTreeMap::new();
        for image in self.images {
            let is_none = |name: &str| name.is_empty() || NO_SUBSETS.iter().any(|none| name.eq_ignore_ascii_case(none));
            let subset = image.subset.clone().filter(|name| !is_none(name));
            let picture = picture(&root, source.images_dir.is_some(), &image);
            let mut boxes = image.boxes;
            boxes.iter_mut().for_each(|raw| raw.class_id = new_ids.get(raw.class_id as usize).copied().unwrap_or(0));
            let truth = if image.annotated || !image.faults.is_empty() {
                TruthSource::Parsed(Box::new(Parsed {
                    file: file_name.clone(),
                    entry: Some(image.entry),
                    declared: image.declared,
                    boxes,
                    faults: image.faults,
                }))
            } else {
                TruthSource::Missing
            };
            let order = subset.as_deref().map_or(0, split_order);
            subsets.entry((order, subset)).or_default().push(Sample::new(&root, picture, truth));
        }
        let (names, notes) = (self.classes.names, self.notes);
        let datasets = subsets.into_iter().map(|((_, subset), samples)| {
            let mut dataset = Dataset::new(root.clone(), format, Some(names.clone()), samples, notes.clone());
            dataset.finish(file)?;
            Ok((subset, dataset))
        });
        let datasets = datasets.collect::<Result<Subsets>>()?;
        if datasets.is_empty() {
            return Err(fault(file, "the file lists no images", "Export the annotations again, with their images."));
        }
        Ok(datasets)
    }
}

/// The folder that names of images are relative to.
fn root(file: &Path, source: &DataSource) -> Result<PathBuf> {
    match &source.images_dir {
        None => Ok(file.parent().unwrap_or(Path::new("/")).to_path_buf()),
        Some(given) if files::is_dir(given) => Ok(super::paths::absolute(given)),
        Some(given) => {
            Err(fault(given, "`images=` is not a folder", "Give the folder that holds the images of the file."))
        }
    }
}

/// Where an image lies, or where it is missed.
fn picture(root: &Path, given: bool, image: &ListedImage) -> PathBuf {
    let subset = image.subset.as_deref().filter(|name| !name.is_empty() && !name.contains(['/', '\\']));
    let images = root.join("images");
    let mut folders: Vec<PathBuf> = Vec::with_capacity(4);
    if !given {
        folders.extend(subset.map(|subset| images.join(subset)));
        folders.push(images);
    }
    folders.extend(subset.map(|subset| root.join(subset)));
    folders.push(root.to_path_buf());
    let places = || image.names.iter().flat_map(|name| folders.iter().map(move |folder| files::named(folder, name)));
    let missed = || places().next().unwrap_or_else(|| root.to_path_buf());
    places().find(|place| files::is_file(place)).unwrap_or_else(missed)
}

/// The subset that `split` names; all of a file without subsets.
pub(super) fn choose(source: &DataSource, subsets: Subsets) -> Result<Dataset> {
    let there: Vec<String> = subsets.iter().filter_map(|(name, _)| name.clone()).collect();
    if there.is_empty() {
        refuse_unknown_split(source)?;
    }
    let wanted = |name: &Option<String>| name.as_ref().is_none_or(|name| *name == source.split) || there.is_empty();
    let has_name = there.contains(&source.split);
    let chosen =
        subsets.into_iter().find(|(name, _)| if has_name { *name == Some(source.split.clone()) } else { wanted(name) });
    chosen.map(|(_, dataset)| dataset).ok_or_else(|| {
        let found = format!("the data set has no split {:?}; it has: {}", source.split, there.join(", "));
        fault(&source.data, found, "Choose one with `split=`.")
    })
}

/// Refuses what is too far out for a number.
pub(super) fn finite(corners: [f64; 4], place: &str) -> std::result::Result<[f64; 4], LabelFault> {
    match corners.iter().all(|value| value.is_finite()) {
        true => Ok(corners),
        false => Err(LabelFault::new(FaultKind::NonFinite, format!("{place}: its edges are too far out for a number"))),
    }
}

/// The box around points; `None` of none.
pub(super) fn around(points: impl IntoIterator<Item = (f64, f64)>) -> Option<[f64; 4]> {
    let grow = |found: Option<[f64; 4]>, (x, y): (f64, f64)| match found {
        None => Some([x, y, x, y]),
        Some([x1, y1, x2, y2]) => Some([x1.min(x), y1.min(y), x2.max(x), y2.max(y)]),
    };
    points.into_iter().fold(None, grow)
}

/// The box around a box that was turned by so many degrees, clockwise, about a point.
pub(super) fn turned([x1, y1, x2, y2]: [f64; 4], degrees: f64, (cx, cy): (f64, f64)) -> [f64; 4] {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let turn = |(x, y): (f64, f64)| {
        let (dx, dy) = (x - cx, y - cy);
        (cx + dx * cos - dy * sin, cy + dx * sin + dy * cos)
    };
    around([(x1, y1), (x2, y1), (x2, y2), (x1, y2)].map(turn)).unwrap_or([x1, y1, x2, y2])
}
