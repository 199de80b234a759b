//! Labels that are there and were not read: how many, where they lie, and what to do to have them
//! read.
//!
//! Nothing here decides what is read. A file counts as the label file of a picture where it has the
//! picture's name and looks like what it should be; a few of each kind are opened for that.

use super::{
    files::{self, Found},
    yolo::{self, label_path},
};
use crate::text;
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Entries of a data set's folder that are looked at, at most: its root may be a whole disk.
const MOST_ENTRIES: usize = 200_000;
/// Files of a kind that are opened.
const MOST_OPENED: usize = 20;
/// What is read of each.
const HEAD_BYTES: u64 = 1 << 16;
/// The most that is read of a list of class names.
const NAMES_CAP_BYTES: u64 = 1 << 20;
/// Class names that a line of YAML spells out.
const MOST_NAMES: usize = 100;
/// Files that name the classes of YOLO labels, one a line.
const NAMES_FILES: [&str; 6] =
    ["classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt", "names.txt", "labels.txt"];
/// Where Pascal VOC has its XML files, beside the folder of the pictures.
const XML_FOLDERS: [&str; 3] = ["Annotations", "annotations", "xml"];

/// Labels of a folder that was taken for plain pictures. `descriptions` are the files at its top
/// that could describe it, where they are several.
pub(super) fn of_folder(data: &Path, found: &Found, descriptions: &[PathBuf]) -> Option<String> {
    let names = Names::of(found.images.iter().map(PathBuf::as_path));
    let described = (!descriptions.is_empty()).then(|| {
        let files: Vec<String> = descriptions.iter().map(|file| file.display().to_string()).collect();
        format!(
            "{} files describe this folder, and none of them was read; give one as `data=`: {}",
            files.len(),
            files.join(", ")
        )
    });
    let all = [described.or_else(|| rows(data, found, &names)), xml(data, &names), json(data, found, &names)];
    let said: Vec<String> = all.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// Label files below `root` with the names of pictures for which none was found where they belong;
/// `used` are those that were.
pub(super) fn elsewhere(root: &Path, unlabelled: &[&Path], used: &HashSet<PathBuf>) -> Option<String> {
    let first = unlabelled.first()?;
    let names = Names::of(unlabelled.iter().copied());
    let hidden =
        |entry: &walkdir::DirEntry| entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
    let entries = WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|entry| !hidden(entry));
    let named = entries.take(MOST_ENTRIES).flatten().map(walkdir::DirEntry::into_path).filter(|path| names.has(path));
    let (mut texts, mut xml) = (Vec::new(), Vec::new());
    let mut pictures = Pictures::default();
    for path in named.filter(|path| !used.contains(path)) {
        if has_suffix(&path, "txt") {
            // Another split may have pictures of the same names, with labels of their own.
            if !pictures.have(&path) {
                texts.push(path);
            }
        } else if has_suffix(&path, "xml") {
            xml.push(path);
        }
    }
    if any(&texts, is_rows) {
        return Some(format!(
            "{}, although named like images without labels: the labels of {} are expected in {}, or beside \
             the image",
            not_read(&texts, "text file"),
            first.display(),
            label_path(first).display()
        ));
    }
    any(&xml, |head| head.contains("<annotation")).then(|| {
        format!(
            "{}, although named like images without labels; give that folder as `data=`, with `images={}`, \
             for Pascal VOC labels",
            not_read(&xml, "XML file"),
            files::folder_of(unlabelled.iter().copied()).display()
        )
    })
}

/// Names of pictures without their suffix.
struct Names<'a>(HashSet<&'a OsStr>);

impl<'a> Names<'a> {
    fn of(pictures: impl Iterator<Item = &'a Path>) -> Self {
        Self(pictures.filter_map(Path::file_stem).collect())
    }

    /// Whether a file is named after a picture: `a.txt` or `a.jpg.txt` after `a.jpg`.
    fn has(&self, file: &Path) -> bool {
        let Some(stem) = file.file_stem() else { return false };
        let inner = Path::new(stem);
        self.0.contains(stem)
            || (files::is_named_as_image(inner) && inner.file_stem().is_some_and(|stem| self.0.contains(stem)))
    }
}

/// Names of the pictures in the folders that were looked at.
#[derive(Default)]
struct Pictures(HashMap<PathBuf, HashSet<OsString>>);

impl Pictures {
    /// Whether a label file belongs to a picture: one in the folder of `images` that goes with its
    /// `labels`, or one beside it.
    fn have(&mut self, label: &Path) -> bool {
        let (Some(folder), Some(stem)) = (label.parent(), label.file_stem()) else { return false };
        let mut parts: Vec<&OsStr> = folder.iter().collect();
        let other = parts.iter().rposition(|part| *part == "labels").map(|at| {
            parts[at] = OsStr::new("images");
            parts.iter().collect::<PathBuf>()
        });
        let folders = [Some(folder.to_path_buf()), other];
        folders.into_iter().flatten().any(|folder| {
            let names = self.0.entry(folder).or_insert_with_key(|folder| {
                let pictures = listing(folder).filter(|path| files::is_named_as_image(path));
                pictures.filter_map(|path| Some(path.file_stem()?.to_owned())).collect()
            });
            names.contains(stem)
        })
    }
}

/// YOLO label files that no `data.yaml` describes.
fn rows(data: &Path, found: &Found, names: &Names<'_>) -> Option<String> {
    let mut texts: BTreeSet<PathBuf> = found.texts.iter().filter(|text| names.has(text)).cloned().collect();
    // Where the rule looks may lie outside, as `labels` does beside `images`.
    let expected: HashSet<PathBuf> = found.images.iter().map(|image| label_path(image)).collect();
    let outside: BTreeSet<&Path> =
        expected.iter().filter_map(|label| label.parent()).filter(|folder| !folder.starts_with(data)).collect();
    texts.extend(outside.into_iter().flat_map(listing).filter(|path| expected.contains(path)));
    let texts: Vec<PathBuf> = texts.into_iter().collect();
    if !any(&texts, is_rows) {
        return None;
    }
    let labels = files::folder_of(texts.iter().map(PathBuf::as_path));
    let home = files::common_folder(data, &labels);
    let not_read = not_read(&texts, "label file");
    if let Some(yaml) = yolo::descriptions(&home).first() {
        return Some(format!("{not_read}; give {} as `data=`, which describes them", yaml.display()));
    }
    let (there, class_names) = class_names([&home, data, &labels, labels.parent().unwrap_or(&labels)]);
    let there = match there.as_slice() {
        [] => String::new(),
        [one] => format!(" ({one} is there)"),
        several => format!(" ({} are there)", several.join(" and ")),
    };
    let beside = |image: &PathBuf| texts.binary_search(&image.with_extension("txt")).is_ok();
    let fits = texts.iter().any(|text| expected.contains(text)) || found.images.iter().any(beside);
    let place = match found.images.first().filter(|_| !fits) {
        Some(first) => {
            format!("Move them: the labels of {} belong to {}. Then w", first.display(), label_path(first).display())
        }
        None => "W".to_owned(),
    };
    let (line, rest) = description(&home, found, &class_names);
    Some(format!(
        "{not_read}: no data.yaml names their classes{there}. {place}rite {} with the line `{line}`{rest} and give it \
         as `data=`",
        home.join("data.yaml").display()
    ))
}

/// A whole `data.yaml` in one line, and what is left to fill in.
fn description(home: &Path, found: &Found, class_names: &[String]) -> (String, &'static str) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let place = |folder: &Path| match folder.strip_prefix(home) {
        Ok(inside) if !inside.as_os_str().is_empty() => quoted(&inside.to_string_lossy()),
        _ => quoted("."),
    };
    let split = |names: &[&str]| {
        let places = names.iter().flat_map(|name| [home.join(name), home.join("images").join(name)]);
        places.into_iter().find(|place| found.images.iter().any(|image| image.starts_with(place)))
    };
    let (train, val) = match (split(&["train"]), split(&["val", "valid", "validation"])) {
        (Some(train), Some(val)) => (train, val),
        _ => {
            let all = files::folder_of(found.images.iter().map(PathBuf::as_path));
            (all.clone(), all)
        }
    };
    let (names, rest) = if class_names.is_empty() || class_names.len() > MOST_NAMES {
        ("...".to_owned(), ", with the class names in the order of their ids in place of the dots,")
    } else {
        (class_names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "), "")
    };
    (format!("{{train: {}, val: {}, names: [{names}]}}", place(&train), place(&val)), rest)
}

/// Files of annotation tools that lie in the first of these folders that has any, and the class
/// names that they give.
fn class_names(folders: [&Path; 4]) -> (Vec<String>, Vec<String>) {
    for folder in folders {
        let mut there = Vec::new();
        let mut names = Vec::new();
        for path in listing(folder) {
            let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
            let of_file = if NAMES_FILES.contains(&name) || has_suffix(&path, "names") {
                names_in_lines(&path)
            } else if name == "notes.json" {
                names_in_notes(&path)
            } else if has_suffix(&path, "data") {
                None
            } else {
                continue;
            };
            there.push(name.to_owned());
            if names.is_empty() {
                names = of_file.unwrap_or_default();
            }
        }
        if !there.is_empty() {
            return (there, names);
        }
    }
    (Vec::new(), Vec::new())
}

fn names_in_lines(path: &Path) -> Option<Vec<String>> {
    let bytes = files::read_capped(path, NAMES_CAP_BYTES).ok()?;
    let text = text::decode(&bytes).ok()?;
    Some(text::rows(&text).map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

/// Of Label Studio.
fn names_in_notes(path: &Path) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Notes {
        categories: Vec<Category>,
    }
    #[derive(Deserialize)]
    struct Category {
        id: usize,
        name: String,
    }
    let bytes = files::read_capped(path, NAMES_CAP_BYTES).ok()?;
    let notes: Notes = serde_json::from_str(&text::decode(&bytes).ok()?).ok()?;
    let by_id: BTreeMap<usize, String> = notes.categories.into_iter().map(|c| (c.id, c.name)).collect();
    by_id.keys().copied().eq(0..by_id.len()).then(|| by_id.into_values().collect())
}

/// Pascal VOC annotations beside the folder of the pictures.
fn xml(data: &Path, names: &Names<'_>) -> Option<String> {
    let above = data.parent()?;
    let of_folder = |folder: PathBuf| {
        let files: Vec<PathBuf> = listing(&folder).filter(|path| has_suffix(path, "xml") && names.has(path)).collect();
        any(&files, |head| head.contains("<annotation")).then(|| {
            let not_read = not_read(&files, "XML file");
            format!("{not_read}; give that folder as `data=`, with `images={}`", data.display())
        })
    };
    XML_FOLDERS.into_iter().map(|name| above.join(name)).filter(|folder| *folder != data).find_map(of_folder)
}

/// A COCO file in the folder or beside it, or one JSON file a picture.
fn json(data: &Path, found: &Found, names: &Names<'_>) -> Option<String> {
    let (of_pictures, others): (Vec<&PathBuf>, Vec<&PathBuf>) = found.json.iter().partition(|path| names.has(path));
    let beside = data.parent().map(|above| [above.to_path_buf(), above.join("annotations")]).into_iter().flatten();
    let beside: Vec<PathBuf> =
        beside.flat_map(|folder| listing(&folder).collect::<Vec<_>>()).filter(|p| has_suffix(p, "json")).collect();
    let pictures: HashSet<&str> = found.images.iter().filter_map(|image| image.file_name()?.to_str()).collect();
    let inside = others.into_iter().take(MOST_OPENED).filter(|path| is_coco(&head(path)));
    // What lies outside of the folder may be of other pictures.
    let outside = beside.iter().take(MOST_OPENED).filter(|path| {
        let head = head(path);
        is_coco(&head) && head.split('"').any(|word| pictures.contains(word.rsplit(['/', '\\']).next().unwrap_or(word)))
    });
    let coco: Vec<String> = inside.chain(outside).map(|path| path.display().to_string()).collect();
    if let Some(first) = coco.first() {
        return Some(match coco.len() {
            1 => format!(
                "{first} looks like a COCO file and was not read; give it as `data=`, with `images=DIR` for its images"
            ),
            count => format!(
                "{count} files look like COCO files and were not read, one is {first}; give one as `data=`, with \
                 `images=DIR` for its images"
            ),
        });
    }
    let labels = |head: &str| ["\"shapes\"", "\"objects\"", "\"annotations\""].iter().any(|key| head.contains(key));
    let of_pictures: Vec<PathBuf> = of_pictures.into_iter().cloned().collect();
    any(&of_pictures, labels).then(|| {
        format!(
            "{}: the only JSON files that can be read are COCO files; convert them to COCO, or to YOLO labels",
            not_read(&of_pictures, "JSON file")
        )
    })
}

fn is_coco(head: &str) -> bool {
    head.contains("\"images\"") || (head.contains("\"annotations\"") && head.contains("\"image_id\""))
}

/// Whether a file begins with a row of YOLO labels: a class and at least four numbers.
fn is_rows(head: &str) -> bool {
    let line = text::rows(head).find(|line| !line.trim().is_empty()).unwrap_or_default();
    let words: Vec<&str> = line.split([' ', '\t', ',']).filter(|word| !word.is_empty()).collect();
    words.len() > 4 && words.iter().all(|word| word.parse::<f64>().is_ok())
}

/// Whether any of the first files is what is looked for.
fn any(files: &[PathBuf], is_it: impl Fn(&str) -> bool) -> bool {
    files.iter().take(MOST_OPENED).any(|path| is_it(&head(path)))
}

/// The beginning of a file as text; empty where it is no file.
fn head(path: &Path) -> String {
    let mut bytes = Vec::new();
    if path.is_file() {
        // What cannot be read looks like nothing.
        let _ = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut bytes));
    }
    // Cut off where it may be in the middle of a letter. UTF-16 without a mark is not read, but it is there.
    text::decode(&bytes).map_or_else(|_| String::from_utf8_lossy(&bytes).replace('\0', ""), Cow::into_owned)
}

/// "3 label files lie in DIR and were not read"
fn not_read(files: &[PathBuf], what: &str) -> String {
    let folder = files::folder_of(files.iter().map(PathBuf::as_path));
    match files {
        [_] => format!("1 {what} is in {} and was not read", folder.display()),
        _ => format!("{} {what}s are in {} and were not read", files.len(), folder.display()),
    }
}

/// What lies in a folder, sorted; nothing where it is none.
fn listing(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let mut paths: Vec<PathBuf> =
        folder.read_dir().into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    paths.into_iter()
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(suffix))
}
