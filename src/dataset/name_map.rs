//! Which class of the model a class of the data set is, where their names differ: [`NameMap`] against a data set.

use super::Dataset;
use crate::{Error, Result};
pub use logitcache_format::NameMap;

/// Refuses what a user typed where the data set has no such class.
///
/// # Errors
/// [`Error::Mismatch`] with the data set's classes.
pub fn refuse_foreign_names(map: &NameMap, dataset: &Dataset) -> Result<()> {
    let names = dataset.class_names.as_deref().unwrap_or_default();
    let Some((own, models)) = map.pairs().find(|(own, _)| !names.iter().any(|name| name == own)) else { return Ok(()) };
    let classes = match &dataset.class_names {
        Some(names) => format!("its classes are: {}", listed_names(names)),
        None => "it has no labels".into(),
    };
    Err(Error::Mismatch {
        found: format!("`map={:?}`: the data set has no class {own:?}; {classes}", format!("{own}={models}")),
        remedy: "Write the data set's name before the `=` and the model's after it.".into(),
    })
}

/// How many class names a message spells out.
const SHOWN: usize = 10;

/// The first of a list of names, quoted.
pub(super) fn listed_names(names: &[impl AsRef<str>]) -> String {
    listed(names.iter().map(|name| format!("{:?}", name.as_ref())), names.len())
}

/// The first of a list of `total`.
pub(super) fn listed(items: impl Iterator<Item = String>, total: usize) -> String {
    let mut shown: Vec<String> = items.take(SHOWN).collect();
    if total > SHOWN {
        shown.push(format!("and {} more", total - SHOWN));
    }
    shown.join(", ")
}
