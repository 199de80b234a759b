//! `export --check`: the file that was written, run by ONNX Runtime beside the student.

use crate::{
    Error, Result,
    dataset::Dataset,
    eval::{NmsOptions, detect},
    preprocess::{InputRule, LetterboxPlan},
    student::{
        Network, State,
        onnx::{ExportOptions, NmsInside},
        or_shortage,
    },
    types::InputSize,
};
use logitcache::{
    augment::Views,
    cache::MissingLabels,
    detector::{HeadView, runtime},
    pipeline::ImageSource,
    types::{BoxXyxyPx, Detection},
};
use ort::{session::Session, value::TensorRef};
use std::path::Path;
use tch::{Device, Tensor};

/// How far a file may be from the student: a probability, and pixels of a box whose probability is at
/// least [`SEEN`]. In float16, numbers have three digits.
const FLOAT: (f32, f32) = (1e-3, 0.1);
const HALF: (f32, f32) = (0.03, 4.0);
const SEEN: f32 = 0.05;

/// How far an overlap may be from the threshold and yet be decided otherwise.
const IOU_SLACK: f32 = 0.05;

/// How far the file is from the student.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Differences {
    /// Images that were run.
    pub images: usize,
    /// Boxes that were compared.
    pub boxes: usize,
    /// The largest difference of a probability.
    pub score: f32,
    /// The largest difference of a box, in input pixels.
    pub box_px: f32,
    /// With suppression in the file: detections that only one of the two has.
    pub alone: usize,
}

impl Differences {
    /// Whether they are no more than rounding makes.
    pub fn are_small(&self, options: &ExportOptions) -> bool {
        let (score, box_px) = if options.half { HALF } else { FLOAT };
        // False for NaN as well. One in a hundred: of two boxes that are all but equal the other may be the better.
        self.score <= score && self.box_px <= box_px && self.alone * 100 <= self.boxes
    }

    fn meet(&mut self, score: f32, box_px: f32) {
        let larger = |a: f32, b: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) };
        self.score = larger(self.score, score);
        self.box_px = larger(self.box_px, box_px);
    }
}

/// Runs both over `pictures`.
///
/// # Errors
/// No image that can be read; [`Error::Runtime`]; [`Error::Model`] where ONNX Runtime refuses the file.
pub fn run(
    file: &Path,
    state: &State,
    size: InputSize,
    options: &ExportOptions,
    pictures: &Dataset,
    ort_lib: Option<&Path>,
) -> Result<Differences> {
    let model = |error: ort::Error| Error::Model {
        path: file.to_owned(),
        found: format!("ONNX Runtime refuses it: {}", error.message()),
        remedy: "Choose another `opset=`, or a newer ONNX Runtime.".to_owned(),
    };
    let runtime = runtime::init(ort_lib)?;
    let mut session =
        Session::builder(&runtime.environment).and_then(|mut b| b.commit_from_file(file)).map_err(model)?;
    let (rule, input) = (InputRule::default(), size.into());
    let source = ImageSource {
        samples: &pictures.samples,
        image_ids: None,
        input,
        rule,
        class_map: None,
        missing_labels: MissingLabels::Unlabelled,
        views: Views::default(),
    };
    let network = Network::from_state(state, Device::Cpu);
    let spec = state.net().head_spec(input);
    let (mut scratch, mut pixels) = (source.scratch(), vec![0.0; source.values_per_image()]);
    let mut all = Differences::default();
    let mut failure = None;
    for id in 0..pictures.samples.len() as i64 {
        if let Err(why) = source.prepare((id, 0), &mut scratch, &mut pixels) {
            failure = failure.or(Some(why.reason));
            continue;
        }
        let shape = [1, 3, size.height as i64, size.width as i64];
        let head = or_shortage(|| network.forward(&Tensor::from_slice(&pixels).view(shape), false))?;
        let (logits, boxes) = (values(&head.class_logits), values(&head.box_values));
        let student = HeadView::new(&spec, &logits, &boxes).map_err(|found| broken(file, found))?;
        let tensor = TensorRef::from_array_view((shape, pixels.as_slice())).map_err(model)?;
        let outputs = session.run(ort::inputs![tensor]).map_err(model)?;
        let (_, output) = outputs[0].try_extract_tensor::<f32>().map_err(model)?;
        match options.nms {
            None => dense(&mut all, student, output),
            Some(nms) => {
                let options = NmsOptions {
                    conf: nms.conf,
                    iou: f64::from(nms.iou),
                    max_detections: nms.max_det,
                    multi_label: false,
                };
                let plan = LetterboxPlan::fit(input, input.height, input.width);
                let found = detect(student, &plan, &options).map_err(|found| broken(file, found))?;
                suppressed(&mut all, &found, output, &plan, &nms);
            }
        }
        all.images += 1;
    }
    match failure {
        Some(why) if all.images == 0 => Err(broken(&pictures.root, format!("no image could be read: {why}"))),
        _ => Ok(all),
    }
}

fn broken(path: &Path, found: String) -> Error {
    Error::Model { path: path.to_owned(), found, remedy: "Give other images, or train the student again.".to_owned() }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.contiguous().view([-1]);
    let mut values = vec![0.0; flat.numel()];
    flat.copy_data(&mut values, flat.numel());
    values
}

/// `[4 + C, A]`: centre, size, probabilities.
fn dense(all: &mut Differences, student: HeadView<'_>, output: &[f32]) {
    let (places, classes) = (student.spec().num_places(), student.spec().num_classes);
    if output.len() != (4 + classes) * places {
        return all.meet(f32::NAN, f32::NAN);
    }
    for place in 0..places {
        let at = |row: usize| output[row * places + place];
        let mut best = 0.0f32;
        for class in 0..classes {
            let own = student.probability(place, class);
            best = best.max(own);
            all.meet((at(4 + class) - own).abs(), 0.0);
        }
        if best >= SEEN {
            let (half_width, half_height) = (at(2) / 2.0, at(3) / 2.0);
            let file = [at(0) - half_width, at(1) - half_height, at(0) + half_width, at(1) + half_height];
            all.boxes += 1;
            all.meet(0.0, farthest(&student.box_xyxy_input_px(place), file));
        }
    }
}

/// `[max_det, 6]`: corners, score, class. Each detection has its nearest row of the same class.
///
/// Of overlapping boxes whose scores are all but equal, one keeps this and the other that: a detection
/// without a row is a difference only where the others do not explain why it was dropped.
fn suppressed(all: &mut Differences, student: &[Detection], output: &[f32], plan: &LetterboxPlan, nms: &NmsInside) {
    let rows = output.as_chunks::<6>().0.iter().filter(|row| row[4] > 0.0);
    // The student's boxes are clipped to the image.
    let detection = |&[x1, y1, x2, y2, score, class]: &[f32; 6]| Detection {
        class_id: class as u32,
        score,
        box_xyxy_px: plan.to_image(BoxXyxyPx { x1, y1, x2, y2 }),
    };
    let file: Vec<Detection> = rows.map(detection).collect();
    let mut met = vec![false; file.len()];
    for own in student {
        all.boxes += 1;
        let far = |row: usize| farthest(&own.box_xyxy_px, sides(&file[row]));
        let free = (0..file.len()).filter(|&row| !met[row] && file[row].class_id == own.class_id);
        match free.min_by(|&a, &b| far(a).total_cmp(&far(b))).filter(|&row| far(row) <= HALF.1) {
            Some(row) => {
                met[row] = true;
                all.meet((file[row].score - own.score).abs(), far(row));
            }
            None => all.alone += usize::from(!is_explained(own, &file, nms)),
        }
    }
    let alone = file.iter().zip(met).filter(|(row, met)| !met && !is_explained(row, student, nms));
    all.alone += alone.count();
}

/// Whether `others` may do without a detection: there are as many as there may be, a better one of its class overlaps it, or
/// its score is hardly over the threshold.
fn is_explained(detection: &Detection, others: &[Detection], nms: &NmsInside) -> bool {
    let overlaps = |other: &Detection| {
        other.class_id == detection.class_id
            && other.score >= detection.score - HALF.0
            && iou(&other.box_xyxy_px, &detection.box_xyxy_px) >= nms.iou - IOU_SLACK
    };
    others.len() >= nms.max_det || detection.score <= nms.conf + HALF.0.min(nms.conf) || others.iter().any(overlaps)
}

/// Intersection over union; not a number for two boxes without area.
fn iou(a: &BoxXyxyPx, b: &BoxXyxyPx) -> f32 {
    let area = |b: &BoxXyxyPx| (b.x2 - b.x1) * (b.y2 - b.y1);
    let width = (a.x2.min(b.x2) - a.x1.max(b.x1)).max(0.0);
    let height = (a.y2.min(b.y2) - a.y1.max(b.y1)).max(0.0);
    width * height / (area(a) + area(b) - width * height)
}

fn sides(detection: &Detection) -> [f32; 4] {
    let b = detection.box_xyxy_px;
    [b.x1, b.y1, b.x2, b.y2]
}

fn farthest(own: &BoxXyxyPx, file: [f32; 4]) -> f32 {
    let sides = [own.x1, own.y1, own.x2, own.y2].into_iter().zip(file);
    sides.map(|(a, b)| (a - b).abs()).fold(0.0, |a, b| if b.is_nan() { f32::NAN } else { a.max(b) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ImageSize;

    #[test]
    fn what_differs_is_counted() {
        let options = ExportOptions::default();
        let found = |score, box_px, boxes, alone| Differences { images: 1, boxes, score, box_px, alone };
        assert!(found(1e-4, 0.01, 100, 1).are_small(&options));
        for large in [found(0.1, 0.0, 1, 0), found(0.0, 9.0, 1, 0), found(0.0, 0.0, 10, 1), found(f32::NAN, 0.0, 1, 0)]
        {
            assert!(!large.are_small(&options), "{large:?}");
            assert!(!large.are_small(&ExportOptions { half: true, ..options }), "{large:?}");
        }
    }

    #[test]
    fn each_detection_meets_its_own_row() {
        let size = ImageSize { width: 64, height: 32 };
        let plan = LetterboxPlan::fit(size, 32, 64);
        let detection = |x: f32, class_id: u32| Detection {
            class_id,
            score: 0.5,
            box_xyxy_px: BoxXyxyPx { x1: x, y1: 2.0, x2: x + 8.0, y2: 12.0 },
        };
        let nms = NmsInside { conf: 0.25, iou: 0.7, max_det: 3 };
        let row = |x: f32, class: f32| [x, 2.0, x + 8.0, 12.0, 0.5, class];
        let compare = |student: &[Detection], rows: &[[f32; 6]]| {
            let mut all = Differences::default();
            suppressed(&mut all, student, &rows.concat(), &plan, &nms);
            all
        };
        let student = [detection(4.0, 1), detection(30.0, 0)];
        let same = compare(&student, &[row(30.5, 0.0), row(4.0, 1.0), [0.0; 6]]);
        assert_eq!((same.boxes, same.alone, same.score, same.box_px), (2, 0, 0.0, 0.5));
        // Of another class, elsewhere.
        assert_eq!(compare(&student, &[row(12.0, 0.0), row(30.0, 0.0)]).alone, 2);
        assert_eq!(compare(&student, &[row(44.0, 1.0), row(30.0, 0.0)]).alone, 2);
        // One that the other suppresses, and one that is not in a full table.
        assert_eq!(compare(&student[..1], &[row(4.0, 1.0), row(5.0, 1.0)]).alone, 0);
        assert_eq!(compare(&student[..1], &[row(4.0, 1.0), row(20.0, 1.0)]).alone, 1);
        assert_eq!(compare(&student, &[row(40.0, 2.0), row(20.0, 2.0), row(10.0, 2.0)]).alone, 3);
    }
}
