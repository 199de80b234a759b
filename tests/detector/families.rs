//! Every family of detectors against the detections of its own project (`tests/fixtures/generate_families.py`): the same
//! classes, scores and boxes on pictures drawn from a formula.

use logitcache::{
    cache::MissingLabels,
    dataset::Dataset,
    detector::{
        Detector, DetectorOptions, Provider, Reading, SessionOptions, family_names,
        onnx::proto::{ModelProto, tensor_shape_proto::dimension::Value as DimValue, type_proto::Value as TypeValue},
    },
    eval::{Inference, InferenceOptions, NmsOptions},
    inspect,
    types::{BoxXyxyPx, Detection, Store},
};
use prost::Message;
use serde::Deserialize;
use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

const NAMES: [&str; 6] = ["circle", "square", "triangle", "star", "cross", "ring"];
/// Width and height of the pictures.
const SIZES: [(u32, u32); 4] = [(100, 60), (60, 100), (64, 64), (150, 131)];
/// Lowest score of the goldens.
const CONF: f32 = 0.05;

#[derive(Deserialize)]
struct Golden {
    family: String,
    rule: String,
    classes: usize,
    places: usize,
    bins: usize,
    nms: bool,
    /// Whether each prediction is of one class alone.
    #[serde(default)]
    one_class: bool,
    /// Class, score, x1, y1, x2, y2, best first.
    images: Vec<Vec<[f32; 6]>>,
}

fn model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families").join(format!("{name}.onnx"))
}

fn golden(name: &str) -> Golden {
    serde_json::from_str(&fs::read_to_string(model(name).with_extension("json")).unwrap()).unwrap()
}

/// The generator's pictures.
fn draw(folder: &Path) {
    for (number, (width, height)) in (0u32..).zip(SIZES) {
        let pixel = |x: u32, y: u32| {
            let levels = [x * x * 7 + y * 13 + number * 40, y * y * 5 + x * 11, x * y * 3 + number * 70];
            image::Rgb(levels.map(|level| level as u8))
        };
        image::RgbImage::from_fn(width, height, pixel).save(folder.join(format!("{number}.png"))).unwrap();
    }
}

/// The names of the fixtures' six classes, numbers for others.
fn names_of(classes: usize) -> Vec<String> {
    let numbers = (0..classes).map(|class| class.to_string());
    if classes == NAMES.len() { NAMES.map(str::to_owned).to_vec() } else { numbers.collect() }
}

fn detections(
    name: &str,
    golden: &Golden,
    reading: Reading,
    folder: &Path,
    max_detections: usize,
) -> Vec<Vec<Detection>> {
    let nms = NmsOptions { conf: CONF, max_detections, multi_label: !golden.one_class, ..NmsOptions::SCORING };
    let detector = Inference::open(InferenceOptions {
        model: model(name),
        names: Some(names_of(golden.classes)),
        reading,
        imgsz: None,
        jobs: NonZeroUsize::MIN,
        provider: Provider::Cpu,
        ort_lib: None,
        nms,
    })
    .unwrap();
    let dataset = Dataset::of_paths(&[folder.to_owned()]).unwrap();
    let mut found = Vec::new();
    let stop = AtomicBool::new(false);
    detector
        .run(&dataset.samples, None, MissingLabels::Unlabelled, &stop, |image| {
            found.push(image.unwrap().detections);
            Ok(())
        })
        .unwrap();
    found
}

fn far(a: &BoxXyxyPx, b: &[f32]) -> f32 {
    [a.x1, a.y1, a.x2, a.y2].iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Detections are the project's, and `inspect` says what the file is.
#[track_caller]
fn agrees(name: &str) {
    agrees_as(name, None);
}

/// The same where the user names the family.
#[track_caller]
fn agrees_as(name: &str, family: Option<&str>) {
    let reading = Reading { family: family.map(str::to_owned), ..Reading::default() };
    let (golden, folder) = (golden(name), tempfile::tempdir().unwrap());
    draw(folder.path());
    let summary = inspect::model(&model(name), reading.clone(), None).unwrap();
    assert_eq!(
        (summary.family.as_str(), summary.input_rule.to_string()),
        (golden.family.as_str(), golden.rule.clone()),
        "{name}"
    );
    assert_eq!(
        (summary.num_classes, summary.predictions, summary.bins, summary.needs_nms),
        (golden.classes, golden.places, golden.bins, golden.nms),
        "{name}"
    );
    assert!(summary.max_box_error_px < 0.02 && summary.max_score_error < 1e-5, "{name}: {summary:?}");
    // Projects of queries give as many detections as queries; here every class over the threshold is one.
    let most = if golden.nms { 300 } else { golden.images.iter().map(Vec::len).max().unwrap() };
    let (mut score_error, mut box_error) = (0.0f32, 0.0f32);
    let found = detections(name, &golden, reading, folder.path(), most);
    for (number, (found, mut rows)) in found.into_iter().zip(golden.images).enumerate() {
        assert_eq!(found.len(), rows.len(), "{name}, image {number}");
        for detection in found {
            let at = rows.iter().position(|row| {
                let score = (row[1] - detection.score).abs();
                row[0] == detection.class_id as f32 && score <= 1e-4 && far(&detection.box_xyxy_px, &row[2..]) <= 0.5
            });
            let row =
                rows.swap_remove(at.unwrap_or_else(|| panic!("{name}, image {number}: {detection:?} is not theirs")));
            score_error = score_error.max((row[1] - detection.score).abs());
            box_error = box_error.max(far(&detection.box_xyxy_px, &row[2..]));
        }
    }
    println!("{name}: largest differences {score_error:.1e} of a score, {box_error:.4} px of a box");
}

#[test]
fn rt_detr_of_three_projects() {
    agrees("rtdetr-ultralytics");
    agrees("rtdetr-ultralytics-dense");
    agrees("rtdetr-hf");
    agrees("rtdetr");
}

#[test]
fn rt_detrv2_and_deimv2() {
    agrees("rtdetrv2");
    agrees("deimv2");
}

#[test]
fn detr_with_a_slot_for_no_object() {
    agrees_as("detr-hf", Some("detr"));
    // Six classes and the slot: as many names as classes.
    let named = |family: &str, classes: usize| {
        let reading = Reading { family: Some(family.to_owned()), ..Reading::default() };
        Detector::load(model("detr-hf"), &DetectorOptions { reading, names: Some(names_of(classes)), ..options() })
    };
    assert!(named("detr", 7).unwrap_err().to_string().contains("6 class"));
    assert_eq!(named("rt-detr-hf", 7).unwrap().head.num_classes, 7);
    let detr = named("detr", 6).unwrap();
    assert_eq!(detr.logits.as_str(), "log-odds of the softmax over classes and \"no object\", from before it");
}

#[test]
fn d_fine_of_two_projects() {
    agrees("dfine-hf");
    agrees("dfine");
}

#[test]
fn rf_detr() {
    agrees("rfdetr");
    // The 91 sparse ids of COCO, each with a name.
    agrees("rfdetr-coco");
}

#[test]
fn yolox_with_and_without_decoding() {
    agrees("yolox");
    agrees("yolox-decoded");
}

#[test]
fn yolo_nas() {
    agrees("yolo-nas");
}

#[test]
fn yolov5_and_yolov7() {
    agrees("yolov5");
    agrees("yolov7");
}

#[test]
fn yolo26_end_to_end() {
    agrees("yolo26-end2end");
}

#[track_caller]
fn refused(name: &str, options: &DetectorOptions, says: &[&str]) {
    let error = Detector::load(model(name), options).unwrap_err().to_string();
    for part in says {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
}

fn options() -> DetectorOptions {
    DetectorOptions { names: Some(NAMES.map(str::to_owned).to_vec()), ..DetectorOptions::default() }
}

#[test]
fn other_tasks_and_unclear_heads_are_refused_by_name() {
    refused("detr-hf", &options(), &["DETR", "softmax", "`family=detr`", "`family=rt-detr-hf`"]);
    refused("yolov7-raw", &options(), &["raw tensors of each level", "--grid"]);
    refused("yolov7-pose", &options(), &["keypoints", "pose"]);
    refused("yolov5-segment", &options(), &["masks", "segmentation"]);
    let few = DetectorOptions { names: Some(vec!["a".into(), "b".into()]), ..options() };
    refused("rfdetr", &few, &["6 class slots", "`names=` gives 2", "no object"]);
    refused("rtdetr", &DetectorOptions { store: Store::All, ..options() }, &["no DFL", "`store=cls`"]);
    let unnamed = DetectorOptions { names: None, ..options() };
    refused("yolox", &unnamed, &["6 classes", "does not name them"]);
}

/// A fixture's graph after a change, refused with these words.
#[track_caller]
fn refused_after(path: PathBuf, change: impl FnOnce(&mut ModelProto), says: &[&str]) {
    let mut changed = ModelProto::decode(fs::read(&path).unwrap().as_slice()).unwrap();
    change(&mut changed);
    let error = Detector::from_bytes(&path, changed.encode_to_vec(), &options()).unwrap_err().to_string();
    for part in says {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
}

/// Files of each project that are no detectors, or whose logits are gone (`tests/fixtures/generate_refused.py`).
#[test]
fn exports_of_other_tasks_and_with_nms_are_refused_by_name() {
    for (name, says) in [
        ("yolov8-pose", ["pose estimation", "task=detect"]),
        ("yolov8-obb", ["oriented-box", "task=detect"]),
        ("yolov5-classify", ["image classification", "[1, 6]"]),
        ("yolo-nas-pose", ["pred_pose_coords and pred_pose_scores", "pose model"]),
        ("yolo-nas-nms", ["non-maximum suppression", "YOLO-NAS with postprocessing=False"]),
        ("yolov7-nms", ["non-maximum suppression", "YOLOv7 with --grid, without --end2end"]),
        ("yolov7-trt", ["non-maximum suppression", "num_dets [1, 1]"]),
        ("classify-hf", ["image classification", "logits [1, 6]"]),
        ("semantic-hf", ["a value for each pixel", "logits [1, 6, 16, 16]"]),
        ("pose-hf", ["gives heatmaps", "pose model"]),
        ("panoptic-hf", ["gives pred_masks", "segmentation or pose"]),
        ("rfdetr-segment", ["gives masks", "segmentation or pose"]),
    ] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/refused/{name}.onnx"));
        let error = Detector::load(&path, &options()).unwrap_err().to_string();
        for part in says {
            assert!(error.contains(part), "{name}: {part:?} is missing in: {error}");
        }
    }
}

#[test]
fn poses_masks_and_oriented_boxes_are_refused_by_name() {
    let ultralytics = |name: &str| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(format!("{name}.onnx"))
    };
    for (task, says) in [("pose", "pose estimation"), ("obb", "oriented-box"), ("segment", "instance segmentation")] {
        let of_task = |model: &mut ModelProto| {
            let entry = model.metadata_props.iter_mut().find(|entry| entry.key() == "task").unwrap();
            entry.value = Some(task.to_owned());
        };
        refused_after(ultralytics("yolov8-static"), of_task, &[says, "task=detect"]);
        refused_after(model("rtdetr-ultralytics"), of_task, &[says]);
    }
    for name in ["rfdetr", "rtdetr-hf"] {
        for output in ["pred_masks", "keypoints"] {
            let beside = |model: &mut ModelProto| {
                let outputs = &mut model.graph.as_mut().unwrap().output;
                let mut more = outputs[0].clone();
                more.name = Some(output.to_owned());
                outputs.push(more);
            };
            refused_after(model(name), beside, &[output, "segmentation or pose"]);
        }
    }
}

#[test]
fn a_number_of_queries_that_is_computed_is_refused() {
    let computed = |model: &mut ModelProto| {
        let graph = model.graph.as_mut().unwrap();
        for node in graph.node.iter_mut().filter(|node| node.op_type() == "TopK") {
            node.input[1] = "computed".to_owned();
        }
        for output in &mut graph.output {
            let Some(TypeValue::TensorType(tensor)) = output.r#type.as_mut().and_then(|kind| kind.value.as_mut())
            else {
                continue;
            };
            if let Some(dim) = tensor.shape.as_mut().and_then(|shape| shape.dim.get_mut(1)) {
                dim.value = Some(DimValue::DimParam("queries".to_owned()));
            }
        }
    };
    for name in ["rtdetr", "rfdetr", "rtdetr-ultralytics-dense"] {
        refused_after(model(name), computed, &["number of queries", "not fixed"]);
    }
}

#[test]
fn the_user_may_name_family_and_rule() {
    let of = |family: &str, rule: &str| DetectorOptions {
        reading: Reading { family: Some(family.to_owned()), input_rule: rule.parse().unwrap() },
        ..options()
    };
    let model_of = |name: &str, family: &str, rule: &str| Detector::load(model(name), &of(family, rule)).unwrap();
    assert_eq!(model_of("yolox", "yolox", "rgb,0-1").input_rule.to_string(), "top-left,rgb,0-1");
    // The user vouches for a DETR whose classes are independent.
    let detr = DetectorOptions {
        names: Some((0..7).map(|class| class.to_string()).collect()),
        ..of("rt-detr-hf", "stretch,rgb,imagenet")
    };
    let detr = Detector::load(model("detr-hf"), &detr).unwrap();
    assert_eq!((detr.head.num_places(), detr.input_rule.to_string().as_str()), (20, "stretch,rgb,imagenet"));
    refused("yolox", &of("rt-detr", "rgb"), &["not that of RT-DETR", "Leave `family=` out"]);
    refused("yolox", &of("yolo", "rgb"), &["\"yolo\" is no family", "detr", "rt-detr-hf", "yolov8"]);
    assert_eq!(family_names().count(), 9);
}

#[test]
fn self_checks_pass_with_any_rule() {
    for name in ["yolox", "rfdetr", "yolov5"] {
        let reading = Reading { input_rule: "stretch,bgr,imagenet".parse().unwrap(), ..Reading::default() };
        let model = Detector::load(model(name), &DetectorOptions { reading, ..options() }).unwrap();
        model.self_check(&SessionOptions { provider: Provider::Cpu, intra_threads: 1 }).unwrap();
    }
}
