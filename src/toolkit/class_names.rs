//! Class lists: united by name, held against what a format can write.

use super::Format;
use crate::{Error, Result};
use std::collections::{HashMap, HashSet};

/// One list of the names in `first` and then those of each list in its order, and for each list the
/// new number of each class. Lists that are all the same stay as they are, names that occur twice
/// included.
///
/// # Errors
/// In words, where lists differ and one has a name twice.
pub(super) fn unite(first: &[String], lists: &[&[String]]) -> Result<(Vec<String>, Vec<Vec<u32>>), String> {
    if let [one, others @ ..] = lists
        && first.is_empty()
        && others.iter().all(|other| other == one)
    {
        let same: Vec<u32> = (0..).take(one.len()).collect();
        return Ok((one.to_vec(), vec![same; lists.len()]));
    }
    let mut names: Vec<String> = Vec::new();
    let mut ids: HashMap<&str, u32> = HashMap::new();
    let mut add = |name| {
        *ids.entry(name).or_insert_with(|| {
            names.push(name.to_owned());
            u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
        })
    };
    first.iter().for_each(|name| {
        add(name.as_str());
    });
    let mut maps = Vec::new();
    for list in lists {
        let mut own = HashSet::new();
        if let Some(name) = list.iter().find(|name| !own.insert(name.as_str())) {
            return Err(format!("two classes have the name {name:?}, so they cannot be told apart by name"));
        }
        maps.push(list.iter().map(|name| add(name.as_str())).collect());
    }
    Ok((names, maps))
}

/// Refuses names that the format cannot write so that they are read again as they are.
///
/// # Errors
/// [`Error::Classes`].
pub(super) fn refuse_unwritable(format: Format, names: &[String]) -> Result<()> {
    let refused = |found: String, remedy: &str| Err(Error::Classes { found, remedy: remedy.into() });
    if names.is_empty() {
        return refused("the data set has no classes, so there is nothing to write".into(), "Check its class list.");
    }
    let by_name = matches!(format, Format::Voc | Format::Cvat | Format::LabelStudio);
    let mut seen = HashSet::new();
    for name in names {
        if name.chars().any(char::is_control) {
            return refused(format!("the class name {name:?} has control characters"), "Change the name.");
        }
        if by_name && (name.is_empty() || name.trim() != name) {
            let found = format!("{format} cannot hold the class name {name:?}: it is empty or has spaces around it");
            return refused(found, "Change the name, or write YOLO or COCO.");
        }
        if by_name && !seen.insert(name) {
            let found = format!("{format} tells classes by name, and two classes have the name {name:?}");
            return refused(found, "Give them different names, or write YOLO or COCO.");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn lists_are_united_in_their_order() {
        let (a, b) = (list(&["dog", "cat"]), list(&["bird", "dog"]));
        let (names, maps) = unite(&[], &[&a, &b]).unwrap();
        assert_eq!(names, ["dog", "cat", "bird"]);
        assert_eq!(maps, [vec![0, 1], vec![2, 0]]);
        let (names, maps) = unite(&list(&["cat"]), &[&a]).unwrap();
        assert_eq!((names, maps), (list(&["cat", "dog"]), vec![vec![1, 0]]));
        let twice = list(&["a", "a"]);
        assert_eq!(unite(&[], &[&twice, &twice]).unwrap().1, [vec![0, 1], vec![0, 1]]);
        assert!(unite(&[], &[&twice, &a]).unwrap_err().contains("two classes have the name \"a\""));
    }

    #[test]
    fn names_that_would_be_read_as_others_are_refused() {
        let refused = |format, names: &[&str]| refuse_unwritable(format, &list(names)).unwrap_err().to_string();
        assert!(refused(Format::Voc, &["a", "a"]).contains("two classes have the name \"a\""));
        assert!(refused(Format::Cvat, &[" a"]).contains("spaces around it"));
        assert!(refused(Format::Yolo, &["a\nb"]).contains("control characters"));
        assert!(refused(Format::Yolo, &[]).contains("no classes"));
        refuse_unwritable(Format::Coco, &list(&["a", "a", " b"])).unwrap();
    }
}
