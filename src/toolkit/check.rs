//! `data check`: every fault that would waste a training run, found before it. All images are
//! decoded.

use super::{
    DataSet, Manifest, Run, WriteOptions,
    boxes::{SAME_IOU, iou},
    load::ROUNDING_PX,
    near::{Seen, groups, look_at_all, near},
    sizes::{ODD_ASPECT, ODD_SIDE_PX, TINY_SIDE_PX},
};
use crate::{
    Result,
    dataset::{FaultKind, RawBox, Sample, Truth, UNSPLIT, paths},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Cases of a kind that a report names.
const MOST_CASES: usize = 1000;
/// A split with fewer labelled images tells nothing.
const FEW_IMAGES: u64 = 10;

/// What to check.
#[derive(Debug)]
pub struct CheckOptions {
    /// The data set.
    pub data: DataSet,
    /// Bits of 256 in which the hashes of near-duplicates differ at most.
    pub distance: u32,
    /// Where to write a mended copy.
    pub fix: Option<WriteOptions>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Training loses an image or a label, or a score cannot be trusted.
    Error,
    /// To be looked at.
    Warning,
}

/// What is wrong. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An image is missing, damaged or of a kind that is not read.
    UnreadableImage,
    /// A label file cannot be read at all.
    UnreadableLabels,
    /// A label is not written as it should be.
    MalformedLabel,
    /// A coordinate is NaN or infinite.
    NonFinite,
    /// A coordinate is outside of its range.
    OutOfRange,
    /// A class that the data set does not have.
    UnknownClass,
    /// The labels are for an image of another size.
    OtherSize,
    /// A box has no area in the image.
    NoArea,
    /// The same file is in two splits.
    SameImageInSplits,
    /// An image has no label file.
    MissingLabels,
    /// A label file has no image.
    LabelsWithoutImage,
    /// A box reaches beyond the edge of the image.
    BeyondEdge,
    /// A box has a side below 2 pixels.
    TinyBox,
    /// An object is labelled twice.
    RepeatedBox,
    /// The same file is in one split twice.
    SameImage,
    /// Two images that are nearly the same are in two splits.
    NearDuplicateInSplits,
    /// No label has this class.
    UnusedClass,
    /// Two classes have one name.
    SameClassName,
    /// A split has next to no labelled images.
    NearEmptySplit,
    /// An image is tiny or very long.
    OddSize,
}

impl Kind {
    /// How bad it is.
    pub fn severity(self) -> Severity {
        if self <= Self::SameImageInSplits { Severity::Error } else { Severity::Warning }
    }

    /// What the table says.
    pub fn words(self) -> &'static str {
        match self {
            Self::UnreadableImage => "image cannot be read",
            Self::UnreadableLabels => "labels cannot be read",
            Self::MalformedLabel => "label is not written as it should be",
            Self::NonFinite => "coordinate is no finite number",
            Self::OutOfRange => "coordinate is out of range",
            Self::UnknownClass => "unknown class",
            Self::OtherSize => "labels are for another size",
            Self::NoArea => "box without area in the image",
            Self::SameImageInSplits => "the same image in two splits",
            Self::MissingLabels => "image without label file",
            Self::LabelsWithoutImage => "label file without image",
            Self::BeyondEdge => "box beyond the edge of the image",
            Self::TinyBox => "box with a side below 2 pixels",
            Self::RepeatedBox => "object labelled twice",
            Self::SameImage => "the same image twice in a split",
            Self::NearDuplicateInSplits => "nearly the same image in two splits",
            Self::UnusedClass => "class that no label has",
            Self::SameClassName => "two classes with one name",
            Self::NearEmptySplit => "split with next to no labelled images",
            Self::OddSize => "odd image size",
        }
    }

    fn of(fault: FaultKind) -> Self {
        match fault {
            FaultKind::Unreadable => Self::UnreadableLabels,
            FaultKind::Malformed => Self::MalformedLabel,
            FaultKind::NonFinite => Self::NonFinite,
            FaultKind::OutOfRange => Self::OutOfRange,
            FaultKind::UnknownClass => Self::UnknownClass,
            FaultKind::OtherSize => Self::OtherSize,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CheckReport {
    /// As given.
    pub data: PathBuf,
    /// `yolo`, `coco`, `voc`, `cvat`, `label-studio` or `folder`.
    pub format: String,
    /// Images of all splits.
    pub images: u64,
    /// Boxes of all splits that can be used.
    pub boxes: u64,
    /// Cases that are errors.
    pub errors: u64,
    /// Cases that are warnings.
    pub warnings: u64,
    /// Bits of 256 in which the hashes of near-duplicates differ at most.
    pub distance: u32,
    /// Errors first; kinds that did not occur are not listed.
    pub findings: Vec<Finding>,
    /// What the reader of the data set noted.
    pub notes: Vec<String>,
    /// The mended copy.
    pub fixed: Option<Manifest>,
}

/// All cases of one kind.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// How bad that is.
    pub severity: Severity,
    /// How many cases.
    pub count: u64,
    /// The first cases, at most 1,000.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Case {
    /// The split, where the case is of one.
    pub split: Option<String>,
    /// The image or file, relative to the data set's folder; empty where the case is of none.
    pub path: String,
    /// What was found.
    pub words: String,
}

/// Cases so far.
#[derive(Default)]
pub(super) struct Findings(BTreeMap<Kind, (u64, Vec<Case>)>);

impl Findings {
    fn add(&mut self, kind: Kind, split: Option<&str>, path: &str, words: impl Into<String>) {
        let (count, cases) = self.0.entry(kind).or_default();
        *count += 1;
        if cases.len() < MOST_CASES {
            let split = split.filter(|split| *split != UNSPLIT).map(str::to_owned);
            cases.push(Case { split, path: path.to_owned(), words: words.into() });
        }
    }
}

/// An image that was decoded.
struct Decoded<'a> {
    position: usize,
    split: usize,
    sample: &'a Sample,
    seen: Seen,
}

/// Checks a data set; with `fix` writes a mended copy.
///
/// # Errors
/// [`crate::Error::Interrupted`]; with `fix` as [`super::convert`].
pub fn check(options: &CheckOptions, run: &Run<'_>) -> Result<CheckReport> {
    let data = &options.data;
    if let Some(fix) = &options.fix {
        data.labelled()?;
        super::folder::NewFolder::refuse_existing(&fix.out)?;
    }
    let mut findings = Findings::default();
    let splits: Vec<usize> = data.samples().map(|(split, _)| split).collect();
    let samples: Vec<&Sample> = data.samples().map(|(_, sample)| sample).collect();
    let mut decoded: Vec<Decoded<'_>> = Vec::with_capacity(samples.len());
    let mut boxes = 0;
    let mut used: BTreeSet<u32> = BTreeSet::new();
    let mut labelled = vec![0u64; data.splits.len()];
    look_at_all(&samples, run, |position, sample, seen| {
        let number = splits.get(position).copied().unwrap_or(0);
        let split = &data.splits[number];
        let mut add = |kind, words: String| findings.add(kind, Some(&split.name), &sample.relative, words);
        let (seen, loaded) = match seen {
            Ok(seen) => seen,
            Err(reason) => return add(Kind::UnreadableImage, reason),
        };
        loaded.faults.iter().for_each(|fault| add(Kind::of(fault.kind), fault.words.clone()));
        of_size(&seen, &mut add);
        (0..loaded.repeated).for_each(|_| add(Kind::RepeatedBox, "a row of the label file repeats another one".into()));
        (0..loaded.without_area).for_each(|_| add(Kind::NoArea, "no area of it lies in the image".into()));
        let beyond = |raw: &RawBox| {
            let raw = super::load::clipped(raw.xyxy_px, seen.size);
            raw.is_some_and(|(_, beyond_px)| beyond_px > 1.0)
        };
        if loaded.cut > 0
            && let Truth::Labelled(unclipped) = sample.annotated(seen.size).truth
        {
            for raw in unclipped.iter().filter(|raw| beyond(raw)) {
                add(Kind::BeyondEdge, format!("the box {}", shown(raw.xyxy_px)));
            }
        }
        match &loaded.truth {
            Truth::Labelled(found) => {
                boxes += found.len() as u64;
                labelled[number] += 1;
                used.extend(found.iter().filter_map(|raw| split.to_class.get(raw.class_id as usize)));
                of_boxes(found, &mut add);
            }
            Truth::Missing => add(Kind::MissingLabels, "it counts as background unless you say otherwise".into()),
            Truth::NoLabels => {}
        }
        decoded.push(Decoded { position, split: number, sample, seen });
    })?;
    let repeated = same_images(data, &decoded, &mut findings);
    near_images(data, &decoded, options.distance, &mut findings);
    of_classes(data, &used, &mut findings);
    if data.class_names.is_some() {
        for (split, &count) in data.splits.iter().zip(&labelled) {
            if count < FEW_IMAGES {
                let words = format!("{count} of its {} images have labels that can be read", split.samples.len());
                findings.add(Kind::NearEmptySplit, Some(&split.name), "", words);
            }
        }
    }
    labels_without_image(data, &mut findings);
    let fixed = match &options.fix {
        Some(fix) => Some(super::fix::fix(data, &repeated, fix, run)?),
        None => None,
    };
    Ok(report(options, samples.len() as u64, boxes, findings, fixed))
}

fn report(options: &CheckOptions, images: u64, boxes: u64, found: Findings, fixed: Option<Manifest>) -> CheckReport {
    let of =
        |(kind, (count, cases)): (Kind, (u64, Vec<Case>))| Finding { kind, severity: kind.severity(), count, cases };
    let findings: Vec<Finding> = found.0.into_iter().map(of).collect();
    let sum =
        |severity| findings.iter().filter(|finding| finding.severity == severity).map(|finding| finding.count).sum();
    CheckReport {
        data: options.data.data.clone(),
        format: options.data.format.as_str().to_owned(),
        images,
        boxes,
        errors: sum(Severity::Error),
        warnings: sum(Severity::Warning),
        distance: options.distance,
        notes: options.data.notes.clone(),
        findings,
        fixed,
    }
}

fn shown([x1, y1, x2, y2]: [f64; 4]) -> String {
    format!("{x1:.1} {y1:.1} {x2:.1} {y2:.1}")
}

fn of_size(seen: &Seen, add: &mut impl FnMut(Kind, String)) {
    let (width, height) = (seen.size.width, seen.size.height);
    let (short, long) = (width.min(height), width.max(height));
    if short < ODD_SIDE_PX || f64::from(long) > ODD_ASPECT * f64::from(short) {
        add(Kind::OddSize, format!("{width} x {height} pixels"));
    }
}

fn of_boxes(found: &[RawBox], add: &mut impl FnMut(Kind, String)) {
    for raw in found {
        let [x1, y1, x2, y2] = raw.xyxy_px;
        if (x2 - x1).min(y2 - y1) < TINY_SIDE_PX - ROUNDING_PX {
            add(Kind::TinyBox, format!("{:.2} x {:.2} pixels", x2 - x1, y2 - y1));
        }
    }
    // From left to right, so that each is compared with those that it can overlap.
    let mut order: Vec<&RawBox> = found.iter().collect();
    order.sort_by(|a, b| a.xyxy_px[0].total_cmp(&b.xyxy_px[0]));
    for (at, one) in order.iter().enumerate() {
        for other in order[at + 1..].iter().take_while(|other| other.xyxy_px[0] < one.xyxy_px[2]) {
            let same = one.class_id == other.class_id && one.mark == other.mark;
            if same && iou(one.xyxy_px, other.xyxy_px) >= SAME_IOU {
                add(Kind::RepeatedBox, format!("the boxes {} and {}", shown(one.xyxy_px), shown(other.xyxy_px)));
            }
        }
    }
}

/// Finds files that are the same. Gives the positions of those that a mended copy leaves out: all
/// but the first of each.
fn same_images(data: &DataSet, decoded: &[Decoded<'_>], findings: &mut Findings) -> HashMap<usize, String> {
    let mut first_of: HashMap<[u8; 32], &Decoded<'_>> = HashMap::new();
    let mut repeated = HashMap::new();
    for image in decoded {
        let Some(first) = first_of.get(&image.seen.digest) else {
            first_of.insert(image.seen.digest, image);
            continue;
        };
        let split = data.splits.get(image.split).map(|split| split.name.as_str());
        let of_first = data.splits.get(first.split).map_or("", |split| split.name.as_str());
        let (kind, words) = if first.split == image.split {
            (Kind::SameImage, format!("the same file as {}", first.sample.relative))
        } else {
            let words = match first.sample.path == image.sample.path {
                true => format!("it is also listed in {of_first}"),
                false => format!("the same file as {} in {of_first}", first.sample.relative),
            };
            (Kind::SameImageInSplits, words)
        };
        repeated.insert(image.position, words.clone());
        findings.add(kind, split, &image.sample.relative, words);
    }
    repeated
}

fn near_images(data: &DataSet, decoded: &[Decoded<'_>], distance: u32, findings: &mut Findings) {
    if data.splits.len() < 2 {
        return;
    }
    let seen: Vec<Seen> = decoded.iter().map(|image| image.seen).collect();
    for group in groups(decoded.len(), &near(&seen, distance)) {
        let mut first_in: BTreeMap<usize, &Decoded<'_>> = BTreeMap::new();
        group.iter().rev().for_each(|&at| {
            first_in.insert(decoded[at].split, &decoded[at]);
        });
        for image in group.iter().map(|&at| &decoded[at]) {
            let Some((_, other)) = first_in.iter().find(|(split, _)| **split < image.split) else { continue };
            if other.seen.digest != image.seen.digest {
                let of_other = data.splits.get(other.split).map_or("", |split| split.name.as_str());
                let bits = image.seen.hash.distance(other.seen.hash);
                let words = format!("near to {} in {of_other} ({bits} bits of 256 differ)", other.sample.relative);
                let split = data.splits.get(image.split).map(|split| split.name.as_str());
                findings.add(Kind::NearDuplicateInSplits, split, &image.sample.relative, words);
            }
        }
    }
}

fn of_classes(data: &DataSet, used: &BTreeSet<u32>, findings: &mut Findings) {
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for (name, id) in data.class_names.iter().flatten().zip(0u32..) {
        if !used.contains(&id) {
            findings.add(Kind::UnusedClass, None, "", format!("class {id}, {name:?}"));
        }
        if let Some(first) = seen.insert(name, id) {
            findings.add(Kind::SameClassName, None, "", format!("classes {first} and {id} are both {name:?}"));
        }
    }
}

/// Label files of YOLO beside those that images have. Other formats name their images.
fn labels_without_image(data: &DataSet, findings: &mut Findings) {
    if data.format != crate::dataset::DatasetFormat::Yolo {
        return;
    }
    let all = || data.samples().map(|(_, sample)| sample);
    let wanted: HashSet<&Path> = all().filter_map(Sample::label_file).collect();
    let images: HashSet<&Path> = all().filter_map(|sample| sample.path.parent()).collect();
    let folders: BTreeSet<&Path> =
        wanted.iter().filter_map(|file| file.parent()).filter(|folder| !images.contains(folder)).collect();
    let entries = folders.into_iter().flat_map(|folder| folder.read_dir().into_iter().flatten());
    let is_label = |path: &PathBuf| {
        path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("txt"))
            && path.file_name() != Some(OsStr::new("classes.txt"))
    };
    let mut alone: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_label).collect();
    alone.retain(|path| !wanted.contains(path.as_path()));
    alone.sort();
    for path in alone {
        findings.add(Kind::LabelsWithoutImage, None, &paths::to_column(&path), "no image has these labels");
    }
}
