//! Caches as Python sees them: digests by `hashlib`, pages by the byte map of docs/format.md, tables by pyarrow, pandas,
//! polars and DuckDB. Needs a Python with those packages: `LOGITCACHE_PYTHON`, else `.venv/bin/python`.

use crate::cache_support::*;
use logitcache::{cache::CacheReader, cache::decode_f32, types::Store};
use serde_json::Value;
use std::{path::Path, process::Command};

fn check(python: &Path, folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_cache.py");
    let output = Command::new(python).arg(script).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reader = CacheReader::open(folder).unwrap();
    assert_eq!(found["images"], reader.len());
    assert_eq!(found["rows"], reader.manifest().rows());
    let images: Vec<_> = reader.images().map(Result::unwrap).collect();
    let labels: usize = images.iter().filter_map(|i| i.labels).map(|l| l.len()).sum();
    assert_eq!(found["labels"], labels);
    let scores: f64 = images.iter().flat_map(|i| decode_f32(i.predictions.scores)).map(f64::from).sum();
    assert!((found["score_sum"].as_f64().unwrap() - scores).abs() < 1e-9 * (1.0 + scores), "{found} {scores}");
}

#[test]
fn other_engines_read_the_same_values_and_compute_the_same_digests() {
    let Some(python) = crate::common::python("duckdb, numpy, pandas, polars, pyarrow") else { return };
    check(&python, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache-v1"));
    for (classes, reg_max, store) in [(80, 16, Store::All), (1, 1, Store::All), (3, 16, Store::Cls)] {
        let folder = tempfile::tempdir().unwrap();
        let m = manifest(classes, reg_max, store, 12);
        let all = records(&m, 9);
        write_cache(folder.path(), m, &[all[..7].to_vec(), all[7..].to_vec()]);
        check(&python, folder.path());
    }
    check(&python, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compact-v1"));
    for (classes, reg_max, store) in
        [(80, 16, Store::All), (300, 2, Store::All), (1, 1, Store::All), (3, 16, Store::Cls)]
    {
        for make in [compact_manifest, half_compact_manifest] {
            let folder = tempfile::tempdir().unwrap();
            let m = make(classes, reg_max, store, 12);
            let all = records(&m, 9);
            write_cache(folder.path(), m, &[all[..7].to_vec(), all[7..].to_vec()]);
            check(&python, folder.path());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let m = manifest_with_views(2, 12);
    let all = with_views(&m, 9, &records(&m, 9));
    write_cache(folder.path(), m, &[all[..21].to_vec(), all[21..].to_vec()]);
    check(&python, folder.path());
}
