//! The `data.yaml` itself.

use super::super::{fault, files};
use crate::{Error, Result, text};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use std::{fmt, path::Path};

/// The most that is read of a `data.yaml`; one with ten thousand class names has a fifth of a megabyte.
const CAP_BYTES: u64 = 8 << 20;
const SPLITS: &str = "train, val or test";

/// What a `data.yaml` says, checked.
#[derive(Debug)]
pub(crate) struct Description {
    /// `path` as written.
    pub(super) path: Option<String>,
    /// Class names by class id.
    pub(super) names: Vec<String>,
    splits: [(&'static str, Option<Places>); 3],
}

impl Description {
    /// Reads and checks the file.
    pub(in crate::dataset) fn read(yaml: &Path) -> Result<Self> {
        let bytes = files::read_capped(yaml, CAP_BYTES).map_err(|e| Error::io(yaml, "read", e))?;
        Self::parse(&bytes).map_err(|(found, remedy)| fault(yaml, found, remedy))
    }

    /// Parses the content; the error is what was found and the remedy.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, (String, String)> {
        let options = serde_saphyr::options! { with_snippet: false };
        let unreadable = |found: &dyn fmt::Display, remedy: &str| {
            (format!("this is not a data.yaml that can be read: {found}"), remedy.to_owned())
        };
        let text = text::decode(bytes).map_err(|found| unreadable(&found, "Save it as UTF-8."))?;
        let raw: Raw = serde_saphyr::from_str_with_options(&text, options).map_err(|e| {
            let remedy = "It needs `train:` (and `val:`, `test:`) and `names:`; indent with spaces, not tabs.";
            unreadable(&e, remedy)
        })?;
        let names = raw.names.ok_or_else(|| {
            let remedy = "List the classes under `names:`, by number (`0: person`) or in order (`- person`).";
            ("`names` is missing: labels are matched to the teacher's classes by name".to_owned(), remedy.to_owned())
        })?;
        let names =
            names.in_order().map_err(|found| (found, "Number the classes 0, 1, 2, ... under `names:`.".into()))?;
        if let Some(nc) = raw.nc
            && nc.trim().parse::<f64>().ok() != Some(names.len() as f64)
        {
            let found = format!("`nc: {nc}` does not agree with `names`, which has {} classes", names.len());
            return Err((found, "Correct `nc` or leave it out.".into()));
        }
        let splits = [("train", raw.train), ("val", raw.val), ("test", raw.test)];
        Ok(Self { path: raw.path, names, splits })
    }

    /// Whether it names the pictures of any split.
    pub(super) fn has_splits(&self) -> bool {
        self.splits.iter().any(|(_, places)| places.as_ref().is_some_and(|places| !places.0.is_empty()))
    }

    /// The splits that it names images of.
    pub(in crate::dataset) fn split_names(&self) -> Vec<&'static str> {
        let filled = |places: &Option<Places>| places.as_ref().is_some_and(|places| !places.0.is_empty());
        self.splits.iter().filter(|(_, places)| filled(places)).map(|(name, _)| *name).collect()
    }

    /// The folders or list files of one split.
    pub(super) fn split(&self, yaml: &Path, split: &str) -> Result<&[String]> {
        let filled = || self.splits.iter().filter_map(|(name, places)| Some((*name, places.as_ref()?.0.as_slice())));
        if let Some((_, places)) = filled().find(|(name, places)| *name == split && !places.is_empty()) {
            return Ok(places);
        }
        let there: Vec<&str> = filled().filter(|(_, places)| !places.is_empty()).map(|(name, _)| name).collect();
        let there = if there.is_empty() { "it has none".to_owned() } else { format!("it has: {}", there.join(", ")) };
        let remedy = format!("Choose one with `split=`, or add `{split}:` ({SPLITS}) to the file.");
        Err(fault(yaml, format!("the data set has no split {split:?}; {there}"), remedy))
    }
}

#[derive(Deserialize)]
#[serde(expecting = "a mapping with `train`, `val` and `names`")]
struct Raw {
    path: Option<String>,
    train: Option<Places>,
    #[serde(alias = "validation")]
    val: Option<Places>,
    test: Option<Places>,
    names: Option<Names>,
    /// As text, since `80`, `80.0` and `"80"` all occur.
    nc: Option<String>,
}

/// One path or a list of them.
#[derive(Debug)]
pub(super) struct Places(Vec<String>);

/// Class names with their ids, unchecked.
struct Names(Vec<(String, String)>);

impl Names {
    /// Names by id, which must be 0, 1, 2, ... in any order.
    fn in_order(self) -> Result<Vec<String>, String> {
        let count = self.0.len();
        if count == 0 {
            return Err("`names` is empty; at least one class is needed".into());
        }
        let mut ordered: Vec<Option<String>> = vec![None; count];
        for (key, name) in self.0 {
            let id = key.trim().parse::<usize>().ok();
            match id.and_then(|id| ordered.get_mut(id)) {
                Some(slot @ None) => *slot = Some(name),
                Some(Some(_)) => return Err(format!("`names` has class {key} twice")),
                None => {
                    return Err(format!(
                        "`names` has {count} classes, so its keys are 0 to {}, but {key:?} is there",
                        count - 1
                    ));
                }
            }
        }
        // `count` distinct ids below `count`: none is left out.
        Ok(ordered.into_iter().flatten().collect())
    }
}

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Places;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a folder or list file, or a list of those")
            }

            fn visit_str<E>(self, place: &str) -> Result<Places, E> {
                // An empty string counts as nothing, as in Ultralytics.
                Ok(Places(if place.is_empty() { vec![] } else { vec![place.to_owned()] }))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Places, A::Error> {
                let mut places = Vec::new();
                while let Some(place) = items.next_element()? {
                    places.push(place);
                }
                Ok(Places(places))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrMap;
        impl<'de> Visitor<'de> for ListOrMap {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("class names as a list, or as a mapping from class numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push((names.len().to_string(), name));
                }
                Ok(Names(names))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    names.push(entry);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(ListOrMap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Description, String> {
        Description::parse(text.as_bytes()).map_err(|(found, remedy)| format!("{found} | {remedy}"))
    }

    fn refused(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn names_as_list_and_map() {
        for text in [
            "train: a\nnames: [cat, 'traffic light', 7, yes]",
            "train: a\nnames:\n  - cat\n  - traffic light\n  - 7\n  - yes\nnc: 4",
            "train: a\nnames:\n  3: yes\n  0: cat\n  '2': \"7\"\n  1: traffic light\nnc: 4.0",
            "\u{feff}# comment\ntrain: a\nnc: '4'\nnames: {0: cat, 1: traffic light, 2: 7, 3: yes}\ndownload: |\n  from x import y\n",
        ] {
            assert_eq!(parse(text).unwrap().names, ["cat", "traffic light", "7", "yes"], "{text}");
        }
    }

    #[test]
    fn splits_as_one_or_many() {
        let yaml = Path::new("data.yaml");
        let description = parse("names: [a]\ntrain: [x, y]\nvalidation: z\ntest:\n").unwrap();
        assert_eq!(description.split(yaml, "train").unwrap(), ["x", "y"]);
        assert_eq!(description.split(yaml, "val").unwrap(), ["z"]);
        let error = description.split(yaml, "test").unwrap_err().to_string();
        assert_eq!(
            error,
            "data.yaml: the data set has no split \"test\"; it has: train, val\n  Choose one with `split=`, or add `test:` \
             (train, val or test) to the file."
        );
        let error = parse("names: [a]\ntrain: ''\nval: []").unwrap().split(yaml, "val").unwrap_err().to_string();
        assert!(error.contains("it has none"), "{error}");
    }

    #[test]
    fn wrong_descriptions_are_named() {
        for (text, words) in [
            ("train: a\n", "`names` is missing"),
            ("train: a\nnc: 3\nnames:\n", "`names` is missing"),
            ("train: a\nnames: []", "`names` is empty"),
            ("train: a\nnames: {}", "`names` is empty"),
            ("train: a\nnames: {1: a, 2: b}", "its keys are 0 to 1, but \"2\" is there"),
            ("train: a\nnames: {0: a, -1: b}", "\"-1\" is there"),
            ("train: a\nnames: {0: a, '0': b}", "class 0 twice"),
            ("train: a\nnames: {cat: 0}", "\"cat\" is there"),
            ("train: a\nnames: cat", "class names as a list"),
            ("train: a\nnames: [[a]]", "not a data.yaml that can be read"),
            ("train: {a: b}\nnames: [a]", "a folder or list file"),
            ("train: a\nnc: 3\nnames: [a]", "`nc: 3` does not agree with `names`, which has 1 classes"),
            ("train: a\nnc: many\nnames: [a]", "`nc: many` does not agree"),
            ("train: a\nnames:\n\t0: cat", "not a data.yaml that can be read"),
            ("train: a\ntrain: b\nnames: [a]", "not a data.yaml that can be read"),
            ("- a\n- b", "not a data.yaml that can be read"),
            ("just words", "not a data.yaml that can be read"),
            ("", "`names` is missing"),
            ("train: [a\nnames: [b", "not a data.yaml that can be read"),
            ("\0\u{1}\u{2}", "not a data.yaml that can be read"),
        ] {
            let error = parse(text).map(|d| format!("{d:?}")).unwrap_or_else(|e| e);
            assert!(error.contains(words), "{text:?} gave: {error}");
        }
        assert!(Description::parse(b"train: \xff\xfe\nnames: [a]").is_err());
    }

    #[test]
    fn hostile_yaml_is_an_error() {
        let laughs = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, i| {
            text + &format!("a{i}: &a{i} [*a{}, *a{}, *a{}, *a{}]\n", i - 1, i - 1, i - 1, i - 1)
        });
        for text in [
            "[".repeat(200_000),
            "{a: ".repeat(200_000),
            (0..20_000).map(|depth| " ".repeat(depth) + "a:\n").collect(),
            "- ".repeat(100_000),
            format!("names: {}", "[".repeat(100_000)),
            format!("{laughs}names: *a29\ntrain: a"),
            "a: ".repeat(100_000),
            "names: [".to_owned() + &"a,".repeat(2_000_000) + "]",
        ] {
            let error = refused(&text);
            assert!(error.contains("not a data.yaml that can be read"), "{}", &error[..error.len().min(300)]);
            assert!(error.len() < 2000, "an error message stays short");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Description::parse(&bytes);
        }

        #[test]
        fn any_yaml_like_text_never_panics(text in "(names|train|path|nc|[0-9]|&a|\\*a|!!str|<<|[-:\\[\\]{}, \n\t'\"|>?#a])(:|: |\n|\n  )?{0,60}") {
            let _ = parse(&text);
        }
    }
}
