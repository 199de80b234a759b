//! `data diff`: what differs between two data sets, by image and box.
//!
//! Images belong together by their split and their name below its folder, without the suffix; those
//! that are left by their name alone, where it occurs once on both sides. Classes belong together
//! by name.

use super::{
    CHUNK, DataSet, Run,
    boxes::iou,
    failure,
    load::{Loaded, load},
};
use crate::{
    Result,
    dataset::{Mark, RawBox, Sample, Truth},
    types::Failure,
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

/// Edges that differ by less are the same: formats round.
const SAME_PX: f64 = 0.01;
/// Boxes that share less of their area are two objects.
const MOVED_IOU: f64 = 0.5;

/// What differs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DiffReport {
    /// The first data set, as given.
    pub a: PathBuf,
    /// The second one.
    pub b: PathBuf,
    /// Whether nothing differs.
    pub same: bool,
    /// Classes that only the first one has.
    pub classes_only_in_a: Vec<String>,
    /// Classes that only the second one has.
    pub classes_only_in_b: Vec<String>,
    /// Whether the classes that both have stand in another order.
    pub class_order_differs: bool,
    /// Images that both have.
    pub images_in_both: u64,
    /// Images that only the first one has.
    pub images_only_in_a: Vec<String>,
    /// Images that only the second one has.
    pub images_only_in_b: Vec<String>,
    /// Images that are in another split.
    pub moved_images: Vec<Moved>,
    /// Boxes that are the same in both.
    pub same_boxes: u64,
    /// Boxes that changed, by class.
    pub classes: Vec<ClassDiff>,
    /// Images with a change, in order.
    pub images: Vec<ImageDiff>,
    /// Images that could not be read or whose labels have a fault.
    pub failures: Vec<Failure>,
}

/// An image in another split.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Moved {
    /// Path in the first data set.
    pub path: String,
    /// Split in the first one.
    pub from: String,
    /// Split in the second one.
    pub to: String,
}

/// Changes of one class; of a box whose class changed, the class in the first data set.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct ClassDiff {
    /// Its name.
    pub name: String,
    /// Boxes that only the second data set has.
    pub added: u64,
    /// Boxes that only the first one has.
    pub removed: u64,
    /// Boxes of the same class with other edges.
    pub moved: u64,
    /// Boxes with another class or mark.
    pub relabelled: u64,
}

/// Changes of one image.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ImageDiff {
    /// Path in the first data set.
    pub path: String,
    /// Its changes.
    pub changes: Vec<BoxChange>,
}

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only in the second data set.
    Added,
    /// Only in the first one.
    Removed,
    /// Of the same class, with other edges.
    Moved,
    /// Of another class or mark.
    Relabelled,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BoxChange {
    /// What happened.
    pub change: Change,
    /// Class in the first data set.
    pub class_a: Option<String>,
    /// Class in the second one.
    pub class_b: Option<String>,
    /// Left, top, right, bottom in pixels in the first data set.
    pub box_a: Option<[f64; 4]>,
    /// The same in the second one.
    pub box_b: Option<[f64; 4]>,
}

/// An image of one side.
#[derive(Clone, Copy)]
struct Side<'a> {
    split: usize,
    sample: &'a Sample,
}

/// Boxes of an image that are the same and what differs, or why it cannot be compared.
type Compared = Result<(u64, Vec<BoxChange>), String>;

/// Compares two data sets.
///
/// # Errors
/// A data set without labels; [`crate::Error::Interrupted`].
pub fn diff(a: &DataSet, b: &DataSet, run: &Run<'_>) -> Result<DiffReport> {
    let (names_a, names_b) = (a.labelled()?, b.labelled()?);
    let only = |here: &[String], there: &[String]| -> Vec<String> {
        here.iter().filter(|name| !there.contains(name)).cloned().collect()
    };
    let shared = |here: &[String], there: &[String]| -> Vec<String> {
        here.iter().filter(|name| there.contains(name)).cloned().collect()
    };
    let Paired { pairs, only_a, only_b } = pair(a, b);
    let mut report = DiffReport {
        a: a.data.clone(),
        b: b.data.clone(),
        same: false,
        classes_only_in_a: only(names_a, names_b),
        classes_only_in_b: only(names_b, names_a),
        class_order_differs: shared(names_a, names_b) != shared(names_b, names_a),
        images_in_both: pairs.len() as u64,
        images_only_in_a: only_a,
        images_only_in_b: only_b,
        moved_images: Vec::new(),
        same_boxes: 0,
        classes: Vec::new(),
        images: Vec::new(),
        failures: Vec::new(),
    };
    let mut by_class: BTreeMap<String, ClassDiff> = BTreeMap::new();
    (run.total)(pairs.len() as u64);
    for (chunk, first) in pairs.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        let compared: Vec<Result<Compared>> = chunk
            .par_iter()
            .map(|(of_a, of_b)| {
                run.go_on()?;
                let compared = named(a, *of_a).and_then(|one| Ok(compare(one, named(b, *of_b)?)));
                (run.done)(compared.is_err());
                Ok(compared)
            })
            .collect();
        for ((at, (of_a, of_b)), compared) in (first..).zip(chunk).zip(compared) {
            let path = of_a.sample.relative.clone();
            let (from, to) = (&a.splits[of_a.split].name, &b.splits[of_b.split].name);
            if from != to {
                report.moved_images.push(Moved { path: path.clone(), from: from.clone(), to: to.clone() });
            }
            match compared? {
                Err(reason) => report.failures.push(failure(at, &path, reason)),
                Ok((same, changes)) => {
                    report.same_boxes += same;
                    for change in &changes {
                        let name = change.class_a.as_ref().or(change.class_b.as_ref()).cloned().unwrap_or_default();
                        let class =
                            by_class.entry(name.clone()).or_insert_with(|| ClassDiff { name, ..ClassDiff::default() });
                        match change.change {
                            Change::Added => class.added += 1,
                            Change::Removed => class.removed += 1,
                            Change::Moved => class.moved += 1,
                            Change::Relabelled => class.relabelled += 1,
                        }
                    }
                    if !changes.is_empty() {
                        report.images.push(ImageDiff { path, changes });
                    }
                }
            }
        }
    }
    report.classes = by_class.into_values().collect();
    report.same = report.classes_only_in_a.is_empty()
        && report.classes_only_in_b.is_empty()
        && !report.class_order_differs
        && report.images_only_in_a.is_empty()
        && report.images_only_in_b.is_empty()
        && report.moved_images.is_empty()
        && report.images.is_empty()
        && report.failures.is_empty();
    Ok(report)
}

/// Which images belong together.
struct Paired<'a> {
    pairs: Vec<(Side<'a>, Side<'a>)>,
    only_a: Vec<String>,
    only_b: Vec<String>,
}

fn pair<'a>(a: &'a DataSet, b: &'a DataSet) -> Paired<'a> {
    let listed = |data: &'a DataSet| -> Vec<(String, String, Side<'a>)> {
        let one = |(split, sample): (usize, &'a Sample)| {
            let of = &data.splits[split];
            let inside = sample.path.strip_prefix(&of.folder).unwrap_or(&sample.path);
            let name = inside.with_extension("").to_string_lossy().into_owned();
            (of.name.clone(), name, Side { split, sample })
        };
        data.samples().map(one).collect()
    };
    let (all_a, all_b) = (listed(a), listed(b));
    let mut rest_b: HashMap<(&str, &str), Side<'a>> = HashMap::new();
    all_b.iter().for_each(|(split, name, side)| {
        rest_b.insert((split, name), *side);
    });
    let mut found: Vec<Option<Side<'a>>> =
        all_a.iter().map(|(split, name, _)| rest_b.remove(&(split.as_str(), name.as_str()))).collect();
    // By name alone, where only one is left of it on each side.
    let mut names_a: HashMap<&str, u32> = HashMap::new();
    for ((_, name, _), found) in all_a.iter().zip(&found) {
        *names_a.entry(name).or_default() += u32::from(found.is_none());
    }
    let mut names_b: HashMap<&str, Vec<(&str, &str)>> = HashMap::new();
    rest_b.keys().for_each(|&(split, name)| names_b.entry(name).or_default().push((split, name)));
    for ((_, name, _), found) in all_a.iter().zip(&mut found) {
        if found.is_none()
            && names_a.get(name.as_str()) == Some(&1)
            && let Some([key]) = names_b.get(name.as_str()).map(Vec::as_slice)
        {
            *found = rest_b.remove(key);
        }
    }
    let only_a = all_a.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|((.., side), _)| side);
    let only_a = only_a.map(|side| side.sample.relative.clone()).collect();
    let mut only_b: Vec<String> = rest_b.into_values().map(|side| side.sample.relative.clone()).collect();
    only_b.sort();
    let pairs = all_a.iter().zip(found).filter_map(|((.., side), found)| Some((*side, found?))).collect();
    Paired { pairs, only_a, only_b }
}

/// A box with the name of its class.
struct Named<'a> {
    class: &'a str,
    raw: RawBox,
}

fn named<'a>(data: &'a DataSet, side: Side<'_>) -> Result<Vec<Named<'a>>, String> {
    let Loaded { truth, faults, .. } = load(side.sample)?;
    if let Some(fault) = faults.first() {
        return Err(format!("its labels in {}: {}", data.data.display(), fault.words));
    }
    let Truth::Labelled(boxes) = truth else { return Ok(Vec::new()) };
    let to_class = &data.splits[side.split].to_class;
    let name = |raw: &RawBox| data.class_names.as_ref()?.get(*to_class.get(raw.class_id as usize)? as usize);
    Ok(boxes.into_iter().filter_map(|raw| Some(Named { class: name(&raw)?, raw })).collect())
}

/// How many boxes are the same, and what differs. Boxes are matched one to one, those that share
/// most of their area first, and of these those of the same class.
fn compare(a: Vec<Named<'_>>, b: Vec<Named<'_>>) -> (u64, Vec<BoxChange>) {
    let alike = |one: &Named<'_>, other: &Named<'_>| one.class == other.class && one.raw.mark == other.raw.mark;
    let mut candidates: Vec<(bool, f64, usize, usize)> = Vec::new();
    for (at, one) in a.iter().enumerate() {
        for (to, other) in b.iter().enumerate() {
            let shared = iou(one.raw.xyxy_px, other.raw.xyxy_px);
            if shared >= MOVED_IOU {
                candidates.push((alike(one, other), shared, at, to));
            }
        }
    }
    candidates.sort_by(|x, y| y.0.cmp(&x.0).then(y.1.total_cmp(&x.1)).then(x.2.cmp(&y.2)).then(x.3.cmp(&y.3)));
    let (mut of_a, mut taken) = (vec![None; a.len()], vec![false; b.len()]);
    for (_, _, at, to) in candidates {
        if of_a[at].is_none() && !taken[to] {
            of_a[at] = Some(to);
            taken[to] = true;
        }
    }
    let mut same = 0;
    let mut changes = Vec::new();
    let class = |named: &Named<'_>| match named.raw.mark {
        Mark::Plain => named.class.to_owned(),
        Mark::Crowd => format!("{} (crowd)", named.class),
        Mark::Difficult => format!("{} (difficult)", named.class),
    };
    for (one, found) in a.iter().zip(&of_a) {
        let other = found.and_then(|to| b.get(to));
        let change = match other {
            None => Change::Removed,
            Some(other) if !alike(one, other) => Change::Relabelled,
            Some(other) => {
                let apart = one.raw.xyxy_px.iter().zip(other.raw.xyxy_px).map(|(a, b)| (a - b).abs());
                if apart.fold(0.0, f64::max) <= SAME_PX {
                    same += 1;
                    continue;
                }
                Change::Moved
            }
        };
        changes.push(BoxChange {
            change,
            class_a: Some(class(one)),
            class_b: other.map(class),
            box_a: Some(one.raw.xyxy_px),
            box_b: other.map(|other| other.raw.xyxy_px),
        });
    }
    for (other, _) in b.iter().zip(taken).filter(|(_, taken)| !taken) {
        let (class_b, box_b) = (Some(class(other)), Some(other.raw.xyxy_px));
        changes.push(BoxChange { change: Change::Added, class_a: None, class_b, box_a: None, box_b });
    }
    (same, changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes<'a>(all: &[(&'a str, [f64; 4])]) -> Vec<Named<'a>> {
        let one = |&(class, xyxy_px): &(&'a str, [f64; 4])| Named {
            class,
            raw: RawBox { class_id: 0, xyxy_px, area_px2: None, mark: Mark::Plain, outlined: false },
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn each_change_is_of_one_kind() {
        let a = boxes(&[
            ("cat", [0.0, 0.0, 10.0, 10.0]),
            ("cat", [50.0, 50.0, 60.0, 60.0]),
            ("dog", [100.0, 0.0, 120.0, 20.0]),
            ("cat", [200.0, 0.0, 220.0, 20.0]),
        ]);
        let b = boxes(&[
            ("cat", [201.0, 0.0, 221.0, 20.0]),
            ("dog", [0.0, 0.0, 10.0, 10.0]),
            ("dog", [100.0, 0.0, 120.004, 20.0]),
            ("bird", [300.0, 0.0, 320.0, 20.0]),
        ]);
        let (same, changes) = compare(a, b);
        assert_eq!(same, 1);
        let kinds: Vec<Change> = changes.iter().map(|change| change.change).collect();
        assert_eq!(kinds, [Change::Relabelled, Change::Removed, Change::Moved, Change::Added]);
        assert_eq!((changes[0].class_a.as_deref(), changes[0].class_b.as_deref()), (Some("cat"), Some("dog")));
    }

    #[test]
    fn the_same_class_is_matched_before_another_one() {
        let a = boxes(&[("cat", [0.0, 0.0, 10.0, 10.0]), ("dog", [0.0, 0.0, 10.0, 9.0])]);
        let b = boxes(&[("dog", [0.0, 0.0, 10.0, 10.0]), ("cat", [0.0, 0.0, 10.0, 9.5])]);
        let (same, changes) = compare(a, b);
        assert_eq!((same, changes.len()), (0, 2));
        assert!(changes.iter().all(|change| change.change == Change::Moved));
    }
}
