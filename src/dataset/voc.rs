//! Pascal VOC: one XML file per image, boxes as `xmin ymin xmax ymax` in pixels, taken as written.
//!
//! The XML files make the data set: a picture without one is not in it. Objects marked `difficult` are no labels, as in
//! Ultralytics' own conversion of VOC. The classes are the names that occur, sorted; behind them those of difficult objects alone.

mod xml;

use super::{
    DataSource, Dataset, DatasetFormat, FaultKind, LabelFault, Mark, RawBox, Sample, fault,
    files::{self, Found, Kind},
    notes::Note,
    paths, refuse_unknown_split,
    truth::{Parsed, TruthSource},
};
use crate::{Error, Result, text};
use rayon::prelude::*;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use xml::{Annotation, Object};

/// The most that is read of one XML file.
const XML_CAP_BYTES: u64 = 8 << 20;
/// The most that is read of a list in `ImageSets/Main`.
const LIST_CAP_BYTES: u64 = 1 << 28;

/// An XML file and what is in it, or what is wrong with it.
type Read = (PathBuf, Result<Annotation, Fault>);

/// Why an XML file gives no annotation.
struct Fault {
    reason: String,
    /// Whether it is meant as one for all that can be seen. Then its image fails by name; otherwise it is other XML beside pictures.
    is_meant: bool,
}

/// Opens the XML files of a folder; `None` where it has none that is an annotation.
pub(super) fn open(
    data: &Path,
    source: &DataSource,
    found: &Found,
    notes: &mut Vec<String>,
) -> Result<Option<Dataset>> {
    let read: Vec<Read> = found.xml.par_iter().map(|path| (path.clone(), read(path))).collect();
    if !read.iter().any(|(_, annotation)| annotation.as_ref().map_or_else(|fault| fault.is_meant, |_| true)) {
        if let Some((path, Err(Fault { reason, .. }))) = read.first()
            && (found.images.is_empty() || source.images_dir.is_some())
        {
            let words = format!("none of {} XML files is a Pascal VOC annotation; this one: {reason}", read.len());
            return Err(fault(path, words, "Fix the XML files, or give another folder."));
        }
        let mut note = Note::new("XML file is not a Pascal VOC annotation", "XML files are not Pascal VOC annotations");
        read.iter().for_each(|(path, _)| note.add(path.display()));
        note.finish(notes);
        return Ok(None);
    }
    let chosen = chosen_stems(data, &source.split)?;
    if chosen.is_none() {
        refuse_unknown_split(source)?;
    }
    let read: Vec<Read> = match &chosen {
        Some(stems) => choose(read, stems, notes),
        None => read,
    };
    let class_names = class_names(&read);
    let ids: HashMap<&str, u32> = class_names.iter().map(String::as_str).zip(0..).collect();
    let root = match &source.images_dir {
        None => data.to_path_buf(),
        Some(given) if files::is_dir(given) => paths::absolute(given),
        Some(given) => {
            return Err(fault(given, "`images=` is not a folder", "Give the folder that holds the images."));
        }
    };

    let mut pictures = Pictures::default();
    let mut difficult = Note::new(
        "XML file has difficult objects, which were skipped",
        "XML files have difficult objects, which were skipped",
    );
    let mut samples = Vec::with_capacity(read.len());
    for (path, annotation) in read {
        let folders = candidate_folders(&path, data, source.images_dir.is_some().then_some(&root));
        let picture = pictures.find(&folders, &path, annotation.as_ref().ok());
        if annotation.as_ref().is_ok_and(|a| !a.difficult.is_empty()) {
            difficult.add(path.display());
        }
        let declared = annotation.as_ref().ok().and_then(|a| a.size);
        let (boxes, faults) = match annotation {
            Ok(annotation) => (raw_boxes(annotation, &ids), Vec::new()),
            Err(fault) => (Vec::new(), vec![LabelFault::new(FaultKind::Unreadable, fault.reason)]),
        };
        let parsed = Parsed { file: Arc::from(path.as_path()), entry: None, declared, boxes, faults };
        let truth = TruthSource::Parsed(Box::new(parsed));
        samples.push(Sample::new(&root, picture, truth));
    }
    difficult.finish(notes);
    if chosen.is_none() {
        pictures.note_unused(&samples, notes);
    }
    let notes = std::mem::take(notes);
    Ok(Some(Dataset::new(root, DatasetFormat::Voc, Some(class_names), samples, notes)))
}

fn read(path: &Path) -> Result<Annotation, Fault> {
    let bytes = files::read_capped(path, XML_CAP_BYTES)
        // One that is too large is no annotation; what cannot be opened may be.
        .map_err(|e| Fault {
            is_meant: e.kind() != io::ErrorKind::Other,
            reason: format!("cannot read the file: {e}"),
        })?;
    let text = text::decode_xml(&bytes).map_err(|found| format!("the file is not text: {found}"));
    text.and_then(|text| Annotation::parse(&text))
        .map_err(|reason| Fault { is_meant: is_meant_as_annotation(&bytes), reason })
}

/// Whether a file that cannot be parsed has an annotation's first tag, in whatever encoding, or nothing in it at all.
fn is_meant_as_annotation(bytes: &[u8]) -> bool {
    const TAG: &[u8] = b"<annotation";
    // Without its zeros, UTF-16 is ASCII as far as the tag goes.
    let bytes: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != 0).collect();
    let is_tag = |at: usize| match bytes.get(at + TAG.len()) {
        None => true,
        Some(next) => next.is_ascii_whitespace() || matches!(next, b'>' | b'/'),
    };
    let is_first = |at: usize| bytes[at..].starts_with(TAG) && is_tag(at);
    let first_tag = (0..bytes.len()).find(|&at| bytes[at] == b'<' && !matches!(bytes.get(at + 1), Some(b'?' | b'!')));
    first_tag.map_or_else(|| bytes.trim_ascii().is_empty(), is_first)
}

/// The files whose stems are in the list of a split.
fn choose(read: Vec<Read>, stems: &HashSet<OsString>, notes: &mut Vec<String>) -> Vec<Read> {
    let read: Vec<Read> =
        read.into_iter().filter(|(path, _)| path.file_stem().is_some_and(|s| stems.contains(s))).collect();
    let there: HashSet<&OsStr> = read.iter().filter_map(|(path, _)| path.file_stem()).collect();
    let mut missing: Vec<&OsString> = stems.iter().filter(|stem| !there.contains(stem.as_os_str())).collect();
    missing.sort();
    let mut note = Note::new("listed image has no XML file", "listed images have no XML file");
    missing.into_iter().for_each(|stem| note.add(stem.display()));
    note.finish(notes);
    read
}

/// The names that occur, sorted; behind them those that only difficult objects have.
fn class_names(read: &[Read]) -> Vec<String> {
    let annotations = || read.iter().filter_map(|(_, annotation)| annotation.as_ref().ok());
    let names = |of: fn(&Annotation) -> &[Object]| -> BTreeSet<&str> {
        annotations().flat_map(|annotation| of(annotation).iter().map(|object| object.name.as_str())).collect()
    };
    let plain = names(|annotation| &annotation.objects);
    let difficult = names(|annotation| &annotation.difficult);
    plain.iter().chain(difficult.difference(&plain)).map(|&name| name.to_owned()).collect()
}

fn raw_boxes(annotation: Annotation, ids: &HashMap<&str, u32>) -> Vec<RawBox> {
    let with_mark = |objects: Vec<Object>, mark| {
        let boxes = objects.into_iter().filter_map(move |object| {
            let class_id = *ids.get(object.name.as_str())?;
            Some(RawBox { mark, ..RawBox::object(class_id, object.xyxy_px) })
        });
        boxes.collect::<Vec<_>>()
    };
    [with_mark(annotation.objects, Mark::Plain), with_mark(annotation.difficult, Mark::Difficult)].concat()
}

/// The images of a split, where the folder is a whole VOC release with lists in `ImageSets/Main`.
fn chosen_stems(data: &Path, split: &str) -> Result<Option<HashSet<OsString>>> {
    let lists = data.join("ImageSets/Main");
    if !files::is_dir(&lists) {
        return Ok(None);
    }
    let list = lists.join(format!("{split}.txt"));
    if !list.is_file() {
        let entries = lists.read_dir().map_err(|e| Error::io(&lists, "read the folder", e))?;
        let mut there: Vec<String> = entries
            .filter_map(|e| Some(e.ok()?.path()))
            // `cat_train.txt` marks the images that have a cat; those are not splits.
            .filter(|p| p.extension().is_some_and(|e| e == "txt"))
            .filter_map(|p| Some(p.file_stem()?.to_str()?.to_owned()))
            .filter(|name| !name.contains('_'))
            .collect();
        there.sort();
        let found = format!("the data set has no split {split:?}; ImageSets/Main has: {}", there.join(", "));
        return Err(fault(data, found, "Choose one with `split=`, or give the Annotations folder to use every image."));
    }
    let bytes = files::read_capped(&list, LIST_CAP_BYTES).map_err(|e| Error::io(&list, "read", e))?;
    let text = text::decode_paths(&bytes)
        .map_err(|found| fault(&list, format!("this is not a list of images: {found}"), "Save it as UTF-8."))?;
    let first_words = text::lines(&text).filter_map(|line| line.split(u8::is_ascii_whitespace).next());
    Ok(Some(first_words.map(|stem| OsStr::from_bytes(stem).to_owned()).collect()))
}

/// Where the picture of an XML file may lie, the likeliest first.
fn candidate_folders(xml: &Path, data: &Path, images_dir: Option<&PathBuf>) -> Vec<PathBuf> {
    let here = xml.parent().unwrap_or(data);
    match images_dir {
        // `train/a.xml` belongs to `DIR/train/a.jpg`, or all pictures lie in DIR itself.
        Some(dir) => {
            let mirrored = dir.join(here.strip_prefix(data).unwrap_or(Path::new("")));
            vec![mirrored, dir.clone()]
        }
        None => {
            let above = here.parent().unwrap_or(here);
            vec![here.to_path_buf(), above.join("JPEGImages"), above.join("images")]
        }
    }
}

/// Listings of the folders that pictures were looked for in.
#[derive(Default)]
struct Pictures {
    /// By folder: file names of pictures by their stem, sorted.
    folders: HashMap<PathBuf, HashMap<OsString, Vec<OsString>>>,
}

impl Pictures {
    /// The picture of an XML file: the one of the same stem (of several, the one that the XML names), or else the one
    /// that the XML names. Where there is none, the path at which it is missed.
    fn find(&mut self, folders: &[PathBuf], xml: &Path, annotation: Option<&Annotation>) -> PathBuf {
        let stem = xml.file_stem().unwrap_or_default();
        let named = annotation.and_then(|a| a.file_name.as_deref());
        for folder in folders {
            if let Some(same_stem) = self.listing(folder).get(stem)
                && let Some(first) = same_stem.first()
            {
                let name =
                    same_stem.iter().find(|name| Some(name.as_os_str()) == named.map(OsStr::new)).unwrap_or(first);
                return folder.join(name);
            }
        }
        let named = named.filter(|name| files::is_named_as_image(Path::new(name)));
        if let (Some(name), Some(written)) = (named, annotation.and_then(|a| a.written.as_deref())) {
            // A name may have a backslash of its own.
            for name in [written, name] {
                let stem = Path::new(name).file_stem().unwrap_or_default();
                for folder in folders {
                    if self.listing(folder).get(stem).is_some_and(|names| names.iter().any(|n| n == name)) {
                        return folder.join(name);
                    }
                }
            }
            let mut below = folders.iter().filter(|_| Path::new(written).is_relative());
            if let Some(place) =
                below.find_map(|folder| Some(files::named(folder, written)).filter(|p| files::is_file(p)))
            {
                return place;
            }
        }
        let folder = folders.iter().find(|folder| files::is_dir(folder)).or(folders.first());
        folder
            .map(PathBuf::as_path)
            .unwrap_or(Path::new("/"))
            .join(named.map_or_else(|| Path::new(stem).with_extension("jpg"), PathBuf::from))
    }

    fn listing(&mut self, folder: &Path) -> &HashMap<OsString, Vec<OsString>> {
        self.folders.entry(folder.to_path_buf()).or_insert_with(|| {
            let mut by_stem: HashMap<OsString, Vec<OsString>> = HashMap::new();
            let entries = folder.read_dir().into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
            // One that is not decoded counts as the picture too, after all others: it is then named
            // as what it is, and not as missing.
            let is_picture = |kind| matches!(kind, Kind::Image | Kind::UnreadableImage);
            for path in entries.filter(|path| is_picture(files::kind(path))) {
                if let (Some(stem), Some(name)) = (path.file_stem(), path.file_name()) {
                    by_stem.entry(stem.to_owned()).or_default().push(name.to_owned());
                }
            }
            let decoded_first = |name: &OsString| (files::kind(&folder.join(name)) != Kind::Image, name.clone());
            by_stem
                .values_mut()
                .filter(|names| names.len() > 1)
                .for_each(|names| names.sort_by_cached_key(decoded_first));
            by_stem
        })
    }

    /// Notes pictures that lie beside those of the data set but have no XML file.
    fn note_unused(&self, samples: &[Sample], notes: &mut Vec<String>) {
        let used: HashSet<&Path> = samples.iter().map(|s| s.path.as_path()).collect();
        let folders: BTreeSet<&Path> = used.iter().filter_map(|path| path.parent()).collect();
        let mut note = Note::new("image has no XML file and was left out", "images have no XML file and were left out");
        for folder in folders {
            let mut names: Vec<&OsString> =
                self.folders.get(folder).into_iter().flat_map(|l| l.values().flatten()).collect();
            names.sort();
            let unused = names.into_iter().map(|name| folder.join(name)).filter(|path| !used.contains(path.as_path()));
            // Those that are not decoded have a note of their own.
            unused.filter(|path| files::kind(path) == Kind::Image).for_each(|path| note.add(path.display()));
        }
        note.finish(notes);
    }
}
