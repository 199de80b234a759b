//! The pixel cache: every picture of a training set, decoded and letterboxed once, in one mapped file.
//!
//! ```text
//! images x [H, W, 3] levels | JSON: Contents | its length, 8 bytes | its SHA-256 | "logitcache/pixels/1\0"
//! ```
//! The file appears whole or not at all. It is used again by a run that asks for the same list (paths, lengths, times of last
//! change, expected digests, input size, decoder); anything else replaces it.

use super::{
    TrainImage,
    pixels::{Decoder, PictureError, bytes_per_image},
};
use crate::{
    Error, Result,
    cache::{Map, to_hex},
    fsio::{self, Lock, TEMP_PREFIX, TempFile},
    preprocess::{DECODER, LETTERBOX_RULE},
    remote::Link,
    types::{FailureStage, ImageSize},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::UNIX_EPOCH,
};

const MAGIC: &[u8; 20] = b"logitcache/pixels/1\0";
/// Length of the JSON, its digest, the magic.
const TAIL_BYTES: usize = 8 + 32 + MAGIC.len();
/// Bound on the JSON, so that a damaged length takes no memory.
const MAX_JSON_BYTES: u64 = 1 << 32;

/// What became of one picture: its size, or why it cannot be used.
pub(super) type Entry = std::result::Result<ImageSize, (FailureStage, String)>;

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    list_sha256: String,
    entries: Vec<Entry>,
}

/// A mapped pixel cache. The file is never changed once it has its name (see `cache/map.rs`).
#[derive(Debug)]
pub(super) struct PixelCache {
    map: Map,
    entries: Vec<Entry>,
    image_bytes: usize,
    /// Whether an earlier run made it.
    pub reused: bool,
}

impl PixelCache {
    /// Maps the file of this list of images in `folder`, which is made where it is missing, stale or damaged. Calls
    /// `progress` with 1 for each picture done.
    pub fn open_or_make(
        folder: &Path,
        images: &[TrainImage],
        input: ImageSize,
        progress: &(dyn Fn(u64) + Sync),
        stop: &AtomicBool,
    ) -> Result<Self> {
        fsio::create_folder(folder)?;
        let path = folder.join(format!("pixels-{}x{}.bin", input.width, input.height));
        let list_sha256 = list_digest(images, input);
        if let Some(cache) = Self::open(&path, &list_sha256, images.len(), input)? {
            return Ok(Self { reused: true, ..cache });
        }
        make(&path, folder, images, input, list_sha256.clone(), progress, stop)?;
        Self::open(&path, &list_sha256, images.len(), input)?.ok_or_else(|| Error::Mismatch {
            found: format!("{}: it was replaced by another file right after it was written", path.display()),
            remedy: "Another training run keeps its pixels there at the same time: give each run its own folder."
                .into(),
        })
    }

    /// `None` where there is no such file, or another one.
    fn open(path: &Path, list_sha256: &str, images: usize, input: ImageSize) -> Result<Option<Self>> {
        let Ok(metadata) = fs::metadata(path) else { return Ok(None) };
        let image_bytes = bytes_per_image(input);
        let pixel_bytes = image_bytes as u64 * images as u64;
        let json_bytes = metadata.len().checked_sub(pixel_bytes + TAIL_BYTES as u64);
        let Some(json_bytes) = json_bytes.filter(|&n| metadata.is_file() && n <= MAX_JSON_BYTES) else {
            return Ok(None);
        };
        let map = Map::open(path, metadata.len())?;
        let Some(entries) = read_contents(&map, pixel_bytes as usize, json_bytes, list_sha256, images) else {
            return Ok(None);
        };
        Ok(Some(Self { map, entries, image_bytes, reused: false }))
    }

    /// What became of each picture.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// The levels of a picture, `[H, W, 3]`; all 0 where it could not be decoded.
    pub fn picture(&self, index: usize) -> &[u8] {
        &self.map[index * self.image_bytes..(index + 1) * self.image_bytes]
    }
}

/// The JSON behind the pixels, if it is whole and of this list.
fn read_contents(
    file: &[u8],
    pixel_bytes: usize,
    json_bytes: u64,
    list_sha256: &str,
    images: usize,
) -> Option<Vec<Entry>> {
    let (json, tail) = file.get(pixel_bytes..)?.split_at_checked(json_bytes as usize)?;
    let (length, tail) = tail.split_first_chunk::<8>()?;
    let (digest, magic) = tail.split_first_chunk::<32>()?;
    let whole = magic == MAGIC && u64::from_le_bytes(*length) == json_bytes && Sha256::digest(json)[..] == digest[..];
    let contents: Contents = whole.then(|| serde_json::from_slice(json).ok())??;
    (contents.list_sha256 == list_sha256 && contents.entries.len() == images).then_some(contents.entries)
}

/// Digest of everything that the pixels follow from, without reading a picture. Changed files show by length or time.
fn list_digest(images: &[TrainImage], input: ImageSize) -> String {
    let mut hash = Sha256::new();
    let mut text = |text: &[u8]| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    text(MAGIC);
    text(DECODER.as_bytes());
    text(LETTERBOX_RULE.as_bytes());
    text(&[input.width.to_le_bytes(), input.height.to_le_bytes()].concat());
    for image in images {
        text(image.path.as_os_str().as_encoded_bytes());
        text(image.expected_sha256.as_ref().map_or(&[][..], |digest| &digest[..]));
        // Of an image in an object store, the version that the link names.
        if let Some(link) = Link::at(&image.path) {
            text(link.text().as_os_str().as_encoded_bytes());
        }
        let state = fs::metadata(&image.path).ok().map(|file| {
            let changed = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            (file.len(), changed.map_or(0, |since| since.as_nanos()))
        });
        let (length, changed) = state.unwrap_or_default();
        text(&length.to_le_bytes());
        text(&changed.to_le_bytes());
    }
    to_hex(&hash.finalize())
}

fn make(
    path: &Path,
    folder: &Path,
    images: &[TrainImage],
    input: ImageSize,
    list_sha256: String,
    progress: &(dyn Fn(u64) + Sync),
    stop: &AtomicBool,
) -> Result<()> {
    let _lock = Lock::acquire(folder)?;
    remove_leftovers(folder)?;
    let image_bytes = bytes_per_image(input);
    let temp = TempFile::create(folder, "pixels")?;
    let full = |error| disk_error(path, error);

    let decode = |(decoder, levels): &mut (Decoder, Vec<u8>), (index, image): (usize, &TrainImage)| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { remedy: "run the same command again.".into() });
        }
        let picture = decoder.picture(image, input, levels);
        if picture.is_err() {
            levels.clear();
            levels.resize(image_bytes, 0);
        }
        temp.write_all_at(levels, index as u64 * image_bytes as u64).map_err(full)?;
        progress(1);
        Ok(picture)
    };
    let scratch = || (Decoder::default(), Vec::new());
    let pictures = images.par_iter().enumerate().map_init(scratch, decode).collect::<Result<Vec<_>>>()?;
    let (mut entries, mut changed) = (Vec::with_capacity(images.len()), Vec::new());
    for (picture, image) in pictures.into_iter().zip(images) {
        match picture {
            Ok(plan) => entries.push(Ok(plan.image)),
            Err(PictureError::Unusable(stage, reason)) => entries.push(Err((stage, reason))),
            Err(PictureError::Changed { .. }) => changed.push(image.relative.as_str()),
        }
    }
    if !changed.is_empty() {
        return Err(changed_images(&changed));
    }

    let json = serde_json::to_vec(&Contents { list_sha256, entries }).map_err(|e| full(e.into()))?;
    let mut tail = json.clone();
    tail.extend((json.len() as u64).to_le_bytes());
    tail.extend(Sha256::digest(&json));
    tail.extend(MAGIC);
    temp.write_all_at(&tail, images.len() as u64 * image_bytes as u64).map_err(full)?;
    Ok(temp.persist(path)?)
}

/// What a killed run left; the folder's lock is held, so nobody is at work on one.
fn remove_leftovers(folder: &Path) -> Result<()> {
    let left = format!("{TEMP_PREFIX}pixels-");
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))?;
    let names = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&left));
    Ok(names.map(|entry| entry.path()).try_for_each(|path: PathBuf| fsio::remove_file(&path))?)
}

/// Cached predictions are of the pictures as they were: none of the changed ones can be trained on.
fn changed_images(names: &[&str]) -> Error {
    const SHOWN: usize = 10;
    let mut list = names.iter().take(SHOWN).fold(String::new(), |list, name| list + "\n    " + name);
    if names.len() > SHOWN {
        list += &format!("\n    and {} more", names.len() - SHOWN);
    }
    let count = match names.len() {
        1 => "1 image has".to_owned(),
        n => format!("{n} images have"),
    };
    Error::Mismatch {
        found: format!("{count} changed since the cache was built:{list}"),
        remedy: "Restore the files, or build the cache again with `overwrite=true`.".into(),
    }
}

fn disk_error(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace {
            path: path.to_path_buf(),
            action: "write decoded pixels to",
            source,
            remedy: "Free some space, or train without the pixel cache (`pixel_cache_gib=0`): images are then decoded each time.".into(),
        },
        _ => Error::io(path, "write to", source),
    }
}
