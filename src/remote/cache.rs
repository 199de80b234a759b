//! The local copy of a cache in an object store: fetched whole, and written through.

use super::{
    ObjectUrl,
    client::{Bucket, Put, wait},
    listing::make_folder,
};
use logitcache_format::{
    Bytes, Error, Folder, JOB_NAME, MANIFEST_NAME, Manifest, PartEntry, Publish, Result, SHARDS_FOLDER, Storage,
    columns::Table,
    fsio::{Lock, STALE_SUFFIX, TempFile, free_space_bytes, remove_file, write_atomic},
    is_part, is_part_set_aside, manifest_path, to_hex,
};
use object_store::UpdateVersion;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// Files of a cache on their way at once.
const AT_ONCE: usize = 4;

/// Makes the local copy of a cache what lies in the store now; does nothing for a path that is no copy. With `again`, parts that
/// are here already are fetched again.
///
/// # Errors
/// [`Error::Cache`] where there is no cache, or a part is not what its manifest says; [`Error::Io`].
pub fn pull_cache(folder: &Path, again: bool) -> crate::Result<()> {
    let Some(url) = ObjectUrl::of_copy(folder) else { return Ok(()) };
    let bucket = Bucket::of(&url)?;
    let there = pull(&bucket, &url, folder, again)?;
    if there.is_some() {
        return Ok(());
    }
    let of_manifest = url.key.strip_suffix(MANIFEST_NAME).map(|folder| folder.trim_end_matches('/').to_owned());
    Err(crate::Error::Cache {
        path: url.to_string().into(),
        found: format!("there is no {MANIFEST_NAME} in it, so it is not a cache"),
        remedy: match of_manifest {
            Some(key) => format!("Give the folder of the cache: {}", ObjectUrl { key, ..url }),
            None => "Check the path: give the folder that a build made.".into(),
        },
    })
}

/// The manifest and its version, with all parts here; `None` where there is no cache.
fn pull(bucket: &Bucket, url: &ObjectUrl, folder: &Path, again: bool) -> Result<Option<(Manifest, UpdateVersion)>> {
    let path = manifest_path(folder);
    let Some((bytes, version)) = wait(bucket.get(&url.join(MANIFEST_NAME)))? else {
        remove_file(&path)?;
        bring_job(bucket, url, folder)?;
        return Ok(None);
    };
    let manifest = Manifest::parse(&path, &bytes)?;
    bring(bucket, url, folder, &manifest.parts, again)?;
    if fs::read(&path).ok().as_ref() != Some(&bytes) {
        write_atomic(&path, &bytes)?;
    }
    Ok(Some((manifest, version)))
}

/// That a cache is being built in shards is to be seen in its copy as well.
fn bring_job(bucket: &Bucket, url: &ObjectUrl, folder: &Path) -> Result<()> {
    let path = folder.join(JOB_NAME);
    match wait(bucket.get(&url.join(JOB_NAME)))? {
        None => remove_file(&path),
        Some((job, _)) => {
            make_folder(&folder.join(SHARDS_FOLDER))?;
            write_atomic(&path, &job)
        }
    }
}

/// Fetches the files of parts that are not here; with `again`, all.
fn bring(bucket: &Bucket, url: &ObjectUrl, folder: &Path, parts: &[PartEntry], again: bool) -> Result<()> {
    for table in [Table::Images, Table::Predictions] {
        make_folder(&folder.join(table.folder()))?;
    }
    let is_here = |path: &Path, bytes: u64| !again && fs::metadata(path).is_ok_and(|file| file.len() == bytes);
    let both = parts.iter().flat_map(|part| [(part, Table::Images), (part, Table::Predictions)]);
    let wanted: Vec<(&PartEntry, Table)> =
        both.filter(|(part, table)| !is_here(&folder.join(part.file_name(*table)), part.file(*table).bytes)).collect();
    let needed = wanted.iter().fold(0, |sum: u64, (part, table)| sum.saturating_add(part.file(*table).bytes));
    let free = free_space_bytes(folder)?;
    if needed > free {
        return Err(Error::Mismatch {
            found: format!(
                "the local copy of {url} needs {needed} bytes more, and {} has {free} free",
                folder.display()
            ),
            remedy: "Free some space, or name another folder for local copies with LOGITCACHE_CACHE_DIR.".into(),
        });
    }
    wait(Bucket::each(wanted, AT_ONCE, |(part, table)| fetch(bucket, url, folder, part, table)))
}

async fn fetch(bucket: &Bucket, url: &ObjectUrl, folder: &Path, part: &PartEntry, table: Table) -> Result<()> {
    let (name, expected) = (part.file_name(table), part.file(table));
    let target = folder.join(&name);
    let object = url.join(&name);
    let mut file = TempFile::create(&folder.join(table.folder()), &format!("{}.parquet", part.name))?;
    // Errors name the copy: who reads them knows which part it is of.
    let (bytes, sha256) = bucket.download(&object, &mut file).await.map_err(|error| match error {
        Error::Cache { found, remedy, .. } => Error::Cache { path: target.clone(), found, remedy },
        other => other,
    })?;
    if bytes != expected.bytes || to_hex(&sha256) != expected.sha256 {
        return Err(Error::Cache {
            path: target,
            found: format!(
                "it is not what the manifest says: {bytes} bytes with SHA-256 {}, expected {} with {}",
                to_hex(&sha256),
                expected.bytes,
                expected.sha256
            ),
            remedy: "Restore the object from a copy, or build the cache again with `overwrite=true`.".into(),
        });
    }
    file.persist(&target)
}

/// A cache in an object store, with its local copy.
#[derive(Debug, Clone)]
pub struct ObjectFolder {
    bucket: Arc<Bucket>,
    url: ObjectUrl,
    copy: Folder,
    has_conditions: OnceLock<()>,
    /// Names of parts whose files are known to be in the store.
    there: Arc<Mutex<HashSet<String>>>,
}

impl ObjectFolder {
    pub(super) fn open(url: ObjectUrl, folder: &Path) -> Result<Self> {
        let bucket = Bucket::of(&url)?;
        Ok(Self { bucket, url, copy: Folder::new(folder), has_conditions: OnceLock::new(), there: Arc::default() })
    }

    /// Refuses a store without conditional writes; asked once.
    fn refuse_without_conditions(&self) -> Result<()> {
        if self.has_conditions.get().is_none() {
            wait(self.bucket.refuse_without_conditions(&self.url))?;
            let _ = self.has_conditions.set(());
        }
        Ok(())
    }

    /// Removes files of the cache's tables; `unwanted` is told the folder and the name.
    fn remove_files(&self, unwanted: impl Fn(&str, &str) -> bool) -> Result<()> {
        for folder in [Table::Images, Table::Predictions].map(Table::folder) {
            let names = self.names_in(folder)?;
            let unwanted = names.iter().filter(|name| unwanted(folder, name));
            wait(self.bucket.remove(unwanted.map(|name| self.url.join(&format!("{folder}/{name}"))).collect()))?;
        }
        Ok(())
    }
}

/// Both files of each part, by name.
fn files_of<'a>(parts: impl IntoIterator<Item = &'a PartEntry>) -> Vec<String> {
    parts.into_iter().flat_map(|part| [Table::Images, Table::Predictions].map(|table| part.file_name(table))).collect()
}

impl Storage for ObjectFolder {
    fn folder(&self) -> &Path {
        self.copy.folder()
    }

    fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        match wait(self.bucket.get(&self.url.join(name)))? {
            Some((bytes, _)) if bytes.len() as u64 > most => Err(Error::Cache {
                path: self.url.join(name).to_string().into(),
                found: format!("it has more than {most} bytes"),
                remedy: "Restore it from a copy, or build the cache again with `overwrite=true`.".into(),
            }),
            found => Ok(found.map(|(bytes, _)| bytes)),
        }
    }

    fn bytes(&self, name: &str, length: u64) -> Result<Bytes> {
        self.copy.bytes(name, length)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.refuse_without_conditions()?;
        let put = wait(self.bucket.put_if(&self.url.join(name), bytes, None))?;
        Ok(matches!(put, Put::Done(_)))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        wait(self.bucket.put(&self.url.join(name), bytes.to_vec()))
    }

    fn remove(&self, name: &str) -> Result<()> {
        wait(self.bucket.remove(vec![self.url.join(name)]))
    }

    fn set_aside(&self, name: &str) -> Result<()> {
        self.copy.set_aside(name)?;
        wait(self.bucket.rename(&self.url.join(name), &self.url.join(&format!("{name}{STALE_SUFFIX}"))))
    }

    fn names_in(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        wait(self.bucket.list(&self.url.join(folder), |object| {
            names.extend(object.location.filename().map(str::to_owned));
            Ok(())
        }))?;
        Ok(names)
    }

    fn hand_out(&self, parts: &[PartEntry]) -> Result<()> {
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&PartEntry> = parts.iter().filter(|part| !there.contains(&part.name)).collect();
        wait(Bucket::each(files_of(new.iter().copied()), AT_ONCE, |name: String| async move {
            let path = self.copy.folder().join(&name);
            let bytes = fs::read(&path).map_err(|e| Error::io(path, "read", e))?;
            self.bucket.put(&self.url.join(&name), bytes).await
        }))?;
        there.extend(new.into_iter().map(|part| part.name.clone()));
        Ok(())
    }

    fn bring(&self, parts: &[PartEntry]) -> Result<()> {
        bring(&self.bucket, &self.url, self.copy.folder(), parts, false)?;
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        there.extend(parts.iter().map(|part| part.name.clone()));
        Ok(())
    }

    /// Brings the local copy up to date. The store itself is not locked: who writes a manifest that is not the one it has read is
    /// refused then.
    fn lock(&self) -> Result<Lock> {
        let lock = self.copy.lock()?;
        self.refuse_without_conditions()?;
        let read = pull(&self.bucket, &self.url, self.copy.folder(), false)?;
        let (parts, version) = read.map_or((Vec::new(), None), |(manifest, version)| (manifest.parts, Some(version)));
        self.there.lock().unwrap_or_else(PoisonError::into_inner).extend(parts.into_iter().map(|part| part.name));
        Ok(lock.with_publisher(Box::new(Through { cache: self.clone(), version: Mutex::new(version) })))
    }
}

/// Takes what is written to the local copy into the store.
#[derive(Debug)]
struct Through {
    cache: ObjectFolder,
    /// Of the manifest in the store, as this job knows it.
    version: Mutex<Option<UpdateVersion>>,
}

impl Publish for Through {
    fn publish(&self, manifest: &Manifest, text: &[u8]) -> Result<()> {
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        self.cache.hand_out(&manifest.parts)?;
        let ObjectFolder { bucket, url, .. } = &self.cache;
        match wait(bucket.put_if(&url.join(MANIFEST_NAME), text, version.as_ref()))? {
            Put::Done(written) => *version = Some(written),
            Put::Refused => {
                return Err(Error::Cache {
                    path: PathBuf::from(url.to_string()),
                    found: "another job wrote this cache in the meantime".into(),
                    remedy:
                        "Let one job at a time write a cache; run the same command again to go on from where the other \
                             stands."
                            .into(),
                });
            }
        }
        if manifest.complete {
            let named: HashSet<String> = files_of(&manifest.parts).into_iter().collect();
            // Parts of the cache that this one replaces, and those that a killed build put there.
            self.cache.remove_files(|table, name| is_part(name) && !named.contains(&format!("{table}/{name}")))?;
        }
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        let ObjectFolder { bucket, url, .. } = &self.cache;
        // The job last: records without it would be those of another job to the next one.
        let mut names = self.cache.names_in(SHARDS_FOLDER)?;
        // Files that this program did not name are left.
        names.retain(|name| name.ends_with(".json"));
        names.sort_by_key(|name| JOB_NAME.ends_with(&format!("/{name}")));
        wait(bucket.remove(names.iter().map(|name| url.join(&format!("{SHARDS_FOLDER}/{name}"))).collect()))?;
        self.cache.remove_files(|_, name| is_part_set_aside(name))
    }
}
