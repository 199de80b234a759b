//! What moving cached predictions costs: predictions that follow an augmented picture beside the teacher run on that very picture.
//!
//! usage: cargo bench -p logitcache-train --bench replay     (COCO128 and yolov12n.onnx from ../shared or LOGITCACHE_SHARED)
//!
//! For each change, over COCO128: the cosine between the gradients (with respect to the logits of an untrained student) from the moved predictions
//! and from the live teacher, per image, mean and 5th percentile; and the average precision, against the labels moved along, of the moved
//! boxes and of the live teacher's. The cache keeps every anchor, so that what its selection leaves out does not show here.
//!
//! With views, the cells of a picture are those of a view (`build --views 1`) that the teacher saw whole.
//!
//! The last rows are changes that do not keep the anchor grid, which `train` does not use with a cache: each image's predictions are carried to a
//! view of it (`build --views 1`: scaled, shifted, mirrored, colours changed) that the teacher saw as well. An anchor goes to the cell
//! that its centre falls into, on the level that fits the scale, the highest score first; its bins are shared out anew.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use logitcache::{
    audit::{Agreement, HeadRows, Student, Targets, Term, TermFidelity, gradient},
    cache::{CacheReader, Grid, HeadKind, ImageView, Places},
    detector::{
        BoxRule, Detector, DetectorOptions, DetectorSession, HeadOutputs, HeadSpec, HeadView, Provider, SessionOptions,
    },
    eval::{NmsOptions, ScoredImage, detect, score},
    preprocess::LetterboxPlan,
    targets::Anchors,
    types::{BoxXyxyPx, ImageSize, Store, TruthBox, ViewChange},
};
use logitcache_train::train::data::{
    Augment, Batch, Loader, LoaderOptions, PixelCacheOptions, Position, TrainImage, TrainSet,
};
use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::AtomicBool},
};

const TEMPERATURE: f64 = 4.0;
const KIND: HeadKind = HeadKind::Yolov8Dfl;
/// No logit of a class that nothing is known of: a probability of 1e-9.
const NOTHING: f32 = -20.7;

fn main() {
    let shared = std::env::var_os("LOGITCACHE_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let shared = if shared.is_dir() { shared } else { Path::new("..").join(&shared) };
    if !shared.is_dir() {
        println!("skipped: {} is not there", shared.display());
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let cache = temp.path().join("cache");
    let model = shared.join("models/yolov12n.onnx");
    let data = shared.join("data/coco128/data.yaml");
    let reader = Arc::new(built(&cache, &model, &data));
    let teacher = &reader.manifest().teacher;
    let input = ImageSize { width: teacher.input_width, height: teacher.input_height };
    let images = train_images(&reader);
    let pixels = PixelCacheOptions { folder: temp.path().join("pixels"), max_bytes: u64::MAX };
    let stop = AtomicBool::new(false);
    let set = Arc::new(TrainSet::open(images, input, Some(&pixels), Some(reader.clone()), &|_| (), &stop).unwrap());

    let still = Augment::none();
    let hsv_gain = Augment::grid().hsv_gain;
    let cases = [
        ("nothing", still, false),
        ("colours", Augment { hsv_gain, ..still }, false),
        ("mirror", Augment { flip_prob: 1.0, ..still }, false),
        ("shift by multiples of 32", Augment { translate: 0.1, ..still }, false),
        ("mosaic on the grid", Augment { mosaic_prob: 1.0, ..still }, false),
        ("all of them", Augment::grid(), false),
        ("all but mosaic", Augment::grid().without_mosaic(), false),
        ("a view as it is", still, true),
        ("a view, mirrored and shifted by multiples of 32", Augment::grid().without_mosaic(), true),
        ("mosaic of views", Augment { mosaic_prob: 1.0, ..still }, true),
        ("mosaic of views, mirrored", Augment::grid(), true),
    ];
    let mut live = Live::new(&model);
    println!("{} images, student: untrained, T {TEMPERATURE}", set.images().len());
    println!(
        "| change | softmax-kl | bckd (5th percentile) | bce | DFL | box | AP moved | AP live |\n|---|---|---|---|---|---|---|---|"
    );
    for (name, augment, cached_views) in cases {
        let mut found = Found::new();
        for_each_batch(&set, augment, cached_views, |batch| found.add_row(&mut live, batch, 0));
        found.print(name, &teacher.class_names);
    }
    for (name, range) in [("free scale and shift", 0.0..9.0), ("the same, scales 0.9 to 1.1", 0.9..1.1)] {
        let mut found = Found::new();
        for id in reader.keys().map(|key| key.unwrap()).filter(|(_, view)| *view == 1).map(|(id, _)| id) {
            let view = reader.image(id, 1).unwrap().unwrap();
            if range.contains(&view.change.scale) {
                found.add_view(&live.grid, &live.student, input, &reader.image(id, 0).unwrap().unwrap(), &view);
            }
        }
        found.print(&format!("{name} ({} images)", found.live.len()), &teacher.class_names);
    }
}

/// A cache of every anchor.
fn built(out: &Path, teacher: &Path, data: &Path) -> CacheReader {
    let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("logitcache");
    let mut command = Command::new(program);
    command
        .args(["--quiet", "build", "--profile", "dense", "--views", "1", "--split", "train", "--teacher"])
        .arg(teacher);
    assert!(command.arg("--data").arg(data).arg("--out").arg(out).output().unwrap().status.success());
    CacheReader::open(out).unwrap()
}

fn train_images(reader: &CacheReader) -> Vec<TrainImage> {
    let root = reader.place(&reader.manifest().dataset.root).unwrap();
    let image = |view: ImageView<'_>| TrainImage {
        image_id: view.image_id,
        path: root.join(view.path),
        relative: view.path.to_owned(),
        expected_sha256: Some(view.file_sha256),
        labels: view.labels.map(|labels| labels.iter().collect()),
    };
    reader.images().map(|view| view.unwrap()).filter(|view| view.view == 0).map(image).collect()
}

/// Calls `each` with every batch of one epoch, an image each.
fn for_each_batch(set: &Arc<TrainSet>, augment: Augment, cached_views: bool, mut each: impl FnMut(&Batch)) {
    let one = NonZeroUsize::MIN;
    let options = LoaderOptions {
        batch: one,
        seed: 1,
        shuffle: false,
        augment,
        cached_views,
        epochs: 1,
        epochs_without_mosaic: 0,
        threads: one,
        ahead: one.saturating_add(1),
    };
    let mut loader = Loader::start(set.clone(), options, Position::default()).unwrap();
    while let Some(batch) = loader.next() {
        let batch = batch.unwrap();
        each(&batch);
        loader.recycle(batch);
    }
}

/// The teacher, run on augmented pictures.
struct Live {
    session: DetectorSession,
    grid: Grid,
    input: ImageSize,
    student: Student,
}

impl Live {
    fn new(path: &Path) -> Self {
        logitcache::detector::runtime::init(None).unwrap();
        let options = DetectorOptions { imgsz: None, store: Store::All, names: None, ..DetectorOptions::default() };
        let model = Detector::load(path, &options).unwrap();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let session = SessionOptions { provider: Provider::Cpu, intra_threads: threads };
        let grid = model.head.places.grid().unwrap().clone();
        Self {
            session: DetectorSession::new(&model, &session).unwrap(),
            student: Student::untrained(&model.head),
            input: model.input,
            grid,
        }
    }

    /// `[H, W, 3]` levels.
    fn run(&mut self, levels: &[u8]) -> HeadOutputs<'_> {
        let plane = levels.len() / 3;
        let mut pixels = vec![0.0; levels.len()];
        for (at, level) in levels.as_chunks::<3>().0.iter().enumerate() {
            for channel in 0..3 {
                pixels[channel * plane + at] = f32::from(level[channel]) / 255.0;
            }
        }
        self.session.run(1, &pixels).unwrap()
    }
}

/// What one change does to all images.
struct Found {
    agreements: Vec<Vec<Agreement>>,
    moved: Vec<ScoredImage>,
    live: Vec<ScoredImage>,
}

impl Found {
    fn new() -> Self {
        Self { agreements: vec![Vec::new(); Term::ALL.len()], moved: Vec::new(), live: Vec::new() }
    }

    fn add_row(&mut self, live: &mut Live, batch: &Batch, row: usize) {
        let bytes = batch.pixels.len() / batch.len();
        let (grid, student, input) = (live.grid.clone(), live.student.clone(), live.input);
        let outputs = live.run(&batch.pixels[row * bytes..(row + 1) * bytes]);
        let head = outputs.view(0).unwrap();
        let rows = HeadRows::new(&head);
        let moved = Targets::of_row(batch.teacher.as_ref().unwrap(), row, &grid, rows.kind);
        let truth = labels_of(batch, row);
        self.add(&grid, &student, input, &head, &rows, &moved, truth);
    }

    #[allow(clippy::too_many_arguments)]
    fn add(
        &mut self,
        grid: &Grid,
        student: &Student,
        input: ImageSize,
        head: &HeadView<'_>,
        rows: &HeadRows,
        moved: &Targets,
        truth: Vec<TruthBox>,
    ) {
        let live = Targets::live(head, rows, grid);
        self.add_targets(grid, student, input, rows.class_len, &live, moved, truth);
    }

    /// What the teacher said of a view, and what it said of the image itself, carried there.
    fn add_view(
        &mut self,
        grid: &Grid,
        student: &Student,
        input: ImageSize,
        image: &ImageView<'_>,
        view: &ImageView<'_>,
    ) {
        let plan = LetterboxPlan::fit(image.size, input.height, input.width);
        let anchors = Anchors::new(grid.clone());
        let live = Targets::cached(view, &plan, &anchors, KIND);
        let still = Targets::cached(image, &plan, &anchors, KIND);
        let map = Map { change: view.change, width: input.width as f32 };
        let moved = carried(&still, &map, grid, input);
        let window = |b: BoxXyxyPx| BoxXyxyPx {
            x1: b.x1.clamp(0.0, input.width as f32),
            y1: b.y1.clamp(0.0, input.height as f32),
            x2: b.x2.clamp(0.0, input.width as f32),
            y2: b.y2.clamp(0.0, input.height as f32),
        };
        let area = |b: BoxXyxyPx| (b.x2 - b.x1) * (b.y2 - b.y1);
        let labels = view.labels.iter().flat_map(|labels| labels.iter());
        let truth = labels.filter_map(|label| {
            let whole = map.of_box(plan.to_input(label.box_xyxy_px));
            let b = window(whole);
            let visible = b.x2 - b.x1 > 2.0 && b.y2 - b.y1 > 2.0 && area(b) > 0.1 * area(whole);
            visible.then_some(TruthBox {
                class_id: label.class_id,
                box_xyxy_px: b,
                area_px2: f64::from(area(b)),
                is_crowd: false,
            })
        });
        let truth = truth.collect();
        self.add_targets(grid, student, input, view.predictions.class_len, &live, &moved, truth);
    }

    #[allow(clippy::too_many_arguments)]
    fn add_targets(
        &mut self,
        grid: &Grid,
        student: &Student,
        input: ImageSize,
        classes: usize,
        live: &Targets,
        moved: &Targets,
        truth: Vec<TruthBox>,
    ) {
        let (mut from_moved, mut from_live) = (Vec::new(), Vec::new());
        for (term, agreements) in Term::ALL.into_iter().zip(&mut self.agreements) {
            let m = gradient(term, student, moved, grid, TEMPERATURE, &mut from_moved);
            let l = gradient(term, student, live, grid, TEMPERATURE, &mut from_live);
            agreements.push(Agreement::new((&from_moved, m), (&from_live, l)));
        }
        let plan = LetterboxPlan::fit(input, input.height, input.width);
        let scored = |targets: &Targets, image_id: usize| {
            let (class_logits, boxes) = as_head(targets, grid, classes);
            let spec = HeadSpec {
                kind: KIND,
                num_classes: classes,
                boxes: BoxRule::CentreSizePx,
                places: Places::Grid(grid.clone()),
                one_to_one: false,
            };
            let head = HeadView::new(&spec, &class_logits, &boxes).unwrap();
            let detections = detect(head, &plan, &NmsOptions::SCORING).unwrap();
            ScoredImage { image_id: image_id as i64, truth: truth.clone(), detections }
        };
        self.live.push(scored(live, self.live.len()));
        self.moved.push(scored(moved, self.moved.len()));
    }

    fn print(&self, name: &str, class_names: &[String]) {
        let of = |at: usize| TermFidelity::of(Term::ALL[at], &self.agreements[at]);
        let [kl, bckd, bce, dfl, boxes] = [0, 1, 2, 3, 4].map(of);
        let ap = |images: &[ScoredImage]| score(images, class_names).unwrap().coco.ap.unwrap_or(f64::NAN);
        println!(
            "| {name} | {:.4} | {:.4} ({:.4}) | {:.4} | {:.4} | {:.4} | {:.4} | {:.4} |",
            kl.cosine_mean,
            bckd.cosine_mean,
            bckd.cosine_p5,
            bce.cosine_mean,
            dfl.cosine_mean,
            boxes.cosine_mean,
            ap(&self.moved),
            ap(&self.live)
        );
    }
}

fn labels_of(batch: &Batch, row: usize) -> Vec<TruthBox> {
    let labels = &batch.labels;
    let boxes = labels.boxes_xyxy_input_px.as_chunks::<4>().0;
    let own =
        labels.batch_index.iter().zip(&labels.class_id).zip(boxes).filter(|((index, _), _)| **index == row as i64);
    own.map(|((_, class_id), &[x1, y1, x2, y2])| TruthBox {
        class_id: *class_id as u32,
        box_xyxy_px: BoxXyxyPx { x1, y1, x2, y2 },
        area_px2: f64::from(x2 - x1) * f64::from(y2 - y1),
        is_crowd: false,
    })
    .collect()
}

/// Moved predictions as a head's outputs: class logits `[C, A]`, boxes `[4, A]` as centre and size.
fn as_head(targets: &Targets, grid: &Grid, classes: usize) -> (Vec<f32>, Vec<f32>) {
    let n = grid.num_anchors();
    let (mut logits, mut boxes) = (vec![NOTHING; classes * n], vec![1.0; 4 * n]);
    for (i, (&a, b)) in targets.anchors.iter().zip(&targets.boxes_xyxy_cells).enumerate() {
        for class in 0..classes {
            logits[class * n + a] = targets.class_logits[i * classes + class];
        }
        let stride = grid.cell(a).stride as f32;
        let [x1, y1, x2, y2] = b.map(|v| v * stride);
        for (channel, value) in [(x1 + x2) / 2.0, (y1 + y2) / 2.0, x2 - x1, y2 - y1].into_iter().enumerate() {
            boxes[channel * n + a] = value;
        }
    }
    (logits, boxes)
}

/// From the letterboxed picture to the view.
struct Map {
    change: ViewChange,
    width: f32,
}

impl Map {
    fn x(&self, x: f32) -> f32 {
        let x = x * self.change.scale + self.change.offset_x;
        if self.change.flip { self.width - x } else { x }
    }

    fn y(&self, y: f32) -> f32 {
        y * self.change.scale + self.change.offset_y
    }

    fn of_box(&self, b: BoxXyxyPx) -> BoxXyxyPx {
        let (a, c) = (self.x(b.x1), self.x(b.x2));
        BoxXyxyPx { x1: a.min(c), y1: self.y(b.y1), x2: a.max(c), y2: self.y(b.y2) }
    }
}

/// Predictions of the whole picture at the anchors of a view of it.
fn carried(still: &Targets, map: &Map, grid: &Grid, input: ImageSize) -> Targets {
    let strides = [8u32, 16, 32];
    let up = map.change.scale.log2().round() as i32;
    let (classes, bins) =
        (still.class_logits.len() / still.anchors.len(), still.dfl_logits.len() / still.anchors.len() / 4);
    let mut order: Vec<usize> = (0..still.anchors.len()).collect();
    order.sort_by(|&a, &b| still.weights[b].total_cmp(&still.weights[a]).then(a.cmp(&b)));
    let mut places: Vec<Option<usize>> = vec![None; grid.num_anchors()];
    for i in order {
        let cell = grid.cell(still.anchors[i]);
        let level = strides.iter().position(|&s| s == cell.stride).unwrap() as i32 + up;
        let Some(&stride) = usize::try_from(level).ok().and_then(|level| strides.get(level)) else { continue };
        let (x, y) = (map.x(cell.centre_x * cell.stride as f32), map.y(cell.centre_y * cell.stride as f32));
        if x < 0.0 || y < 0.0 || x >= input.width as f32 || y >= input.height as f32 {
            continue;
        }
        let first: u32 = strides.iter().filter(|&&s| s < stride).map(|s| (input.width / s) * (input.height / s)).sum();
        let (column, row) = (x as u32 / stride, y as u32 / stride);
        places[(first + row * (input.width / stride) + column) as usize].get_or_insert(i);
    }
    let mut out = Targets {
        kind: still.kind,
        anchors: Vec::new(),
        weights: Vec::new(),
        class_logits: Vec::new(),
        dfl_logits: Vec::new(),
        boxes_xyxy_cells: Vec::new(),
        floor_prob: 0.0,
        dropped_score_sum: 0.0,
    };
    for (anchor, i) in places.iter().enumerate().filter_map(|(anchor, place)| Some((anchor, (*place)?))) {
        let (from, to) = (grid.cell(still.anchors[i]), grid.cell(anchor));
        let logits = &still.dfl_logits[i * 4 * bins..(i + 1) * 4 * bins];
        let mut sides: Vec<Vec<f32>> = (0..4)
            .map(|side| {
                let of_side = &logits[side * bins..(side + 1) * bins];
                let max = of_side.iter().copied().fold(f32::MIN, f32::max);
                let mass: Vec<f32> = of_side.iter().map(|l| (l - max).exp()).collect();
                let total: f32 = mass.iter().sum();
                let mut shared = vec![1e-6f32; bins];
                for (bin, mass) in mass.iter().enumerate() {
                    let distance = bin as f32 * from.stride as f32;
                    let (x, y) = (from.centre_x * from.stride as f32, from.centre_y * from.stride as f32);
                    let (to_x, to_y, stride) =
                        (to.centre_x * to.stride as f32, to.centre_y * to.stride as f32, to.stride as f32);
                    // How far the mapped edge is from the new centre, outwards.
                    let outwards = match side {
                        0 => (to_x - map.x(x - distance)) * if map.change.flip { -1.0 } else { 1.0 },
                        1 => to_y - map.y(y - distance),
                        2 => (map.x(x + distance) - to_x) * if map.change.flip { -1.0 } else { 1.0 },
                        _ => map.y(y + distance) - to_y,
                    };
                    let place = (outwards / stride).clamp(0.0, (bins - 1) as f32);
                    let low = (place.floor() as usize).min(bins - 2);
                    let share = place - low as f32;
                    shared[low] += mass / total * (1.0 - share);
                    shared[low + 1] += mass / total * share;
                }
                shared.iter().map(|p| p.ln()).collect()
            })
            .collect();
        if map.change.flip {
            sides.swap(0, 2);
        }
        let sides = sides.concat();
        let b = to.box_of_bins(&sides);
        let stride = to.stride as f32;
        out.anchors.push(anchor);
        out.weights.push(still.weights[i]);
        out.class_logits.extend(&still.class_logits[i * classes..(i + 1) * classes]);
        out.dfl_logits.extend(sides);
        out.boxes_xyxy_cells.push([b.x1, b.y1, b.x2, b.y2].map(|v| v / stride));
    }
    out
}
