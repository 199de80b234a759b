//! Caches for the tests: valid by every rule of the format, and the same on every machine.
#![allow(dead_code, clippy::unwrap_used)]

use half::f16;
use logitcache::{
    augment::{DrawViews as _, VIEW_RULE},
    cache::{
        CacheReader, Codebook, DatasetInfo, HeadKind, ImageRecord, LabelsState, Manifest, MissingLabels, PartWriter,
        Predictions, Settings, Teacher, content_digests, part_digests, rows_with_class_logits,
    },
    fsio::Lock,
    types::{BoxXyxyPx, ImageSize, LabelBox, Letterbox, LogitType, Profile, Store, ViewChange},
};
use std::path::{Path, PathBuf};

/// Random numbers by the splitmix64 rule, so that fixtures do not depend on a crate's version.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

pub fn manifest(classes: u32, reg_max: u32, store: Store, samples: u64) -> Manifest {
    let teacher = Teacher {
        file_name: "teacher.onnx".into(),
        sha256: "0123456789abcdef".repeat(4),
        head: HeadKind::Yolov8Dfl,
        num_classes: classes,
        reg_max,
        strides: vec![8, 16, 32],
        queries: 0,
        class_names: (0..classes).map(|c| format!("class {c}")).collect(),
        input_width: 96,
        input_height: 64,
        precision: "fp32".into(),
        normalisation: "RGB / 255".into(),
        one_to_one: false,
        input_rule: logitcache::preprocess::InputRule::default(),
        letterbox: "scaled by one factor, centred, grey 114".into(),
    };
    let dataset = DatasetInfo {
        source: "../images".into(),
        images_dir: None,
        class_names: Vec::new(),
        class_map: Default::default(),
        format: "folder".into(),
        split: String::new(),
        root: "../pictures".into(),
        samples,
        samples_sha256: "fedcba9876543210".repeat(4),
        labels: LabelsState::Stored,
    };
    let settings = Settings {
        min_score: 0.01,
        coverage: 1.0,
        class_coverage: 1.0,
        logits: LogitType::Float16,
        top_k: 40,
        store,
        profile: Profile::Mapped,
        batch: 1,
        provider: "cpu".into(),
        runtime: "ONNX Runtime 1.32.0".into(),
        decoder: "test".into(),
        missing_labels: MissingLabels::Background,
        ignore_labels: false,
        views: 0,
        view_seed: 0,
        view_rule: String::new(),
    };
    Manifest::new(teacher, dataset, settings)
}

/// The manifest of a cache of a head of queries.
pub fn query_manifest(classes: u32, queries: u32, samples: u64) -> Manifest {
    let mut m = manifest(classes, 0, Store::Cls, samples);
    m.teacher.head = HeadKind::DetrSigmoid;
    m.teacher.strides.clear();
    m.teacher.queries = queries;
    m
}

/// As [`manifest`], with logits of 8 bits, and class logits of the best rows only.
pub fn compact_manifest(classes: u32, reg_max: u32, store: Store, samples: u64) -> Manifest {
    let mut m = manifest(classes, reg_max, store, samples);
    m.settings.logits = LogitType::Bits8;
    m.settings.class_coverage = 0.9;
    m
}

/// As [`compact_manifest`], with class logits of float16.
pub fn half_compact_manifest(classes: u32, reg_max: u32, store: Store, samples: u64) -> Manifest {
    let mut m = compact_manifest(classes, reg_max, store, samples);
    m.settings.logits = LogitType::Bits8Dfl;
    m
}

/// Rounds the logits and leaves out class logits as the settings say.
fn compacted(m: &Manifest, p: &mut Predictions) {
    if let Some(book) = Codebook::of_class(m.settings.logits) {
        p.class_logits.iter_mut().for_each(|v| *v = book.round(v.to_f32()));
    }
    if let Some(book) = Codebook::of_dfl(m.settings.logits) {
        for side in p.dfl_logits.chunks_mut((m.dfl_len() / 4).max(1)) {
            let highest = side.iter().map(|v| v.to_f32()).fold(f32::NEG_INFINITY, f32::max);
            side.iter_mut().for_each(|v| *v = book.round(v.to_f32() - highest));
        }
    }
    if m.settings.class_coverage < 1.0 {
        let with = rows_with_class_logits(&p.score, p.len().div_ceil(2));
        let rows = p.class_logits.chunks_exact(m.class_len()).zip(with).filter(|(_, has)| *has);
        p.class_logits = rows.flat_map(|(row, _)| row.to_vec()).collect();
    }
}

/// A record that keeps to every rule, with `rows` kept anchors (at most `top_k`) and `labels` labels.
pub fn record(m: &Manifest, seed: u64, image_id: i64, rows: usize, labels: Option<usize>) -> ImageRecord {
    let mut random = Random(seed ^ (image_id as u64).wrapping_mul(0x5851_f42d_4c95_7f2d));
    let size = ImageSize { width: 1 + random.below(300) as u32, height: 1 + random.below(300) as u32 };
    let (w, h) = (m.teacher.input_width as f32, m.teacher.input_height as f32);
    let scale = (w / size.width as f32).min(h / size.height as f32);
    let pad = |input: f32, side: u32| ((input - (side as f32 * scale).round()) / 2.0).floor().max(0.0);
    let letterbox = Letterbox { scale, pad_left: pad(w, size.width), pad_top: pad(h, size.height) };
    let total = m.teacher.total_anchors();
    let all_kept = rows as u64 == total;
    let any_box = |random: &mut Random| {
        let (x1, y1) = (random.between(0.0, size.width as f32), random.between(0.0, size.height as f32));
        BoxXyxyPx { x1, y1, x2: random.between(x1, size.width as f32), y2: random.between(y1, size.height as f32) }
    };
    let class_count = m.teacher.num_classes;
    let labels = labels.map(|n| {
        (0..n)
            .map(|_| LabelBox { class_id: random.below(class_count.into()) as u32, box_xyxy_px: any_box(&mut random) })
            .collect()
    });

    let mut anchors: Vec<i32> = (0..total as i32).collect();
    for at in (1..anchors.len()).rev() {
        anchors.swap(at, random.below(at as u64 + 1) as usize);
    }
    anchors.truncate(rows);
    anchors.sort_unstable();
    let mut p = Predictions::default();
    for anchor in anchors {
        let mut end = 0;
        let stride = m.teacher.strides.iter().find(|&&s| {
            end += (m.teacher.input_width / s) * (m.teacher.input_height / s);
            (anchor as u32) < end
        });
        let class_id = random.below(class_count.into()) as usize;
        let highest = random.between(-4.0, 6.0);
        for class in 0..class_count as usize {
            let logit = if class == class_id { highest } else { highest - random.between(0.01, 9.0) };
            p.class_logits.push(f16::from_f32(logit));
        }
        p.dfl_logits.extend((0..m.dfl_len()).map(|_| f16::from_f32(random.between(-8.0, 8.0))));
        p.anchor.push(anchor);
        p.stride.extend(stride.map(|&stride| stride as i32));
        p.score.push(1.0 / (1.0 + (-highest).exp()));
        p.class_id.push(class_id as i32);
        p.boxes_xyxy_px.push(any_box(&mut random));
    }
    compacted(m, &mut p);
    let all_have_class_logits = p.class_row_count(m.class_len()) == p.len();
    let mut file_sha256 = [0u8; 32];
    file_sha256.fill_with(|| random.bits() as u8);
    ImageRecord {
        image_id,
        view: 0,
        path: format!("images/{image_id:06}.jpg"),
        size,
        file_sha256,
        letterbox,
        change: ViewChange::NONE,
        dropped_max_score: if all_kept { 0.0 } else { 0.009 },
        dropped_mean_prob: if all_kept { 0.0 } else { 0.0005 },
        dropped_score_sum: if all_kept { 0.0 } else { 0.008 + 0.001 * (total - rows as u64) as f32 },
        rest_mean_prob: if all_have_class_logits { 0.0 } else { 0.003 },
        labels,
        predictions: p,
    }
}

/// Twelve images of all kinds: without rows, without labels, unlabelled, odd names.
pub fn records(m: &Manifest, seed: u64) -> Vec<ImageRecord> {
    let top_k = m.settings.top_k as usize;
    let shapes = [
        (5, Some(2)),
        (0, Some(0)),
        (top_k, None),
        (1, Some(1)),
        (0, None),
        (7, Some(0)),
        (3, Some(5)),
        (12, Some(1)),
        (0, Some(3)),
        (30, None),
        (2, Some(1)),
        (9, Some(4)),
    ];
    let names = ["a b.jpg", "ünï/cødé \u{1f426}.png", "quo\"te\\back.jpg", "line\nfeed.jpg", "x"];
    let mut records: Vec<_> =
        shapes.iter().enumerate().map(|(id, &(rows, labels))| record(m, seed, id as i64, rows, labels)).collect();
    for (record, name) in records.iter_mut().zip(names) {
        record.path = name.to_owned();
    }
    records
}

/// A manifest whose images have views.
pub fn manifest_with_views(views: u32, samples: u64) -> Manifest {
    let mut m = manifest(3, 4, Store::All, samples);
    m.settings.views = views;
    m.settings.view_seed = 77;
    m.settings.view_rule = VIEW_RULE.into();
    m
}

/// Each record followed by the views that its manifest asks for, with rows of their own.
pub fn with_views(m: &Manifest, seed: u64, images: &[ImageRecord]) -> Vec<ImageRecord> {
    let input = ImageSize { width: m.teacher.input_width, height: m.teacher.input_height };
    let mut all = Vec::new();
    for image in images {
        all.push(image.clone());
        for view in 1..=m.settings.views as i32 {
            let mut p = record(m, seed + view as u64, image.image_id, image.predictions.len(), None).predictions;
            let (w, h) = (image.size.width as f32, image.size.height as f32);
            for b in &mut p.boxes_xyxy_px {
                *b = BoxXyxyPx { x1: b.x1.min(w), y1: b.y1.min(h), x2: b.x2.min(w), y2: b.y2.min(h) };
            }
            let change = m.settings.views().change(image.image_id, view, input);
            let (max, mean) = (image.dropped_max_score, image.dropped_mean_prob / (view + 1) as f32);
            all.push(ImageRecord {
                view,
                change,
                predictions: p,
                dropped_max_score: max,
                dropped_mean_prob: mean,
                ..image.clone()
            });
        }
    }
    all
}

/// Writes a complete cache of these parts and returns its manifest.
pub fn write_cache(folder: &Path, mut m: Manifest, parts: &[Vec<ImageRecord>]) -> Manifest {
    std::fs::create_dir_all(folder).unwrap();
    let lock = Lock::acquire(folder).unwrap();
    for part in parts {
        let mut writer = PartWriter::create(folder, &m).unwrap();
        part.iter().for_each(|r| writer.push(r).unwrap());
        if let Some(entry) = writer.finish().unwrap() {
            m.add_part(entry);
        }
    }
    m.save(&lock).unwrap();
    // From the values themselves: records that break rules are not all read through the map.
    let images = m.parts.iter().flat_map(|part| part_digests(folder, part, &m).unwrap()).collect();
    let reader = || CacheReader::open(folder).unwrap().content_digests().unwrap();
    m.digests = Some(content_digests(images).unwrap_or_else(|_| reader()));
    m.complete = m.images() + m.failures.len() as u64 == m.dataset.samples;
    m.save(&lock).unwrap();
    m
}

/// The usual small cache: two classes of parts, 3 classes, 4 bins, 12 images.
pub fn small_cache(folder: &Path) -> (Manifest, Vec<ImageRecord>) {
    let m = manifest(3, 4, Store::All, 12);
    let records = records(&m, 7);
    let m = write_cache(folder, m, &[records[..5].to_vec(), records[5..].to_vec()]);
    (m, records)
}

/// Every file under a folder, relative to it, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path.strip_prefix(folder).unwrap().to_path_buf()) }
        }
    }
    files.sort();
    files
}
