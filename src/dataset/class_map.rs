//! Data set classes onto a model's classes, by name.

use crate::{Error, Result};
use std::collections::HashMap;

/// How many class names an error spells out.
const SHOWN: usize = 10;

/// Translates a data set's class ids to a model's. Names must be equal to the letter; their order may differ and
/// the model may know more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMap {
    /// `[number of data set classes]` the model's class id of each.
    model_ids: Vec<u32>,
}

impl ClassMap {
    /// Looks every data set class up among the model's.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the model lacks a name, or has a needed name twice; names that differ only in case,
    /// spaces, `-` or `_` are shown beside each other.
    pub fn new(dataset_names: &[String], model_names: &[String]) -> Result<Self> {
        if model_names.starts_with(dataset_names) {
            return Ok(Self { model_ids: (0..).take(dataset_names.len()).collect() });
        }
        let mut by_name: HashMap<&str, Vec<u32>> = HashMap::new();
        for (id, name) in (0..).zip(model_names) {
            by_name.entry(name).or_default().push(id);
        }
        let mut model_ids = Vec::with_capacity(dataset_names.len());
        let mut lacking = Vec::new();
        for name in dataset_names {
            match by_name.get(name.as_str()).map(Vec::as_slice) {
                Some([id]) => model_ids.push(*id),
                Some(ids) => return Err(ambiguous(name, ids)),
                None => lacking.push(name.as_str()),
            }
        }
        if lacking.is_empty() {
            return Ok(Self { model_ids });
        }
        Err(missing(&lacking, dataset_names.len(), model_names))
    }

    /// The way back: for each of the model's `num_model_classes` ids the data set's, where it has that class.
    pub fn inverse(&self, num_model_classes: usize) -> Vec<Option<u32>> {
        let mut inverse = vec![None; num_model_classes];
        for (dataset_id, &model_id) in (0..).zip(&self.model_ids) {
            if let Some(slot) = usize::try_from(model_id).ok().and_then(|id| inverse.get_mut(id)) {
                *slot = slot.or(Some(dataset_id));
            }
        }
        inverse
    }

    /// The model's class id, or `None` for an id that the data set does not have.
    pub fn apply(&self, class_id: u32) -> Option<u32> {
        self.model_ids.get(usize::try_from(class_id).ok()?).copied()
    }
}

fn ambiguous(name: &str, ids: &[u32]) -> Error {
    Error::Mismatch {
        found: format!("the data set's class {name:?} is {} classes of the model (ids {ids:?})", ids.len()),
        remedy: "Give the model's classes distinct names with --names FILE.".into(),
    }
}

fn missing(lacking: &[&str], dataset_len: usize, model_names: &[String]) -> Error {
    let mut by_folded: HashMap<String, &str> = HashMap::new();
    for name in model_names {
        by_folded.entry(fold(name)).or_insert(name);
    }
    let described = lacking.iter().map(|name| match by_folded.get(&fold(name)) {
        Some(near) => format!("{name:?} (the model has {near:?})"),
        None => format!("{name:?}"),
    });
    let known = listed(model_names.iter().map(|name| format!("{name:?}")), model_names.len());
    Error::Mismatch {
        found: format!(
            "{} of the data set's {dataset_len} classes are not among the model's {}: {}\n  the model's are: {known}",
            lacking.len(),
            model_names.len(),
            listed(described, lacking.len()),
        ),
        remedy: "Write the data set's class names as the model's, or give the model other names with --names FILE."
            .into(),
    }
}

fn listed(items: impl Iterator<Item = String>, total: usize) -> String {
    let mut shown: Vec<String> = items.take(SHOWN).collect();
    if total > SHOWN {
        shown.push(format!("and {} more", total - SHOWN));
    }
    shown.join(", ")
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
             light\"), \"RBC\"\n  the model's are: \"person\", \"traffic light\", \"cup\"\n  Write the data set's \
             class names as the model's, or give the model other names with --names FILE."
        );
        let many: Vec<String> = (0..2000).map(|i| format!("class {i}")).collect();
        let error = ClassMap::new(&many, &model).unwrap_err().to_string();
        assert!(error.contains("2000 of the data set's 2000") && error.contains("and 1990 more"), "{error}");
    }

    #[test]
    fn a_doubled_model_name_is_refused_only_where_needed() {
        let model = names(&["bat", "ball", "bat"]);
        let error = ClassMap::new(&names(&["ball", "bat"]), &model).unwrap_err().to_string();
        assert!(error.contains("\"bat\" is 2 classes of the model (ids [0, 2])"), "{error}");
        assert_eq!(ClassMap::new(&names(&["ball"]), &model).unwrap().apply(0), Some(1));
    }
}
