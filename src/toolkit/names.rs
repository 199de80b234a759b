//! Names that images get in a written data set: those that they had below the folder of their
//! split, made so that every format can hold them and no two are the same.

use super::Format;
use crate::dataset::paths;
use std::{
    collections::{HashMap, HashSet},
    path::{Component, Path},
};

/// Gives out names. In a format whose label files share one folder, a name occurs once in the whole
/// data set.
#[derive(Debug)]
pub(super) struct Names {
    format: Format,
    /// Stems that are taken, each with its split where splits have folders of their own.
    taken: HashSet<(usize, String)>,
    /// Names of images that more than one split lists, in a format that writes such an image once.
    given: HashMap<(usize, String), String>,
}

/// A name, and how it came about.
#[derive(Debug, PartialEq)]
pub(super) struct Name {
    /// Relative to the folder of its split; `/` between folders.
    pub(super) name: String,
    /// Whether the image is written already, for another split.
    pub(super) again: bool,
}

impl Names {
    pub(super) fn new(format: Format) -> Self {
        Self { format, taken: HashSet::new(), given: HashMap::new() }
    }

    /// The name of an image of data set number `origin`, which lies at `path` below the folder of
    /// its split.
    pub(super) fn give(&mut self, origin: usize, split: usize, path: &Path, folder: &Path) -> Name {
        let flat = self.format == Format::Voc;
        let key = (origin, paths::to_column(path));
        if let Some(name) = self.given.get(&key).filter(|_| flat) {
            return Name { name: name.clone(), again: true };
        }
        let wanted = self.wanted(path, folder);
        let (stem, suffix) = match wanted.rsplit_once('.') {
            Some((stem, suffix)) if !stem.is_empty() && !suffix.contains('/') => (stem, format!(".{suffix}")),
            _ => (wanted.as_str(), String::new()),
        };
        let scope = if flat { 0 } else { split };
        let numbered = (2u64..).map(|number| format!("{stem}_{number}"));
        let mut all = [stem.to_owned()].into_iter().chain(numbered);
        let stem = all.find(|stem| self.taken.insert((scope, stem.clone()))).unwrap_or_default();
        let name = stem + &suffix;
        if flat {
            self.given.insert(key, name.clone());
        }
        Name { name, again: false }
    }

    fn wanted(&self, path: &Path, folder: &Path) -> String {
        let inside = path.strip_prefix(folder).unwrap_or(path);
        let parts = inside.components().filter_map(|component| match component {
            Component::Normal(part) => Some(self.part(&paths::to_column(Path::new(part)))),
            _ => None,
        });
        let parts: Vec<String> = parts.collect();
        parts.join(if self.format == Format::Voc { "_" } else { "/" })
    }

    /// One folder or file name: lists of images are split at white space, hidden names are passed
    /// over, and the label file of an image lies beside the last folder that is called `images`.
    fn part(&self, part: &str) -> String {
        let spaces = self.format == Format::Voc;
        let odd = |c: char| c.is_control() || c == '\\' || (spaces && c.is_whitespace());
        let mut text: String = part.chars().map(|c| if odd(c) { '_' } else { c }).collect();
        if text.starts_with('.') {
            text.insert(0, '_');
        }
        if text == "images" {
            text.push('_');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    fn names(format: Format, paths: &[(usize, &str)]) -> Vec<String> {
        let mut names = Names::new(format);
        let give = |(split, path): &(usize, &str)| names.give(0, *split, Path::new(path), Path::new("/d")).name;
        paths.iter().map(give).collect()
    }

    #[test]
    fn no_two_images_share_a_label_file() {
        let paths = [(0, "/d/a.jpg"), (0, "/d/a.png"), (1, "/d/a.jpg"), (0, "/d/b/a.jpg"), (0, "/d/a_2.jpg")];
        assert_eq!(names(Format::Yolo, &paths), ["a.jpg", "a_2.png", "a.jpg", "b/a.jpg", "a_2_2.jpg"]);
        assert_eq!(names(Format::Voc, &paths), ["a.jpg", "a_2.png", "a.jpg", "b_a.jpg", "a_2_2.jpg"]);
    }

    #[test]
    fn what_a_reader_would_take_otherwise_is_changed() {
        let odd = [
            (0, "/d/.a.jpg"),
            (0, "/d/images/b c.jpg"),
            (0, "/d/a\\b\n.jpg"),
            (0, "/elsewhere/x.jpg"),
            (0, "/d/noext"),
        ];
        assert_eq!(names(Format::Yolo, &odd), ["_.a.jpg", "images_/b c.jpg", "a_b_.jpg", "elsewhere/x.jpg", "noext"]);
        assert_eq!(names(Format::Voc, &odd)[1], "images__b_c.jpg");
        let mut names = Names::new(Format::Coco);
        let bytes = Path::new(OsStr::from_bytes(b"/d/\xff.jpg"));
        assert_eq!(names.give(0, 0, bytes, Path::new("/d")).name, "percent:%FF.jpg");
    }

    #[test]
    fn one_image_of_two_splits_is_written_once_where_splits_are_lists() {
        let mut names = Names::new(Format::Voc);
        let mut give = |origin, split| names.give(origin, split, Path::new("/d/a.jpg"), Path::new("/d"));
        assert_eq!(give(0, 0), Name { name: "a.jpg".into(), again: false });
        assert_eq!(give(0, 1), Name { name: "a.jpg".into(), again: true });
        assert_eq!(give(1, 1), Name { name: "a_2.jpg".into(), again: false });
    }
}
