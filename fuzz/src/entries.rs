//! One entry for each reader of foreign bytes: it gives the bytes to the reader and looks at all that comes out.
//!
//! The fuzz targets call these, and so does `tests/fuzz_corpus.rs`, which includes this file. A reader that takes a file
//! gets one in memory (`/dev/shm`). Digests stand before every other check of a cache, so they are made right here.

use logitcache::{
    cache::{CacheReader, Manifest, part_digests, verify},
    cli,
    dataset::{DataSource, Dataset, Truth},
    detector::{
        Detector, DetectorOptions, Provider, Reading,
        onnx::proto::{GraphProto, ModelProto, NodeProto, StringStringEntryProto},
    },
    eval::{InferenceOptions, NmsOptions},
    fuzzing, inspect,
    preprocess::{DecodeError, DecodeLimits, decode, size_of},
    report::{Report, ReportOptions},
    types::{ImageSize, Store},
};
use prost::Message;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    cell::OnceCell,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};
use tempfile::TempDir;

/// What is given the bytes of a file.
pub type Entry = fn(&[u8]);

/// Name and function of every entry; the corpus of each lies in `fuzz/corpus/NAME`.
pub const ENTRIES: &[(&str, Entry)] = &[
    ("archive", cache),
    ("cache", cache),
    ("class_names", class_names),
    ("coco", coco),
    ("cvat", cvat),
    ("data_yaml", data_yaml),
    ("image_list", image_list),
    ("label_rows", label_rows),
    ("label_studio", label_studio),
    ("manifest", manifest),
    ("onnx", onnx),
    ("onnx_names", onnx_names),
    ("picture", picture),
    ("run_folder", run_folder),
    ("voc", voc),
];

/// An empty folder, in memory where the system has such a place.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("logitcache-fuzz-").tempdir_in(place).expect("a temporary folder")
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a temporary file");
}

/// A sentence: neither empty nor so long that it hides what it says.
fn is_a_message(error: &dyn std::fmt::Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 20_000, "a message of {} bytes", text.len());
}

/// A picture file.
pub fn picture(bytes: &[u8]) {
    const LIMITS: DecodeLimits = DecodeLimits { max_pixels: 1 << 20 };
    match decode(bytes, &LIMITS) {
        Ok(image) => {
            let (width, height) = (image.size.width as usize, image.size.height as usize);
            assert!(width * height <= 1 << 20 && image.pixels.len() == width * height * 3);
            assert_eq!(size_of(bytes, &LIMITS), Ok(image.size), "the header says another size than the pixels have");
        }
        Err(DecodeError::TooLarge { size, .. }) => assert!(u64::from(size.width) * u64::from(size.height) > 1 << 20),
        Err(error) => is_a_message(&error),
    }
}

/// A `data.yaml`. Only the text: what it names would be looked for on this machine.
pub fn data_yaml(bytes: &[u8]) {
    if let Err((found, remedy)) = fuzzing::data_yaml(bytes) {
        is_a_message(&found);
        is_a_message(&remedy);
    }
}

/// The text file of one image's labels.
pub fn label_rows(bytes: &[u8]) {
    thread_local!(static DATASET: OnceCell<(TempDir, Dataset)> = const { OnceCell::new() });
    DATASET.with(|cell| {
        let (folder, dataset) = cell.get_or_init(|| {
            let folder = folder();
            fs::create_dir_all(folder.path().join("images")).expect("a folder");
            fs::create_dir_all(folder.path().join("labels")).expect("a folder");
            write(&folder.path().join("images/a.jpg"), b"");
            write(&folder.path().join("labels/a.txt"), b"");
            write(&folder.path().join("data.yaml"), b"train: images\nnames: [a, b, c]\n");
            let dataset = Dataset::open(&source(&folder.path().join("data.yaml"))).expect("a data set");
            (folder, dataset)
        });
        write(&folder.path().join("labels/a.txt"), bytes);
        look_at_labels(dataset);
    });
}

/// A text file that lists a split's images.
pub fn image_list(bytes: &[u8]) {
    let folder = folder();
    write(&folder.path().join("train.txt"), bytes);
    write(&folder.path().join("data.yaml"), b"train: train.txt\nnames: [a]\n");
    open(&source(&folder.path().join("data.yaml")));
}

/// A file of class names, one a line.
pub fn class_names(bytes: &[u8]) {
    let folder = folder();
    let path = folder.path().join("names.txt");
    write(&path, bytes);
    match cli::read_names(&path) {
        Ok(names) => assert!(!names.is_empty() && names.iter().all(|name| !name.is_empty())),
        Err(error) => is_a_message(&error),
    }
}

/// A COCO `instances.json`.
pub fn coco(bytes: &[u8]) {
    let folder = folder();
    let path = folder.path().join("instances.json");
    write(&path, bytes);
    open(&DataSource { images_dir: Some(folder.path().to_owned()), ..source(&path) });
}

/// A Pascal VOC XML file beside its picture.
pub fn voc(bytes: &[u8]) {
    let folder = folder();
    write(&folder.path().join("a.jpg"), b"");
    write(&folder.path().join("a.xml"), bytes);
    open(&source(folder.path()));
}

/// An `annotations.xml` of CVAT.
pub fn cvat(bytes: &[u8]) {
    let folder = folder();
    write(&folder.path().join("a.jpg"), b"");
    let xml = folder.path().join("annotations.xml");
    write(&xml, bytes);
    open(&source(&xml));
    open_all(&xml);
}

/// A JSON export of Label Studio, taken for one whatever it begins with.
pub fn label_studio(bytes: &[u8]) {
    let folder = folder();
    write(&folder.path().join("a.jpg"), b"");
    let json = folder.path().join("tasks.json");
    write(&json, bytes);
    open(&source(&json));
    open_all(&json);
}

/// Boxes of every split are finite, and of a class that there is.
fn open_all(data: &Path) {
    let size = ImageSize { width: 640, height: 480 };
    match Dataset::open_all(data, None) {
        Ok(splits) => {
            for (_, dataset) in splits {
                let classes = dataset.class_names.as_ref().map_or(0, Vec::len);
                for sample in dataset.samples.iter().take(100) {
                    if let Truth::Labelled(boxes) = sample.annotated(size).truth {
                        assert!(boxes.iter().all(|raw| (raw.class_id as usize) < classes));
                        assert!(boxes.iter().flat_map(|raw| raw.xyxy_px).all(f64::is_finite));
                    }
                }
            }
        }
        Err(error) => is_a_message(&error),
    }
}

fn source(data: &Path) -> DataSource {
    DataSource { data: data.to_owned(), images_dir: None, split: "train".to_owned() }
}

fn open(source: &DataSource) {
    match Dataset::open(source) {
        Ok(dataset) => look_at_labels(&dataset),
        Err(error) => is_a_message(&error),
    }
}

/// Boxes that are given out lie in the picture and are of a class that there is.
fn look_at_labels(dataset: &Dataset) {
    let size = ImageSize { width: 640, height: 480 };
    let classes = dataset.class_names.as_ref().map_or(0, Vec::len);
    assert!(!dataset.samples.is_empty());
    for sample in dataset.samples.iter().take(100) {
        match sample.truth_boxes(size) {
            Ok(Truth::Labelled(boxes)) => {
                for label in boxes {
                    let b = label.box_xyxy_px;
                    assert!(0.0 <= b.x1 && b.x1 < b.x2 && b.x2 <= 640.0, "{b:?}");
                    assert!(0.0 <= b.y1 && b.y1 < b.y2 && b.y2 <= 480.0, "{b:?}");
                    assert!((label.class_id as usize) < classes, "class {} of {classes}", label.class_id);
                }
            }
            Ok(_) => {}
            Err(reason) => is_a_message(&reason),
        }
    }
}

/// An ONNX file: its head is found, or it is refused.
pub fn onnx(bytes: &[u8]) {
    for (imgsz, store) in [(None, Store::All), (Some(64.into()), Store::Cls)] {
        let options = DetectorOptions { imgsz, store, names: None, ..DetectorOptions::default() };
        match Detector::from_bytes("model.onnx", bytes.to_vec(), &options) {
            Ok(model) => {
                assert_eq!(model.class_names.len(), model.head.num_classes);
                assert!(model.head.num_places() > 0 && (store == Store::Cls || model.head.reg_max() > 0));
                let _ = model.num_parameters();
                fuzzing::edit_teacher(&model);
            }
            Err(error) => is_a_message(&error),
        }
    }
}

/// The class names in an ONNX file's metadata, a text that Python printed.
pub fn onnx_names(bytes: &[u8]) {
    let entry = StringStringEntryProto {
        key: Some("names".to_owned()),
        value: Some(String::from_utf8_lossy(bytes).into_owned()),
    };
    let model = ModelProto {
        ir_version: Some(8),
        graph: Some(GraphProto { node: vec![NodeProto::default()], ..Default::default() }),
        metadata_props: vec![entry],
        ..Default::default()
    };
    onnx(&model.encode_to_vec());
}

/// `config.json` of a run, an empty line, `results.csv`: what a report reads of it.
pub fn run_folder(bytes: &[u8]) {
    let folder = folder();
    let run = folder.path().join("run");
    fs::create_dir(&run).expect("a folder");
    let at = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let (config, results) = bytes.split_at(at);
    if !config.is_empty() {
        write(&run.join("config.json"), config);
    }
    write(&run.join("results.csv"), results.get(2..).unwrap_or_default());
    let options = ReportOptions {
        folders: vec![run],
        before: None,
        data: None,
        images_dir: None,
        split: None,
        run_models: false,
        max_pictures: 0,
        detector: InferenceOptions {
            model: PathBuf::new(),
            names: None,
            reading: Reading::default(),
            imgsz: None,
            jobs: NonZeroUsize::MIN,
            provider: Provider::Cpu,
            ort_lib: None,
            nms: NmsOptions::PREDICTING,
        },
    };
    match Report::prepare(options).and_then(|report| report.make(&AtomicBool::new(false), |_| {})) {
        Ok(page) => assert_eq!(page.runs, 1),
        Err(error) => is_a_message(&error),
    }
}

/// A `manifest.json` up to its last two lines, which hold its digest.
pub fn manifest(bytes: &[u8]) {
    let folder = folder();
    write(&folder.path().join("manifest.json"), &sealed(bytes));
    match Manifest::load(folder.path()) {
        Ok(manifest) => {
            let _ = (manifest.images(), manifest.records(), manifest.rows(), manifest.bytes());
            assert!(manifest.settings_difference(&manifest).is_empty());
            assert!(manifest.teacher.total_anchors() <= i32::MAX as u64);
            let summary = inspect::summary(folder.path());
            let _ = summary.map_err(|error| is_a_message(&error));
            // There are no files, so parts cannot be sound.
            let report = verify(folder.path()).expect("there is a manifest");
            assert!(manifest.parts.is_empty() || !report.is_sound());
        }
        Err(error) => is_a_message(&error),
    }
}

/// The text of a manifest with the two lines that its digest makes.
fn sealed(head: &[u8]) -> Vec<u8> {
    let tail = format!("  \"manifest_sha256\": \"{}\"\n}}\n", sha256(head));
    [head, tail.as_bytes()].concat()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A whole cache of one part: the length of the manifest in 4 bytes, the manifest, the length of the images file, the images
/// file, the predictions file. Lengths and digests of the files are put into the manifest as they are.
pub fn cache(bytes: &[u8]) {
    let folder = folder();
    if unpack(bytes, folder.path()).is_none() {
        return;
    }
    let manifest = match Manifest::load(folder.path()) {
        Ok(manifest) => manifest,
        Err(error) => return is_a_message(&error),
    };
    let sound = verify(folder.path()).expect("there is a manifest").is_sound();
    for part in &manifest.parts {
        let digests = part_digests(folder.path(), part, &manifest);
        assert!(!sound || digests.is_ok(), "a sound part cannot be read");
    }
    let mapped = look_at_images(folder.path(), sound);
    assert!(!sound || manifest.is_archive() || mapped.is_some(), "a sound cache cannot be mapped");
    let _ = inspect::summary(folder.path()).map_err(|error| is_a_message(&error));
}

/// Every value of every image through the map; `None` where the cache cannot be opened or an image is damaged. In a cache that is
/// not sound the ids may be in any order, and then the search by id need not find an image that is there.
fn look_at_images(folder: &Path, sound: bool) -> Option<()> {
    let reader = CacheReader::open(folder).map_err(|error| is_a_message(&error)).ok()?;
    for image in reader.images() {
        let image = image.map_err(|error| is_a_message(&error)).ok()?;
        match inspect::image(folder, &image.image_id.to_string(), image.view) {
            Ok(summary) => assert!(!sound || summary.predictions.len() == image.predictions.len()),
            Err(error) => {
                assert!(!sound, "a sound image is not shown: {error}");
                is_a_message(&error);
            }
        }
        let columns = &image.predictions;
        assert_eq!(columns.all_class_logits().len(), columns.len() * columns.class_len);
        assert_eq!(columns.has_class_logits().len(), columns.len());
        let found = reader.image(image.image_id, image.view);
        assert!(!sound || matches!(found, Ok(Some(_))), "an image that is there is not found");
    }
    reader.content_digests().map_err(|error| is_a_message(&error)).ok().map(|_| ())
}

/// Writes the files of a cache that is one string; `None` where it is not.
fn unpack(bytes: &[u8], folder: &Path) -> Option<()> {
    let (manifest, rest) = with_length(bytes)?;
    let (images, predictions) = with_length(rest)?;
    let mut manifest: Value = serde_json::from_slice(manifest).ok()?;
    manifest.as_object_mut()?.remove("manifest_sha256");
    manifest.get_mut("parts")?.as_array_mut()?.truncate(1);
    let part = manifest.get_mut("parts")?.get_mut(0)?;
    let name = part.get("name")?.as_str()?.to_owned();
    // A manifest with another name is refused, and this is no path out of the folder.
    if !name.starts_with("part-") || name.contains(['/', '\0']) || name.len() > 60 {
        return None;
    }
    for (table, file) in [("images", images), ("predictions", predictions)] {
        fs::create_dir(folder.join(table)).expect("a folder");
        write(&folder.join(table).join(format!("{name}.parquet")), file);
        let footer = footer_start(file).unwrap_or_default();
        let digests = json!({"bytes": file.len(), "sha256": sha256(file), "footer_sha256": sha256(&file[footer..])});
        part.as_object_mut()?.insert(format!("{table}_file"), digests);
    }
    let text = serde_json::to_string_pretty(&manifest).ok()?;
    let head = format!("{},\n", text.strip_suffix("\n}")?);
    write(&folder.join("manifest.json"), &sealed(head.as_bytes()));
    Some(())
}

fn with_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Where a Parquet file's footer begins.
fn footer_start(file: &[u8]) -> Option<usize> {
    let (front, tail) = file.split_last_chunk::<8>()?;
    let length = u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    front.len().checked_sub(length as usize)
}
