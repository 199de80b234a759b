//! Size against fidelity: what keeping less of the teacher's outputs does to the gradient that a student learns from, over several data sets, teachers and
//! students (`docs/benchmarks.md`).
//!
//! `cargo bench -p logitcache --bench fidelity -- [--cases FILE] [--sample N] [--details FILE]` (needs ../shared or LOGITCACHE_SHARED, and ONNX
//! Runtime). A line of the list of cases, as `benches/fidelity_models.py` writes it, is a name, a data.yaml, a teacher and any number of students, with
//! tabs between; an untrained student is always there. Without a list: COCO128 with yolov12n. Prints, for each way to select, the lowest mean
//! cosine of each loss over all cases and students; `--details` writes every single one.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use half::f16;
use logitcache::{
    audit::{Agreement, HeadRows, Student, Targets, Term, TermFidelity, gradient},
    cache::{Codebook, Grid, columns::RowBytes, lower_sides},
    dataset::{DataSource, Dataset, Sample},
    detector::{Detector, DetectorOptions, DetectorSession, HeadView, Provider, SessionOptions},
    preprocess::{DecodeLimits, LetterboxPlan, Preprocessor, decode},
    targets::training_box,
    types::{BoxXyxyPx, LogitType, Store},
};
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
    path::{Path, PathBuf},
    thread,
};

/// Bytes of an image's path and of its share of the files' footers.
const PATH_BYTES: u64 = 180;
const TEMPERATURE: f64 = 4.0;

/// What decides from the teacher's outputs alone: the anchors' scores, the highest first, and the squares of the box loss's gradients at an untrained
/// student in the same order.
struct Anchors {
    scores: Vec<f64>,
    box_energies: Vec<f64>,
    classes: usize,
}

/// How many of the anchors.
type Count = Box<dyn Fn(&Anchors) -> usize + Sync>;

/// Which of the anchors: their places in the order of scores, rising.
type Choice = Box<dyn Fn(&Anchors) -> Vec<usize> + Sync>;

/// One way to select and store.
struct Policy {
    name: String,
    keep: Choice,
    /// How many of the best keep their class logits; of the others the highest probability is known and the mean of the rest.
    keep_class: Count,
    logits: LogitType,
}

/// The fewest of these that make up `share` of all.
fn covering(values: impl Iterator<Item = f64> + Clone, share: f64) -> usize {
    let wanted = share * values.clone().sum::<f64>();
    let mut sum = 0.0;
    let enough = values.take_while(|v| {
        let more = sum < wanted;
        sum += v;
        more
    });
    enough.count()
}

fn squares(share: f64) -> impl Fn(&Anchors) -> usize + Sync {
    move |a: &Anchors| covering(a.scores.iter().map(|s| s * s), share)
}

fn all(a: &Anchors) -> usize {
    a.scores.len()
}

/// All of them up to so many classes, else the share of squared scores.
fn all_up_to(classes: usize, share: f64) -> impl Fn(&Anchors) -> usize + Sync {
    let covering = squares(share);
    move |a: &Anchors| if a.classes <= classes { all(a) } else { covering(a) }
}

fn policy(
    name: impl Into<String>,
    keep: impl Fn(&Anchors) -> usize + Sync + 'static,
    keep_class: impl Fn(&Anchors) -> usize + Sync + 'static,
    logits: LogitType,
) -> Policy {
    chosen(name, move |a| (0..keep(a)).collect(), keep_class, logits)
}

fn chosen(
    name: impl Into<String>,
    keep: impl Fn(&Anchors) -> Vec<usize> + Sync + 'static,
    keep_class: impl Fn(&Anchors) -> usize + Sync + 'static,
    logits: LogitType,
) -> Policy {
    Policy { name: name.into(), keep: Box::new(keep), keep_class: Box::new(keep_class), logits }
}

/// The best by score that make up `share` of the squared scores, and of the others those with the largest box gradients, until `box_share` of these is
/// kept.
fn squares_and_boxes(share: f64, top_k: usize, box_share: f64) -> impl Fn(&Anchors) -> Vec<usize> + Sync {
    let best = squares(share);
    move |a: &Anchors| {
        let n = best(a).min(top_k);
        let total: f64 = a.box_energies.iter().sum();
        let mut missing = box_share * total - a.box_energies[..n].iter().sum::<f64>();
        let mut others: Vec<usize> = (n..a.scores.len()).collect();
        others.sort_by(|&x, &y| a.box_energies[y].total_cmp(&a.box_energies[x]).then(x.cmp(&y)));
        let more = others.into_iter().take_while(|&at| {
            let wanted = missing > 0.0;
            missing -= a.box_energies[at];
            wanted
        });
        let mut kept: Vec<usize> = (0..n).chain(more).collect();
        kept.sort_unstable();
        kept
    }
}

fn policies() -> Vec<Policy> {
    use LogitType::{Bits8, Bits8Dfl, Float16};
    let most = |share: f64, top_k: usize| {
        let keep = squares(share);
        move |a: &Anchors| keep(a).min(top_k)
    };
    let name = "squares 0.9998, top 1000, class 0.995, 8bit (format 1's first default)";
    let mut list = vec![policy(name, most(0.9998, 1000), squares(0.995), Bits8)];
    for top_k in [1000, 3000, usize::MAX] {
        let top = if top_k == usize::MAX { "no top-k".to_owned() } else { format!("top {top_k}") };
        for share in [0.9995, 0.9998, 0.9999] {
            let name = format!("squares {share}, {top}, class 1 up to 32 classes, else 0.998, 8bit-dfl");
            list.push(policy(name, most(share, top_k), all_up_to(32, 0.998), Bits8Dfl));
        }
    }
    for class_share in [0.995, 0.999, 0.9995] {
        let name = format!("squares 0.9998, top 3000, class 1 up to 32 classes, else {class_share}, 8bit-dfl");
        list.push(policy(name, most(0.9998, 3000), all_up_to(32, class_share), Bits8Dfl));
    }
    for (name, logits) in [("8bit", Bits8), ("float16", Float16)] {
        let name = format!("squares 0.9998, top 3000, class 1 up to 32 classes, else 0.998, {name}");
        list.push(policy(name, most(0.9998, 3000), all_up_to(32, 0.998), logits));
    }
    for box_share in [0.95, 0.99, 0.998] {
        let name =
            format!("squares 0.9998, top 3000, box gradients {box_share}, class 1 up to 32, else 0.998, 8bit-dfl");
        list.push(chosen(name, squares_and_boxes(0.9998, 3000, box_share), all_up_to(32, 0.998), Bits8Dfl));
    }
    let name = "squares 0.9998, top 3000, box gradients 0.998, class 1, float16";
    list.push(chosen(name, squares_and_boxes(0.9998, 3000, 0.998), all, Float16));
    list.push(policy("every anchor, float16", all, all, Float16));
    list
}

/// What would be kept, and its bytes. `order` are the anchors by falling score.
fn kept(policy: &Policy, live: &Targets, order: &[usize], of: &Anchors, image: &Letterboxed<'_>) -> (Targets, f64) {
    let classes = of.classes;
    let bins = live.dfl_logits.len() / live.anchors.len();
    let places = (policy.keep)(of);
    let n = places.len();
    let n_class = (policy.keep_class)(of).min(n);
    let best: Vec<usize> = places.iter().map(|&place| order[place]).collect();
    let class_row = |a: usize| &live.class_logits[a * classes..(a + 1) * classes];
    let logit = |prob: f64| (prob / (1.0 - prob)).ln() as f32;
    let probs = |a: usize| class_row(a).iter().map(|&x| f64::from(live.kind.probability(x))).sum::<f64>();
    let rest: f64 = best[n_class..].iter().map(|&a| probs(a) - f64::from(live.weights[a])).sum();
    let rest_logit = logit((rest / ((n - n_class).max(1) * (classes - 1)) as f64).max(1e-12));
    let without: HashSet<usize> = best[n_class..].iter().copied().collect();
    let round = |values: &mut [f32], book: Option<&Codebook>| {
        values.iter_mut().for_each(|v| *v = book.map_or_else(|| f16::from_f32(*v), |book| book.round(*v)).to_f32());
    };
    let mut anchors = best.clone();
    anchors.sort_unstable();
    let mut t = Targets {
        kind: live.kind,
        anchors: anchors.clone(),
        weights: anchors.iter().map(|&a| live.weights[a]).collect(),
        class_logits: Vec::new(),
        dfl_logits: Vec::new(),
        boxes_xyxy_cells: Vec::new(),
        floor_prob: 0.0,
        dropped_score_sum: live.weights.iter().sum::<f32>() - anchors.iter().map(|&a| live.weights[a]).sum::<f32>(),
    };
    for &a in &anchors {
        let mut row = class_row(a).to_vec();
        if without.contains(&a) {
            let highest = row.iter().copied().fold(f32::MIN, f32::max);
            row.iter_mut().for_each(|v| *v = if *v == highest { highest } else { rest_logit });
        } else {
            round(&mut row, Codebook::of_class(policy.logits));
        }
        t.class_logits.extend(row);
        let mut row = live.dfl_logits[a * bins..(a + 1) * bins].to_vec();
        if Codebook::of_dfl(policy.logits).is_some() {
            lower_sides(&mut row);
        }
        round(&mut row, Codebook::of_dfl(policy.logits));
        let cell = image.grid.cell(a);
        let stride = cell.stride as f32;
        let [x1, y1, x2, y2] = live.boxes_xyxy_cells[a].map(|v| v * stride);
        let stored = image.plan.to_image(BoxXyxyPx { x1, y1, x2, y2 });
        let b = training_box(stored, image.plan.image, Some(&row), cell, |b| image.plan.to_input(b));
        t.boxes_xyxy_cells.push([b.x1, b.y1, b.x2, b.y2].map(|v| v / stride));
        t.dfl_logits.extend(row);
    }
    let is_kept: HashSet<usize> = best.iter().copied().collect();
    let dropped: Vec<usize> = order.iter().copied().filter(|a| !is_kept.contains(a)).collect();
    let sum: f64 = dropped.iter().map(|&a| probs(a)).sum();
    t.floor_prob = if dropped.is_empty() { 0.0 } else { (sum / (dropped.len() * classes) as f64) as f32 };
    let bytes = RowBytes::of(policy.logits, classes).of_rows(n as f64, n_class as f64, classes, bins);
    let bytes = bytes + (RowBytes::PER_IMAGE + PATH_BYTES) as f64;
    (t, bytes)
}

struct Letterboxed<'a> {
    plan: LetterboxPlan,
    grid: &'a Grid,
}

/// Of one image, per policy: bytes, rows, and per student the agreement of each term.
type OneImage = Vec<(f64, usize, Vec<Vec<Agreement>>)>;

fn measure(
    head: &HeadView<'_>,
    image: &Letterboxed<'_>,
    untrained: &Student,
    students: &[Student],
    policies: &[Policy],
) -> OneImage {
    let grid = image.grid;
    let rows = HeadRows::new(head);
    let live = Targets::live(head, &rows, grid);
    let mut order: Vec<usize> = (0..live.anchors.len()).collect();
    order.sort_by(|&a, &b| live.weights[b].total_cmp(&live.weights[a]).then(a.cmp(&b)));
    let students: Vec<&Student> = [untrained].into_iter().chain(students).collect();
    let gradients = |student: &Student, targets: &Targets| {
        Term::ALL.map(|term| {
            let mut out = Vec::new();
            let weight = gradient(term, student, targets, grid, TEMPERATURE, &mut out);
            (out, weight)
        })
    };
    let of_live: Vec<_> = students.iter().map(|student| gradients(student, &live)).collect();
    let box_gradient = &of_live[0][Term::ALL.iter().position(|t| *t == Term::Box).unwrap()].0;
    let energy = |a: usize| {
        let row = &box_gradient[a * rows.dfl_len..(a + 1) * rows.dfl_len];
        row.iter().map(|&v| f64::from(v).powi(2)).sum()
    };
    let of = Anchors {
        scores: order.iter().map(|&a| f64::from(live.weights[a])).collect(),
        box_energies: order.iter().map(|&a| energy(a)).collect(),
        classes: rows.class_len,
    };
    let one = |policy: &Policy| {
        let (targets, bytes) = kept(policy, &live, &order, &of, image);
        let of_student = |(student, live): (&&Student, &[(Vec<f32>, f64); 5])| {
            let cached = gradients(student, &targets);
            let pairs = cached.iter().zip(live);
            pairs.map(|((c, c_weight), (l, l_weight))| Agreement::new((c, *c_weight), (l, *l_weight))).collect()
        };
        (bytes, targets.anchors.len(), students.iter().zip(&of_live).map(of_student).collect())
    };
    policies.iter().map(one).collect()
}

/// A data set, a teacher and students.
struct Case {
    name: String,
    data: PathBuf,
    teacher: PathBuf,
    students: Vec<PathBuf>,
}

fn cases(list: Option<&str>, shared: &Path) -> Vec<Case> {
    let Some(list) = list else {
        return vec![Case {
            name: "coco128 good 640".into(),
            data: shared.join("data/coco128/data.yaml"),
            teacher: shared.join("models/yolov12n.onnx"),
            students: Vec::new(),
        }];
    };
    let text = std::fs::read_to_string(list).unwrap();
    let case = |line: &str| {
        let mut words = line.split('\t');
        let mut next = || words.next().unwrap().to_owned();
        let (name, data, teacher) = (next(), next().into(), next().into());
        Case { name, data, teacher, students: words.map(PathBuf::from).collect() }
    };
    text.lines().map(case).collect()
}

fn pixels(sample: &Sample, model: &Detector) -> (LetterboxPlan, Vec<f32>) {
    let image = decode(&std::fs::read(&sample.path).unwrap(), &DecodeLimits::default()).unwrap();
    let plan = LetterboxPlan::fit(image.size, model.input.height, model.input.width);
    let mut pixels = vec![0.0; 3 * model.input.height as usize * model.input.width as usize];
    Preprocessor::default().letterbox_into(&image, &plan, &mut pixels);
    (plan, pixels)
}

/// The images of a case, compared.
fn run(case: &Case, sample: usize, policies: &[Policy]) -> Vec<OneImage> {
    let source = DataSource { data: case.data.clone(), images_dir: None, split: "train".into() };
    let dataset = Dataset::open(&source).unwrap();
    let count = sample.min(dataset.samples.len());
    let samples: Vec<&Sample> = (0..count).map(|i| &dataset.samples[i * dataset.samples.len() / count]).collect();
    let load = |path: &Path| {
        Detector::load(
            path,
            &DetectorOptions { imgsz: None, store: Store::All, names: None, ..DetectorOptions::default() },
        )
        .unwrap()
    };
    let model = load(&case.teacher);
    let students: Vec<Detector> = case.students.iter().map(|path| load(path)).collect();
    let grid = model.head.places.grid().unwrap();
    let untrained = Student::untrained(&model.head);
    let session = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };
    let work = |samples: &[&Sample]| -> Vec<OneImage> {
        let mut teacher = DetectorSession::new(&model, &session).unwrap();
        let start = |model: &Detector| DetectorSession::new(model, &session).unwrap();
        let mut sessions: Vec<DetectorSession> = students.iter().map(start).collect();
        let one = |sample: &&Sample| {
            let (plan, pixels) = pixels(sample, &model);
            let student = |session: &mut DetectorSession| {
                Student::new(HeadRows::new(&session.run(1, &pixels).unwrap().view(0).unwrap()))
            };
            let students: Vec<Student> = sessions.iter_mut().map(student).collect();
            let heads = teacher.run(1, &pixels).unwrap();
            measure(&heads.view(0).unwrap(), &Letterboxed { plan, grid }, &untrained, &students, policies)
        };
        samples.iter().map(one).collect()
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let parts: Vec<_> =
            samples.chunks(count.div_ceil(threads)).map(|part| scope.spawn(move || work(part))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

/// What is known of a policy: bytes an image by case; per term the lowest mean cosine, and where. The box part of an untrained student is apart.
#[derive(Default)]
struct Summary {
    bytes: BTreeMap<String, f64>,
    worst: BTreeMap<String, (f64, String)>,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1)).map(String::as_str);
    let shared = std::env::var_os("LOGITCACHE_SHARED").map_or_else(|| "../shared".into(), PathBuf::from);
    if !shared.is_dir() {
        println!("skipped: {} is not there", shared.display());
        return;
    }
    let sample: usize = option("--sample").map_or(32, |n| n.parse().unwrap());
    logitcache::detector::runtime::init(None).unwrap();
    let policies = policies();
    let mut summaries: Vec<Summary> = policies.iter().map(|_| Summary::default()).collect();
    let mut details = String::from("case\tstudent\tselection\trows\tbytes\tloss\tcosine_mean\tcosine_min\n");
    for case in cases(option("--cases"), &shared) {
        let images = run(&case, sample, &policies);
        let names = case.students.iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned());
        let students: Vec<String> = ["untrained".to_owned()].into_iter().chain(names).collect();
        eprintln!("{}: {} images, students {}", case.name, images.len(), students.join(", "));
        for (at, (policy, summary)) in policies.iter().zip(&mut summaries).enumerate() {
            let count = images.len() as f64;
            let bytes = images.iter().map(|i| i[at].0).sum::<f64>() / count;
            let rows = images.iter().map(|i| i[at].1 as f64).sum::<f64>() / count;
            summary.bytes.insert(case.name.clone(), bytes);
            for (s, student) in students.iter().enumerate() {
                for (t, term) in Term::ALL.into_iter().enumerate() {
                    let agreements: Vec<Agreement> = images.iter().map(|i| i[at].2[s][t]).collect();
                    let found = TermFidelity::of(term, &agreements);
                    let (mean, min) = (found.cosine_mean, found.cosine_min);
                    let (case_name, selection, loss) = (&case.name, &policy.name, term.as_str());
                    writeln!(
                        details,
                        "{case_name}\t{student}\t{selection}\t{rows:.0}\t{bytes:.0}\t{loss}\t{mean:.6}\t{min:.6}"
                    )
                    .unwrap();
                    let apart = term == Term::Box && student == "untrained";
                    let key = if apart { "box, untrained".to_owned() } else { loss.to_owned() };
                    let place = format!("{case_name}, {student}");
                    let worst = summary.worst.entry(key).or_insert((f64::INFINITY, String::new()));
                    if mean < worst.0 {
                        *worst = (mean, place);
                    }
                }
            }
        }
        if let Some(path) = option("--details") {
            std::fs::write(path, &details).unwrap();
        }
    }
    let names: Vec<&String> =
        summaries.iter().flat_map(|s| s.bytes.keys()).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    println!("kB an image of {}", names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join("; "));
    println!(
        "| selection | kB an image | softmax-kl | bckd | bce | DFL | box | box, untrained |\n|---|---|---|---|---|---|---|---|"
    );
    for (policy, summary) in policies.iter().zip(&summaries) {
        let sizes: Vec<String> = summary.bytes.values().map(|b| format!("{:.0}", b / 1000.0)).collect();
        let worst = ["softmax-kl", "bckd", "bce", "dfl", "box", "box, untrained"].map(|key| {
            summary.worst.get(key).map_or_else(String::new, |(cosine, place)| format!("{cosine:.5} ({place})"))
        });
        println!("| {} | {} | {} |", policy.name, sizes.join(", "), worst.join(" | "));
    }
}
