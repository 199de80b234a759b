//! The drawn data set as a whole.

use super::*;
use crate::dataset::{DataSource, Dataset, Truth};
use crate::types::ImageSize;
use std::{collections::BTreeMap, sync::Mutex};

const CONFIG: SynthConfig = SynthConfig { images: 24, imgsz: 128, seed: 7, labelled: None, overwrite: false };

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Every file below a folder with its content.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = walkdir::WalkDir::new(root).into_iter().map(|e| e.unwrap()).filter(|e| e.file_type().is_file());
    files.map(|e| (e.path().strip_prefix(root).unwrap().to_path_buf(), fs::read(e.path()).unwrap())).collect()
}

fn open(root: &Path, split: &str) -> Dataset {
    Dataset::open(&DataSource { data: root.join("data.yaml"), images_dir: None, split: split.into() }).unwrap()
}

#[test]
fn same_seed_same_bytes_whatever_the_threads_and_the_number() {
    let dir = tempfile::tempdir().unwrap();
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let three_threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let (a, b, c, d) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"), dir.path().join("d"));
    let summary = one_thread.install(|| synth(&a, &CONFIG, &go_on)).unwrap();
    let again = three_threads.install(|| synth(&b, &CONFIG, &go_on)).unwrap();
    assert_eq!(summary.objects, again.objects);
    assert!(contents(&a) == contents(&b));

    synth(&c, &SynthConfig { images: 9, ..CONFIG }, &go_on).unwrap();
    let (few, many) = (contents(&c), contents(&a));
    for (path, bytes) in few.iter().filter(|(path, _)| path.as_path() != Path::new("data.yaml")) {
        assert!(many.get(path) == Some(bytes), "{} depends on the number of pictures", path.display());
    }
    synth(&d, &SynthConfig { seed: 8, ..CONFIG }, &go_on).unwrap();
    let other = contents(&d);
    let pictures = |all: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<Vec<u8>> {
        all.iter().filter(|(path, _)| path.starts_with("images")).map(|(_, bytes)| bytes.clone()).collect()
    };
    let known = pictures(&many);
    assert!(pictures(&other).iter().all(|picture| !known.contains(picture)), "another seed gives other pictures");
}

#[test]
fn some_training_images_have_no_labels() {
    let dir = tempfile::tempdir().unwrap();
    let (all, some) = (dir.path().join("all"), dir.path().join("some"));
    let whole = synth(&all, &CONFIG, &go_on).unwrap();
    let config = SynthConfig { labelled: Some(4), ..CONFIG };
    let summary = synth(&some, &config, &go_on).unwrap();
    assert_eq!((summary.train_images, summary.unlabelled_images, summary.val_images), (19, 15, 5));
    assert_eq!((whole.unlabelled_images, whole.labelled_yaml), (0, None));
    assert!(summary.objects.iter().zip(&whole.objects).all(|(some, all)| some.objects < all.objects));
    // The same pictures, and the labels of the first four beside those of the validation.
    let (all, some) = (contents(&all), contents(&some));
    for (path, bytes) in all.iter().filter(|(path, _)| path.starts_with("images")) {
        let moved = PathBuf::from("images/unlabelled").join(path.file_name().unwrap());
        assert!(some.get(path).or_else(|| some.get(&moved)) == Some(bytes), "{}", path.display());
    }
    let labels = |of: &BTreeMap<PathBuf, Vec<u8>>| of.keys().filter(|path| path.starts_with("labels")).count();
    assert_eq!((labels(&all), labels(&some)), (24, 4 + 5));
    let data =
        |file: &str| DataSource { data: dir.path().join("some").join(file), images_dir: None, split: "train".into() };
    let ids = |file: &str| -> Vec<PathBuf> {
        Dataset::open(&data(file)).unwrap().samples.iter().map(|sample| sample.path.clone()).collect()
    };
    let (everything, labelled) = (ids("data.yaml"), ids("labelled.yaml"));
    assert_eq!((everything.len(), labelled.len()), (19, 4));
    assert!(labelled.iter().all(|path| everything.contains(path)));
    // Both are removed together.
    synth(&dir.path().join("some"), &SynthConfig { overwrite: true, ..CONFIG }, &go_on).unwrap();
    assert!(contents(&dir.path().join("some")) == contents(&dir.path().join("all")));
}

#[test]
fn what_is_written_is_what_was_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let summary = synth(dir.path(), &CONFIG, &go_on).unwrap();
    assert_eq!((summary.train_images, summary.val_images), (19, 5));
    let mut by_class = [0; ShapeClass::ALL.len()];
    let (mut bytes, mut suffixes) = (0, std::collections::BTreeSet::new());
    for split in ["train", "val"] {
        let dataset = open(dir.path(), split);
        assert_eq!(dataset.class_names.as_deref().unwrap(), ShapeClass::ALL.map(ShapeClass::name));
        assert_eq!(dataset.notes, Vec::<String>::new());
        for sample in &dataset.samples {
            let index = sample.path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let drawn = draw(CONFIG.seed, index, CONFIG.imgsz);
            let (width, height) = drawn.image.dimensions();
            let decoded = image::open(&sample.path).unwrap().into_rgb8();
            assert_eq!(decoded.dimensions(), (width, height));
            if sample.relative.ends_with(".png") {
                assert!(decoded == drawn.image, "{} is not what was drawn", sample.relative);
            }
            let Truth::Labelled(labels) = sample.labels(ImageSize { width, height }).unwrap() else {
                panic!("{} has no labels", sample.relative)
            };
            assert_eq!(labels.len(), drawn.objects.len());
            for (label, object) in labels.iter().zip(&drawn.objects) {
                by_class[object.class.id()] += 1;
                let b = label.box_xyxy_px;
                let off = [b.x1, b.y1, b.x2, b.y2].into_iter().zip(object.xyxy_px).map(|(f, i)| (f - i as f32).abs());
                assert!(label.class_id as usize == object.class.id() && off.fold(0.0, f32::max) < 0.01);
            }
            bytes += fs::metadata(&sample.path).unwrap().len();
            suffixes.insert(sample.path.extension().unwrap().to_owned());
        }
    }
    assert_eq!(suffixes.len(), 2, "JPEG and PNG");
    assert_eq!(summary.objects.iter().map(|c| c.objects).collect::<Vec<_>>(), by_class);
    assert_eq!(summary.image_bytes, bytes);
}

#[test]
fn boxes_are_tight_around_visible_pixels() {
    let mut occluded = 0;
    for index in 0..40 {
        let drawn = draw(3, index, 200);
        let (width, height) = drawn.image.dimensions();
        assert_eq!(drawn.owner.len(), (width * height) as usize);
        for (number, object) in (1..).zip(&drawn.objects) {
            let [x1, y1, x2, y2] = object.xyxy_px;
            assert!(x1 < x2 && y1 < y2 && x2 <= width && y2 <= height);
            let shows = |x: u32, y: u32| drawn.owner[(y * width + x) as usize] == number;
            let own = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter(|&(x, y)| shows(x, y));
            let inside = |&(x, y): &(u32, u32)| (x1..x2).contains(&x) && (y1..y2).contains(&y);
            let own: Vec<(u32, u32)> = own.collect();
            assert!(own.iter().all(inside), "a pixel lies outside its box");
            assert!(own.iter().any(|p| p.0 == x1) && own.iter().any(|p| p.0 == x2 - 1), "left and right edges touch");
            assert!(own.iter().any(|p| p.1 == y1) && own.iter().any(|p| p.1 == y2 - 1), "top and bottom edges touch");
            assert!((0.3..=1.0).contains(&object.visible_share));
            occluded += u32::from(object.visible_share < 0.9);
        }
    }
    assert!(occluded > 20, "objects lie over one another: {occluded}");
}

#[test]
fn pictures_vary_as_promised() {
    let drawn: Vec<Drawn> = (0..80).map(|index| draw(1, index, 160)).collect();
    let objects: Vec<&SceneObject> = drawn.iter().flat_map(|d| &d.objects).collect();
    for class in ShapeClass::ALL {
        assert!(objects.iter().filter(|o| o.class == class).count() > 20, "{class:?} is rare");
    }
    let sides = |o: &SceneObject| (o.xyxy_px[2] - o.xyxy_px[0], o.xyxy_px[3] - o.xyxy_px[1]);
    let small = objects.iter().filter(|o| sides(o).0 * sides(o).1 < 32 * 32).count();
    assert!(small * 2 > objects.len() && small < objects.len(), "{small} of {}", objects.len());
    assert!(drawn.iter().any(|d| d.objects.is_empty()), "background pictures");
    assert!(drawn.iter().any(|d| d.image.width() > d.image.height()));
    assert!(drawn.iter().any(|d| d.image.width() < d.image.height()));
    assert!(drawn.iter().all(|d| d.image.width().max(d.image.height()) <= 208));
}

#[test]
fn refusals() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for (config, words) in [
        (SynthConfig { images: 0, ..CONFIG }, "`images=0` is not between 1 and 999999"),
        (SynthConfig { images: 1_000_000, ..CONFIG }, "`images=1000000` is not between"),
        (SynthConfig { imgsz: 63, ..CONFIG }, "`imgsz=63` is not between 64 and 4096"),
        (SynthConfig { imgsz: 5000, ..CONFIG }, "`imgsz=5000` is not between"),
    ] {
        let error = synth(&out, &config, &go_on).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!out.exists(), "nothing is written when the settings are wrong");
    }
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), "").unwrap();
    let error = synth(&out, &CONFIG, &go_on).unwrap_err().to_string();
    assert!(
        error.contains("the folder is not empty: it holds ")
            && error.contains("Give a new folder, or empty this one first."),
        "{error}"
    );
    assert_eq!(contents(&out).len(), 1);
    let error = synth(&out.join("mine"), &CONFIG, &go_on).unwrap_err().to_string();
    assert!(error.contains("mine: cannot read the folder"), "{error}");
}

#[test]
fn progress_counts_and_can_stop() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Mutex::new(Vec::new());
    let count = |n| {
        seen.lock().unwrap().push(n);
        ControlFlow::Continue(())
    };
    synth(&dir.path().join("all"), &CONFIG, &count).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (1..=24).collect::<Vec<_>>());

    let stopped = dir.path().join("stopped");
    let error = synth(&stopped, &CONFIG, &|_| ControlFlow::Break(())).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    assert!(!stopped.join("data.yaml").exists(), "what is not finished cannot be mistaken for a data set");
}
