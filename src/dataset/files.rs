//! Finding files: which of them are pictures, recursive walks that survive link loops, reads with a
//! cap.

use super::{notes::Note, paths};
use crate::{Error, Result, remote};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Suffixes of the pictures this program decodes, in lower case. Most are names of JPEG: those that
/// browsers on Windows give (`.jfif`), those of cameras that put several pictures into one file
/// (`.mpo`).
pub const IMAGE_SUFFIXES: [&str; 16] = [
    "bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp", "apng", "dib", "jfi", "jfif", "jif", "jpe", "mpo", "pjp",
    "pjpeg",
];

/// Pictures that this program does not decode: passed over with a note, unless they begin as one
/// that it does.
const OTHER_IMAGE_SUFFIXES: [&str; 27] = [
    "arw", "avif", "cr2", "cr3", "dng", "exr", "gif", "heic", "heif", "hif", "ico", "j2k", "jp2", "jpx", "jxl", "nef",
    "orf", "pbm", "pgm", "pnm", "ppm", "psd", "qoi", "raf", "rw2", "svg", "tga",
];

/// What a file's name and, where that says nothing, its first bytes say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    /// A picture of a kind that is not decoded.
    UnreadableImage,
    Xml,
    Text,
    Json,
    Other,
}

/// Judges a file. A name that is a decoded picture's is believed: what the bytes are shows when
/// they are decoded, and is named then. Of other names the bytes decide: a JPEG that is called
/// `.heic`, or nothing at all, is a JPEG.
pub(super) fn kind(path: &Path) -> Kind {
    let suffix = suffix(path);
    match suffix.as_str() {
        s if IMAGE_SUFFIXES.contains(&s) => Kind::Image,
        // The many files of data sets that are no pictures are not opened.
        "xml" => Kind::Xml,
        "txt" => Kind::Text,
        "json" => Kind::Json,
        _ if Beginning::of(path) == Beginning::Picture => Kind::Image,
        s if OTHER_IMAGE_SUFFIXES.contains(&s) => Kind::UnreadableImage,
        _ => Kind::Other,
    }
}

/// Whether a file is named as a picture that is decoded.
pub(super) fn is_named_as_image(path: &Path) -> bool {
    IMAGE_SUFFIXES.contains(&suffix(path).as_str())
}

/// Whether a file that a user names alone is a picture: by its name or, whatever that is, by its
/// bytes.
pub(super) fn named_alone(path: &Path) -> Kind {
    match kind(path) {
        Kind::Image => Kind::Image,
        // A camera's raw file begins as a TIFF and is none that shows the picture.
        Kind::UnreadableImage => Kind::UnreadableImage,
        _ if Beginning::of(path) == Beginning::Perhaps => Kind::Image,
        other => other,
    }
}

/// In lower case, without the dot; empty where there is none.
fn suffix(path: &Path) -> String {
    path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase()
}

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// JPEG, PNG or WebP: nothing else begins so.
    Picture,
    /// TIFF or BMP: so do raw files of cameras, and any text that begins with "BM".
    Perhaps,
    Other,
}

impl Beginning {
    /// Of a regular file; anything else, and what cannot be read, is something else.
    fn of(path: &Path) -> Self {
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        let mut head = Vec::with_capacity(12);
        // Asked first: opening a named pipe would wait for a writer.
        if !is_file || File::open(path).and_then(|file| file.take(12).read_to_end(&mut head)).is_err() {
            return Self::Other;
        }
        match head.as_slice() {
            [0xff, 0xd8, 0xff, ..] | [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Picture,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Self::Picture,
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] | [b'B', b'M', ..] => Self::Perhaps,
            _ => Self::Other,
        }
    }
}

/// A file that is no image of the data set although it is there or listed, and why.
pub(super) type Skipped = (PathBuf, String);

/// What a walk found, unsorted.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) images: Vec<PathBuf>,
    pub(super) passed_over: Vec<Skipped>,
    pub(super) xml: Vec<PathBuf>,
    pub(super) texts: Vec<PathBuf>,
    pub(super) json: Vec<PathBuf>,
}

/// Why a picture of another kind was passed over.
pub(super) fn not_decoded(path: &Path) -> String {
    format!("a .{} image: {DECODED}", suffix(path))
}

/// What is decoded, in words.
pub(super) const DECODED: &str = "JPEG, PNG, BMP, TIFF and WebP are supported";

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
    let mut unreadable = Note::new("path could not be read", "paths could not be read");
    let mut unsupported =
        Note::new("image is in a format that is not supported", "images are in formats that are not supported");
    let mut special =
        Note::new("entry is named like an image but is not a file", "entries are named like images but are not files");
    let mut by_bytes = Note::new(
        "file is not named like a supported image, but begins like one and was used",
        "files are not named like supported images, but begin like such images and were used",
    );
    let walker = WalkDir::new(dir).follow_links(true).sort_by_file_name().into_iter();
    for entry in walker.filter_entry(|e| e.depth() == 0 || !is_hidden(e.file_name())) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => match (kind(entry.path()), entry.file_type().is_file()) {
                (Kind::Image, true) => {
                    if !is_named_as_image(entry.path()) {
                        by_bytes.add(entry.path().display());
                    }
                    found.images.push(entry.into_path());
                }
                (Kind::Xml, true) => found.xml.push(entry.into_path()),
                (Kind::Text, true) => found.texts.push(entry.into_path()),
                (Kind::Json, true) => found.json.push(entry.into_path()),
                (Kind::UnreadableImage, _) => {
                    unsupported.add(entry.path().display());
                    found.passed_over.push((entry.path().to_path_buf(), not_decoded(entry.path())));
                }
                (Kind::Image, false) => {
                    special.add(entry.path().display());
                    found.passed_over.push((entry.into_path(), "named like an image, but not a file".to_owned()));
                }
                _ => {}
            },
            Err(error) if error.depth() == 0 => {
                return Err(Error::io(dir, "read the folder", into_io(error)));
            }
            Err(error) => match error.path() {
                // The filter does not see links that lead nowhere.
                Some(path) if path.file_name().is_some_and(is_hidden) => {}
                Some(path) if error.loop_ancestor().is_some() => loops.add(path.display()),
                Some(path) if is_named_as_image(path) => found.images.push(path.to_path_buf()),
                Some(path) if remote::is_link(path) => match kind(path) {
                    Kind::Text => found.texts.push(path.to_path_buf()),
                    Kind::UnreadableImage => {
                        unsupported.add(path.display());
                        found.passed_over.push((path.to_path_buf(), not_decoded(path)));
                    }
                    _ => {}
                },
                Some(path) => unreadable.add(format_args!("{} ({})", path.display(), io_words(&error))),
                None => unreadable.add(&error),
            },
        }
    }
    for note in [loops, unreadable, unsupported, special, by_bytes] {
        note.finish(notes);
    }
    Ok(found)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
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
    let metadata = match std::fs::metadata(path) {
        Err(error) => return remote::read(path, cap_bytes).unwrap_or(Err(error)),
        Ok(metadata) => metadata,
    };
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(cap_bytes)).unwrap_or_default());
    File::open(path)?.take(cap_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap_bytes {
        return Err(io::Error::other(format!("it is larger than {cap_bytes} bytes, the limit for such a file")));
    }
    Ok(bytes)
}

/// The deepest folder that holds both of two absolute ones.
pub(super) fn common_folder(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

/// The deepest folder that holds all of these absolute files; the root of none.
pub(super) fn folder_of<'a>(files: impl IntoIterator<Item = &'a Path>) -> PathBuf {
    let folders = files.into_iter().filter_map(|file| file.parent().map(Path::to_path_buf));
    folders.reduce(|a, b| common_folder(&a, &b)).unwrap_or_else(|| PathBuf::from("/"))
}

/// Whether `path` is a folder, links followed.
pub(super) fn is_dir(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_dir())
}

/// Whether `path` is a file, here or in an object store.
pub(super) fn is_file(path: &Path) -> bool {
    path.is_file() || remote::is_link(path)
}

/// The path that a file names below `base`. Windows writes `\`, which a name may hold elsewhere: what is there as written is
/// meant as written; else `\` is taken for `/` where that leads to something.
pub(super) fn named(base: &Path, written: impl AsRef<Path>) -> PathBuf {
    let written = written.as_ref();
    let as_written = paths::absolute(&base.join(written));
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let bytes = written.as_os_str().as_bytes();
    if !bytes.contains(&b'\\') || is_there(&as_written) {
        return as_written;
    }
    let slashed = bytes.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect();
    let slashed = paths::absolute(&base.join(OsString::from_vec(slashed)));
    if is_there(&slashed) { slashed } else { as_written }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes_are_separators_where_no_file_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("day one/b")).unwrap();
        for file in ["day one/a.jpg", "day one/b/c.jpg", "day one\\b/c.jpg", "plain.jpg"] {
            std::fs::create_dir_all(base.join(file).parent().unwrap()).unwrap();
            std::fs::write(base.join(file), "").unwrap();
        }
        for (written, found) in [
            ("day one\\a.jpg", "day one/a.jpg"),
            (".\\day one\\a.jpg", "day one/a.jpg"),
            ("day one\\b/c.jpg", "day one\\b/c.jpg"),
            ("day one\\b\\c.jpg", "day one/b/c.jpg"),
            ("x\\..\\plain.jpg", "plain.jpg"),
            ("plain.jpg", "plain.jpg"),
            ("none\\a.jpg", "none\\a.jpg"),
        ] {
            assert_eq!(named(&base, written), base.join(found), "{written}");
        }
    }
}
