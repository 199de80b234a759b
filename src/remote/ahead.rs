//! Images and label files of single images that lie in an object store: read, and fetched before they are read.

use super::{
    Link,
    client::{Bucket, begin, wait},
};
use logitcache_format::Error;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};
use tokio::task::JoinHandle;

/// What is fetched ahead takes at most so much memory.
const MOST_BYTES: u64 = 256 << 20;

/// A file on its way.
struct Coming {
    link: Link,
    file: JoinHandle<io::Result<Vec<u8>>>,
}

/// Files on their way, by path, and their bytes in all.
#[derive(Default)]
struct Ahead {
    coming: HashMap<PathBuf, Coming>,
    bytes: u64,
}

fn ahead() -> MutexGuard<'static, Ahead> {
    static AHEAD: LazyLock<Mutex<Ahead>> = LazyLock::new(Mutex::default);
    AHEAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to fetch what lies in an object store and will be read soon; anything else is left alone.
pub(crate) fn read_ahead(path: &Path) {
    let Some(link) = Link::at(path) else { return };
    let mut ahead = ahead();
    if ahead.bytes.saturating_add(link.bytes) > MOST_BYTES || ahead.coming.contains_key(path) {
        return;
    }
    let Ok(bucket) = Bucket::of(&link.url) else { return };
    let wanted = link.clone();
    if let Ok(file) = begin(async move { bucket.get_version(&wanted.url, &wanted.etag).await }) {
        ahead.bytes += link.bytes;
        ahead.coming.insert(path.to_owned(), Coming { link, file });
    }
}

/// What a link to an object of at most so many bytes means; `None` of what is no such link.
pub(crate) fn read(path: &Path, most_bytes: u64) -> Option<io::Result<Vec<u8>>> {
    let link = Link::at(path)?;
    if link.bytes > most_bytes {
        let found = format!("{} has {} bytes, more than the limit of {most_bytes}", link.url, link.bytes);
        return Some(Err(io::Error::other(found)));
    }
    let coming = {
        let mut ahead = ahead();
        let coming = ahead.coming.remove(path);
        ahead.bytes -= coming.as_ref().map_or(0, |coming| coming.link.bytes);
        coming
    };
    Some(match coming {
        Some(Coming { link: fetched, file }) if fetched == link => waited(file),
        _ => Bucket::of(&link.url).map_err(io_error).and_then(|bucket| {
            begin(async move { bucket.get_version(&link.url, &link.etag).await }).map_err(io_error).and_then(waited)
        }),
    })
}

fn waited(file: JoinHandle<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    wait(async { Ok(file.await) }).map_err(io_error)?.map_err(io::Error::other)?
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}
