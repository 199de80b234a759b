//! `data stats`: what a data set holds, counted from headers of images and labels.

use super::{
    CHUNK, DataSet, Run, failure,
    load::{Loaded, load},
    sizes::{LARGE_PX2, SMALL_PX2},
};
use crate::{
    Result,
    dataset::{Mark, Sample, Truth},
    types::Failure,
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf};

/// Upper bounds of width divided by height.
const ASPECTS: [(f64, &str); 5] = [
    (1.0 / 3.0, "up to 1:3"),
    (2.0 / 3.0, "up to 2:3"),
    (1.5, "up to 3:2"),
    (3.0, "up to 3:1"),
    (f64::INFINITY, "wider"),
];
/// Upper bounds of objects in an image.
const CROWDING: [(u64, &str); 7] =
    [(0, "0"), (1, "1"), (3, "2-3"), (7, "4-7"), (15, "8-15"), (31, "16-31"), (u64::MAX, "32 or more")];
/// Image sizes and pairs of classes that are told.
const MOST: usize = 50;

/// What a data set holds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Stats {
    /// As given.
    pub data: PathBuf,
    /// `yolo`, `coco`, `voc`, `cvat`, `label-studio` or `folder`.
    pub format: String,
    /// Images of all splits.
    pub images: u64,
    /// Boxes of all splits, without crowd regions and difficult objects.
    pub boxes: u64,
    /// Each split.
    pub splits: Vec<SplitStats>,
    /// Each class, by class id.
    pub classes: Vec<ClassStats>,
    /// Boxes by size, on the scale of COCO.
    pub sizes: SizeCounts,
    /// Boxes by width divided by height.
    pub aspects: Vec<Bucket>,
    /// Images by the number of their objects.
    pub objects_per_image: Vec<Bucket>,
    /// Pairs of classes in one image, the most frequent first, at most 50.
    pub together: Vec<CoOccurrence>,
    /// Image sizes, the most frequent first, at most 50.
    pub image_sizes: Vec<ImageSizeCount>,
    /// How many different image sizes there are.
    pub different_image_sizes: u64,
    /// Images that could not be read, or whose labels have a fault: they are not counted.
    pub failures: Vec<Failure>,
}

/// One split.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct SplitStats {
    /// Its name; `all` where the data set has no splits.
    pub name: String,
    /// Images that were counted.
    pub images: u64,
    /// Of these, images without objects.
    pub background_images: u64,
    /// Of these, images that nobody annotated.
    pub unlabelled_images: u64,
    /// Boxes, without crowd regions and difficult objects.
    pub boxes: u64,
    /// Crowd regions.
    pub crowd_regions: u64,
    /// Difficult objects.
    pub difficult_objects: u64,
}

/// One class.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct ClassStats {
    /// Class id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Boxes in all splits.
    pub boxes: u64,
    /// Images that show it.
    pub images: u64,
    /// Boxes in each split, in the order of `splits`.
    pub boxes_by_split: Vec<u64>,
    /// Its boxes by size.
    pub sizes: SizeCounts,
}

/// Boxes by area: small below 32 x 32 pixels, large from 96 x 96 on. The file's own area counts
/// where it has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SizeCounts {
    /// Below 1,024 square pixels.
    pub small: u64,
    /// In between.
    pub medium: u64,
    /// From 9,216 square pixels on.
    pub large: u64,
}

/// One part of a range.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Bucket {
    /// The range, in words.
    pub range: String,
    /// How many.
    pub count: u64,
}

/// Two classes that images show together.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CoOccurrence {
    /// One class.
    pub a: String,
    /// The other one, of a higher id.
    pub b: String,
    /// Images that show both.
    pub images: u64,
}

/// Images of one size.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ImageSizeCount {
    /// Width in pixels, after EXIF orientation.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Images.
    pub images: u64,
}

/// Counts so far.
#[derive(Default)]
struct Counts {
    splits: Vec<SplitStats>,
    classes: Vec<ClassStats>,
    aspects: [u64; ASPECTS.len()],
    crowding: [u64; CROWDING.len()],
    together: BTreeMap<(u32, u32), u64>,
    sizes: BTreeMap<(u32, u32), u64>,
}

/// Counts a data set.
///
/// # Errors
/// [`crate::Error::Interrupted`].
pub fn stats(data: &DataSet, run: &Run<'_>) -> Result<Stats> {
    let names = data.class_names.clone().unwrap_or_default();
    let per_split = vec![0; data.splits.len()];
    let mut counts = Counts {
        splits: data.splits.iter().map(|s| SplitStats { name: s.name.clone(), ..SplitStats::default() }).collect(),
        classes: names
            .iter()
            .zip(0..)
            .map(|(name, id)| ClassStats {
                id,
                name: name.clone(),
                boxes_by_split: per_split.clone(),
                ..ClassStats::default()
            })
            .collect(),
        ..Counts::default()
    };
    let mut failures = Vec::new();
    let all: Vec<(usize, &Sample)> = data.samples().collect();
    (run.total)(all.len() as u64);
    for (chunk, first) in all.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        let loaded: Vec<Result<Result<Loaded, String>>> = chunk
            .par_iter()
            .map(|(_, sample)| {
                run.go_on()?;
                let loaded = load(sample).and_then(|loaded| match loaded.faults.first() {
                    None => Ok(loaded),
                    Some(fault) => Err(format!("its labels: {}", fault.words)),
                });
                (run.done)(loaded.is_err());
                Ok(loaded)
            })
            .collect();
        for ((at, (split, sample)), loaded) in (first..).zip(chunk).zip(loaded) {
            match loaded? {
                Ok(loaded) => counts.add(*split, &data.splits[*split].to_class, &loaded),
                Err(reason) => failures.push(failure(at, &sample.relative, reason)),
            }
        }
    }
    Ok(counts.finish(data, failures))
}

impl Counts {
    fn add(&mut self, split: usize, to_class: &[u32], loaded: &Loaded) {
        let size = loaded.size;
        *self.sizes.entry((size.width, size.height)).or_default() += 1;
        let of_split = &mut self.splits[split];
        of_split.images += 1;
        let boxes = match &loaded.truth {
            Truth::Labelled(boxes) => boxes.as_slice(),
            Truth::Missing | Truth::NoLabels => {
                of_split.unlabelled_images += 1;
                return;
            }
        };
        let mut shown: Vec<u32> = Vec::new();
        let mut objects = 0;
        for raw in boxes {
            match raw.mark {
                Mark::Crowd => of_split.crowd_regions += 1,
                Mark::Difficult => of_split.difficult_objects += 1,
                Mark::Plain => {
                    objects += 1;
                    let [x1, y1, x2, y2] = raw.xyxy_px;
                    let aspect = (x2 - x1) / (y2 - y1);
                    let at = ASPECTS.iter().position(|(most, _)| aspect <= *most).unwrap_or(ASPECTS.len() - 1);
                    self.aspects[at] += 1;
                    let Some(&class) = to_class.get(raw.class_id as usize) else { continue };
                    if let Some(of_class) = self.classes.get_mut(class as usize) {
                        of_class.boxes += 1;
                        of_class.boxes_by_split[split] += 1;
                        of_class.sizes.add(raw.area_px2.unwrap_or((x2 - x1) * (y2 - y1)));
                        shown.push(class);
                    }
                }
            }
        }
        of_split.boxes += objects;
        of_split.background_images += u64::from(objects == 0);
        let at = CROWDING.iter().position(|(most, _)| objects <= *most).unwrap_or(CROWDING.len() - 1);
        self.crowding[at] += 1;
        shown.sort_unstable();
        shown.dedup();
        for (one, &a) in shown.iter().enumerate() {
            self.classes[a as usize].images += 1;
            for &b in &shown[one + 1..] {
                *self.together.entry((a, b)).or_default() += 1;
            }
        }
    }

    fn finish(self, data: &DataSet, failures: Vec<Failure>) -> Stats {
        let name = |class: u32| self.classes[class as usize].name.clone();
        let mut together: Vec<((u32, u32), u64)> =
            self.together.iter().map(|(&pair, &images)| (pair, images)).collect();
        together.sort_by_key(|&(pair, images)| (std::cmp::Reverse(images), pair));
        let together =
            together.into_iter().take(MOST).map(|((a, b), images)| CoOccurrence { a: name(a), b: name(b), images });
        let different_image_sizes = self.sizes.len() as u64;
        let mut sizes: Vec<((u32, u32), u64)> = self.sizes.iter().map(|(&size, &images)| (size, images)).collect();
        sizes.sort_by_key(|&(size, images)| (std::cmp::Reverse(images), size));
        let bucket = |(range, count): (&str, &u64)| Bucket { range: range.to_owned(), count: *count };
        let mut all = SizeCounts::default();
        self.classes.iter().for_each(|class| all.join(class.sizes));
        Stats {
            data: data.data.clone(),
            format: data.format.as_str().to_owned(),
            images: self.splits.iter().map(|split| split.images).sum(),
            boxes: self.splits.iter().map(|split| split.boxes).sum(),
            sizes: all,
            aspects: ASPECTS.iter().map(|(_, range)| *range).zip(&self.aspects).map(bucket).collect(),
            objects_per_image: CROWDING.iter().map(|(_, range)| *range).zip(&self.crowding).map(bucket).collect(),
            together: together.collect(),
            image_sizes: sizes
                .into_iter()
                .take(MOST)
                .map(|((width, height), images)| ImageSizeCount { width, height, images })
                .collect(),
            different_image_sizes,
            splits: self.splits,
            classes: self.classes,
            failures,
        }
    }
}

impl SizeCounts {
    fn add(&mut self, area_px2: f64) {
        if area_px2 < SMALL_PX2 {
            self.small += 1;
        } else if area_px2 < LARGE_PX2 {
            self.medium += 1;
        } else {
            self.large += 1;
        }
    }

    fn join(&mut self, other: Self) {
        self.small += other.small;
        self.medium += other.medium;
        self.large += other.large;
    }
}
