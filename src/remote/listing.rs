//! The local copy of a data set in an object store: descriptions as they are, images and labels as links.

use super::{
    Link, ObjectUrl,
    client::{Bucket, wait},
};
use crate::{Error, Result};
use logitcache_format::fsio::{TempFile, create_folder, remove_file, set_modified, write_link};
use object_store::ObjectMeta;
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
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
    static LISTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let Some(url) = ObjectUrl::of_copy(data) else { return Ok(()) };
    // Held while it is listed: whoever asks for the same waits for it.
    let mut listed = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
    let text = url.to_string();
    if listed.iter().any(|folder| text == *folder || text.starts_with(&format!("{folder}/"))) {
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
    listed.push(folder.to_string());
    Ok(())
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
        seen.insert(path.clone());
        if let Some(parent) = path.parent().filter(|parent| !made.contains(*parent)) {
            create_folder(parent)?;
            made.insert(parent.to_owned());
        }
        if !is_description(&path) {
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
    remove_others(&top, &seen)?;
    wait(Bucket::each(descriptions, AT_ONCE, |description| fetch(bucket, description)))?;
    Ok(())
}

/// Whether a file is fetched with the list, and not when it is read.
fn is_description(path: &Path) -> bool {
    let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default().to_ascii_lowercase();
    let is_label = suffix == "txt" && path.components().any(|folder| folder.as_os_str() == LABELS);
    DESCRIPTIONS.contains(&suffix.as_str()) && !is_label
}

/// Whether the copy is not the object that was listed.
fn is_other(path: &Path, object: &ObjectMeta) -> bool {
    let time = SystemTime::from(object.last_modified);
    !fs::metadata(path)
        .is_ok_and(|file| file.len() == object.size && file.modified().is_ok_and(|changed| changed == time))
}

/// Makes `path` a link to an object.
fn link(path: &Path, url: ObjectUrl, object: &ObjectMeta) -> logitcache_format::Result<()> {
    let etag = object.e_tag.clone().unwrap_or_default();
    let link = Link { url, bytes: object.size, etag };
    // A file is a part of the copy of a cache.
    let is_file = fs::symlink_metadata(path).is_ok_and(|there| there.is_file());
    if is_file || Link::at(path).as_ref() == Some(&link) {
        return Ok(());
    }
    write_link(path, &link.text())
}

/// Removes links and descriptions of objects that are gone.
fn remove_others(top: &Path, seen: &HashSet<PathBuf>) -> Result<()> {
    for entry in WalkDir::new(top).follow_links(false).into_iter().flatten() {
        let path = entry.path();
        let ours = entry.path_is_symlink() && super::is_link(path);
        if !seen.contains(path) && (ours || (entry.file_type().is_file() && is_description(path))) {
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
