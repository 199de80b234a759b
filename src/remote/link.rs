//! An image or a label file that lies in an object store: a symbolic link whose text names the object and its version.

use super::ObjectUrl;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// An object, as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) url: ObjectUrl,
    pub(crate) bytes: u64,
    /// What the store calls this version; empty where it calls it nothing.
    pub(crate) etag: String,
}

impl Link {
    /// The link at `path`; `None` where there is none, or one to something else.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_link(path).ok()?)
    }

    /// `s3://bucket/key#<bytes>,<ETag>`; the key may hold a `#`, what follows the last one is never of the key.
    pub(crate) fn text(&self) -> PathBuf {
        format!("{}#{},{}", self.url, self.bytes, self.etag).into()
    }

    fn parse(text: &Path) -> Option<Self> {
        let (url, version) = text.to_str()?.rsplit_once('#')?;
        let (bytes, etag) = version.split_once(',')?;
        let url = ObjectUrl::parse(Path::new(url)).ok()??;
        Some(Self { url, bytes: bytes.parse().ok()?, etag: etag.to_owned() })
    }
}

/// Whether something in an object store is meant.
pub(crate) fn is_link(path: &Path) -> bool {
    Link::at(path).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_link_says_what_it_was_made_of(key in "[a-z#%, é]{1,12}", bytes: u64, etag in "[\"a-z0-9,-]{0,12}") {
            let url = ObjectUrl { scheme: "s3", bucket: "b".into(), key };
            let link = Link { url, bytes, etag };
            prop_assert_eq!(Link::parse(&link.text()), Some(link));
        }
    }

    #[test]
    fn other_links_are_none() {
        for text in ["../a.jpg", "s3://b/a.jpg", "http://b/a.jpg#1,x", "s3://b/a.jpg#x,1"] {
            assert_eq!(Link::parse(Path::new(text)), None, "{text}");
        }
    }
}
