//! `data split`: new splits in which every class has its share and near-duplicates stay together.
//!
//! Groups of near-duplicates are given to splits one by one (iterative stratification, Sechidis et
//! al. 2011): the class with the fewest images left comes first, its largest groups first, and each
//! goes to the split that lacks this class most.

use super::{
    DataSet, Manifest, Run, WriteOptions,
    near::{groups, look_at_all, near},
    write::{Job, format_of, write},
};
use crate::{
    Error, Result,
    dataset::{Sample, Truth},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashSet};

/// A wanted split.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its share of the images; shares need not sum to 1.
    pub share: f64,
}

/// How to split.
#[derive(Debug)]
pub struct SplitOptions {
    /// The data set; its images of all splits are put together first.
    pub data: DataSet,
    /// The new splits, at least one.
    pub parts: Vec<Part>,
    /// What ties are broken by.
    pub seed: u64,
    /// Bits of 256 in which the hashes of near-duplicates differ at most.
    pub distance: u32,
    /// Where and how to write.
    pub write: WriteOptions,
}

/// Writes a data set with new splits.
///
/// # Errors
/// As [`super::convert`]; parts that make no sense. An image that cannot be read is in no split and
/// among the failures.
pub fn split(options: &SplitOptions, run: &Run<'_>) -> Result<Manifest> {
    let data = &options.data;
    let format = format_of(&options.write, data)?;
    check_parts(&options.parts)?;
    super::folder::NewFolder::refuse_existing(&options.write.out)?;
    let mut job = Job::of("split", data)?;
    let mut files = HashSet::new();
    job.entries.retain(|entry| files.insert(entry.sample.path.clone()));

    let samples: Vec<&Sample> = job.entries.iter().map(|entry| entry.sample).collect();
    let mut looked_at = Vec::new();
    // Of images that can be read: their place among the entries, and the classes that they show.
    let mut shown: Vec<(usize, Vec<u32>)> = Vec::new();
    let mut unread = Vec::new();
    look_at_all(&samples, run, |at, _, seen| match seen {
        Err(_) => unread.push(at),
        Ok((seen, loaded)) => {
            looked_at.push(seen);
            let map = &job.maps[job.entries[at].map];
            let boxes = if let Truth::Labelled(boxes) = loaded.truth { boxes } else { Vec::new() };
            let classes = boxes.iter().filter_map(|raw| map.get(raw.class_id as usize).copied().flatten());
            let mut classes: Vec<u32> = classes.collect();
            classes.sort_unstable();
            classes.dedup();
            shown.push((at, classes));
        }
    })?;
    let near_groups = groups(looked_at.len(), &near(&looked_at, options.distance));
    let in_group: HashSet<usize> = near_groups.iter().flatten().copied().collect();
    let alone = (0..shown.len()).filter(|at| !in_group.contains(at)).map(|at| vec![at]);
    let mut all: Vec<Vec<usize>> = near_groups.iter().cloned().chain(alone).collect();
    all.sort();
    let labels: Vec<Vec<&[u32]>> =
        all.iter().map(|group| group.iter().map(|&at| shown[at].1.as_slice()).collect()).collect();
    let chosen = stratify(&labels, job.classes.len(), &options.parts, options.seed);
    for (group, part) in all.iter().zip(chosen) {
        group.iter().for_each(|&at| job.entries[shown[at].0].split = part);
    }
    // They fail once more when they are written, by name.
    unread.iter().for_each(|&at| job.entries[at].split = 0);
    job.splits = options.parts.iter().map(|part| part.name.clone()).collect();
    job.entries.sort_by_key(|entry| entry.split);
    job.settings = options.parts.iter().map(|part| format!("part={}={}", part.name, part.share)).collect();
    job.settings.push(format!("seed={}", options.seed));
    job.settings.push(format!("distance={}", options.distance));
    let largest = near_groups.iter().map(Vec::len).max().unwrap_or(1);
    job.settings.push(format!("near_duplicate_groups={}, the largest of {largest} images", near_groups.len()));
    write(&job, format, &options.write, run)
}

fn check_parts(parts: &[Part]) -> Result<()> {
    let refused = |found: String| {
        Err(Error::Mismatch { found, remedy: "Give parts such as `part=train=0.8` and `part=val=0.2`.".into() })
    };
    let mut names = HashSet::new();
    for part in parts {
        if !names.insert(part.name.as_str()) {
            return refused(format!("the part {:?} is given twice", part.name));
        }
        if part.name.contains(['/', '\\']) || part.name.starts_with('.') || part.name.chars().any(char::is_control) {
            return refused(format!("{:?} cannot be the name of a folder", part.name));
        }
    }
    match parts.len() {
        0 => refused("there are no parts to split into".into()),
        _ => Ok(()),
    }
}

/// The part of each group. `groups` has the classes of each image of each group.
fn stratify(groups: &[Vec<&[u32]>], classes: usize, parts: &[Part], seed: u64) -> Vec<usize> {
    let total: f64 = parts.iter().map(|part| part.share).sum();
    let share: Vec<f64> = parts.iter().map(|part| part.share / total).collect();
    // Images that show each class, in each group and in all; how many each part still lacks.
    let counts: Vec<BTreeMap<u32, f64>> = groups
        .iter()
        .map(|group| {
            let mut counts = BTreeMap::new();
            group.iter().copied().flatten().for_each(|&class| *counts.entry(class).or_insert(0.0) += 1.0);
            counts
        })
        .collect();
    let mut left = vec![0.0f64; classes];
    counts.iter().flatten().for_each(|(&class, count)| left[class as usize] += count);
    let mut lacks: Vec<Vec<f64>> = left.iter().map(|count| share.iter().map(|share| share * count).collect()).collect();
    let images: usize = groups.iter().map(Vec::len).sum();
    let mut lacks_images: Vec<f64> = share.iter().map(|share| share * images as f64).collect();

    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for &at in &order {
        counts[at].keys().for_each(|&class| of_class[class as usize].push(at));
    }
    let mut chosen: Vec<Option<usize>> = vec![None; groups.len()];
    let mut give = |at: usize, class: Option<u32>, left: &mut [f64]| {
        if chosen[at].is_some() {
            return;
        }
        let wants = |part: usize| (class.map_or(0.0, |class| lacks[class as usize][part]), lacks_images[part]);
        let best = (0..share.len()).reduce(|a, b| if wants(b) > wants(a) { b } else { a }).unwrap_or(0);
        chosen[at] = Some(best);
        lacks_images[best] -= groups[at].len() as f64;
        for (&class, count) in &counts[at] {
            lacks[class as usize][best] -= count;
            left[class as usize] -= count;
        }
    };
    loop {
        let rarest = (0..classes).filter(|&class| left[class] > 0.5).min_by(|&a, &b| left[a].total_cmp(&left[b]));
        let Some(class) = rarest else { break };
        let mut members = std::mem::take(&mut of_class[class]);
        // Large ones first: there is still room to balance them. Equal ones stay in their drawn
        // order.
        members.sort_by_key(|&at| std::cmp::Reverse(groups[at].len()));
        for at in members {
            give(at, u32::try_from(class).ok(), &mut left);
        }
        left[class] = 0.0;
    }
    order.sort_by_key(|&at| std::cmp::Reverse(groups[at].len()));
    for at in order {
        give(at, None, &mut left);
    }
    chosen.into_iter().map(|part| part.unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(shares: &[f64]) -> Vec<Part> {
        shares.iter().zip('a'..).map(|(&share, name)| Part { name: name.to_string(), share }).collect()
    }

    #[test]
    fn every_class_has_its_share_in_every_part() {
        // 1000 images, class 0 in all, class 1 in every tenth, class 2 in ten of them.
        let labels: Vec<Vec<u32>> = (0..1000u32)
            .map(|at| {
                [Some(0), (at % 10 == 0).then_some(1), (at % 100 == 7).then_some(2)].into_iter().flatten().collect()
            })
            .collect();
        let groups: Vec<Vec<&[u32]>> = labels.iter().map(|labels| vec![labels.as_slice()]).collect();
        let chosen = stratify(&groups, 3, &parts(&[0.8, 0.1, 0.1]), 7);
        let count = |part: usize, class: u32| {
            chosen.iter().zip(&labels).filter(|(chosen, labels)| **chosen == part && labels.contains(&class)).count()
        };
        assert_eq!([0, 1, 2].map(|part| count(part, 2)), [8, 1, 1]);
        assert_eq!([0, 1, 2].map(|part| count(part, 1)), [80, 10, 10]);
        assert_eq!([0, 1, 2].map(|part| count(part, 0)), [800, 100, 100]);
        assert_eq!(chosen, stratify(&groups, 3, &parts(&[0.8, 0.1, 0.1]), 7), "the same seed gives the same parts");
        assert_ne!(chosen, stratify(&groups, 3, &parts(&[0.8, 0.1, 0.1]), 8));
        assert_eq!(chosen, stratify(&groups, 3, &parts(&[8.0, 1.0, 1.0]), 7), "shares are relative");
    }

    #[test]
    fn groups_without_labels_are_spread_too() {
        let none: &[u32] = &[];
        let mut groups = vec![vec![none]; 60];
        groups.push(vec![none; 40]);
        let chosen = stratify(&groups, 0, &parts(&[0.5, 0.5]), 1);
        let images =
            |part| groups.iter().zip(&chosen).filter(|(_, c)| **c == part).map(|(g, _)| g.len()).sum::<usize>();
        assert_eq!([images(0), images(1)], [50, 50]);
    }
}
