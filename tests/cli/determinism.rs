//! Same input, same content, whatever the threads, parts and folder.

use crate::support::{build, content, shapes, verify};

#[test]
fn content_does_not_depend_on_threads_parts_or_folder() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 60);
    let variants: [&[(&str, &str)]; 4] = [
        &[("--jobs", "1")],
        &[("--jobs", "2")],
        &[("--jobs", "2"), ("--images-per-part", "7")],
        &[("--jobs", "3"), ("--images-per-part", "16")],
    ];
    let mut digests = Vec::new();
    for (i, variant) in variants.iter().enumerate() {
        let out = dir.path().join(format!("some/where/cache{i}"));
        build(&data, &out, variant).expect(0);
        verify(&out).expect(0);
        digests.push(content(&out));
    }
    assert!(digests.iter().all(|d| d == &digests[0]), "{digests:?}");

    // The digest does see the content: another threshold is another cache.
    let other = dir.path().join("other");
    build(&data, &other, &[("--min-score", "0.3")]).expect(0);
    assert_ne!(content(&other), digests[0]);
}

/// With the same batch. Two different batches need not agree to the last bit, since ONNX Runtime may sum in another order for
/// another shape: the batch is a setting of the cache (`refusals::a_batch_that_does_not_fit`), and each is held against the
/// oracle (`tests/python/test_options.py`).
#[test]
fn a_batch_gives_every_image_its_own_result() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 22);
    let digest = |name: &str, more: &[(&str, &str)]| {
        let out = dir.path().join(name);
        build(&data, &out, more).expect(0);
        content(&out)
    };
    assert_eq!(
        digest("a", &[("--batch", "4"), ("--jobs", "1")]),
        digest("b", &[("--batch", "4"), ("--jobs", "2"), ("--images-per-part", "5")])
    );
}
