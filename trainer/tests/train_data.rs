//! Batches of the trainer against what they were made from: pictures on the disk and records of a cache.
#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/cache_support/mod.rs"]
mod cache_support;

use cache_support::{Random, manifest, manifest_with_views, record, with_views, write_cache};
use logitcache::{
    augment::{DrawViews as _, shuffled},
    cache::{CacheReader, ImageRecord, Manifest, MissingLabels},
    cache::{Cell, Grid},
    dataset::{DataSource, Dataset},
    pipeline::ImageSource,
    preprocess::{Colours, DecodeLimits, InputRule, LetterboxPlan, Preprocessor, decode},
    types::{BoxXyxyPx, FailureStage, ImageSize, LabelBox, Store, Views},
};
use logitcache_train::train::data::{
    Augment, Batch, Loader, LoaderOptions, ObjectClasses, PixelCacheOptions, Position, Scratch, TrainImage, TrainSet,
    pixel_cache_bytes,
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tempfile::TempDir;

/// The input of `cache_support`'s caches.
const INPUT: ImageSize = ImageSize { width: 96, height: 64 };
const CLASSES: usize = 3;
const BINS: usize = 4;

/// A folder of pictures and a cache of them.
struct Case {
    folder: TempDir,
    manifest: Manifest,
    /// View 0 of each image.
    records: Vec<ImageRecord>,
    /// All views of all images, in order.
    views: Vec<ImageRecord>,
}

impl Case {
    /// Some images are unlabelled, one has no rows, one no objects.
    fn new(images: i64, store: Store) -> Self {
        Self::of(images, manifest(CLASSES as u32, BINS as u32, store, images as u64))
    }

    fn of(images: i64, manifest: Manifest) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut records: Vec<ImageRecord> = Vec::new();
        fs::create_dir(folder.path().join("images")).unwrap();
        for id in 0..images {
            let rows = if id == 1 { 0 } else { 40 };
            let labels = if id % 4 == 3 { None } else { Some((id % 4) as usize) };
            let mut record = record(&manifest, 5, id, rows, labels);
            record.path = format!("images/{id:06}.png");
            let size = record.size;
            let mut random = Random(id as u64);
            let pixels = (0..size.width * size.height * 3).map(|_| random.bits() as u8).collect();
            let path = folder.path().join(&record.path);
            image::RgbImage::from_raw(size.width, size.height, pixels).unwrap().save(&path).unwrap();
            record.file_sha256 = Sha256::digest(fs::read(path).unwrap()).into();
            // Some boxes end at the image's edge.
            record.predictions.boxes_xyxy_px.iter_mut().step_by(3).for_each(|b| b.x1 = 0.0);
            records.push(record);
        }
        let mut views = with_views(&manifest, 5, &records);
        for record in &mut views {
            // A row of a batch tells which image and row it comes from, and the floor under it which view.
            for (row, logits) in record.predictions.class_logits.chunks_mut(CLASSES).enumerate() {
                logits[0] = half::f16::from_f32((record.image_id * 40 + row as i64) as f32);
            }
            record.dropped_mean_prob = 0.001 * (record.image_id + 1) as f32 + 0.0001 * record.view as f32;
            record.dropped_score_sum = 0.1 * (record.image_id + 1) as f32;
        }
        let records = views.iter().filter(|record| record.view == 0).cloned().collect();
        let manifest = write_cache(&folder.path().join("cache"), manifest, std::slice::from_ref(&views));
        Self { folder, manifest, records, views }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn images(&self) -> Vec<TrainImage> {
        let image = |record: &ImageRecord| TrainImage {
            image_id: record.image_id,
            path: self.path(&record.path),
            relative: record.path.clone(),
            expected_sha256: Some(record.file_sha256),
            labels: record.labels.clone(),
        };
        self.records.iter().map(image).collect()
    }

    fn reader(&self) -> Arc<CacheReader> {
        Arc::new(CacheReader::open(&self.path("cache")).unwrap())
    }

    fn pixels(&self) -> PixelCacheOptions {
        PixelCacheOptions { folder: self.path("pixels"), max_bytes: u64::MAX }
    }

    fn open(&self, pixels: Option<&PixelCacheOptions>) -> logitcache::Result<TrainSet> {
        TrainSet::open(self.images(), INPUT, pixels, Some(self.reader()), &|_| (), &AtomicBool::new(false))
    }

    /// The levels that `build` gives the teacher of a view, `[H, W, 3]`.
    fn view_levels(&self, record: &ImageRecord) -> Vec<u8> {
        let source = DataSource { data: self.path("images"), images_dir: None, split: String::new() };
        let dataset = Dataset::open(&source).unwrap();
        let source = ImageSource {
            samples: &dataset.samples,
            image_ids: None,
            input: ImageSize { height: INPUT.height, width: INPUT.width },
            rule: InputRule::default(),
            class_map: None,
            missing_labels: MissingLabels::Unlabelled,
            views: self.manifest.settings.views(),
        };
        let area = (INPUT.width * INPUT.height) as usize;
        let mut tensor = vec![f32::NAN; 3 * area];
        let key = (record.image_id, record.view);
        assert_eq!(source.prepare(key, &mut source.scratch(), &mut tensor).unwrap().change, record.change);
        (0..3 * area).map(|i| (tensor[i % 3 * area + i / 3] * 255.0).round() as u8).collect()
    }

    /// The view of an image that is shown in an epoch.
    fn shown(&self, options: &LoaderOptions, epoch: usize, image_id: i64) -> &ImageRecord {
        let views = if options.cached_views { self.manifest.settings.views() } else { Views::default() };
        let view = views.shown(options.seed, epoch, image_id);
        self.views.iter().find(|record| (record.image_id, record.view) == (image_id, view)).unwrap()
    }

    /// The letterboxed picture of an image, in another way than the trainer gets it.
    fn letterboxed(&self, record: &ImageRecord) -> Vec<u8> {
        let image = decode(&fs::read(self.path(&record.path)).unwrap(), &DecodeLimits::default()).unwrap();
        let plan = LetterboxPlan::fit(image.size, INPUT.height, INPUT.width);
        let area = (INPUT.width * INPUT.height) as usize;
        let mut tensor = vec![0f32; 3 * area];
        Preprocessor::default().letterbox_into(&image, &plan, &mut tensor);
        let level = |i: usize| (tensor[i % 3 * area + i / 3] * 255.0).round() as u8;
        (0..3 * area).map(level).collect()
    }
}

fn options(augment: Augment) -> LoaderOptions {
    LoaderOptions {
        batch: NonZeroUsize::new(3).unwrap(),
        seed: 4,
        shuffle: true,
        augment,
        cached_views: false,
        epochs: 3,
        epochs_without_mosaic: 1,
        threads: NonZeroUsize::MIN,
        ahead: NonZeroUsize::new(2).unwrap(),
    }
}

fn batches(set: &Arc<TrainSet>, options: LoaderOptions, from: Position) -> Vec<Batch> {
    let mut loader = Loader::start(set.clone(), options, from).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = loader.next() {
        let batch = batch.unwrap();
        batches.push(batch.clone());
        loader.recycle(batch);
    }
    batches
}

/// Bits of everything, so that NaN is equal to itself.
fn fingerprint(batch: &Batch) -> Vec<u8> {
    let mut bytes = batch.pixels.clone();
    bytes.extend([batch.epoch as u8, batch.number as u8]);
    bytes.extend(batch.indices.iter().map(|&i| i as u8));
    bytes.extend(batch.labelled.iter().map(|&l| u8::from(l)));
    let teacher = batch.teacher.clone().unwrap_or_default();
    for numbers in
        [&batch.labels.batch_index, &batch.labels.class_id, &teacher.batch_index, &teacher.anchor, &teacher.class_id]
    {
        bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    }
    let dfl_logits = teacher.dfl_logits.clone().unwrap_or_default();
    for numbers in [
        &batch.labels.boxes_xyxy_input_px,
        &teacher.score,
        &teacher.class_logits,
        &dfl_logits,
        &teacher.boxes_xyxy_input_px,
        &teacher.floor_prob,
        &teacher.dropped_score_sum,
    ] {
        bytes.extend(numbers.iter().flat_map(|n| n.to_bits().to_le_bytes()));
    }
    bytes
}

fn boxes(values: &[f32]) -> Vec<BoxXyxyPx> {
    values.as_chunks::<4>().0.iter().map(|&[x1, y1, x2, y2]| BoxXyxyPx { x1, y1, x2, y2 }).collect()
}

fn close(a: BoxXyxyPx, b: BoxXyxyPx) -> bool {
    [(a.x1, b.x1), (a.y1, b.y1), (a.x2, b.x2), (a.y2, b.y2)].iter().all(|(a, b)| (a - b).abs() < 1e-3)
}

fn to_input(record: &ImageRecord, box_px: BoxXyxyPx) -> BoxXyxyPx {
    LetterboxPlan::fit(record.size, INPUT.height, INPUT.width).to_input(box_px)
}

/// Where a box of the image lies in a view, by hand.
fn in_view(record: &ImageRecord, box_px: BoxXyxyPx) -> BoxXyxyPx {
    let (b, c) = (to_input(record, box_px), record.change);
    let x = |v: f32| v * c.scale + c.offset_x;
    let (x1, x2) = if c.flip { (96.0 - x(b.x2), 96.0 - x(b.x1)) } else { (x(b.x1), x(b.x2)) };
    BoxXyxyPx { x1, y1: b.y1 * c.scale + c.offset_y, x2, y2: b.y2 * c.scale + c.offset_y }
}

#[test]
fn without_changes_a_batch_is_the_letterbox_the_labels_and_the_record() {
    for store in [Store::All, Store::Cls] {
        let case = Case::new(7, store);
        let set = Arc::new(case.open(Some(&case.pixels())).unwrap());
        let options = LoaderOptions { shuffle: false, epochs: 1, ..options(Augment::none()) };
        let batches = batches(&set, options, Position::default());
        assert_eq!(
            batches.iter().map(|b| b.indices.clone()).collect::<Vec<_>>(),
            [vec![0, 1, 2], vec![3, 4, 5], vec![6]]
        );
        for batch in &batches {
            assert_eq!(batch.sources, batch.indices);
            let size = batch.pixels.len() / batch.len();
            let teacher = batch.teacher.as_ref().unwrap();
            let logits = teacher.dfl_logits.as_deref();
            assert_eq!((logits.is_some(), teacher.dfl_len), if store == Store::All { (true, 16) } else { (false, 0) });
            assert_eq!(
                (teacher.num_classes, teacher.num_anchors),
                (CLASSES, case.manifest.teacher.total_anchors() as usize)
            );
            let mut row = 0;
            for (place, &index) in batch.indices.iter().enumerate() {
                let record = &case.records[index];
                assert!(
                    batch.pixels[place * size..(place + 1) * size] == case.letterboxed(record),
                    "pixels of {index}"
                );
                assert_eq!(batch.labelled[place], record.labels.is_some());
                let p = &record.predictions;
                for at in 0..p.len() {
                    assert_eq!(teacher.batch_index[row], place as i64);
                    assert_eq!(teacher.anchor[row], i64::from(p.anchor[at]));
                    assert_eq!(teacher.score[row], p.score[at]);
                    assert_eq!(teacher.class_id[row], i64::from(p.class_id[at]));
                    let same = |found: &[f32], expected: &[half::f16]| {
                        found.iter().zip(expected).all(|(f, e)| *f == e.to_f32())
                    };
                    assert!(same(
                        &teacher.class_logits[row * CLASSES..][..CLASSES],
                        &p.class_logits[at * CLASSES..][..CLASSES]
                    ));
                    if let Some(logits) = logits {
                        assert!(same(&logits[row * 16..][..16], &p.dfl_logits[at * 16..][..16]));
                    }
                    let bins = logits.map(|logits| &logits[row * 16..][..16]);
                    let expected = whole_box(record, at, bins, |b| to_input(record, b));
                    assert!(close(boxes(&teacher.boxes_xyxy_input_px)[row], expected));
                    row += 1;
                }
                let floor = &teacher.floor_prob[place * teacher.num_anchors..][..teacher.num_anchors];
                assert!(floor.iter().all(|&p| p == record.dropped_mean_prob));
            }
            assert_eq!(row, teacher.len());
        }
    }
}

/// The Python package asks for batches one by one.
#[test]
fn a_batch_asked_for_alone_is_that_of_the_loader() {
    let case = Case::of(9, manifest_with_views(2, 9));
    let set = Arc::new(case.open(None).unwrap());
    for (augment, cached_views) in [(Augment::none(), false), (Augment::grid(), false), (Augment::grid(), true)] {
        let options = LoaderOptions { cached_views, ..options(augment) };
        let views = if cached_views { set.views() } else { Views::default() };
        let mut scratch = Scratch::default();
        for expected in batches(&set, options, Position::default()) {
            let order = shuffled(options.seed, expected.epoch, set.images().len());
            let rows = order.chunks(options.batch.get()).nth(expected.number).unwrap();
            let mosaic = expected.epoch + options.epochs_without_mosaic < options.epochs;
            let augment = if mosaic { augment } else { augment.without_mosaic() };
            let mut found = Batch { number: expected.number, ..Batch::empty(expected.epoch) };
            set.fill(&mut found, rows, &augment, options.seed, views, &mut scratch).unwrap();
            assert!(fingerprint(&found) == fingerprint(&expected), "batch {} of {}", expected.number, expected.epoch);
        }
    }
}

/// The box that bins say at an anchor: expectations of the softmax, as distances from the cell's centre.
fn said(dfl_logits: &[f32], anchor: i32) -> BoxXyxyPx {
    let cell = Grid::new(INPUT, &[8, 16, 32]).cell(anchor as usize);
    let side = |k: usize| {
        let weights: Vec<f64> = dfl_logits[k * BINS..][..BINS].iter().map(|&x| f64::from(x).exp()).collect();
        let expectation = weights.iter().enumerate().map(|(bin, w)| bin as f64 * w).sum::<f64>();
        (expectation / weights.iter().sum::<f64>()) as f32
    };
    let (x, y, stride) = (cell.centre_x, cell.centre_y, cell.stride as f32);
    BoxXyxyPx {
        x1: (x - side(0)) * stride,
        y1: (y - side(1)) * stride,
        x2: (x + side(2)) * stride,
        y2: (y + side(3)) * stride,
    }
}

/// The stored box where the image's edge has not clipped it, else what its bins say, where there are any.
fn whole_box(
    record: &ImageRecord,
    at: usize,
    bins: Option<&[f32]>,
    in_input: impl Fn(BoxXyxyPx) -> BoxXyxyPx,
) -> BoxXyxyPx {
    let (p, size) = (&record.predictions, record.size);
    let b = p.boxes_xyxy_px[at];
    let clipped = b.x1 <= 0.0 || b.y1 <= 0.0 || b.x2 >= size.width as f32 || b.y2 >= size.height as f32;
    bins.filter(|_| clipped).map_or_else(|| in_input(b), |bins| said(bins, p.anchor[at]))
}

#[test]
fn under_every_moved_anchor_lie_the_pixels_that_the_teacher_saw() {
    follow_every_anchor(&Case::new(9, Store::All), Store::All);
}

#[test]
fn stored_boxes_follow_their_anchors_where_there_are_no_bins() {
    follow_every_anchor(&Case::new(9, Store::Cls), Store::Cls);
}

#[test]
fn mosaics_of_views_show_what_the_teacher_saw_of_each_view() {
    follow_every_anchor(&Case::of(9, manifest_with_views(4, 9)), Store::All);
}

/// A row of a batch comes from one anchor of one record, told by its first logit. Whatever was drawn: the pixels of its cell,
/// the logits, the box and the floor must be those that the teacher saw and gave there.
fn follow_every_anchor(case: &Case, store: Store) {
    let set = Arc::new(case.open(Some(&case.pixels())).unwrap());
    let grid = Grid::new(INPUT, &[8, 16, 32]);
    let pictures: HashMap<(i64, i32), Vec<u8>> =
        case.views.iter().map(|record| ((record.image_id, record.view), case.view_levels(record))).collect();
    let cached_views = case.manifest.settings.views > 0;
    let (mut rows, mut moved, mut mixed, mut grey) = (0, 0, 0, 0);
    for flip in [false, true] {
        let augment = Augment {
            hsv_gain: [0.0; 3],
            flip_prob: f64::from(u8::from(flip)),
            mosaic_prob: 0.6,
            translate: 0.5,
            ..Augment::grid()
        };
        let options = LoaderOptions { epochs: 6, cached_views, ..options(augment) };
        for batch in batches(&set, options, Position::default()) {
            let teacher = batch.teacher.as_ref().unwrap();
            assert_dropped_scores(case, &options, &batch);
            let dfl = teacher.dfl_logits.as_ref();
            assert_eq!(dfl.is_some(), store == Store::All);
            let size = batch.pixels.len() / batch.len();
            let mut seen = HashMap::new();
            for row in 0..teacher.len() {
                let place = teacher.batch_index[row] as usize;
                let anchor = teacher.anchor[row] as usize;
                assert!(seen.insert((place, anchor), ()).is_none(), "an anchor twice");
                let number = teacher.class_logits[row * CLASSES] as usize;
                let (record, at) = (case.shown(&options, batch.epoch, number as i64 / 40), number % 40);
                let p = &record.predictions;
                let own = &case.records[batch.indices[place]];
                assert_eq!(record.labels.is_some(), own.labels.is_some(), "mosaics are of one kind");
                assert!(batch.sources.contains(&(record.image_id as usize)));
                mixed += usize::from(record.image_id != own.image_id);

                let (from, to) = (grid.cell(p.anchor[at] as usize), grid.cell(anchor));
                assert_eq!(from.stride, to.stride);
                let window = &batch.pixels[place * size..(place + 1) * size];
                assert_same_pixels(&pictures[&(record.image_id, record.view)], from, window, to, flip);
                moved += usize::from(from != to);

                let follow = |b: BoxXyxyPx| follow(b, from, to, flip);
                let found_box = boxes(&teacher.boxes_xyxy_input_px)[row];
                let before: Option<Vec<f32>> =
                    dfl.map(|_| p.dfl_logits[at * 16..][..16].iter().map(|l| l.to_f32()).collect());
                if let (Some(dfl), Some(before)) = (dfl, &before) {
                    let found = &dfl[row * 16..][..16];
                    let expected = match flip {
                        true => [&before[8..12], &before[4..8], &before[..4], &before[12..]].concat(),
                        false => before.clone(),
                    };
                    assert_eq!(found, expected);
                }
                let whole = whole_box(record, at, before.as_deref(), |b| in_view(record, b));
                assert!(close(found_box, follow(whole)));
                assert_eq!(teacher.floor_prob[place * teacher.num_anchors + anchor], record.dropped_mean_prob);
                rows += 1;
            }
            assert_floor_is_nan_over_grey_alone(&batch, &grid, &mut grey);
        }
    }
    assert!(rows > 500 && moved > 300 && mixed > 100 && grey > 100, "{rows} {moved} {mixed} {grey}");
}

/// Each image of a window has the share of its dropped scores that its share of the dropped anchors is.
fn assert_dropped_scores(case: &Case, options: &LoaderOptions, batch: &Batch) {
    let teacher = batch.teacher.as_ref().unwrap();
    for place in 0..batch.len() {
        let floors = &teacher.floor_prob[place * teacher.num_anchors..][..teacher.num_anchors];
        let expected: f32 = (0..case.records.len() as i64)
            .map(|id| {
                let record = case.shown(options, batch.epoch, id);
                let shown = floors.iter().filter(|&&floor| floor == record.dropped_mean_prob).count();
                let of_record = |row: &usize| {
                    teacher.batch_index[*row] == place as i64 && teacher.class_logits[row * CLASSES] as i64 / 40 == id
                };
                let kept = (0..teacher.len()).filter(of_record).count();
                let dropped = teacher.num_anchors - record.predictions.len();
                record.dropped_score_sum * (shown - kept) as f32 / dropped as f32
            })
            .sum();
        let found = teacher.dropped_score_sum[place];
        assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
    }
}

/// Where a box goes when its anchor's cell goes from one place to another.
fn follow(b: BoxXyxyPx, from: Cell, to: Cell, flip: bool) -> BoxXyxyPx {
    let stride = from.stride as f32;
    let (from_x, to_x) = (from.centre_x * stride, to.centre_x * stride);
    let dy = (to.centre_y - from.centre_y) * stride;
    let (x1, x2) = if flip {
        (to_x - (b.x2 - from_x), to_x - (b.x1 - from_x))
    } else {
        (b.x1 - from_x + to_x, b.x2 - from_x + to_x)
    };
    BoxXyxyPx { x1, y1: b.y1 + dy, x2, y2: b.y2 + dy }
}

fn assert_same_pixels(picture: &[u8], from: Cell, window: &[u8], to: Cell, flip: bool) {
    let stride = from.stride as usize;
    let corner = |cell: Cell| ((cell.centre_x - 0.5) as usize * stride, (cell.centre_y - 0.5) as usize * stride);
    let pixel = |levels: &[u8], x: usize, y: usize| -> [u8; 3] {
        let at = (y * INPUT.width as usize + x) * 3;
        levels[at..at + 3].try_into().unwrap()
    };
    let ((x1, y1), (x2, y2)) = (corner(from), corner(to));
    for y in 0..stride {
        for x in 0..stride {
            let mirrored = if flip { stride - 1 - x } else { x };
            assert_eq!(pixel(picture, x1 + x, y1 + y), pixel(window, x2 + mirrored, y2 + y));
        }
    }
}

fn assert_floor_is_nan_over_grey_alone(batch: &Batch, grid: &Grid, grey: &mut usize) {
    let teacher = batch.teacher.as_ref().unwrap();
    let size = batch.pixels.len() / batch.len();
    for (at, floor) in teacher.floor_prob.iter().enumerate() {
        if floor.is_nan() {
            let (place, cell) = (at / teacher.num_anchors, grid.cell(at % teacher.num_anchors));
            let middle = [cell.centre_x, cell.centre_y].map(|c| (c * cell.stride as f32) as usize);
            let pixel = place * size + (middle[1] * INPUT.width as usize + middle[0]) * 3;
            assert_eq!(batch.pixels[pixel..pixel + 3], [114; 3]);
            *grey += 1;
        }
    }
}

#[test]
fn labels_follow_a_mirror() {
    let case = Case::new(3, Store::All);
    let mut images = case.images();
    let (w, h) = (case.records[0].size.width as f32, case.records[0].size.height as f32);
    let box_xyxy_px = BoxXyxyPx { x1: 0.1 * w, y1: 0.2 * h, x2: 0.6 * w, y2: 0.9 * h };
    images[0].labels = Some(vec![LabelBox { class_id: 2, box_xyxy_px }]);
    images.truncate(1);
    let set = TrainSet::open(images, INPUT, None, None, &|_| (), &AtomicBool::new(false)).unwrap();
    let augment = Augment { flip_prob: 1.0, ..Augment::none() };
    let batches = batches(&Arc::new(set), LoaderOptions { epochs: 1, ..options(augment) }, Position::default());
    assert!(batches[0].teacher.is_none());
    let straight = to_input(&case.records[0], box_xyxy_px);
    let expected = BoxXyxyPx { x1: 96.0 - straight.x2, x2: 96.0 - straight.x1, ..straight };
    assert!(close(boxes(&batches[0].labels.boxes_xyxy_input_px)[0], expected));
    assert_eq!((&batches[0].labels.batch_index[..], &batches[0].labels.class_id[..]), (&[0][..], &[2][..]));
}

#[test]
fn content_does_not_depend_on_threads_buffers_or_where_it_began() {
    let case = Case::new(10, Store::All);
    let mapped = Arc::new(case.open(Some(&case.pixels())).unwrap());
    let decoded = Arc::new(case.open(None).unwrap());
    assert!(mapped.pixel_cache().is_some() && decoded.pixel_cache().is_none());
    let expected: Vec<_> =
        batches(&mapped, options(Augment::grid()), Position::default()).iter().map(fingerprint).collect();
    assert_eq!(expected.len(), 3 * 4);
    for set in [&mapped, &decoded] {
        for (threads, ahead) in [(1, 1), (2, 1), (2, 3), (4, 6)] {
            let [threads, ahead] = [threads, ahead].map(|n| NonZeroUsize::new(n).unwrap());
            let options = LoaderOptions { threads, ahead, ..options(Augment::grid()) };
            for (epoch, batch) in [(0, 0), (1, 2)] {
                let found = batches(set, options, Position { epoch, batch });
                let found: Vec<_> = found.iter().map(fingerprint).collect();
                assert!(found == expected[epoch * 4 + batch..], "{threads} threads from {epoch}, {batch}");
            }
        }
    }
    let other = LoaderOptions { seed: 5, ..options(Augment::grid()) };
    assert!(batches(&mapped, other, Position::default()).iter().map(fingerprint).ne(expected));
}

#[test]
fn every_epoch_has_every_image_once_in_another_order_and_the_last_ones_no_mosaic() {
    let case = Case::new(10, Store::All);
    let set = Arc::new(case.open(Some(&case.pixels())).unwrap());
    let augment = Augment { hsv_gain: [0.0; 3], flip_prob: 0.0, translate: 0.0, ..Augment::grid() };
    let batches = batches(&set, options(augment), Position::default());
    let mut orders = Vec::new();
    for epoch in 0..3 {
        let of_epoch: Vec<&Batch> = batches.iter().filter(|b| b.epoch == epoch).collect();
        assert_eq!(
            of_epoch.iter().map(|b| (b.number, b.batches, b.len())).collect::<Vec<_>>(),
            [(0, 4, 3), (1, 4, 3), (2, 4, 3), (3, 4, 1)]
        );
        let order: Vec<usize> = of_epoch.iter().flat_map(|b| b.indices.clone()).collect();
        let plain = of_epoch.iter().all(|batch| {
            let size = batch.pixels.len() / batch.len();
            let rows = batch.indices.iter().zip(batch.pixels.chunks(size));
            rows.into_iter().all(|(&index, pixels)| pixels == case.letterboxed(&case.records[index]))
        });
        assert_eq!(plain, epoch == 2, "epoch {epoch}");
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        orders.push(order);
    }
    assert!(orders[0] != orders[1] && orders[1] != orders[2]);
}

#[test]
fn the_pixel_cache_is_made_once_and_anew_when_something_changes() {
    let case = Case::new(4, Store::All);
    let done = AtomicU64::new(0);
    let open = |images: Vec<TrainImage>| {
        done.store(0, Ordering::Relaxed);
        let count = |n| {
            done.fetch_add(n, Ordering::Relaxed);
        };
        let set = TrainSet::open(images, INPUT, Some(&case.pixels()), None, &count, &AtomicBool::new(false)).unwrap();
        (set.pixel_cache().unwrap(), done.load(Ordering::Relaxed))
    };
    let (made, decoded) = open(case.images());
    assert_eq!((made.1, decoded), (false, 4));
    assert!(made.0 > pixel_cache_bytes(4, INPUT) && made.0 < pixel_cache_bytes(4, INPUT) + 4000);
    assert_eq!(open(case.images()), ((made.0, true), 0));

    let mut fewer = case.images();
    fewer.pop();
    assert_eq!(open(fewer).1, 3, "another list");
    assert_eq!(open(case.images()).1, 4);

    // A file that was cut, or whose end is damaged, is no pixel cache.
    let file = case.path("pixels/pixels-96x64.bin");
    let whole = fs::read(&file).unwrap();
    for damaged in [whole[..whole.len() - 1].to_vec(), whole[..100].to_vec(), Vec::new(), flipped(&whole, 70)] {
        fs::remove_file(&file).unwrap();
        fs::write(&file, damaged).unwrap();
        assert_eq!(open(case.images()).1, 4);
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
    fs::write(case.path("pixels/.tmp-pixels-1-1"), "left by a killed run").unwrap();
    let changed = case.path(&case.records[0].path);
    let later = fs::metadata(&changed).unwrap().modified().unwrap() + std::time::Duration::from_secs(2);
    fs::File::options().append(true).open(&changed).unwrap().set_modified(later).unwrap();
    assert_eq!(open(case.images()).1, 4, "a file was touched");
    let names: Vec<_> = fs::read_dir(case.path("pixels")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["pixels-96x64.bin"]);
}

/// The byte that lies so far before the end, changed.
fn flipped(bytes: &[u8], from_end: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    bytes
}

#[test]
fn a_pixel_cache_over_its_limit_is_not_made() {
    let case = Case::new(4, Store::All);
    let mut options = PixelCacheOptions { max_bytes: pixel_cache_bytes(4, INPUT), ..case.pixels() };
    options.max_bytes -= 1;
    assert!(case.open(Some(&options)).unwrap().pixel_cache().is_none());
    assert!(!options.folder.exists());
    options.max_bytes += 1;
    assert!(case.open(Some(&options)).unwrap().pixel_cache().is_some());
}

#[test]
fn unreadable_images_are_left_out_and_named_also_when_the_pixels_are_found() {
    let case = Case::new(5, Store::All);
    let mut images = case.images();
    fs::remove_file(&images[1].path).unwrap();
    fs::write(&images[3].path, "no picture").unwrap();
    images[3].expected_sha256 = None;
    for reused in [false, true] {
        let set = TrainSet::open(
            images.clone(),
            INPUT,
            Some(&case.pixels()),
            Some(case.reader()),
            &|_| (),
            &AtomicBool::new(false),
        );
        let set = set.unwrap();
        assert_eq!(set.pixel_cache().unwrap().1, reused);
        let failures: Vec<_> = set.failures().iter().map(|f| (f.image_id, f.path.as_str(), f.stage)).collect();
        let expected = [(1, "images/000001.png", FailureStage::Read), (3, "images/000003.png", FailureStage::Decode)];
        assert_eq!(failures, expected);
        assert!(set.failures()[1].reason.contains("not an image"));
        assert_eq!(set.images().iter().map(|i| i.image_id).collect::<Vec<_>>(), [0, 2, 4]);
        let set = Arc::new(set);
        let options = LoaderOptions { shuffle: false, epochs: 1, ..options(Augment::none()) };
        let batch = &batches(&set, options, Position::default())[0];
        let size = batch.pixels.len() / 3;
        assert!(batch.pixels[2 * size..] == case.letterboxed(&case.records[4]));
    }
}

fn message<T: std::fmt::Debug>(result: logitcache::Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn changed_images_are_named_and_nothing_is_kept() {
    let case = Case::new(5, Store::All);
    fs::copy(case.path("images/000000.png"), case.path("images/000002.png")).unwrap();
    fs::copy(case.path("images/000000.png"), case.path("images/000004.png")).unwrap();
    let error = message(case.open(Some(&case.pixels())));
    assert!(
        error.contains("2 images have changed") && error.contains("\n    images/000002.png\n    images/000004.png\n"),
        "{error}"
    );
    assert!(fs::read_dir(case.path("pixels")).unwrap().next().is_none());

    // Decoded each time, they are found when their turn comes; of the batches before nothing is lost.
    let set = Arc::new(case.open(None).unwrap());
    let options = LoaderOptions { shuffle: false, batch: NonZeroUsize::MIN, ..options(Augment::none()) };
    let mut loader = Loader::start(set, options, Position::default()).unwrap();
    assert!(loader.next().unwrap().is_ok() && loader.next().unwrap().is_ok());
    let error = message(loader.next().unwrap());
    assert!(
        error.contains("image 2 (images/000002.png)") && error.contains("changed since the cache was made"),
        "{error}"
    );
    assert!(loader.next().is_none());
}

#[test]
fn what_does_not_fit_the_cache_is_refused() {
    let case = Case::new(5, Store::All);
    let open = |images: Vec<TrainImage>, input: ImageSize| {
        message(TrainSet::open(
            images,
            input,
            Some(&case.pixels()),
            Some(case.reader()),
            &|_| (),
            &AtomicBool::new(false),
        ))
    };
    let error = open(case.images(), ImageSize { width: 128, height: 64 });
    assert!(error.contains("64 x 128 (height x width)") && error.contains("64 x 96 (height x width)"), "{error}");
    let error = open(case.images(), ImageSize { width: 100, height: 64 });
    assert!(error.contains("64 x 100 (height x width)") && error.contains("multiples of 32"), "{error}");
    assert!(open(Vec::new(), INPUT).contains("no image to train on"));

    let of = |change: fn(&mut Manifest)| {
        let mut manifest = manifest(CLASSES as u32, BINS as u32, Store::Cls, 2);
        change(&mut manifest);
        message(Case::of(2, manifest).open(None))
    };
    let error = of(|m| m.teacher.input_rule.colours = Colours::Bgr);
    assert!(error.contains("letterbox,bgr,0-1") && error.contains("letterbox,rgb,0-1"), "{error}");

    let mut images = case.images();
    images[2].relative = "images/else.png".into();
    let error = open(images, INPUT);
    assert!(error.contains("image 2 (images/else.png): in the cache it is images/000002.png"), "{error}");
    let mut images = case.images();
    images[4].image_id = 77;
    assert!(open(images, INPUT).contains("image 77 (images/000004.png): it is not in the cache"));
    let mut images = case.images();
    (images[0].path, images[0].expected_sha256) = (images[2].path.clone(), None);
    let error = open(images, INPUT);
    let size = case.records[2].size;
    assert!(
        error.contains("image 0") && error.contains(&format!("{} x {} pixels, in the cache", size.width, size.height)),
        "{error}"
    );

    let set = Arc::new(case.open(None).unwrap());
    let error = message(Loader::start(set, options(Augment::free()), Position::default()));
    assert!(error.contains("anchor grid"), "{error}");
}

/// The rows of a record that are objects, highest score first: over 0.1, none overlapping a better one by more than 0.7.
fn objects(record: &ImageRecord) -> Vec<usize> {
    let p = &record.predictions;
    let mut rows: Vec<usize> = (0..p.len()).filter(|&row| p.score[row] > 0.1).collect();
    rows.sort_by(|&a, &b| p.score[b].partial_cmp(&p.score[a]).unwrap());
    let area = |b: &BoxXyxyPx| (b.x2 - b.x1) * (b.y2 - b.y1);
    let mut kept: Vec<usize> = Vec::new();
    for row in rows {
        let b = &p.boxes_xyxy_px[row];
        let overlaps = |&other: &usize| {
            let a = &p.boxes_xyxy_px[other];
            let both = (a.x2.min(b.x2) - a.x1.max(b.x1)).max(0.0) * (a.y2.min(b.y2) - a.y1.max(b.y1)).max(0.0);
            both / (area(a) + area(b) - both) > 0.7
        };
        if !kept.iter().any(overlaps) {
            kept.push(row);
        }
    }
    kept
}

/// Labels that are the teacher's objects: both must come to lie at the same places, whatever is changed.
#[test]
fn objects_follow_every_change_as_labels_do() {
    let case = Case::new(6, Store::All);
    let mut images = case.images();
    for (image, record) in images.iter_mut().zip(&case.records) {
        let p = &record.predictions;
        let label = |row: usize| LabelBox { class_id: p.class_id[row] as u32, box_xyxy_px: p.boxes_xyxy_px[row] };
        image.labels = Some(objects(record).into_iter().map(label).collect());
    }
    // Another input than the cache's: boxes are in pixels of the images.
    for input in [INPUT, ImageSize { width: 128, height: 160 }] {
        let set = TrainSet::open(images.clone(), input, None, None, &|_| (), &AtomicBool::new(false)).unwrap();
        for classes in [ObjectClasses::Soft, ObjectClasses::Hard] {
            let set = TrainSet::open(images.clone(), input, None, None, &|_| (), &AtomicBool::new(false))
                .and_then(|set| set.with_objects(case.reader(), classes))
                .unwrap();
            let mut seen = 0;
            for batch in batches(&Arc::new(set), options(Augment::free()), Position::default()) {
                let (found, labels) = (batch.objects.as_ref().unwrap(), &batch.labels);
                assert!(batch.teacher.is_none());
                assert_eq!(found.batch_index, labels.batch_index);
                assert_eq!(found.class_id, labels.class_id);
                assert_eq!(found.boxes_xyxy_input_px, labels.boxes_xyxy_input_px);
                for (i, logits) in found.class_logits.chunks_exact(CLASSES).enumerate() {
                    let class = found.class_id[i] as usize;
                    match classes {
                        ObjectClasses::Soft => {
                            let (record, row) = (logits[0] as usize / 40, logits[0] as usize % 40);
                            let p = &case.records[record].predictions;
                            let stored = &p.class_logits[row * CLASSES..][..CLASSES];
                            assert!(logits.iter().zip(stored).all(|(a, b)| *a == b.to_f32()));
                            assert_eq!((found.score[i], class), (p.score[row], p.class_id[row] as usize));
                        }
                        ObjectClasses::Hard => {
                            let expected: Vec<f32> =
                                (0..CLASSES).map(|c| if c == class { 40.0 } else { -40.0 }).collect();
                            assert_eq!((found.score[i], logits), (1.0, &expected[..]));
                        }
                    }
                }
                seen += found.len();
            }
            assert!(seen > 100, "{seen}");
        }
        assert!(batches(&Arc::new(set), options(Augment::free()), Position::default())[0].objects.is_none());
    }
    // Beside the teacher's anchors, for a branch that gives each object one of them.
    let set = TrainSet::open(images, INPUT, None, Some(case.reader()), &|_| (), &AtomicBool::new(false))
        .and_then(|set| set.with_objects(case.reader(), ObjectClasses::Soft))
        .unwrap();
    for batch in batches(&Arc::new(set), options(Augment::grid()), Position::default()) {
        let (found, labels) = (batch.objects.as_ref().unwrap(), &batch.labels);
        assert!(!batch.teacher.as_ref().unwrap().is_empty() && !found.is_empty());
        assert_eq!((&found.batch_index, &found.class_id), (&labels.batch_index, &labels.class_id));
        assert_eq!(found.boxes_xyxy_input_px, labels.boxes_xyxy_input_px);
    }
}

#[test]
fn a_raised_stop_flag_ends_the_decoding_and_leaves_nothing() {
    let case = Case::new(5, Store::All);
    let set = TrainSet::open(case.images(), INPUT, Some(&case.pixels()), None, &|_| (), &AtomicBool::new(true));
    assert!(matches!(set, Err(logitcache::Error::Interrupted { .. })));
    assert!(fs::read_dir(case.path("pixels")).unwrap().next().is_none());
}

#[test]
fn a_dropped_loader_ends_its_threads() {
    let case = Case::new(10, Store::All);
    let set = Arc::new(case.open(Some(&case.pixels())).unwrap());
    let threads = NonZeroUsize::new(3).unwrap();
    let options = LoaderOptions { epochs: 1000, threads, ..options(Augment::grid()) };
    let mut loader = Loader::start(set.clone(), options, Position { epoch: 500, batch: 1 }).unwrap();
    let batch = loader.next().unwrap().unwrap();
    assert_eq!((batch.epoch, batch.number), (500, 1));
    assert!(loader.times().preparing > loader.times().targets);
    drop(loader);
    assert_eq!(Arc::strong_count(&set), 1, "no thread holds the set any more");
}

/// Uncached training without a cache: scaling and free mosaics, the same whatever the source of the pixels.
#[test]
fn free_changes_do_not_depend_on_the_source_of_pixels() {
    let case = Case::new(8, Store::All);
    let open = |pixels: Option<&PixelCacheOptions>| {
        Arc::new(TrainSet::open(case.images(), INPUT, pixels, None, &|_| (), &AtomicBool::new(false)).unwrap())
    };
    let [a, b] = [Some(&case.pixels()), None]
        .map(|pixels| batches(&open(pixels), options(Augment::free()), Position::default()));
    assert!(a.iter().map(fingerprint).eq(b.iter().map(fingerprint)));
    assert!(a.iter().any(|batch| !batch.labels.class_id.is_empty()));
    for batch in &a {
        for (at, b) in boxes(&batch.labels.boxes_xyxy_input_px).iter().enumerate() {
            assert!(0.0 <= b.x1 && b.x1 < b.x2 && b.x2 <= 96.0 && 0.0 <= b.y1 && b.y1 < b.y2 && b.y2 <= 64.0);
            assert!(batch.labelled[batch.labels.batch_index[at] as usize]);
        }
    }
}

/// Pixels and predictions of a view, for every view of every image: what `build` gives the teacher, byte for byte, and what the
/// cache says of that view at its own anchors.
#[test]
fn a_view_has_the_pixels_that_build_gives_the_teacher_and_its_own_predictions() {
    let case = Case::of(9, manifest_with_views(3, 9));
    let still = Augment { mosaic_prob: 0.0, flip_prob: 0.0, translate: 0.0, ..Augment::grid() };
    let with_cache = LoaderOptions { cached_views: true, ..options(still) };
    let sets = [Some(&case.pixels()), None].map(|pixels| Arc::new(case.open(pixels).unwrap()));
    let [mapped, decoded] = sets.each_ref().map(|set| batches(set, with_cache, Position::default()));
    assert!(mapped.iter().map(fingerprint).eq(decoded.iter().map(fingerprint)));
    let other_threads = LoaderOptions { threads: NonZeroUsize::new(3).unwrap(), ..with_cache };
    let resumed = batches(&sets[0], other_threads, Position { epoch: 1, batch: 1 });
    assert!(resumed.iter().map(fingerprint).eq(mapped[4..].iter().map(fingerprint)));

    let (mut shown, mut kept_labels, mut mirrored) = (HashMap::new(), 0, 0);
    for batch in &mapped {
        let teacher = batch.teacher.as_ref().unwrap();
        assert_eq!(batch.sources, batch.indices, "no mosaics");
        let (mut row, mut label) = (0, 0);
        for (place, &index) in batch.indices.iter().enumerate() {
            let record = case.shown(&with_cache, batch.epoch, index as i64);
            let view = record.view;
            shown.entry(index).or_insert_with(Vec::new).push(view);
            let size = batch.pixels.len() / batch.len();
            assert!(case.view_levels(record) == batch.pixels[place * size..][..size], "image {index}, view {view}");
            mirrored += usize::from(record.change.flip);
            let in_view = |b: BoxXyxyPx| in_view(record, b);
            let p = &record.predictions;
            for at in 0..p.len() {
                assert_eq!((teacher.batch_index[row], teacher.anchor[row]), (place as i64, i64::from(p.anchor[at])));
                assert_eq!((teacher.score[row], teacher.class_id[row]), (p.score[at], i64::from(p.class_id[at])));
                let same =
                    |found: &[f32], expected: &[half::f16]| found.iter().zip(expected).all(|(f, e)| *f == e.to_f32());
                assert!(same(&teacher.class_logits[row * CLASSES..][..CLASSES], &p.class_logits[at * CLASSES..]));
                let dfl = teacher.dfl_logits.as_ref().unwrap();
                assert!(same(&dfl[row * 16..][..16], &p.dfl_logits[at * 16..][..16]), "a mirror changes nothing here");
                let expected = whole_box(record, at, Some(&dfl[row * 16..][..16]), in_view);
                assert!(close(boxes(&teacher.boxes_xyxy_input_px)[row], expected));
                row += 1;
            }
            let floor = &teacher.floor_prob[place * teacher.num_anchors..][..teacher.num_anchors];
            assert!(floor.iter().all(|&f| f == record.dropped_mean_prob));
            assert_eq!(teacher.dropped_score_sum[place], record.dropped_score_sum);
            // Labels in their order, each clipped to the window or, where too little is left, not there.
            for l in record.labels.iter().flatten() {
                let b = in_view(l.box_xyxy_px);
                let clipped = BoxXyxyPx {
                    x1: b.x1.clamp(0.0, 96.0),
                    y1: b.y1.clamp(0.0, 64.0),
                    x2: b.x2.clamp(0.0, 96.0),
                    y2: b.y2.clamp(0.0, 64.0),
                };
                let is_next = batch.labels.batch_index.get(label) == Some(&(place as i64))
                    && close(boxes(&batch.labels.boxes_xyxy_input_px)[label], clipped);
                let (w, h) = (clipped.x2 - clipped.x1, clipped.y2 - clipped.y1);
                let share = w * h / ((b.x2 - b.x1) * (b.y2 - b.y1)).max(1e-6);
                let clearly = w > 2.01 && h > 2.01 && share > 0.11 && w.max(h) / w.min(h) < 99.0;
                assert!(is_next || !clearly, "{l:?} of image {index}, view {view} is missing");
                if is_next {
                    assert_eq!(batch.labels.class_id[label], i64::from(l.class_id));
                    label += 1;
                }
            }
        }
        assert_eq!((row, label), (teacher.len(), batch.labels.class_id.len()));
        kept_labels += label;
    }
    assert!(kept_labels > 10 && mirrored > 5, "{kept_labels} {mirrored}");
    for (index, mut shown) in shown {
        shown.sort_unstable();
        assert_eq!(shown, [1, 2, 3], "image {index}: three epochs, three views");
    }
}

#[test]
fn without_changes_a_cache_with_views_shows_the_images_as_they_are() {
    let case = Case::of(4, manifest_with_views(2, 4));
    let plain = Case::new(4, Store::All);
    let options = LoaderOptions { shuffle: false, epochs: 1, ..options(Augment::none()) };
    let [with_views, without] =
        [&case, &plain].map(|c| batches(&Arc::new(c.open(None).unwrap()), options, Position::default()));
    assert!(with_views.iter().map(fingerprint).eq(without.iter().map(fingerprint)));
    let set = Arc::new(plain.open(None).unwrap());
    let error = message(Loader::start(set, LoaderOptions { cached_views: true, ..options }, Position::default()));
    assert!(error.contains("no cache with views"), "{error}");
}
