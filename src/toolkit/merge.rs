//! `data merge`: several data sets as one; classes of the same name are one class.

use super::{
    DataSet, Manifest, Run, WriteOptions,
    class_names::unite,
    write::{Entry, Job, format_of, origin, write},
};
use crate::{Error, Result};
use std::collections::BTreeSet;

/// What to merge.
#[derive(Debug)]
pub struct MergeOptions {
    /// At least two data sets; the first one's classes come first.
    pub data: Vec<DataSet>,
    /// Other names for classes: from, to.
    pub map: Vec<(String, String)>,
    /// Where and how to write; the format is the first one's unless it is named.
    pub write: WriteOptions,
}

/// Writes several data sets as one. Splits of the same name are united.
///
/// # Errors
/// As [`super::convert`]; a class to rename that no data set has.
pub fn merge(options: &MergeOptions, run: &Run<'_>) -> Result<Manifest> {
    let Some(first) = options.data.first() else {
        return Err(Error::Mismatch {
            found: "there is nothing to merge".into(),
            remedy: "Give two data sets.".into(),
        });
    };
    let format = format_of(&options.write, first)?;
    let mut lists: Vec<Vec<String>> =
        options.data.iter().map(|data| Ok(data.labelled()?.to_vec())).collect::<Result<_>>()?;
    for (from, to) in &options.map {
        let mut found = false;
        for name in lists.iter_mut().flatten().filter(|name| *name == from) {
            to.clone_into(name);
            found = true;
        }
        if !found {
            let all: BTreeSet<&str> = lists.iter().flatten().map(String::as_str).collect();
            let all: Vec<&str> = all.into_iter().collect();
            return Err(Error::Classes {
                found: format!(
                    "`map=` names the class {from:?}, which no data set has; the classes are: {}",
                    all.join(", ")
                ),
                remedy: "Correct the name, or leave it out.".into(),
            });
        }
    }
    // A class that was renamed to one of its own data set is that one.
    let (mut classes, mut maps): (Vec<String>, Vec<Vec<u32>>) = (Vec::new(), Vec::new());
    for list in &lists {
        let mut own: Vec<String> = Vec::new();
        list.iter().for_each(|name| {
            if !own.contains(name) {
                own.push(name.clone());
            }
        });
        let united =
            unite(&classes, &[&own]).map_err(|found| Error::Classes { found, remedy: "Change a name.".into() })?;
        let at = |name: &String| united.0.iter().position(|other| other == name).and_then(|at| u32::try_from(at).ok());
        maps.push(list.iter().filter_map(at).collect());
        classes = united.0;
    }

    let mut job = Job::new("merge", options.data.iter().map(origin).collect(), classes, Vec::new());
    job.settings = options.map.iter().map(|(from, to)| format!("map={from}={to}")).collect();
    let mut in_order: Vec<(usize, Entry<'_>)> = Vec::new();
    for (number, data) in options.data.iter().enumerate() {
        for split in &data.splits {
            let known = job.splits.iter().position(|name| *name == split.name);
            let at = known.unwrap_or_else(|| {
                job.splits.push(split.name.clone());
                job.splits.len() - 1
            });
            let to_new = |&class: &u32| maps.get(number).and_then(|map| map.get(class as usize)).copied();
            job.maps.push(split.to_class.iter().map(to_new).collect());
            let map = job.maps.len() - 1;
            let entry = |sample| (at, Entry { sample, folder: &split.folder, origin: number, split: at, map });
            in_order.extend(split.samples.iter().map(entry));
        }
    }
    in_order.sort_by_key(|(split, _)| *split);
    job.entries = in_order.into_iter().map(|(_, entry)| entry).collect();
    write(&job, format, &options.write, run)
}
