//! Size against fidelity: what a cache may leave out before a student notices.
//!
//! usage: cargo bench --bench fidelity [-- --student S.onnx]     (COCO128 and yolov12n.onnx from ../shared or LOGITCACHE_SHARED)
//!
//! Runs the teacher over COCO128 and, for every way to select and store, prints the size per image and the cosine between the gradient
//! (with respect to the student's logits) from what would be kept and from every anchor: mean, and the lowest image for `bckd` and `dfl`. Nothing
//! is written; sizes are those of uncompressed columns, as the cache has them.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use half::f16;
use logitcache::{
    audit::{Agreement, HeadRows, Student, Targets, Term, TermFidelity, gradient},
    cache::{Codebook, lower_sides},
    dataset::{DataSource, Dataset, Sample},
    preprocess::{DecodeLimits, LetterboxPlan, Preprocessor, decode},
    teacher::{Grid, HeadView, Provider, SessionOptions, TeacherModel, TeacherOptions, TeacherSession, sigmoid},
    types::{BoxXyxyPx, Letterbox, Store},
};
use std::{path::Path, thread};

/// Bytes of a row's scalar columns, and of an image's row in `images`.
const ROW_BYTES: f64 = 44.0;
const IMAGE_BYTES: f64 = 600.0;

/// The same where a byte tells strides and classes apart, and ids are runs.
const COMPACT_ROW_BYTES: f64 = 26.0;
/// Levels of a list.
const LEVEL_BYTES: f64 = 5.0;

/// A list of n float16 and its levels.
fn list_bytes(n: usize) -> f64 {
    n as f64 * 2.0 + LEVEL_BYTES
}

/// How many of the anchors whose scores these are, the highest first.
type Count = Box<dyn Fn(&[f32]) -> usize + Sync>;

/// One way to select and store.
struct Policy {
    name: String,
    keep: Count,
    /// How many of those keep their DFL logits.
    keep_dfl: Count,
    /// How many of those keep their class logits; of the others the highest probability is known and the mean of the rest.
    keep_class: Count,
    classes: Classes,
    round: Round,
}

/// To what a row of logits is rounded.
#[derive(Clone, Copy, PartialEq)]
enum Round {
    Float32,
    Float16,
    /// 256 steps between the row's lowest and highest value.
    EightBits,
    /// The codebooks of the format.
    Codebook,
}

#[derive(Clone, Copy)]
enum Classes {
    All,
    /// The highest so many with their ids; the others share one logit.
    Top(usize),
}

impl Round {
    fn row(self, values: &mut [f32], book: &Codebook) {
        match self {
            Self::Float32 => {}
            Self::Float16 => values.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32()),
            Self::EightBits => {
                let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
                let step = ((high - low) / 255.0).max(1e-9);
                values.iter_mut().for_each(|v| *v = low + ((*v - low) / step).round() * step);
            }
            Self::Codebook => values.iter_mut().for_each(|v| *v = book.round(*v).to_f32()),
        }
    }
}

fn at_least(score: f32) -> impl Fn(&[f32]) -> usize + Sync {
    move |scores: &[f32]| scores.partition_point(|s| *s >= score)
}

/// The fewest whose squared scores make up `share` of all.
fn covering(share: f64) -> impl Fn(&[f32]) -> usize + Sync {
    move |scores: &[f32]| {
        let square = |s: &f32| f64::from(*s) * f64::from(*s);
        let wanted = share * scores.iter().map(square).sum::<f64>();
        let mut sum = 0.0;
        scores
            .iter()
            .take_while(|s| {
                let more = sum < wanted;
                sum += square(s);
                more
            })
            .count()
    }
}

fn policy(name: impl Into<String>, keep: impl Fn(&[f32]) -> usize + Sync + 'static) -> Policy {
    let all = |scores: &[f32]| scores.len();
    Policy {
        name: name.into(),
        keep: Box::new(keep),
        keep_dfl: Box::new(all),
        keep_class: Box::new(all),
        classes: Classes::All,
        round: Round::Float16,
    }
}

fn policies() -> Vec<Policy> {
    let mut list = Vec::new();
    for score in [0.1f32, 0.05, 0.02, 0.01, 0.005, 0.001] {
        list.push(policy(format!("score >= {score}"), at_least(score)));
    }
    for k in [50usize, 100, 200, 300, 500, 1000] {
        list.push(policy(format!("top {k}"), move |s: &[f32]| k.min(s.len())));
    }
    let first = at_least(0.01);
    list.push(policy("score >= 0.01, top 300", move |s: &[f32]| first(s).min(300)));
    for missing in [1e-2, 1e-3, 3e-4, 1e-4, 5e-5, 3e-5, 1e-5, 1e-6] {
        list.push(policy(format!("coverage 1 - {missing:e}"), covering(1.0 - missing)));
    }
    for missing in [1e-4, 3e-5] {
        let cover = covering(1.0 - missing);
        let floor = at_least(0.01);
        list.push(policy(format!("coverage 1 - {missing:e}, score >= 0.01"), move |s: &[f32]| cover(s).min(floor(s))));
        let (cover, floor) = (covering(1.0 - missing), at_least(0.001));
        list.push(policy(format!("coverage 1 - {missing:e}, score >= 0.001"), move |s: &[f32]| cover(s).min(floor(s))));
    }
    let base = 3e-5;
    for missing in [1e-3, 1e-4] {
        let mut p = policy(format!("coverage 1 - {base:e}, DFL 1 - {missing:e}"), covering(1.0 - base));
        p.keep_dfl = Box::new(covering(1.0 - missing));
        list.push(p);
    }
    for k in [8, 16, 32] {
        let mut p = policy(format!("coverage 1 - {base:e}, top {k} classes"), covering(1.0 - base));
        p.classes = Classes::Top(k);
        list.push(p);
    }
    for (name, round) in [("float32", Round::Float32), ("8 bits", Round::EightBits), ("codebook", Round::Codebook)] {
        let mut p = policy(format!("coverage 1 - {base:e}, {name}"), covering(1.0 - base));
        p.round = round;
        list.push(p);
    }
    for missing in [5e-4, 3e-4, 2e-4, 1e-4] {
        for class_missing in [2e-2, 1e-2, 5e-3, 2e-3] {
            let name = format!("coverage 1 - {missing:e}, class logits 1 - {class_missing:e}, codebook");
            let cover = covering(1.0 - missing);
            let mut p = policy(name, move |s: &[f32]| cover(s).min(1000));
            p.keep_class = Box::new(covering(1.0 - class_missing));
            p.round = Round::Codebook;
            list.push(p);
        }
    }
    list.push(policy("every anchor, float16", |s: &[f32]| s.len()));
    list
}

/// What would be kept, and its bytes. `order` are the anchors by falling score.
fn kept(
    policy: &Policy,
    live: &Targets,
    order: &[usize],
    plan: &LetterboxPlan,
    grid: &Grid,
    classes: usize,
) -> (Targets, Targets, f64) {
    let dfl_len = live.dfl_logits.len() / live.anchors.len();
    let scores: Vec<f32> = order.iter().map(|&a| live.weights[a]).collect();
    let n = (policy.keep)(&scores);
    let n_dfl = (policy.keep_dfl)(&scores).min(n);
    let n_class = (policy.keep_class)(&scores).min(n);
    let class_row = |a: usize| &live.class_logits[a * classes..(a + 1) * classes];
    let logit = |prob: f64| (prob / (1.0 - prob)).ln() as f32;
    let rest: f64 = order[n_class..n]
        .iter()
        .map(|&a| class_row(a).iter().map(|&x| f64::from(sigmoid(x))).sum::<f64>() - f64::from(live.weights[a]))
        .sum();
    let rest_logit = logit((rest / ((n - n_class).max(1) * (classes - 1)) as f64).max(1e-12));
    let without: std::collections::HashSet<usize> = order[n_class..n].iter().copied().collect();
    let take = |n: usize| {
        let mut anchors = order[..n].to_vec();
        anchors.sort_unstable();
        let mut t = Targets { weights: anchors.iter().map(|&a| live.weights[a]).collect(), ..Targets::default() };
        for &a in &anchors {
            let mut row = class_row(a).to_vec();
            if let Classes::Top(k) = policy.classes {
                level_rest(&mut row, k);
            }
            if without.contains(&a) {
                let highest = row.iter().copied().fold(f32::MIN, f32::max);
                row.iter_mut().for_each(|v| *v = if *v == highest { highest } else { rest_logit });
            } else {
                policy.round.row(&mut row, Codebook::class());
            }
            t.class_logits.extend(row);
            let mut row = live.dfl_logits[a * dfl_len..(a + 1) * dfl_len].to_vec();
            lower_sides(&mut row);
            row.chunks_mut(dfl_len / 4).for_each(|side| policy.round.row(side, Codebook::dfl()));
            t.dfl_logits.extend(row);
            let stride = grid.cell(a).stride as f32;
            let [x1, y1, x2, y2] = live.boxes_xyxy_cells[a].map(|v| v * stride);
            let b = plan.to_input(plan.to_image(BoxXyxyPx { x1, y1, x2, y2 }));
            t.boxes_xyxy_cells.push([b.x1, b.y1, b.x2, b.y2].map(|v| v / stride));
        }
        t.anchors = anchors;
        t
    };
    let (mut all, with_dfl) = (take(n), take(n_dfl));
    let dropped: Vec<usize> = order[n..].to_vec();
    let sum: f64 = dropped
        .iter()
        .flat_map(|&a| &live.class_logits[a * classes..(a + 1) * classes])
        .map(|&x| f64::from(sigmoid(x)))
        .sum();
    all.floor_prob = if dropped.is_empty() { 0.0 } else { (sum / (dropped.len() * classes) as f64) as f32 };
    let (width, row_bytes) = match policy.round {
        Round::Float32 => (2.0, ROW_BYTES),
        Round::Float16 => (1.0, ROW_BYTES),
        Round::EightBits | Round::Codebook => (0.5, COMPACT_ROW_BYTES),
    };
    let class_bytes = match policy.classes {
        Classes::All => list_bytes(classes),
        Classes::Top(k) => list_bytes(k) + k as f64 * 4.0 + LEVEL_BYTES, // ids are INT32: Parquet has nothing narrower
    };
    let narrowed = |bytes: f64| width * (bytes - LEVEL_BYTES) + LEVEL_BYTES;
    let bytes = IMAGE_BYTES
        + n as f64 * row_bytes
        + n_class as f64 * narrowed(class_bytes)
        + n_dfl as f64 * narrowed(list_bytes(dfl_len));
    (all, with_dfl, bytes)
}

/// All but the highest `k` become the logit of their mean probability.
fn level_rest(row: &mut [f32], k: usize) {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    let rest = &order[k.min(order.len())..];
    if rest.is_empty() {
        return;
    }
    let mean = rest.iter().map(|&c| f64::from(sigmoid(row[c]))).sum::<f64>() / rest.len() as f64;
    let logit = (mean / (1.0 - mean)).ln() as f32;
    rest.iter().for_each(|&c| row[c] = logit);
}

struct OneImage {
    /// Per policy: bytes, rows, agreement per term.
    policies: Vec<(f64, usize, Vec<Agreement>)>,
}

fn measure(head: &HeadView<'_>, plan: &LetterboxPlan, grid: &Grid, student: &Student, policies: &[Policy]) -> OneImage {
    let rows = HeadRows::new(head, grid.num_anchors());
    let live = Targets::live(head, &rows, grid);
    let mut order: Vec<usize> = (0..live.anchors.len()).collect();
    order.sort_by(|&a, &b| live.weights[b].total_cmp(&live.weights[a]).then(a.cmp(&b)));
    let of_live: Vec<(Vec<f32>, f64)> = Term::ALL
        .iter()
        .map(|&term| {
            let mut out = Vec::new();
            let weight = gradient(term, student, &live, grid, 4.0, &mut out);
            (out, weight)
        })
        .collect();
    let mut out = Vec::new();
    let policies = policies.iter().map(|policy| {
        let (all, with_dfl, bytes) = kept(policy, &live, &order, plan, grid, rows.class_len);
        let agreements = Term::ALL.iter().zip(&of_live).map(|(&term, (live, live_weight))| {
            let targets = if term == Term::Dfl { &with_dfl } else { &all };
            let weight = gradient(term, student, targets, grid, 4.0, &mut out);
            Agreement::new((&out, weight), (live, *live_weight))
        });
        (bytes, all.anchors.len(), agreements.collect())
    });
    OneImage { policies: policies.collect() }
}

fn pixels(sample: &Sample, model: &TeacherModel) -> (LetterboxPlan, Vec<f32>) {
    let image = decode(&std::fs::read(&sample.path).unwrap(), &DecodeLimits::default()).unwrap();
    let plan = Letterbox::fit(image.size, model.input.height, model.input.width);
    let mut pixels = vec![0.0; 3 * model.input.height as usize * model.input.width as usize];
    Preprocessor::default().letterbox_into(&image, &plan, &mut pixels);
    (plan, pixels)
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let student = args.iter().position(|a| a == "--student").and_then(|at| args.get(at + 1));
    let shared = std::env::var_os("LOGITCACHE_SHARED").map_or_else(|| "../shared".into(), std::path::PathBuf::from);
    if !shared.is_dir() {
        println!("skipped: {} is not there", shared.display());
        return;
    }
    let data = shared.join("data/coco128/data.yaml");
    let dataset = Dataset::open(&DataSource { data, images_dir: None, split: "train".into() }).unwrap();
    let load = |path: &Path| {
        TeacherModel::load(path, &TeacherOptions { imgsz: None, store: Store::All, names: None }).unwrap()
    };
    let model = load(&shared.join("models/yolov12n.onnx"));
    logitcache::teacher::runtime::init(None).unwrap();
    let grid = Grid::new(model.input.height, model.input.width, &model.head.strides);
    let policies = policies();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let session = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };
    let chunk = dataset.samples.len().div_ceil(threads);
    let work = |samples: &[Sample]| -> Vec<OneImage> {
        let mut teacher = TeacherSession::new(&model, &session).unwrap();
        let mut own = student.map(|path| TeacherSession::new(&load(Path::new(path)), &session).unwrap());
        let stand_in = Student::untrained(&grid, model.head.num_classes, 4 * model.head.reg_max.unwrap_or(0));
        let one = |sample: &Sample| {
            let (plan, pixels) = pixels(sample, &model);
            let heads = teacher.run(1, &pixels).unwrap();
            match &mut own {
                None => measure(&heads.view(0), &plan, &grid, &stand_in, &policies),
                Some(own) => {
                    let rows = HeadRows::new(&own.run(1, &pixels).unwrap().view(0), grid.num_anchors());
                    measure(&heads.view(0), &plan, &grid, &Student::new(rows), &policies)
                }
            }
        };
        samples.iter().map(one).collect()
    };
    let images: Vec<OneImage> = thread::scope(|scope| {
        let parts: Vec<_> = dataset.samples.chunks(chunk).map(|part| scope.spawn(|| work(part))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    println!("{} images, student: {}", images.len(), student.map_or("untrained", String::as_str));
    println!(
        "| selection | rows | kB an image | softmax-kl | bckd (lowest) | bce | DFL (lowest) | box |\n|---|---|---|---|---|---|---|---|"
    );
    for (at, policy) in policies.iter().enumerate() {
        let count = images.len() as f64;
        let rows = images.iter().map(|i| i.policies[at].1 as f64).sum::<f64>() / count;
        let bytes = images.iter().map(|i| i.policies[at].0).sum::<f64>() / count;
        let of = |term: Term| {
            let index = Term::ALL.iter().position(|t| *t == term).unwrap();
            let agreements: Vec<Agreement> = images.iter().map(|i| i.policies[at].2[index]).collect();
            TermFidelity::of(term, &agreements)
        };
        let [kl, bckd, bce, dfl, boxes] = Term::ALL.map(of);
        println!(
            "| {} | {rows:.0} | {:.1} | {:.5} | {:.6} ({:.4}) | {:.5} | {:.6} ({:.4}) | {:.5} |",
            policy.name,
            bytes / 1000.0,
            kl.cosine_mean,
            bckd.cosine_mean,
            bckd.cosine_min,
            bce.cosine_mean,
            dfl.cosine_mean,
            dfl.cosine_min,
            boxes.cosine_mean
        );
    }
}
