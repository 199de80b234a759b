//! The local copy of a data set in an object store: descriptions as they are, images and labels as links.

use super::{
    Link, ObjectUrl,
    client::{Bucket, wait},
};
use crate::{Error, Result};
use logitcache_format::{
    fsio::{TempFile, create_folder, remove_file, set_modified, write_link},
    paths,
};
use object_store::ObjectMeta;
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use walkdir::WalkDir;

/// Descriptions on their way at once.
const AT_ONCE: usize = 32;
/// Suffixes of descriptions of data sets.
const DESCRIPTIONS: [&str; 6] = ["yaml", "yml", "json", "xml", "txt", "csv"];
/// The text files in such a folder are labels of one image each.
const LABELS: &str = "labels";

/// Makes the local copy of the data set at `data` (a description, or a folder) what lies in the store now; does nothing for a
/// path that is no copy. In one process a folder is listed once.
///
/// # Errors
/// [`Error::Cache`], [`Error::Io`] of a store that cannot be read.
pub fn pull_listing(data: &Path) -> Result<()> {
    let Some(url) = ObjectUrl::of_copy(data) else { return Ok(()) };
    // Held while it is listed: whoever asks for the same waits for it.
    let mut listed = listed();
    if listed.iter().any(|folder| data.starts_with(folder)) {
        return Ok(());
    }
    let bucket = Bucket::of(&url)?;
    // What a description describes lies in its folder.
    let folder = if !url.key.is_empty() && wait(bucket.has(&url))? {
        ObjectUrl { key: url.key.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned(), ..url }
    } else {
        url
    };
    list(&bucket, &folder)?;
    listed.push(folder.copy()?);
    Ok(())
}

/// As [`pull_listing`], for the folder of images that is named besides a data set; it may lie on this machine.
///
/// # Errors
/// As there.
pub fn pull_images(folder: &Path) -> Result<()> {
    if ObjectUrl::of_copy(folder).is_some() {
        return pull_listing(folder);
    }
    let (folder, mut listed) = (paths::absolute(folder), listed());
    if !listed.contains(&folder) {
        listed.push(folder);
    }
    Ok(())
}

/// The folders whose copies are what lay in the store when this process listed it.
fn listed() -> MutexGuard<'static, Vec<PathBuf>> {
    static LISTED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    LISTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refuses files of the data set at `data` that were not listed with it: what a description names outside of its folder, in the
/// store or on this machine. Does nothing for a data set that is no copy.
///
/// # Errors
/// [`Error::Dataset`] naming the first of them.
pub(crate) fn refuse_unlisted<'a>(data: &Path, files: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    if ObjectUrl::of_copy(data).is_none() {
        return Ok(());
    }
    let listed = listed();
    let unlisted = files.into_iter().find(|file| !listed.iter().any(|folder| file.starts_with(folder)));
    unlisted.map_or(Ok(()), |file| {
        Err(Error::Dataset {
            path: data.to_owned(),
            found: format!("it names {}, which does not lie in its folder", file.display()),
            remedy:
                "Of a data set in an object store, everything lies in the folder of its description or below. Move the \
                     description up, or write its paths relative to it."
                    .into(),
        })
    })
}

/// A file that is to be fetched.
struct Description {
    url: ObjectUrl,
    path: PathBuf,
    changed: SystemTime,
}

fn list(bucket: &Bucket, folder: &ObjectUrl) -> Result<()> {
    let top = folder.copy()?;
    let (mut seen, mut descriptions, mut made) = (HashSet::new(), Vec::new(), HashSet::new());
    wait(bucket.list(folder, |object| {
        let url = ObjectUrl { key: object.location.to_string(), ..folder.clone() };
        // What can be no file here (an empty name, `..`) is none of the data set.
        let Ok(Some(url)) = ObjectUrl::parse(Path::new(&url.to_string())) else { return Ok(()) };
        let path = url
            .copy()
            .map_err(|e| logitcache_format::Error::io(top.clone(), "copy", io::Error::other(e.to_string())))?;
        // Consoles and tools of stores mark folders by such objects; no image and no label is like them.
        if object.size == 0 && path.extension().is_none() {
            return Ok(());
        }
        seen.insert(path.clone());
        if let Some(parent) = path.parent().filter(|parent| !made.contains(*parent)) {
            make_folder(parent)?;
            made.insert(parent.to_owned());
        }
        if !is_description(&path, &top) {
            link(&path, url, &object)?;
        } else if is_other(&path, &object) {
            descriptions.push(Description { url, path, changed: object.last_modified.into() });
        }
        Ok(())
    }))?;
    if seen.is_empty() {
        return Err(Error::Dataset {
            path: folder.to_string().into(),
            found: "there is nothing of this name in the object store".into(),
            remedy: "Check the name. Give a folder, or the description of a data set (data.yaml, instances.json)."
                .into(),
        });
    }
    // An object may have the name of a folder; here only one of them can be.
    descriptions.retain(|description| !made.contains(&description.path));
    remove_others(&top, &seen)?;
    wait(Bucket::each(descriptions, AT_ONCE, |description| fetch(bucket, description)))?;
    Ok(())
}

/// Makes a folder of copies; a link or a description that has the name of one of its folders makes way.
pub(super) fn make_folder(path: &Path) -> logitcache_format::Result<()> {
    let in_the_way = |folder: &&Path| {
        ObjectUrl::of_copy(folder).is_some() && fs::symlink_metadata(folder).is_ok_and(|there| !there.is_dir())
    };
    path.ancestors().filter(in_the_way).try_for_each(remove_file)?;
    create_folder(path)
}

/// Whether a file below the listed folder `top` is fetched with the list, and not when it is read.
fn is_description(path: &Path, top: &Path) -> bool {
    let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default().to_ascii_lowercase();
    let below = path.strip_prefix(top).unwrap_or(path);
    let is_label = suffix == "txt" && below.components().any(|folder| folder.as_os_str() == LABELS);
    DESCRIPTIONS.contains(&suffix.as_str()) && !is_label
}

/// Whether the copy is not the object that was listed. A folder of its name stays.
fn is_other(path: &Path, object: &ObjectMeta) -> bool {
    let time = SystemTime::from(object.last_modified);
    let is_same = |there: fs::Metadata| {
        there.is_dir() || (there.len() == object.size && there.modified().is_ok_and(|changed| changed == time))
    };
    !fs::metadata(path).is_ok_and(is_same)
}

/// Makes `path` a link to an object.
fn link(path: &Path, url: ObjectUrl, object: &ObjectMeta) -> logitcache_format::Result<()> {
    let etag = object.e_tag.clone().unwrap_or_default();
    let link = Link { url, bytes: object.size, etag };
    // A file is a part of the copy of a cache; a folder of its name stays.
    let is_no_link = fs::symlink_metadata(path).is_ok_and(|there| !there.is_symlink());
    if is_no_link || Link::at(path).as_ref() == Some(&link) {
        return Ok(());
    }
    write_link(path, &link.text())
}

/// Removes links and descriptions of objects that are gone.
fn remove_others(top: &Path, seen: &HashSet<PathBuf>) -> Result<()> {
    for entry in WalkDir::new(top).follow_links(false).into_iter().flatten() {
        let path = entry.path();
        let ours = entry.path_is_symlink() && super::is_link(path);
        if !seen.contains(path) && (ours || (entry.file_type().is_file() && is_description(path, top))) {
            remove_file(path)?;
        }
    }
    Ok(())
}

async fn fetch(bucket: &Bucket, Description { url, path, changed }: Description) -> logitcache_format::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut file = TempFile::create(path.parent().unwrap_or(Path::new("/")), &name)?;
    bucket.download(&url, &mut file).await?;
    file.persist(&path)?;
    set_modified(&path, changed)
}
