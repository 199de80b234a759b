//! Which class of the model a class of the data set is, where their names differ.

use crate::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Names of a data set's classes and, of each, the name that the model has for it. Several may be one class of the model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NameMap(BTreeMap<String, String>);

impl NameMap {
    /// From pairs of a data set's name and the model's.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for a class that is two of the model.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut map = BTreeMap::new();
        for (own, models) in pairs {
            match map.insert(own.clone(), models.clone()) {
                Some(other) if other != models => {
                    return Err(Error::Mismatch {
                        found: format!("`map=` maps {own:?} to {other:?} and also to {models:?}"),
                        remedy: "A class is mapped to one class of the model: leave one of the two out.".into(),
                    });
                }
                _ => {}
            }
        }
        Ok(Self(map))
    }

    /// Whether no class has another name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This map, and what `other` says of classes that are not in it.
    pub fn or(&self, other: &Self) -> Self {
        Self(other.0.iter().chain(&self.0).map(|(own, models)| (own.clone(), models.clone())).collect())
    }

    /// The model's names for a list of the data set's; what is not in the map, or is no class of the model, keeps its name.
    pub fn renamed(&self, names: &[String]) -> Vec<String> {
        let models = |name: &String| self.0.get(name).filter(|models| !models.is_empty()).unwrap_or(name).clone();
        names.iter().map(models).collect()
    }

    /// Whether the map says that this class of the data set is none of the model (its other name is empty).
    pub fn is_no_class(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(String::is_empty)
    }

    /// Each pair, in the order of the data set's names.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(own, models)| (own.as_str(), models.as_str()))
    }
}

impl fmt::Display for NameMap {
    /// `"raccoon" as "cat", "fox" as "dog"`, of a long map the first ten.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        for (at, (own, models)) in self.pairs().take(SHOWN).enumerate() {
            write!(f, "{}{own:?} as {models:?}", if at > 0 { ", " } else { "" })?;
        }
        if self.0.len() > SHOWN { write!(f, ", and {} more", self.0.len() - SHOWN) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> NameMap {
        NameMap::new(pairs.iter().map(|&(own, models)| (own.to_owned(), models.to_owned()))).unwrap()
    }

    #[test]
    fn names_are_replaced_and_the_nearer_map_counts() {
        let names = ["raccoon", "fox", "cup"].map(str::to_owned);
        assert_eq!(map(&[("raccoon", "cat"), ("fox", "cat")]).renamed(&names), ["cat", "cat", "cup"]);
        let both = map(&[("fox", "dog")]).or(&map(&[("fox", "cat"), ("cup", "bowl")]));
        assert_eq!(both, map(&[("fox", "dog"), ("cup", "bowl")]));
        assert_eq!(both.pairs().collect::<Vec<_>>(), [("cup", "bowl"), ("fox", "dog")]);
        assert!(map(&[]).is_empty() && !both.is_empty());
        let none = map(&[("fox", "")]);
        assert_eq!(none.renamed(&names), names);
        assert!(none.is_no_class("fox") && !none.is_no_class("cup"));
    }

    #[test]
    fn one_class_is_not_two() {
        let pair = |models: &str| ("raccoon".to_owned(), models.to_owned());
        assert!(NameMap::new([pair("cat"), pair("cat")]).is_ok());
        let error = NameMap::new([pair("cat"), pair("dog")]).unwrap_err().to_string();
        assert!(error.contains("\"raccoon\" to \"cat\" and also to \"dog\""), "{error}");
    }
}
