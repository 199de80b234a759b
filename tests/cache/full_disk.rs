//! A disk that fills up while a part is written: a clear error, nothing half there, and the cache as it was.
//!
//! The test mounts a file system of 256 KiB in a namespace of its own (`unshare`), where the system allows that.
#![cfg(target_os = "linux")]

use crate::cache_support::*;
use logitcache::{
    cache::{Manifest, PartWriter, verify},
    fsio::{Lock, free_space_bytes},
    types::Store,
};
use logitcache_format::Error;
use std::{path::PathBuf, process::Command};

const DISK: &str = "LOGITCACHE_TEST_SMALL_DISK";

#[test]
fn a_full_disk_is_a_clear_error_and_the_same_part_goes_on_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().to_str().unwrap();
    let this_test = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=256k none '{disk}' || exit 77; {DISK}='{disk}' exec '{}' --ignored --exact full_disk::on_a_small_disk",
        this_test.display()
    );
    let output = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).output();
    match output {
        Ok(o) if o.status.success() => {
            let text = String::from_utf8_lossy(&o.stdout);
            assert!(text.contains("1 passed"), "{text}");
        }
        Ok(o) if o.status.code() == Some(101) => panic!("{}", String::from_utf8_lossy(&o.stdout)),
        _ => println!("skipped: no file system can be mounted in a namespace here"),
    }
}

#[test]
#[ignore = "run by the test above on a small file system"]
fn on_a_small_disk() {
    let folder = PathBuf::from(std::env::var_os(DISK).unwrap()).join("cache");
    let m = manifest(80, 16, Store::All, 2000);
    let small = record(&m, 1, 0, 10, Some(1));
    let mut m = write_cache(&folder, m, &[vec![small]]);
    let before = files(&folder);
    assert!(free_space_bytes(&folder).unwrap() < 256 << 10);

    let lock = Lock::acquire(&folder).unwrap();
    let write = |images: i64| -> logitcache_format::Result<_> {
        let mut writer = PartWriter::create(&folder, &m)?;
        for id in 1..=images {
            writer.push(&record(&m, 1, id, 40, None))?;
        }
        writer.finish()
    };
    let error = write(600).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, action: "write to", path } if source.kind() == std::io::ErrorKind::StorageFull
            && path.starts_with(folder.join("predictions"))),
        "{error:?}"
    );
    assert!(error.to_string().contains("No space left on device"), "{error}");
    drop(lock);
    assert_eq!(files(&folder), before, "nothing half there");
    assert!(verify(&folder).unwrap().is_sound());

    let part = write(5).unwrap().unwrap();
    m.add_part(part);
    let lock = Lock::acquire(&folder).unwrap();
    // The disk fills up while the manifest is written: the old one stays.
    let filler = folder.join("../filler");
    std::fs::write(&filler, vec![1; 1 << 20]).unwrap_err();
    let error = m.save(&lock).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error:?}"
    );
    assert_eq!(Manifest::load(&folder).unwrap().parts.len(), 1);
    std::fs::remove_file(&filler).unwrap();
    m.digests = None;
    m.save(&lock).unwrap();
    drop(lock);
    let report = verify(&folder).unwrap();
    assert!(report.is_sound() && report.images == 6, "{report:#?}");
}
