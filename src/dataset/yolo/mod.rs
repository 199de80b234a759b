//! Ultralytics data sets: a `data.yaml` that names image folders or lists, and one label text file per image.

mod description;
pub(super) mod rows;

use super::{Dataset, DatasetFormat, Sample, fault, files, notes::Note, paths, truth::TruthSource};
use crate::{Error, Result, text};
use description::Description;
use std::{
    collections::{BTreeSet, HashSet},
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The most that is read of a list file: some ten million lines.
const LIST_CAP_BYTES: u64 = 1 << 30;

/// Opens one split of a `data.yaml`, which is given as an absolute path.
pub(super) fn open(yaml: &Path, split: &str) -> Result<Dataset> {
    let description = Description::read(yaml)?;
    let root = root(yaml, &description)?;
    let places = description.split(yaml, split)?;
    let mut notes = Vec::new();
    let mut pictures = Pictures::default();
    for place in places.iter() {
        pictures.add(yaml, split, &root, place, &mut notes)?;
    }
    pictures.check_label_folders(&mut notes);

    let num_classes = description.names.len();
    let samples = pictures
        .list
        .into_iter()
        .map(|Picture { path, label }| Sample::new(&root, path, TruthSource::YoloFile { path: label, num_classes }))
        .collect();
    Ok(Dataset { root, format: DatasetFormat::Yolo, class_names: Some(description.names), samples, notes })
}

/// The folder that `path` names, relative to the file; without `path`, the file's folder.
fn root(yaml: &Path, description: &Description) -> Result<PathBuf> {
    let here = yaml.parent().unwrap_or(Path::new("/"));
    let Some(path) = description.path.as_deref().filter(|p| !p.is_empty()) else { return Ok(here.to_path_buf()) };
    let root = paths::named(here, path);
    if files::is_dir(&root) {
        return Ok(root);
    }
    Err(fault(
        yaml,
        format!("`path: {path}` leads to {}, which is not a folder", root.display()),
        "`path` is absolute or relative to the folder of this file; without it, that folder is taken.",
    ))
}

/// The path of an image's labels, as Ultralytics forms it: the last `/images/` becomes `/labels/`, the suffix `.txt`.
fn label_path(image: &Path) -> PathBuf {
    const IMAGES: &[u8] = b"/images/";
    let bytes = image.as_os_str().as_bytes();
    let path = match bytes.windows(IMAGES.len()).rposition(|window| window == IMAGES) {
        Some(at) => {
            let (before, after) = (&bytes[..at], &bytes[at + IMAGES.len()..]);
            PathBuf::from(OsString::from_vec([before, b"/labels/", after].concat()))
        }
        None => image.to_path_buf(),
    };
    path.with_extension("txt")
}

struct Picture {
    path: PathBuf,
    label: PathBuf,
}

/// The pictures of a split.
#[derive(Default)]
struct Pictures {
    list: Vec<Picture>,
    /// Whether a list file chose some of them: then other pictures may lie beside, and so may their labels.
    chosen: bool,
}

impl Pictures {
    /// Adds what one entry of the split names: a folder or a list file.
    fn add(&mut self, yaml: &Path, split: &str, root: &Path, entry: &str, notes: &mut Vec<String>) -> Result<()> {
        let mut place = paths::named(root, entry);
        // Exports of Roboflow say `../train/images` and mean `train/images`; Ultralytics takes it so.
        if let Some(inside) = entry.strip_prefix("../").or_else(|| entry.strip_prefix("..\\"))
            && !place.exists()
        {
            place = paths::named(root, inside);
        }
        let metadata = std::fs::metadata(&place).map_err(|e| {
            fault(
                yaml,
                format!("`{split}: {entry}` leads to {}, which cannot be opened: {e}", place.display()),
                format!("`{split}` is a folder or a list file, relative to {}; change it or `path`.", root.display()),
            )
        })?;
        if metadata.is_dir() {
            self.add_folder(&place, notes)
        } else if files::kind(&place) == files::Kind::Image {
            let found =
                format!("`{split}: {entry}` is a picture; a folder or a text file that lists pictures is expected");
            Err(fault(yaml, found, format!("Name the folder in `{split}`.")))
        } else {
            self.chosen = true;
            self.add_list(&place, root, notes)
        }
    }

    fn add_folder(&mut self, folder: &Path, notes: &mut Vec<String>) -> Result<()> {
        // Ultralytics resolves links in the folder's path before it looks for labels. Where it would find none, the
        // path as written is tried: an `images` that is a link to another disk, beside a real `labels`.
        let resolved = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        let has_labels = |dir: &Path| label_path(&dir.join("x.jpg")).parent().is_some_and(files::is_dir);
        let base = if has_labels(&resolved) || !has_labels(folder) { resolved } else { folder.to_path_buf() };
        for path in files::walk(folder, notes)?.images {
            let label = label_path(&base.join(path.strip_prefix(folder).unwrap_or(&path)));
            self.list.push(Picture { path, label });
        }
        Ok(())
    }

    /// Adds the pictures that a text file lists, one path a line. `./x` is relative to the list's folder; any other
    /// relative path to the data set's root, or to the list's folder where the first one is only there.
    fn add_list(&mut self, list: &Path, root: &Path, notes: &mut Vec<String>) -> Result<()> {
        let bytes =
            files::read_capped(list, LIST_CAP_BYTES).map_err(|e| Error::io(list, "read the list of images", e))?;
        let here = list.parent().unwrap_or(root);
        let mut others =
            Note::new("listed file is no picture that is decoded", "listed files are no pictures that are decoded");
        let mut base = None;
        let text = text::decode_paths(&bytes)
            .map_err(|found| fault(list, format!("this is no list of images: {found}"), "Save it as UTF-8."))?;
        for line in text::lines(&text) {
            let entry = Path::new(OsStr::from_bytes(line));
            if files::kind(entry) != files::Kind::Image {
                others.add(entry.display());
                continue;
            }
            let base = if line.starts_with(b"./") || line.starts_with(b".\\") || entry.is_absolute() {
                here
            } else {
                *base.get_or_insert_with(|| {
                    let is_below = |folder| paths::named(folder, entry).exists();
                    if !is_below(root) && is_below(here) { here } else { root }
                })
            };
            let path = paths::named(base, entry);
            let label = label_path(&path);
            self.list.push(Picture { path, label });
        }
        others.finish(notes);
        Ok(())
    }

    /// Compares the label files that are there with those that are expected, a folder listing at a time.
    fn check_label_folders(&self, notes: &mut Vec<String>) {
        let expected: HashSet<&Path> = self.list.iter().map(|p| p.label.as_path()).collect();
        let folders: BTreeSet<&Path> = self.list.iter().filter_map(|p| p.label.parent()).collect();
        let beside: HashSet<&Path> = self.list.iter().filter_map(|p| p.path.parent()).collect();
        let mut present = HashSet::new();
        for &folder in &folders {
            let Ok(entries) = folder.read_dir() else { continue };
            let files = entries.filter_map(|e| Some(e.ok()?.path()));
            present.extend(files.filter(|p| p.extension().is_some_and(|e| e == "txt")));
        }
        let mut unlabelled = Note::new("image has no label file", "images have no label file");
        for picture in self.list.iter().filter(|p| !present.contains(&p.label)) {
            unlabelled.add(picture.path.display());
        }
        unlabelled.finish(notes);
        if self.chosen {
            return;
        }
        let mut orphans: Vec<&PathBuf> = present
            .iter()
            .filter(|p| !expected.contains(p.as_path()) && p.file_name() != Some(OsStr::new("classes.txt")))
            .filter(|p| p.parent().is_none_or(|folder| !beside.contains(folder)))
            .collect();
        orphans.sort();
        let mut note = Note::new("label file has no image", "label files have no image");
        orphans.iter().for_each(|p| note.add(p.display()));
        note.finish(notes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_paths_are_those_of_ultralytics() {
        // Printed by ultralytics.data.utils.img2label_paths.
        for (image, label) in [
            ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
            ("/d/images/x/images/a.b.jpeg", "/d/images/x/labels/a.b.txt"),
            ("/d/pictures/a.png", "/d/pictures/a.txt"),
            ("/d/images2/a.png", "/d/images2/a.txt"),
            ("/images/images/a.png", "/images/labels/a.txt"),
        ] {
            assert_eq!(label_path(Path::new(image)), Path::new(label));
        }
    }
}
