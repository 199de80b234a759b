//! `manifest.json` on disk: its own digest, the checks before anything of it is believed, atomic replacement.

use super::{
    columns::Table,
    digest::{from_hex, sha256, to_hex},
    head::HeadKind,
    limits::{MAX_ANCHORS, MAX_LIST_LEN, MAX_MANIFEST_BYTES, MAX_STRIDES},
    manifest::{FORMAT_NAME, FORMAT_VERSION, FileEntry, Format, KNOWN_FEATURES, KNOWN_TASKS, Manifest, PartEntry},
};
use crate::{
    Error, Result,
    fsio::{Lock, write_atomic},
    made::MadeFolder,
    shards::ShardedCache,
    storage::{Folder, Storage},
    types::Views,
};
use serde::Deserialize;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// Name of the manifest in a cache's folder.
pub const MANIFEST_NAME: &str = "manifest.json";

/// The file's last two lines: [`TAIL_START`], 64 digits, [`TAIL_END`]. The digest covers every byte before them, and
/// they have only one valid form, so no byte of the file can change unnoticed.
const TAIL_START: &str = "  \"manifest_sha256\": \"";
const TAIL_END: &str = "\"\n}\n";
const TAIL_BYTES: usize = TAIL_START.len() + 64 + TAIL_END.len();

/// Where the manifest of the cache in `folder` lies.
pub fn manifest_path(folder: &Path) -> PathBuf {
    folder.join(MANIFEST_NAME)
}

impl Manifest {
    /// Reads and checks the manifest of the cache in `folder`.
    ///
    /// # Errors
    /// [`Error::Cache`] where there is none, it was changed since it was written, it is of a newer format, or it
    /// contradicts itself; [`Error::Io`] where it cannot be read.
    pub fn load(folder: &Path) -> Result<Self> {
        Self::load_if_present(folder)?.ok_or_else(|| Self::not_there(folder))
    }

    /// Why there is no manifest.
    fn not_there(folder: &Path) -> Error {
        let fault = |path: &Path, found: &str, remedy: &str| Error::Cache {
            path: path.to_owned(),
            found: found.to_owned(),
            remedy: remedy.to_owned(),
        };
        if !folder.exists() {
            return fault(
                folder,
                "there is no such folder, so it is not a cache",
                "Check the path: give the folder that a build made.",
            );
        }
        if MadeFolder::of(folder) == Some(MadeFolder::Run) {
            let remedy = "Give the folder that a build made.";
            return fault(folder, "this is the folder of a training run, not a cache", remedy);
        }
        if ShardedCache::is_begun(folder) {
            let found = "this cache is being built in shards, and not all of them are there";
            return fault(folder, found, "Build the others; `cache_merge(shards=true)` says which are missing.");
        }
        let found = "there is no such file, so this folder is not a cache";
        let remedy = "Check the path. A build writes the manifest with its first finished part; run it again.";
        fault(&manifest_path(folder), found, remedy)
    }

    /// As [`Manifest::load`], with `None` where there is no manifest.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn load_if_present(folder: &Path) -> Result<Option<Self>> {
        if folder.is_file() {
            let of_cache = folder.file_name().is_some_and(|name| name == MANIFEST_NAME);
            let whole = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Err(Error::Cache {
                path: folder.to_owned(),
                found: "this is a file; a cache is a folder".to_owned(),
                remedy: if of_cache {
                    format!("Give the folder of the cache: {}", whole.display())
                } else {
                    "Give the folder that a build made.".to_owned()
                },
            });
        }
        Self::load_from(&Folder::new(folder))
    }

    /// Reads and checks the manifest of a cache wherever it lies; `None` where there is none.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn load_from(storage: &dyn Storage) -> Result<Option<Self>> {
        let bytes = storage.read(MANIFEST_NAME, MAX_MANIFEST_BYTES)?;
        bytes.map(|bytes| Self::parse(&manifest_path(storage.folder()), &bytes)).transpose()
    }

    /// Checks the bytes of a manifest; `path` is where they lie, for messages.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        parse(path, bytes)
    }

    /// As [`Manifest::load_if_present`], for a program that will add to the cache: its writer features must be known too.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn load_to_extend(lock: &Lock) -> Result<Option<Self>> {
        let manifest = Self::load_if_present(lock.folder())?;
        if let Some(m) = &manifest {
            m.check_writer_features(lock.folder())?;
        }
        Ok(manifest)
    }

    /// Refuses a cache that only a newer program may add to or write anew; `folder` is where it lies.
    ///
    /// # Errors
    /// [`Error::Cache`] naming the feature that this program does not know.
    pub fn check_writer_features(&self, folder: &Path) -> Result<()> {
        check_features(&manifest_path(folder), "writer", &self.format.writer_features)
    }

    /// Replaces the manifest of the locked cache in one step. The parts it names must be on disk already.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Mismatch`] where the manifest contradicts itself and could not be loaded again; the old
    /// manifest is then still in place.
    pub fn save(&mut self, lock: &Lock) -> Result<()> {
        self.check()?;
        let path = manifest_path(lock.folder());
        let text = self.render(&path)?;
        lock.publisher().map_or(Ok(()), |publisher| publisher.publish(self, text.as_bytes()))?;
        write_atomic(&path, text.as_bytes())
    }

    /// Makes it the manifest of a cache that has none, in one step, whoever else tries the same; returns whether it is. The
    /// parts it names must be there already.
    ///
    /// # Errors
    /// As [`Manifest::save`].
    pub fn publish(&mut self, storage: &dyn Storage) -> Result<bool> {
        self.check()?;
        let text = self.render(&manifest_path(storage.folder()))?;
        storage.create(MANIFEST_NAME, text.as_bytes())
    }

    /// What [`Manifest::load`] would refuse is refused before anything is written with it.
    pub(super) fn check(&self) -> Result<()> {
        check_content(self).map_err(|found| Error::Mismatch {
            found: format!("the cache's manifest is not consistent: {found}"),
            remedy: "This is a bug in the program that writes the cache; please report it.".to_owned(),
        })
    }

    /// The file's text; sets [`Manifest::manifest_sha256`].
    fn render(&mut self, path: &Path) -> Result<String> {
        self.manifest_sha256.clear();
        let fault = |e: &dyn std::fmt::Display| damaged(path, format!("it cannot be written as JSON: {e}"));
        let text = serde_json::to_string_pretty(self).map_err(|e| fault(&e))?;
        let head = text
            .strip_suffix(&format!("{TAIL_START}\"\n}}"))
            .ok_or_else(|| fault(&"the digest is not the last field"))?;
        self.manifest_sha256 = to_hex(&sha256(head.as_bytes()));
        Ok(format!("{head}{TAIL_START}{}{TAIL_END}", self.manifest_sha256))
    }
}

impl PartEntry {
    /// The part's images file under the cache's folder.
    pub fn images_path(&self, folder: &Path) -> PathBuf {
        folder.join("images").join(format!("{}.parquet", self.name))
    }

    /// The part's predictions file under the cache's folder.
    pub fn predictions_path(&self, folder: &Path) -> PathBuf {
        folder.join("predictions").join(format!("{}.parquet", self.name))
    }

    /// The name of one of its files in a [`Storage`].
    pub fn file_name(&self, table: Table) -> String {
        format!("{}/{}.parquet", table.folder(), self.name)
    }

    /// What the manifest says of the bytes of one of its files.
    pub fn file(&self, table: Table) -> &FileEntry {
        match table {
            Table::Images => &self.images_file,
            Table::Predictions => &self.predictions_file,
        }
    }

    /// Both files, the images first: table, place, what the manifest says of the bytes, rows.
    pub(super) fn files(&self, folder: &Path) -> [(Table, PathBuf, &FileEntry, u64); 2] {
        [
            (Table::Images, self.images_path(folder), &self.images_file, self.images),
            (Table::Predictions, self.predictions_path(folder), &self.predictions_file, self.rows),
        ]
    }
}

/// Digest, then version and features, then the rest: nothing is read with an understanding it was not written with.
fn parse(path: &Path, bytes: &[u8]) -> Result<Manifest> {
    check_digest(path, bytes)?;
    #[derive(Deserialize)]
    struct Opening {
        format: Format,
    }
    #[derive(Deserialize)]
    struct Kind {
        task: String,
        teacher: TeacherKind,
    }
    #[derive(Deserialize)]
    struct TeacherKind {
        head: String,
    }
    let not_one = |e: serde_json::Error| damaged(path, format!("it is not a cache's manifest: {e}"));
    let opening: Opening = serde_json::from_slice(bytes).map_err(not_one)?;
    check_format(path, &opening.format)?;
    let kind: Kind = serde_json::from_slice(bytes).map_err(not_one)?;
    check_known(path, "task", &kind.task, KNOWN_TASKS.iter().copied())?;
    check_known(path, "head", &kind.teacher.head, HeadKind::ALL.into_iter().map(HeadKind::as_str))?;
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(not_one)?;
    check_content(&manifest).map_err(|found| damaged(path, found))?;
    Ok(manifest)
}

fn check_digest(path: &Path, bytes: &[u8]) -> Result<()> {
    let unclear = || {
        let found = "it does not end with the line of its own digest";
        Error::Cache {
            path: path.to_path_buf(),
            found: format!("{found}, so it is cut short, edited, or not a cache's manifest"),
            remedy: REMEDY.to_owned(),
        }
    };
    let (head, tail) = bytes.split_at_checked(bytes.len().saturating_sub(TAIL_BYTES)).ok_or_else(unclear)?;
    let stated = std::str::from_utf8(tail)
        .ok()
        .and_then(|t| t.strip_prefix(TAIL_START)?.strip_suffix(TAIL_END))
        .and_then(from_hex)
        .ok_or_else(unclear)?;
    let found = sha256(head);
    if found == stated {
        return Ok(());
    }
    let found = format!(
        "its bytes have the SHA-256 {}, but it was written with {}: it was changed afterwards",
        to_hex(&found),
        to_hex(&stated)
    );
    Err(damaged(path, found))
}

/// Refuses a format, version or reader feature that this program does not know.
pub(super) fn check_format(path: &Path, format: &Format) -> Result<()> {
    if format.name != FORMAT_NAME {
        return Err(damaged(path, format!("its format is `{}`, expected `{FORMAT_NAME}`", format.name)));
    }
    if format.version == 0 || format.version > FORMAT_VERSION {
        return Err(Error::Cache {
            path: path.to_path_buf(),
            found: format!(
                "the cache is of format version {}; this program reads versions up to {FORMAT_VERSION}",
                format.version
            ),
            remedy: "Use the version of logitcache that wrote it, or a newer one.".to_owned(),
        });
    }
    check_features(path, "reader", &format.reader_features)
}

/// Refuses a task or head that this program does not know: what its numbers mean is then not known either.
fn check_known(path: &Path, what: &str, found: &str, known: impl Iterator<Item = &'static str> + Clone) -> Result<()> {
    if known.clone().any(|name| name == found) {
        return Ok(());
    }
    let known = known.collect::<Vec<_>>().join(", ");
    Err(Error::Cache {
        path: path.to_path_buf(),
        found: format!("the cache has the {what} `{found}`; this program supports {known}"),
        remedy: "Use the version of logitcache that wrote it, or a newer one.".to_owned(),
    })
}

fn check_features(path: &Path, role: &str, features: &[String]) -> Result<()> {
    match features.iter().find(|f| !KNOWN_FEATURES.contains(&f.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Error::Cache {
            path: path.to_path_buf(),
            found: format!("the cache needs the {role} feature `{unknown}`, which this program does not support"),
            remedy: "Use the version of logitcache that wrote it, or a newer one.".to_owned(),
        }),
    }
}

const REMEDY: &str = "Restore the file from a copy, or build the cache again with `overwrite=true`.";

fn damaged(path: &Path, found: impl Into<String>) -> Error {
    Error::Cache { path: path.to_path_buf(), found: found.into(), remedy: REMEDY.to_owned() }
}

/// Ranges and shapes that later code relies on; what was found, in words, where one does not hold.
fn check_content(m: &Manifest) -> Result<(), String> {
    let t = &m.teacher;
    let class_len = m.class_len();
    if class_len == 0 || class_len > MAX_LIST_LEN || t.class_names.len() != class_len {
        return Err(format!("it declares {class_len} classes with {} names", t.class_names.len()));
    }
    if t.reg_max as usize > MAX_LIST_LEN / 4 || (m.settings.store == crate::types::Store::All && t.reg_max == 0) {
        return Err(format!("it declares {} DFL bins with store {:?}", t.reg_max, m.settings.store));
    }
    // A cell that is cut off at the edge has no place in a head: sides are multiples of every stride.
    let divides = |s: u32| s > 0 && t.input_width.is_multiple_of(s) && t.input_height.is_multiple_of(s);
    let places_fit = if t.head.is_on_grid() {
        let count_fits = !t.strides.is_empty() && t.strides.len() <= MAX_STRIDES;
        count_fits && t.strides.iter().all(|&s| divides(s)) && t.queries == 0
    } else {
        t.strides.is_empty() && t.queries > 0 && t.reg_max == 0
    };
    if !places_fit || t.total_anchors() > MAX_ANCHORS {
        return Err(format!(
            "it declares the head `{}` with strides {:?} and {} queries for {} x {} pixels",
            t.head, t.strides, t.queries, t.input_width, t.input_height
        ));
    }
    if m.settings.views > Views::MOST {
        return Err(format!("it declares {} views of an image, more than {}", m.settings.views, Views::MOST));
    }
    let mut names = HashSet::new();
    for part in &m.parts {
        check_part(part, m.dataset.samples).map_err(|found| format!("part `{}` {found}", part.name))?;
        if !names.insert(&part.name) {
            return Err(format!("part `{}` is named twice", part.name));
        }
    }
    Ok(())
}

fn check_part(part: &PartEntry, samples: u64) -> Result<(), String> {
    let digest = from_hex(&part.content_sha256).ok_or("has no valid content digest")?;
    if part.name != part_name(part.first_image_id, &to_hex(&digest)) {
        return Err("is not named after its first image and content".to_owned());
    }
    let (first, last) = (part.first_image_id, part.last_image_id);
    let in_range = 0 <= first && first <= last && last.unsigned_abs() < samples;
    if !in_range || part.images == 0 || part.images > i32::MAX as u64 || part.rows > i64::MAX as u64 {
        return Err(format!(
            "declares {} images with ids {first} to {last} and {} rows, in a data set of {samples} samples",
            part.images, part.rows
        ));
    }
    let files = [&part.images_file, &part.predictions_file];
    if files.iter().any(|f| from_hex(&f.sha256).is_none() || from_hex(&f.footer_sha256).is_none()) {
        return Err("has a file without a valid digest".to_owned());
    }
    Ok(())
}

/// The name that both files of a part share.
pub(super) fn part_name(first_image_id: i64, content_sha256_hex: &str) -> String {
    format!("part-{first_image_id:09}-{}", content_sha256_hex.get(..8).unwrap_or_default())
}
