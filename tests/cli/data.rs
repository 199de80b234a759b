//! `logitcache data`: what is refused, what is written, and that nothing is left half written.

use crate::support::{Run, args, command, finished, logitcache, names, on_small_disk, shapes};
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

fn data(words: &[&dyn AsRef<OsStr>]) -> Run {
    let words = words.iter().map(|word| word.as_ref());
    logitcache(&[OsStr::new("data")].into_iter().chain(words).collect::<Vec<_>>())
}

/// All label files of a split, as numbers.
fn labels(folder: &Path) -> Vec<(String, Vec<Vec<f64>>)> {
    let read = |name: String| {
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        let row = |line: &str| line.split(' ').map(|word| word.parse().unwrap()).collect();
        (name, text.lines().map(row).collect())
    };
    names(folder).into_iter().map(read).collect()
}

#[track_caller]
fn assert_same_labels(a: &Path, b: &Path, tolerance: f64) {
    let (a, b) = (labels(a), labels(b));
    assert_eq!(a.iter().map(|(name, _)| name).collect::<Vec<_>>(), b.iter().map(|(name, _)| name).collect::<Vec<_>>());
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        assert_eq!(a.len(), b.len(), "{name}");
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!((a - b).abs() <= tolerance, "{name}: {a} became {b}");
        }
    }
}

/// Writes the data set in each format from the one before; gives the last folder.
fn round_trip(dir: &Path, first: &Path) -> PathBuf {
    let mut from = first.to_path_buf();
    for format in ["coco", "voc", "cvat", "label-studio", "yolo"] {
        let out = dir.join(format);
        let manifest = data(&[&"convert", &from, &"--to", &format, &"--out", &out, &"--json"]).expect(0).json();
        assert_eq!(manifest["format"], format);
        let told: Value = serde_json::from_str(&fs::read_to_string(out.join("manifest.json")).unwrap()).unwrap();
        assert_eq!(told, manifest);
        from = out;
    }
    from
}

#[test]
fn a_round_trip_keeps_every_box_image_class_and_split() {
    let dir = tempfile::tempdir().unwrap();
    let first = shapes(dir.path(), 40);
    let last = round_trip(dir.path(), &first);
    for split in ["train", "val"] {
        assert_same_labels(
            &first.with_file_name("labels").join(split),
            &last.join("labels").join(split),
            // Labels of six digits reach beyond the edge by half of the last one, and are cut
            // there.
            1e-6,
        );
        let images = |folder: PathBuf| names(&folder).into_iter().map(move |name| fs::read(folder.join(name)).unwrap());
        assert!(images(first.with_file_name("images").join(split)).eq(images(last.join("images").join(split))));
    }
    let report = data(&[&"diff", &first, &last, &"--json"]).expect(0).json();
    assert_eq!((&report["same"], &report["images_in_both"]), (&json!(true), &json!(40)));
    let run = data(&[&"diff", &first, &dir.path().join("cvat/annotations.xml")]).expect(0);
    assert!(run.stdout.contains("nothing differs"), "{run:?}");
}

#[test]
fn coco128_and_bccd_keep_every_box_through_all_formats() {
    let Some(shared) = crate::common::shared() else { return };
    for (name, only) in [("coco128", "train"), ("bccd", "val")] {
        let dir = tempfile::tempdir().unwrap();
        let first = shared.join("data").join(name);
        let split = dir.path().join("split");
        data(&[&"subset", &first, &"--split", &only, &"--out", &split, &"--link"]).expect(0);
        let last = round_trip(dir.path(), &split);
        let (a, b) = (split.join("labels").join(only), last.join("labels").join(only));
        // Images without labels become images without objects on the way.
        for name in names(&b).iter().filter(|name| !a.join(name).exists()) {
            assert_eq!(fs::read_to_string(b.join(name)).unwrap(), "", "{name}");
            fs::remove_file(b.join(name)).unwrap();
        }
        assert_same_labels(&a, &b, 1e-7);
    }
}

#[test]
fn wrong_arguments_and_places_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = shapes(dir.path(), 6);
    let out = dir.path().join("out");
    data(&[&"convert", &first, &"--to", &"tfrecord", &"--out", &out]).expect(2).says(&["label-studio"]);
    data(&[&"convert", &first, &"--to", &"coco"]).expect(2).says(&["--out"]);
    data(&[&"merge", &first, &"--out", &out]).expect(2).says(&["2"]);
    data(&[&"split", &first, &"--out", &out, &"--part", &"train=-1"]).expect(2).says(&["a share above 0"]);
    data(&[&"split", &first, &"--out", &out, &"--part", &"a=1", &"--part", &"a=1"]).refused(&["\"a\" is given twice"]);
    data(&[&"split", &first, &"--out", &out, &"--part", &"../x=1"]).refused(&["cannot be the name of a folder"]);
    data(&[&"split", &first, &"--out", &out, &"--part", &"fold1=1"]).refused(&["train, val and test, not \"fold1\""]);
    data(&[&"check", &first, &"--distance", &"65"]).expect(2).says(&["from 0 to 64"]);
    data(&[&"check", &first, &"--link"]).expect(2).says(&["--fix"]);
    data(&[&"stats", &dir.path().join("gone.yaml")]).refused(&["there is no such file or folder", "CVAT"]);
    data(&[&"stats", &first, &"--split", &"fold1"]).refused(&["no split \"fold1\"; it has: train, val", "--split"]);
    data(&[&"subset", &first, &"--class", &"cat", &"--out", &out])
        .refused(&["no class \"cat\"; it has: circle", "--class"]);
    data(&[&"merge", &first, &first, &"--map", &"cat=dog", &"--out", &out]).refused(&["--map", "\"cat\"", "circle"]);
    let images = first.with_file_name("images");
    data(&[&"convert", &images, &"--to", &"coco", &"--out", &out]).expect(2).says(&["the data set has no labels"]);
    let list = dir.path().join("list.txt");
    fs::write(&list, "000000.jpg\nnone.png\n").unwrap();
    data(&[&"subset", &first, &"--list", &list, &"--out", &out]).refused(&["is no image of the data set"]);
    assert!(!out.exists());
}

#[test]
fn an_output_that_exists_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let first = shapes(dir.path(), 6);
    let out = dir.path().join("out");
    for make in [0, 1] {
        if make == 0 {
            fs::create_dir(&out).unwrap();
        } else {
            fs::remove_dir(&out).unwrap();
            fs::write(&out, "mine").unwrap();
        }
        let words: [&[&dyn AsRef<OsStr>]; 6] = [
            &[&"convert", &first, &"--to", &"coco", &"--out"],
            &[&"merge", &first, &first, &"--out"],
            &[&"split", &first, &"--out"],
            &[&"subset", &first, &"--out"],
            &[&"dedup", &first, &"--out"],
            &[&"check", &first, &"--fix"],
        ];
        for words in words {
            data(&[words, &[&out]].concat()).refused(&["already exists", "--out"]);
        }
    }
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    assert_eq!(names(dir.path()), ["out", "shapes"]);
}

/// A data set of one picture under many names.
fn many(dir: &Path, images: usize) -> PathBuf {
    let drawn = shapes(dir, 5);
    let picture = names(&drawn.with_file_name("images").join("train")).remove(0);
    let folder = dir.join("many");
    fs::create_dir_all(folder.join("images")).unwrap();
    fs::create_dir_all(folder.join("labels")).unwrap();
    let from = drawn.with_file_name("images").join("train").join(picture);
    let suffix = from.extension().unwrap().to_str().unwrap().to_owned();
    for number in 0..images {
        fs::hard_link(&from, folder.join(format!("images/{number:06}.{suffix}"))).unwrap();
        fs::write(folder.join(format!("labels/{number:06}.txt")), "0 .5 .5 .2 .2\n").unwrap();
    }
    fs::write(folder.join("data.yaml"), "train: images\nnames: [a, b]\n").unwrap();
    folder.join("data.yaml")
}

#[test]
fn ctrl_c_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data_yaml = many(dir.path(), 4000);
    let place = dir.path().join("place");
    fs::create_dir(&place).unwrap();
    let out = place.join("out");
    let words = args(["data", "convert", "--to", "coco"], &[("--out", &out)], &[]);
    let words: Vec<_> = words.into_iter().chain([data_yaml.clone().into()]).collect();
    let mut child = command(&words).spawn().unwrap();
    while names(&place).is_empty() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(names(&place).len(), 1, "it works in a hidden folder beside the new one");
    assert!(!out.exists());
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    finished(child.wait_with_output().unwrap()).expect(130).says(&["interrupted; nothing was written"]);
    assert_eq!(names(&place), [] as [&str; 0]);
    data(&[&"convert", &data_yaml, &"--to", &"coco", &"--out", &out]).expect(0);
    assert_eq!(names(&place), ["out"]);
}

#[test]
fn a_full_disk_is_a_clear_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = shapes(dir.path(), 60);
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let script = r#"
        mount -t tmpfs -o size=200k tmpfs "$DISK" || exit 77
        "$BIN" data convert "$DATA" --to voc --out "$DISK/out"; echo "first: $?"; ls -A "$DISK"
        mount -o remount,size=64m "$DISK" || exit 77
        "$BIN" data convert "$DATA" --to voc --out "$DISK/out"; echo "second: $?"; ls -A "$DISK"
    "#;
    let Some(run) = on_small_disk(script, &[], &[("DISK", &disk), ("DATA", &first)]) else { return };
    let run = run.expect(0).says(&["no space left", "Nothing was written", "--out"]);
    assert!(run.stdout.starts_with("first: 2\n") && run.stdout.ends_with("second: 0\nout\n"), "{run:?}");
    assert!(!run.stdout.contains(".tmp-"), "{run:?}");
    assert!(run.stdout.contains("60 image files copied"), "another file system has no links: {run:?}");
}

/// A count of a kind of `check --json`.
fn count(report: &Value, kind: &str) -> u64 {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["kind"] == kind).map_or(0, |finding| finding["count"].as_u64().unwrap())
}

#[test]
fn check_names_every_fault_and_fix_mends_them() {
    let dir = tempfile::tempdir().unwrap();
    let first = shapes(dir.path(), 30);
    let folder = first.parent().unwrap();
    let report = data(&[&"check", &first, &"--json"]).expect(0).json();
    assert_eq!(report["errors"], 0, "{report}");

    let images = names(&folder.join("images/train"));
    let path = |at: usize| folder.join("images/train").join(&images[at]);
    let label = |at: usize| folder.join("labels/train").join(&images[at]).with_extension("txt");
    fs::write(path(0), "not an image").unwrap();
    fs::remove_file(label(1)).unwrap();
    fs::write(label(2), "0 .5 .5 .2 .2\n9 .5 .5 .2 .2\n1 nan .5 .2 .2\n1 1.7 .5 .2 .2\n1 .5 .5\n").unwrap();
    fs::write(
        label(3),
        "0 .5 .5 .2 .2\n0 .5 .5 .2 .2\n0 .5 .5 .2 .201\n0 .2 .2 .005 .1\n0 .3 .3 0 .1\n0 .95 .5 .4 .2\n",
    )
    .unwrap();
    fs::write(label(4), b"\xff\xfe\x00").unwrap();
    fs::write(folder.join("labels/train/alone.txt"), "0 .5 .5 .2 .2\n").unwrap();
    let val = folder.join("images/val");
    let suffix = path(5).extension().unwrap().to_str().unwrap().to_owned();
    fs::copy(path(5), val.join(format!("leak.{suffix}"))).unwrap();
    fs::copy(label(5), folder.join("labels/val/leak.txt")).unwrap();

    let report = data(&[&"check", &first, &"--json"]).expect(1).json();
    for (kind, expected) in [
        ("unreadable_image", 1),
        ("unreadable_labels", 1),
        ("unknown_class", 1),
        ("non_finite", 1),
        ("out_of_range", 1),
        ("malformed_label", 1),
        ("no_area", 1),
        ("same_image_in_splits", 1),
        ("missing_labels", 1),
        ("labels_without_image", 1),
        ("beyond_edge", 1),
        ("tiny_box", 1),
        ("repeated_box", 2),
        ("near_empty_split", 1),
    ] {
        assert_eq!(count(&report, kind), expected, "{kind}: {report:#}");
    }
    let run = data(&[&"check", &first]).expect(1);
    assert!(
        run.stdout.contains("unknown class") && run.stdout.contains("line 2: class \"9\" does not exist"),
        "{run:?}"
    );

    let out = dir.path().join("mended");
    data(&[&"check", &first, &"--fix", &out]).expect(1);
    let changes = fs::read_to_string(out.join("changes.csv")).unwrap();
    for words in ["not an image that can be read", "line 2: class", "line 3: ", "line 5: 3 columns", "repeat", "cut at"]
    {
        assert!(changes.contains(words), "{words}: {changes}");
    }
    assert!(changes.contains("the image was left out: the same file as "), "{changes}");
    let mended = data(&[&"check", &out, &"--json"]).expect(0).json();
    for kind in
        ["unknown_class", "repeated_box", "no_area", "beyond_edge", "labels_without_image", "same_image_in_splits"]
    {
        assert_eq!(count(&mended, kind), 0, "{kind}: {mended:#}");
    }
    assert_eq!(count(&mended, "missing_labels"), 1, "an image that nobody annotated stays so");
}

/// An image of one colour in a picture file, and its YOLO labels.
fn image(path: &Path, side: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bytes: Vec<u8> = [b"BM".as_slice(), &(54 + side * side * 4).to_le_bytes(), &[0; 4], &54u32.to_le_bytes()]
        .concat()
        .into_iter()
        .chain([40u32, side, side].into_iter().flat_map(u32::to_le_bytes))
        .chain([1, 0, 32, 0])
        .chain([0; 24])
        .chain((0..side * side * 4).map(|at| (at % 251) as u8))
        .collect();
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_a_format_cannot_hold_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("coco");
    image(&folder.join("a.bmp"), 40);
    image(&folder.join("b.bmp"), 40);
    let coco = json!({
        "images": [{"id": 1, "file_name": "a.bmp", "width": 40, "height": 40}, {"id": 2, "file_name": "b.bmp"}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 9, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 9, "bbox": [1, 2, 10, 10], "iscrowd": 1, "segmentation": {"counts": [1], "size": [1, 1]}},
            {"id": 2, "image_id": 1, "category_id": 5, "bbox": [1, 2, 50, 10], "segmentation": [[1, 2, 3, 4, 5, 1]], "area": 77},
            {"id": 3, "image_id": 1, "category_id": 5, "bbox": [1, 2, 0, 10], "segmentation": []},
        ],
    });
    let file = folder.join("instances.json");
    fs::write(&file, coco.to_string()).unwrap();
    let losses = |from: &Path, to: &str, out: &str| -> Vec<(String, u64)> {
        let manifest =
            data(&[&"convert", &from, &"--to", &to, &"--out", &dir.path().join(out), &"--json"]).expect(0).json();
        let loss = |loss: &Value| (loss["what"].as_str().unwrap().to_owned(), loss["count"].as_u64().unwrap());
        manifest["losses"].as_array().unwrap().iter().map(loss).collect()
    };
    let has = |losses: &[(String, u64)], words: &str, count: u64| {
        assert!(losses.iter().any(|(what, found)| what.contains(words) && *found == count), "{words}: {losses:?}");
    };
    let to_yolo = losses(&file, "yolo", "yolo");
    has(&to_yolo, "crowd regions were left out: YOLO cannot mark them", 1);
    has(&to_yolo, "polygons, masks or turned boxes became the box around them", 1);
    has(&to_yolo, "boxes were cut at the edge", 1);
    has(&to_yolo, "boxes without area", 1);
    // CVAT marks crowds; so does COCO, which gets them back from it.
    assert!(!losses(&file, "cvat", "cvat").iter().any(|(what, _)| what.contains("crowd")));
    losses(&dir.path().join("cvat"), "coco", "again");
    let again = fs::read_to_string(dir.path().join("again/annotations/instances_all.json")).unwrap();
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["annotations"][0]["iscrowd"], &again["categories"][1]["name"]), (&json!(1), &json!("cat")));

    let voc = dir.path().join("voc");
    image(&voc.join("a.bmp"), 40);
    let object = |difficult| {
        format!(
            "<object><name>x</name><difficult>{difficult}</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
        )
    };
    fs::write(voc.join("a.xml"), format!("<annotation>{}{}</annotation>", object(0), object(1))).unwrap();
    has(&losses(&voc, "label-studio", "ls"), "difficult objects were left out: Label Studio", 1);
    assert!(losses(&voc, "voc", "voc2").is_empty());
    let text = fs::read_to_string(dir.path().join("voc2/Annotations/a.xml")).unwrap();
    assert_eq!(text.matches("<difficult>1</difficult>").count(), 1);
}

#[test]
fn merge_unites_classes_by_name_and_by_table() {
    let dir = tempfile::tempdir().unwrap();
    for (name, classes, row) in
        [("a", "[cat, dog]", "1 .5 .5 .5 .5\n"), ("b", "[puppy, bird, cat]", "0 .5 .5 .5 .5\n2 .2 .2 .1 .1\n")]
    {
        let folder = dir.path().join(name);
        image(&folder.join("images/train/1.bmp"), 40);
        fs::create_dir_all(folder.join("labels/train")).unwrap();
        fs::write(folder.join("labels/train/1.txt"), row).unwrap();
        fs::write(folder.join("data.yaml"), format!("train: images/train\nnames: {classes}\n")).unwrap();
    }
    let (a, b, out) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("out"));
    let manifest = data(&[&"merge", &a, &b, &"--map", &"puppy=dog", &"--out", &out, &"--json"]).expect(0).json();
    assert_eq!(manifest["classes"], json!(["cat", "dog", "bird"]));
    assert_eq!(manifest["splits"], json!([{"name": "train", "images": 2, "background_images": 0, "boxes": 3}]));
    assert_eq!(manifest["renamed"], 1);
    assert_eq!(names(&out.join("images/train")), ["1.bmp", "1_2.bmp"]);
    assert_eq!(fs::read_to_string(out.join("labels/train/1_2.txt")).unwrap(), "1 0.5 0.5 0.5 0.5\n0 0.2 0.2 0.1 0.1\n");
    let sources = fs::read_to_string(out.join("sources.csv")).unwrap();
    assert!(
        sources.contains(&format!("images/train/1_2.bmp,train,{}", b.join("images/train/1.bmp").display())),
        "{sources}"
    );
}

#[test]
fn split_keeps_near_duplicates_together_and_is_the_same_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = shapes(dir.path(), 60);
    // Each image of val once more in train, under another name.
    for name in names(&first.with_file_name("images").join("val")) {
        let stem = Path::new(&name).file_stem().unwrap().to_str().unwrap();
        let folder = first.parent().unwrap();
        fs::copy(folder.join("images/val").join(&name), folder.join("images/train").join(format!("again-{name}")))
            .unwrap();
        let label = |split: &str, name: &str| folder.join(format!("labels/{split}/{name}.txt"));
        fs::copy(label("val", stem), label("train", &format!("again-{stem}"))).unwrap();
    }
    data(&[&"check", &first]).expect(1);
    let out = |name: &str| dir.path().join(name);
    let parts: [&dyn AsRef<OsStr>; 6] = [&"--part", &"train=0.6", &"--part", &"val=0.2", &"--part", &"test=0.2"];
    for (name, seed) in [("one", "1"), ("same", "1"), ("other", "2")] {
        let words: [&dyn AsRef<OsStr>; 6] = [&"split", &first, &"--seed", &seed, &"--out", &out(name)];
        data(&[&words[..], &parts].concat()).expect(0);
    }
    let files = |name: &str| ["train", "val", "test"].map(|split| names(&out(name).join("images").join(split)));
    assert_eq!(files("one"), files("same"));
    assert_ne!(files("one"), files("other"));
    let counts = files("one").map(|names| names.len());
    assert_eq!(counts.iter().sum::<usize>(), 72);
    assert!(counts[0].abs_diff(43) <= 4 && counts[1].abs_diff(14) <= 4, "{counts:?}");
    let report = data(&[&"dedup", &out("one"), &"--json"]).expect(0).json();
    assert_eq!((report["exact_duplicates"].as_u64(), &report["leaks"]), (Some(12), &json!([])));
    let report = data(&[&"dedup", &first, &"--out", &out("once"), &"--json"]).expect(0).json();
    assert_eq!(report["leaks"].as_array().unwrap().len(), 12);
    assert_eq!(report["written"]["splits"][1]["images"], 0, "the first one of each is kept: {report:#}");
    let changed = data(&[&"diff", &first, &out("one"), &"--json"]).expect(0).json();
    assert_eq!((&changed["images_in_both"], &changed["images"]), (&json!(72), &json!([])));
    assert!(!changed["moved_images"].as_array().unwrap().is_empty());
}

#[test]
fn subset_by_class_split_and_list() {
    let dir = tempfile::tempdir().unwrap();
    let first = shapes(dir.path(), 30);
    let out = |name: &str| dir.path().join(name);
    data(&[&"subset", &first, &"--class", &"star", &"--class", &"square", &"--out", &out("class")]).expect(0);
    let stats = data(&[&"stats", &out("class"), &"--json"]).expect(0).json();
    let all = data(&[&"stats", &first, &"--json"]).expect(0).json();
    let boxes = |stats: &Value, name: &str| {
        let classes = stats["classes"].as_array().unwrap();
        classes.iter().find(|class| class["name"] == name).unwrap()["boxes"].clone()
    };
    assert_eq!(stats["classes"].as_array().unwrap().len(), 2);
    for name in ["square", "star"] {
        assert_eq!(boxes(&stats, name), boxes(&all, name), "{name}");
    }
    assert_eq!(stats["splits"][0]["background_images"], 0);
    let list = out("list.txt");
    let chosen = names(&first.with_file_name("images").join("val"));
    fs::write(&list, format!("images/val/{}\n./{}\n", chosen[0], chosen[1])).unwrap();
    let manifest = data(&[&"subset", &first, &"--list", &list, &"--to", &"coco", &"--out", &out("list"), &"--json"])
        .expect(0)
        .json();
    assert_eq!((&manifest["splits"][0]["images"], &manifest["splits"][1]["images"]), (&json!(0), &json!(2)));
    let manifest = data(&[&"subset", &first, &"--split", &"val", &"--out", &out("val"), &"--json"]).expect(0).json();
    assert_eq!(manifest["splits"].as_array().unwrap().len(), 1);
}

#[test]
fn images_that_cannot_be_read_are_named_and_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let first = shapes(dir.path(), 10);
    let images = first.with_file_name("images").join("train");
    fs::write(images.join(&names(&images)[0]), "no image").unwrap();
    let out = dir.path().join("out");
    let run = data(&[&"convert", &first, &"--to", &"voc", &"--out", &out]).expect(1);
    assert!(run.stdout.contains("1 image could not be read, not in the new data set:\n"), "{run:?}");
    let written = names(&out.join("JPEGImages"));
    assert_eq!((written.len(), names(&out.join("Annotations")).len()), (9, 9));
    data(&[&"stats", &first]).expect(1);
}

#[test]
fn images_are_copied_and_linked_where_that_is_wanted() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let first = shapes(dir.path(), 6);
    let inode = |folder: &Path| {
        let images = folder.join("images/train");
        fs::metadata(images.join(&names(&images)[0])).unwrap().ino()
    };
    let (copied, linked) = (dir.path().join("copied"), dir.path().join("linked"));
    let run = data(&[&"convert", &first, &"--to", &"yolo", &"--out", &copied]).expect(0);
    assert!(run.stdout.contains("6 image files copied"), "{run:?}");
    let run = data(&[&"convert", &first, &"--to", &"yolo", &"--link", &"--out", &linked]).expect(0);
    assert!(run.stdout.contains("6 image files linked"), "{run:?}");
    let original = inode(first.parent().unwrap());
    assert_eq!((inode(&copied) == original, inode(&linked) == original), (false, true));
}
