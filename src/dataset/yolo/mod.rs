//! Ultralytics data sets: a `data.yaml` that names image folders or lists, and one label text file per image.

pub(crate) mod description;
pub(super) mod rows;

use super::{
    Dataset, DatasetFormat, Sample, fault,
    files::{self, Kind, Skipped},
    notes::Note,
    truth::TruthSource,
    unread,
};
use crate::{Error, Result, text};
use description::Description;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
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
    let unread = pictures.find_labels(&root, &mut notes);

    let num_classes = description.names.len();
    let samples = pictures
        .list
        .into_iter()
        .map(|Picture { path, label }| Sample::new(&root, path, TruthSource::YoloFile { path: label, num_classes }))
        .collect();
    let dataset = Dataset::new(root, DatasetFormat::Yolo, Some(description.names), samples, notes);
    Ok(dataset.with_passed_over(pictures.passed_over).with_unread_labels(unread))
}

/// Files at the top of a folder that are a `data.yaml`, whatever their name, sorted.
pub(super) fn descriptions(folder: &Path) -> Vec<PathBuf> {
    let is_yaml = |path: &PathBuf| {
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
    };
    let entries = folder.read_dir().into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let describes = |path: &PathBuf| Description::read(path).is_ok_and(|description| description.has_splits());
    let mut found: Vec<PathBuf> = entries.filter(|path| is_yaml(path) && describes(path)).collect();
    found.sort();
    found
}

/// The folder that `path` names, relative to the file; without `path`, the file's folder.
fn root(yaml: &Path, description: &Description) -> Result<PathBuf> {
    let here = yaml.parent().unwrap_or(Path::new("/"));
    let Some(path) = description.path.as_deref().filter(|p| !p.is_empty()) else { return Ok(here.to_path_buf()) };
    let root = files::named(here, path);
    if files::is_dir(&root) {
        return Ok(root);
    }
    Err(fault(
        yaml,
        format!("`path: {path}` leads to {}, which is not a folder", root.display()),
        "`path` is absolute or relative to the folder of this file; without it, that folder is used.",
    ))
}

/// The path of an image's labels, as Ultralytics forms it: the last `/images/` becomes `/labels/`, the suffix `.txt`.
pub(super) fn label_path(image: &Path) -> PathBuf {
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
    /// Where its label file is looked for; where it lies, once [`Pictures::find_labels`] is
    /// through.
    label: PathBuf,
}

/// The pictures of a split.
#[derive(Default)]
struct Pictures {
    list: Vec<Picture>,
    /// Whether a list file chose some of them: then other pictures may lie beside, and so may their labels.
    chosen: bool,
    passed_over: Vec<Skipped>,
    /// Where the labels of those are: they have a picture, be it one that is not decoded.
    passed_over_labels: HashSet<PathBuf>,
}

impl Pictures {
    /// Adds what one entry of the split names: a folder or a list file.
    fn add(&mut self, yaml: &Path, split: &str, root: &Path, entry: &str, notes: &mut Vec<String>) -> Result<()> {
        let mut place = files::named(root, entry);
        // Exports of Roboflow say `../train/images` and mean `train/images`; Ultralytics takes it so.
        if let Some(inside) = entry.strip_prefix("../").or_else(|| entry.strip_prefix("..\\"))
            && !place.exists()
        {
            place = files::named(root, inside);
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
        } else if files::is_named_as_image(&place) {
            let found =
                format!("`{split}: {entry}` is an image; a folder or a text file that lists images is expected");
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
        let label = |path: &Path| label_path(&base.join(path.strip_prefix(folder).unwrap_or(path)));
        let found = files::walk(folder, notes)?;
        self.list.extend(found.images.into_iter().map(|path| Picture { label: label(&path), path }));
        self.passed_over_labels.extend(found.passed_over.iter().map(|(path, _)| label(path)));
        self.passed_over.extend(found.passed_over);
        Ok(())
    }

    /// Adds the pictures that a text file lists, one path a line. `./x` is relative to the list's folder; any other
    /// relative path to the data set's root, or to the list's folder where the first one is only there.
    fn add_list(&mut self, list: &Path, root: &Path, notes: &mut Vec<String>) -> Result<()> {
        let bytes =
            files::read_capped(list, LIST_CAP_BYTES).map_err(|e| Error::io(list, "read the list of images", e))?;
        let here = list.parent().unwrap_or(root);
        let mut others = Note::new("listed file is not a supported image", "listed files are not supported images");
        let mut base = None;
        let text = text::decode_paths(&bytes)
            .map_err(|found| fault(list, format!("this is not a list of images: {found}"), "Save it as UTF-8."))?;
        for line in text::lines(&text) {
            let entry = Path::new(OsStr::from_bytes(line));
            let is_fixed = line.starts_with(b"./") || line.starts_with(b".\\") || entry.is_absolute();
            let is_below = |folder: &Path| files::named(folder, entry).symlink_metadata().is_ok();
            let only_here = || !is_below(root) && is_below(here);
            let path = if files::is_named_as_image(entry) {
                let first_base = || if only_here() { here } else { root };
                files::named(if is_fixed { here } else { base.get_or_insert_with(first_base) }, entry)
            } else {
                let path = files::named(if is_fixed || only_here() { here } else { root }, entry);
                let reason = match files::kind(&path) {
                    Kind::Image => None,
                    Kind::UnreadableImage => Some(files::not_decoded(&path)),
                    _ => Some(format!("listed, but not an image by its name or its first bytes: {}", files::DECODED)),
                };
                if let Some(reason) = reason {
                    others.add(entry.display());
                    self.passed_over_labels.insert(label_path(&path));
                    self.passed_over.push((path, reason));
                    continue;
                }
                path
            };
            let label = label_path(&path);
            self.list.push(Picture { path, label });
        }
        others.finish(notes);
        Ok(())
    }

    /// Finds the label file of each picture: where the rule says or, where none is there, beside
    /// the picture. Tells of all that are not as expected, comparing a folder's listing at a time;
    /// returns what is told of labels that were not read.
    fn find_labels(&mut self, root: &Path, notes: &mut Vec<String>) -> Option<String> {
        let expected: HashSet<PathBuf> = self.list.iter().map(|p| p.label.clone()).collect();
        let present = texts_in(self.list.iter().filter_map(|p| p.label.parent()));
        let beside = texts_in(self.list.iter().filter_map(|p| p.path.parent()));
        let mut taken = BTreeSet::new();
        let mut left = Note::new(
            "label file beside its image was not read, because another is in `labels`",
            "label files beside their images were not read, because others are in `labels`",
        );
        for picture in &mut self.list {
            let own = picture.path.with_extension("txt");
            if own == picture.label || !beside.contains(&own) {
                continue;
            }
            if !present.contains(&picture.label) {
                taken.insert(own.clone());
                picture.label = own;
            } else if own.canonicalize().ok() != picture.label.canonicalize().ok() {
                left.add(own.display());
            }
        }
        if !taken.is_empty() {
            let folder = files::folder_of(taken.iter().map(PathBuf::as_path));
            let words =
                if taken.len() == 1 { "label file is beside its image" } else { "label files are beside their images" };
            notes.push(format!(
                "{} {words} in {}, not in `labels`, and will be read there",
                taken.len(),
                folder.display()
            ));
        }
        left.finish(notes);

        let there = |label: &PathBuf| present.contains(label) || beside.contains(label);
        let mut note = Note::new("image has no label file", "images have no label file");
        let unlabelled: Vec<&Path> = self
            .list
            .iter()
            .filter(|p| !there(&p.label))
            .map(|p| p.path.as_path())
            .inspect(|path| note.add(path.display()))
            .collect();
        note.finish(notes);
        self.note_shared(&there, notes);
        if !self.chosen {
            let folders: HashSet<&Path> = self.list.iter().filter_map(|p| p.path.parent()).collect();
            let has_image = |label: &PathBuf| expected.contains(label) || self.passed_over_labels.contains(label);
            let mut orphans: Vec<&PathBuf> = present
                .iter()
                .filter(|p| !has_image(p) && p.file_name() != Some(OsStr::new("classes.txt")))
                .filter(|p| p.parent().is_none_or(|folder| !folders.contains(folder)))
                .collect();
            orphans.sort();
            let mut note = Note::new("label file has no image", "label files have no image");
            orphans.iter().for_each(|p| note.add(p.display()));
            note.finish(notes);
        }
        unread::elsewhere(root, &unlabelled, &self.list.iter().map(|p| p.label.clone()).collect())
    }

    /// Pictures that differ in their suffix alone have one label file, as in Ultralytics; it was
    /// written for one of them.
    fn note_shared(&self, there: &dyn Fn(&PathBuf) -> bool, notes: &mut Vec<String>) {
        let mut owners: BTreeMap<&PathBuf, BTreeSet<&Path>> = BTreeMap::new();
        for picture in self.list.iter().filter(|p| there(&p.label)) {
            owners.entry(&picture.label).or_default().insert(&picture.path);
        }
        let mut note = Note::new(
            "label file is shared by images of the same name",
            "label files are shared by images of the same name",
        );
        for (label, pictures) in owners.iter().filter(|(_, pictures)| pictures.len() > 1) {
            note.add(format_args!("{} by {} images", label.display(), pictures.len()));
        }
        note.finish(notes);
    }
}

/// The text files in these folders, whatever the case of their suffix.
fn texts_in<'a>(folders: impl Iterator<Item = &'a Path>) -> HashSet<PathBuf> {
    let folders: BTreeSet<&Path> = folders.collect();
    let entries = folders.into_iter().flat_map(|folder| folder.read_dir().into_iter().flatten());
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("txt"))).collect()
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
