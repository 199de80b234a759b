//! Data set classes onto a model's classes, by name.

use super::{
    Dataset,
    name_map::{NameMap, listed, listed_names},
};
use crate::{Error, Result, words::counted};
use std::collections::{BTreeMap, HashMap};

/// How many `--map` a remedy spells out.
const MAPS_SHOWN: usize = 3;

/// Translates a data set's class ids to a model's. Names must be equal to the letter, or be made so by a [`NameMap`]; their order may
/// differ, the model may know more, and it need not know what no label uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMap {
    /// `[number of data set classes]` the model's class id of each, `None` where the model lacks it.
    model_ids: Vec<Option<u32>>,
    /// The data set's names, for messages.
    names: Vec<String>,
}

impl ClassMap {
    /// Looks every class up among the model's.
    ///
    /// # Errors
    /// [`Error::Classes`] when the model lacks a name, or has a needed name twice; names that differ only in case,
    /// spaces, `-` or `_` are shown beside each other.
    pub fn new(dataset_names: &[String], model_names: &[String]) -> Result<Self> {
        let map = Self::look_up(dataset_names, dataset_names, model_names)?;
        match map.lacking().as_slice() {
            [] => Ok(map),
            lacking => Err(map.missing(lacking, model_names)),
        }
    }

    /// Looks every class up among the model's, under the names that `renames` gives them.
    ///
    /// # Errors
    /// As [`ClassMap::new`].
    pub fn renamed(dataset_names: &[String], renames: &NameMap, model_names: &[String]) -> Result<Self> {
        let map = Self::look_up(dataset_names, &renames.renamed(dataset_names), model_names)?;
        match map.lacking().as_slice() {
            [] => Ok(map),
            lacking => Err(map.missing(lacking, model_names)),
        }
    }

    /// Looks the classes of a data set up, under the names that `renames` gives them. What the model lacks must not be used by any
    /// label of the split, unless `renames` says that the model has no such class; label files are read for that where a name is
    /// lacking. The text is a note on such classes and on those of other names.
    ///
    /// # Errors
    /// As [`ClassMap::new`], for classes that labels use; where a name that `renames` gives is not the model's.
    pub fn of(dataset: &Dataset, model_names: &[String], renames: &NameMap) -> Result<(Self, Vec<String>)> {
        let names = dataset.class_names.as_deref().unwrap_or_default();
        let mut notes = Vec::new();
        for (own, models) in renames.pairs().filter(|(own, _)| names.iter().any(|name| name == own)) {
            if renames.is_no_class(own) {
                continue;
            }
            if !model_names.iter().any(|name| name == models) {
                return Err(Error::Classes {
                    found: format!(
                        "`map={:?}`: the model has no class {models:?}\n  the model's classes are: {}",
                        format!("{own}={models}"),
                        listed_names(model_names)
                    ),
                    remedy: "Write the data set's name before the `=` and the model's after it.".into(),
                });
            }
            notes.push(format!("the class {own:?} is mapped to the model's class {models:?}"));
        }
        notes.extend(repeated(names));
        let map = Self::look_up(names, &renames.renamed(names), model_names)?;
        let known = |id: &u32| map.name(*id).is_some_and(|name| !renames.is_no_class(name));
        let lacking: Vec<u32> = map.lacking().into_iter().filter(known).collect();
        if lacking.is_empty() {
            return Ok((map, notes));
        }
        let used = dataset.used_classes();
        let needed: Vec<u32> = lacking.iter().copied().filter(|id| used.contains(id)).collect();
        if !needed.is_empty() {
            return Err(map.missing(&needed, model_names));
        }
        let names: Vec<&str> = lacking.iter().filter_map(|&id| map.name(id)).collect();
        let (classes, are) = if names.len() == 1 { ("class", "is") } else { ("classes", "are") };
        notes.push(format!(
            "{} {classes} that no label uses {are} not among the model's classes: {}",
            names.len(),
            listed_names(&names)
        ));
        Ok((map, notes))
    }

    fn look_up(names: &[String], renamed: &[String], model_names: &[String]) -> Result<Self> {
        let names = names.to_vec();
        if model_names.starts_with(renamed) {
            return Ok(Self { model_ids: (0..).map(Some).take(names.len()).collect(), names });
        }
        let mut by_name: HashMap<&str, Vec<u32>> = HashMap::new();
        for (id, name) in (0..).zip(model_names) {
            by_name.entry(name).or_default().push(id);
        }
        let of_name = |name: &String| match by_name.get(name.as_str()).map(Vec::as_slice) {
            Some(&[id]) => Ok(Some(id)),
            Some(ids) => Err(ambiguous(name, ids)),
            None => Ok(None),
        };
        Ok(Self { model_ids: renamed.iter().map(of_name).collect::<Result<_>>()?, names })
    }

    /// The data set's classes that the model lacks.
    fn lacking(&self) -> Vec<u32> {
        (0..).zip(&self.model_ids).filter(|(_, model_id)| model_id.is_none()).map(|(id, _)| id).collect()
    }

    fn name(&self, class_id: u32) -> Option<&str> {
        self.names.get(usize::try_from(class_id).ok()?).map(String::as_str)
    }

    /// The way back: for each of the model's `num_model_classes` ids the data set's, where it has that class.
    pub fn inverse(&self, num_model_classes: usize) -> Vec<Option<u32>> {
        let mut inverse = vec![None; num_model_classes];
        for (dataset_id, model_id) in (0..).zip(&self.model_ids) {
            let slot = model_id.and_then(|id| inverse.get_mut(usize::try_from(id).ok()?));
            if let Some(slot) = slot {
                *slot = slot.or(Some(dataset_id));
            }
        }
        inverse
    }

    /// The model's class id, or `None` for an id that the data set or the model does not have.
    pub fn apply(&self, class_id: u32) -> Option<u32> {
        *self.model_ids.get(usize::try_from(class_id).ok()?)?
    }

    /// Why [`ClassMap::apply`] gives nothing.
    pub fn why_unknown(&self, class_id: u32) -> String {
        match self.name(class_id) {
            Some(name) => format!("the class {name:?} is not among the model's classes"),
            None => format!("class id {class_id} is not among the data set's names"),
        }
    }

    fn missing(&self, lacking: &[u32], model_names: &[String]) -> Error {
        let mut by_folded: HashMap<String, &str> = HashMap::new();
        for name in model_names {
            by_folded.entry(fold(name)).or_insert(name);
        }
        let names: Vec<&str> = lacking.iter().filter_map(|&id| self.name(id)).collect();
        let near = |name: &str| by_folded.get(&fold(name)).copied();
        let described = names.iter().map(|name| match near(name) {
            Some(near) => format!("{name:?} (the model has {near:?})"),
            None => format!("{name:?}"),
        });
        let maps = names.iter().map(|name| format!("`map={:?}`", format!("{name}={}", near(name).unwrap_or("NAME"))));
        let mut maps: Vec<String> = maps.take(MAPS_SHOWN).collect();
        if names.len() > MAPS_SHOWN {
            maps.push("...".into());
        }
        let (are, they) = if names.len() == 1 { ("is", "it") } else { ("are", "each of them") };
        Error::Classes {
            found: format!(
                "{} of the data set's {} {are} not among the model's {}: {}\n  the model's classes are: {}",
                names.len(),
                counted(self.names.len(), "class"),
                model_names.len(),
                listed(described, names.len()),
                listed_names(model_names),
            ),
            remedy: format!("Map {they} to one of the model's classes: {}.", maps.join(" ")),
        }
    }
}

/// That classes of the data set have the same name: they become one class.
fn repeated(names: &[String]) -> Option<String> {
    let mut ids: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    names.iter().enumerate().for_each(|(id, name)| ids.entry(name).or_default().push(id));
    let twice: Vec<String> =
        ids.iter().filter(|(_, ids)| ids.len() > 1).map(|(name, ids)| format!("{name:?} (classes {ids:?})")).collect();
    (!twice.is_empty()).then(|| {
        format!("warning: classes of the data set have the same name and are treated as one: {}", twice.join(", "))
    })
}

fn ambiguous(name: &str, ids: &[u32]) -> Error {
    Error::Classes {
        found: format!("the data set's class {name:?} is {} classes of the model (ids {ids:?})", ids.len()),
        remedy: "Give the model's classes distinct names with `names=FILE`.".into(),
    }
}

/// What stays of a name when case, spaces, `-` and `_` do not count.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&n| n.to_owned()).collect()
    }

    #[test]
    fn any_order_and_subset() {
        let map = ClassMap::new(&names(&["cat", "person"]), &names(&["person", "dog", "cat"])).unwrap();
        assert_eq!([map.apply(0), map.apply(1), map.apply(2), map.apply(u32::MAX)], [Some(2), Some(0), None, None]);
        let same = ClassMap::new(&names(&["a", "a"]), &names(&["a", "a"])).unwrap();
        assert_eq!(same.apply(1), Some(1), "equal lists map one to one, whatever their names");
        assert_eq!(ClassMap::new(&[], &names(&["a"])).unwrap().apply(0), None);
    }

    #[test]
    fn the_difference_is_shown() {
        let model = names(&["person", "traffic light", "cup"]);
        let error = ClassMap::new(&names(&["cup", "Traffic_Light", "RBC"]), &model).unwrap_err().to_string();
        assert_eq!(
            error,
            "2 of the data set's 3 classes are not among the model's 3: \"Traffic_Light\" (the model has \"traffic \
             light\"), \"RBC\"\n  the model's classes are: \"person\", \"traffic light\", \"cup\"\n  Map each of \
             them to one of the model's classes: `map=\"Traffic_Light=traffic light\"` `map=\"RBC=NAME\"`."
        );
        let many: Vec<String> = (0..2000).map(|i| format!("class {i}")).collect();
        let error = ClassMap::new(&many, &model).unwrap_err().to_string();
        assert!(error.contains("2000 of the data set's 2,000 classes") && error.contains("and 1990 more"), "{error}");
    }

    #[test]
    fn a_doubled_model_name_is_refused_only_where_needed() {
        let model = names(&["bat", "ball", "bat"]);
        let error = ClassMap::new(&names(&["ball", "bat"]), &model).unwrap_err().to_string();
        assert!(error.contains("\"bat\" is 2 classes of the model (ids [0, 2])"), "{error}");
        assert_eq!(ClassMap::new(&names(&["ball"]), &model).unwrap().apply(0), Some(1));
    }
}
