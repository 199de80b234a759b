//! Files as bytes: hashing them with ordinary reads, and what lies in the folder beside them.

use crate::fsio::{Lock, STALE_SUFFIX, TEMP_PREFIX};
use crate::{FileEntry, MANIFEST_NAME, Manifest, SHARDS_FOLDER, columns::Table, digest::to_hex};
use sha2::{Digest, Sha256};
use std::{collections::HashSet, fs::File, io::Read, path::Path};

/// Reads the whole file and compares length and digest; what is wrong, in words.
pub fn check_bytes(path: &Path, entry: &FileEntry, progress: &(dyn Fn(u64) + Sync)) -> Result<(), String> {
    let cannot = |e: std::io::Error| format!("cannot read it: {e}");
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if metadata.len() != entry.bytes {
        return Err(format!("it has {} bytes, the manifest says {}", metadata.len(), entry.bytes));
    }
    let mut file = File::open(path).map_err(cannot)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0u8; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(cannot)? {
            0 => break,
            n => {
                hash.update(buffer.get(..n).unwrap_or(&buffer));
                progress(n as u64);
            }
        }
    }
    let found = to_hex(&hash.finalize());
    if found != entry.sha256 {
        return Err(format!("its bytes have the SHA-256 {found}, the manifest says {}", entry.sha256));
    }
    Ok(())
}

/// What lies in the cache's folder and is not of the cache, and whether a build is unfinished.
pub fn notes(folder: &Path, manifest: &Manifest) -> Vec<String> {
    let mut notes = Vec::new();
    match (manifest.complete, manifest.images(), manifest.failures.len()) {
        (true, ..) => {}
        (false, 0, failed @ 1..) => notes.push(format!(
            "The cache is not complete: it holds no images, {failed} failed. Fix the images or their labels, then run \
             the same command again."
        )),
        _ => notes.push("The build is not finished; run the same command again to go on.".to_owned()),
    }
    let named: HashSet<String> = manifest.parts.iter().map(|p| format!("{}.parquet", p.name)).collect();
    for name in names_in(folder) {
        match name.as_str() {
            MANIFEST_NAME | "images" | "predictions" | SHARDS_FOLDER => {}
            Lock::FILE_NAME => notes.push(format!("{name}: a build is running here, or was killed.")),
            other => notes.push(foreign("", other)),
        }
    }
    for table in [Table::Images, Table::Predictions] {
        let foreigners = names_in(&folder.join(table.folder())).into_iter().filter(|name| !named.contains(name));
        notes.extend(foreigners.map(|name| foreign(&format!("{}/", table.folder()), &name)));
    }
    notes
}

fn foreign(folder: &str, name: &str) -> String {
    if name.ends_with(STALE_SUFFIX) {
        format!("{folder}{name}: set aside by a build in shards; not part of the cache, it can be removed.")
    } else if name.starts_with(TEMP_PREFIX) || name.starts_with("part-") {
        format!("{folder}{name}: left by a killed build; not part of the cache, the next build removes it.")
    } else {
        format!("{folder}{name}: not part of the cache.")
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
