//! `data dedup`: images that are the same or nearly so, and those of them that lie in different
//! splits.

use super::{
    DataSet, Manifest, Run, WriteOptions, failure,
    near::{Near, Seen, groups, hex, look_at_all, near},
    write::{Job, format_of, write},
};
use crate::{
    Result,
    dataset::{Sample, Truth},
    types::Failure,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
};

/// Pairs that a report names.
const MOST_PAIRS: usize = 10_000;

/// What to look for.
#[derive(Debug)]
pub struct DedupOptions {
    /// The data set.
    pub data: DataSet,
    /// Bits of 256 in which the hashes of near-duplicates differ at most.
    pub distance: u32,
    /// Where to write a data set without them; nothing is written where there is none.
    pub write: Option<WriteOptions>,
}

/// What was found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DedupReport {
    /// The data set, as given.
    pub data: PathBuf,
    /// Images that were compared.
    pub images: u64,
    /// Bits of 256 in which the hashes of near-duplicates differ at most.
    pub distance: u32,
    /// Images beyond the first one of each group.
    pub duplicates: u64,
    /// Of these, images whose file is the same as another one, byte by byte.
    pub exact_duplicates: u64,
    /// Groups of images that are joined by pairs, in order.
    pub groups: Vec<Group>,
    /// How many pairs there are. Of several images with one hash, pairs with the first are counted.
    pub pair_count: u64,
    /// Pairs in order, at most 10,000.
    pub pairs: Vec<Pair>,
    /// Groups that lie in more than one split.
    pub leaks: Vec<Leak>,
    /// Images that could not be read.
    pub failures: Vec<Failure>,
    /// The data set that was written.
    pub written: Option<Manifest>,
}

/// Images that are the same or nearly so.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Group {
    /// The one that a written data set keeps: the one with the most pixels, of these the first.
    pub kept: String,
    /// All, in order.
    pub members: Vec<Member>,
}

/// One image of a group.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Member {
    /// Path, relative to the data set's folder.
    pub path: String,
    /// Its split.
    pub split: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Boxes that it has.
    pub boxes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// The perceptual hash, 64 hexadecimal digits.
    pub hash: String,
}

/// Two images that are near.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Pair {
    /// The earlier one.
    pub a: String,
    /// The later one.
    pub b: String,
    /// Bits in which their hashes differ.
    pub distance: u32,
    /// Whether the files are the same, byte by byte.
    pub exact: bool,
}

/// A group that lies in more than one split.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Leak {
    /// The splits.
    pub splits: Vec<String>,
    /// Its images.
    pub images: Vec<String>,
}

struct Item<'a> {
    position: usize,
    split: usize,
    sample: &'a Sample,
    seen: Seen,
    boxes: u64,
}

/// Compares all images of a data set with each other.
///
/// # Errors
/// [`crate::Error::Interrupted`]; with `write` as [`super::convert`].
pub fn dedup(options: &DedupOptions, run: &Run<'_>) -> Result<DedupReport> {
    let data = &options.data;
    let format = options.write.as_ref().map(|to| format_of(to, data)).transpose()?;
    if let Some(to) = &options.write {
        super::folder::NewFolder::refuse_existing(&to.out)?;
    }
    let splits: Vec<usize> = data.samples().map(|(split, _)| split).collect();
    let samples: Vec<&Sample> = data.samples().map(|(_, sample)| sample).collect();
    let mut items: Vec<Item<'_>> = Vec::with_capacity(samples.len());
    let mut failures = Vec::new();
    look_at_all(&samples, run, |position, sample, seen| match seen {
        Err(reason) => failures.push(failure(position, &sample.relative, reason)),
        Ok((seen, loaded)) => {
            let boxes = if let Truth::Labelled(boxes) = loaded.truth { boxes.len() as u64 } else { 0 };
            items.push(Item { position, split: splits.get(position).copied().unwrap_or(0), sample, seen, boxes });
        }
    })?;
    let seen: Vec<Seen> = items.iter().map(|item| item.seen).collect();
    let pairs = near(&seen, options.distance);
    let grouped = groups(items.len(), &pairs);
    let mut report = report(options, &items, &pairs, &grouped);
    report.failures = failures;
    if let (Some(to), Some(format)) = (&options.write, format) {
        let mut removed: HashSet<usize> = HashSet::new();
        for group in &grouped {
            let kept = kept(&items, group);
            removed.extend(group.iter().filter(|&&at| at != kept).map(|&at| items[at].position));
        }
        let mut job = Job::of("dedup", data)?;
        let mut at = 0;
        job.entries.retain(|_| {
            at += 1;
            !removed.contains(&(at - 1))
        });
        job.settings.push(format!("distance={}", options.distance));
        report.written = Some(write(&job, format, to, run)?);
    }
    Ok(report)
}

/// The one with the most pixels, of these the first.
fn kept(items: &[Item<'_>], group: &[usize]) -> usize {
    let pixels = |at: &usize| u64::from(items[*at].seen.size.width) * u64::from(items[*at].seen.size.height);
    group.iter().copied().reduce(|best, at| if pixels(&at) > pixels(&best) { at } else { best }).unwrap_or(0)
}

fn report(options: &DedupOptions, items: &[Item<'_>], pairs: &[Near], grouped: &[Vec<usize>]) -> DedupReport {
    let data = &options.data;
    let split = |at: usize| data.splits.get(items[at].split).map_or("", |split| split.name.as_str());
    let path = |at: usize| items[at].sample.relative.clone();
    let member = |&at: &usize| Member {
        path: path(at),
        split: split(at).to_owned(),
        width: items[at].seen.size.width,
        height: items[at].seen.size.height,
        boxes: items[at].boxes,
        sha256: hex(&items[at].seen.digest),
        hash: items[at].seen.hash.to_hex(),
    };
    let leak = |group: &Vec<usize>| {
        let mut splits: Vec<usize> = group.iter().map(|&at| items[at].split).collect();
        splits.sort_unstable();
        splits.dedup();
        (splits.len() > 1).then(|| Leak {
            splits: splits.iter().filter_map(|&at| Some(data.splits.get(at)?.name.clone())).collect(),
            images: group.iter().map(|&at| path(at)).collect(),
        })
    };
    let exact = |group: &Vec<usize>| {
        let digests: BTreeSet<[u8; 32]> = group.iter().map(|&at| items[at].seen.digest).collect();
        (group.len() - digests.len()) as u64
    };
    let pair = |&(a, b, distance): &Near| Pair {
        a: path(a),
        b: path(b),
        distance,
        exact: items[a].seen.digest == items[b].seen.digest,
    };
    DedupReport {
        data: data.data.clone(),
        images: items.len() as u64,
        distance: options.distance,
        duplicates: grouped.iter().map(|group| group.len() as u64 - 1).sum(),
        exact_duplicates: grouped.iter().map(exact).sum(),
        groups: grouped
            .iter()
            .map(|group| Group { kept: path(kept(items, group)), members: group.iter().map(member).collect() })
            .collect(),
        pair_count: pairs.len() as u64,
        pairs: pairs.iter().take(MOST_PAIRS).map(pair).collect(),
        leaks: grouped.iter().filter_map(leak).collect(),
        failures: Vec::new(),
        written: None,
    }
}
