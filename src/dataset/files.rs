//! Finding files: which names are pictures, recursive walks that survive link loops, reads with a cap.

use super::notes::Note;
use crate::{Error, Result};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Suffixes of the pictures this program decodes, in lower case.
pub const IMAGE_SUFFIXES: [&str; 7] = ["bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp"];

/// Pictures that Ultralytics takes and this program does not decode: left out with a note.
const OTHER_IMAGE_SUFFIXES: [&str; 6] = ["avif", "dng", "heic", "heif", "jp2", "mpo"];

/// What a file's name says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    UnreadableImage,
    Xml,
    Other,
}

/// Judges a file by its suffix, in upper or lower case.
pub(super) fn kind(path: &Path) -> Kind {
    let suffix = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    match suffix.as_str() {
        s if IMAGE_SUFFIXES.contains(&s) => Kind::Image,
        s if OTHER_IMAGE_SUFFIXES.contains(&s) => Kind::UnreadableImage,
        "xml" => Kind::Xml,
        _ => Kind::Other,
    }
}

/// What a walk found, unsorted.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) images: Vec<PathBuf>,
    pub(super) xml: Vec<PathBuf>,
}

/// Walks a folder and everything below it, links followed, hidden names (`.x`) skipped as Ultralytics' glob does.
///
/// A link that leads nowhere or to itself still counts as a picture if it is named as one, so that it becomes a named
/// failure of that image. A folder that links back to a folder above it, one that may not be read, and pictures of
/// kinds that are not decoded become notes.
///
/// # Errors
/// [`Error::Io`] when `dir` itself cannot be read.
pub(super) fn walk(dir: &Path, notes: &mut Vec<String>) -> Result<Found> {
    let mut found = Found::default();
    let mut loops = Note::new(
        "link leads back to a folder above it and was not followed",
        "links lead back to folders above them and were not followed",
    );
    let mut unreadable = Note::new("place could not be read", "places could not be read");
    let mut unsupported =
        Note::new("picture is of a kind that is not decoded", "pictures are of kinds that are not decoded");
    let mut special = Note::new("thing named as a picture is no file", "things named as pictures are no files");
    let walker = WalkDir::new(dir).follow_links(true).sort_by_file_name().into_iter();
    for entry in walker.filter_entry(|e| e.depth() == 0 || !e.file_name().as_encoded_bytes().starts_with(b".")) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => match (kind(entry.path()), entry.file_type().is_file()) {
                (Kind::Image, true) => found.images.push(entry.into_path()),
                (Kind::Xml, true) => found.xml.push(entry.into_path()),
                (Kind::UnreadableImage, _) => unsupported.add(entry.path().display()),
                (Kind::Image, false) => special.add(entry.path().display()),
                _ => {}
            },
            Err(error) if error.depth() == 0 => {
                return Err(Error::io(dir, "read the folder", into_io(error)));
            }
            Err(error) => match error.path() {
                Some(path) if error.loop_ancestor().is_some() => loops.add(path.display()),
                Some(path) if kind(path) == Kind::Image => found.images.push(path.to_path_buf()),
                Some(path) => unreadable.add(format_args!("{} ({})", path.display(), io_words(&error))),
                None => unreadable.add(&error),
            },
        }
    }
    for note in [loops, unreadable, unsupported, special] {
        note.finish(notes);
    }
    Ok(found)
}

fn into_io(error: walkdir::Error) -> io::Error {
    error.into_io_error().unwrap_or_else(|| io::Error::other("the folder links to itself"))
}

fn io_words(error: &walkdir::Error) -> String {
    error.io_error().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Reads a regular file of at most `cap_bytes`.
///
/// # Errors
/// What is wrong, as words that follow the file's name.
pub(super) fn read_capped(path: &Path, cap_bytes: u64) -> io::Result<Vec<u8>> {
    // Asked before the file is opened: opening a named pipe would wait for a writer.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(cap_bytes)).unwrap_or_default());
    File::open(path)?.take(cap_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap_bytes {
        return Err(io::Error::other(format!(
            "it is larger than {cap_bytes} bytes, the most that is read of such a file"
        )));
    }
    Ok(bytes)
}

/// Whether `path` is a folder, links followed.
pub(super) fn is_dir(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_dir())
}
