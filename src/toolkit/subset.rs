//! `data subset`: some of the images, or some of the classes.

use super::{
    DataSet, Manifest, Run, WriteOptions,
    list::read_list,
    write::{Job, format_of, write},
};
use crate::{Error, Result, dataset::Sample};
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

/// What to choose.
#[derive(Debug)]
pub struct SubsetOptions {
    /// The data set, already with the splits that are wanted.
    pub data: DataSet,
    /// Class names; all where there is none. Boxes of other classes are left out, and images of
    /// which no box is left.
    pub classes: Vec<String>,
    /// A text file of images, one a line, as paths or as the ends of paths; all where there is
    /// none.
    pub list: Option<PathBuf>,
    /// Where and how to write.
    pub write: WriteOptions,
}

/// Writes a part of a data set.
///
/// # Errors
/// As [`super::convert`]; a class that the data set does not have, a line of the list that fits no
/// image or several, nothing left.
pub fn subset(options: &SubsetOptions, run: &Run<'_>) -> Result<Manifest> {
    let data = &options.data;
    let format = format_of(&options.write, data)?;
    let mut job = Job::of("subset", data)?;
    if !options.classes.is_empty() {
        let names = data.labelled()?;
        if let Some(unknown) = options.classes.iter().find(|name| !names.contains(name)) {
            return Err(Error::Classes {
                found: format!("the data set has no class {unknown:?}; it has: {}", names.join(", ")),
                remedy: "Choose with `class=`.".into(),
            });
        }
        let new_id = |name: &String| job.classes.iter().filter(|n| options.classes.contains(n)).position(|n| n == name);
        let new_ids: Vec<Option<u32>> =
            names.iter().map(|name| new_id(name).and_then(|id| u32::try_from(id).ok())).collect();
        for class in job.maps.iter_mut().flatten() {
            *class = class.and_then(|old| new_ids.get(old as usize).copied().flatten());
        }
        job.classes.retain(|name| options.classes.contains(name));
        job.drop_empty = true;
        job.settings.extend(options.classes.iter().map(|name| format!("class={name}")));
    }
    if let Some(list) = &options.list {
        let wanted = Wanted(read_list(list)?);
        let chosen = wanted.choose(list, job.entries.iter().map(|entry| entry.sample))?;
        let mut at = 0;
        job.entries.retain(|_| {
            at += 1;
            chosen.contains(&(at - 1))
        });
        job.settings.push(format!("list={}", list.display()));
    }
    let manifest = write(&job, format, &options.write, run)?;
    Ok(manifest)
}

/// The lines of a list of images.
struct Wanted(Vec<String>);

impl Wanted {
    /// Positions of the images that the lines name.
    fn choose<'a>(&self, list: &Path, samples: impl Iterator<Item = &'a Sample>) -> Result<HashSet<usize>> {
        let samples: Vec<(usize, &Sample)> = samples.enumerate().collect();
        // By file name, which is the end of every line.
        let mut by_name: BTreeMap<String, Vec<(usize, &Sample)>> = BTreeMap::new();
        for (at, sample) in samples {
            let name = sample.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            by_name.entry(name).or_default().push((at, sample));
        }
        let mut chosen = HashSet::new();
        for line in &self.0 {
            let name = line.rsplit('/').next().unwrap_or(line);
            let ends = |sample: &Sample| sample.path.ends_with(line) || Path::new(&sample.relative) == Path::new(line);
            let found: Vec<&(usize, &Sample)> =
                by_name.get(name).into_iter().flatten().filter(|(_, sample)| ends(sample)).collect();
            let files: HashSet<&Path> = found.iter().map(|(_, sample)| sample.path.as_path()).collect();
            if files.len() != 1 {
                let found = match files.len() {
                    0 => format!("{line:?} is no image of the data set"),
                    several => format!("{line:?} fits {several} images of the data set"),
                };
                let remedy = "Give images as the data set has them: their path, or its end, one a line.";
                return Err(Error::Dataset { path: list.to_path_buf(), found, remedy: remedy.into() });
            }
            chosen.extend(found.iter().map(|(at, _)| *at));
        }
        Ok(chosen)
    }
}
