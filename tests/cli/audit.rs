//! `audit`: a sound cache passes, planted faults are named.

use crate::support::{args, build_args, fixture, logitcache, shapes, teacher};
use half::f16;
use logitcache::{
    cache::{CacheReader, Folder, ImageRecord, Manifest, PartWriter},
    detector::onnx::proto::ModelProto,
    fsio::Lock,
};
use prost::Message;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The made-up teacher is sure of nothing, so most of its weight lies in low scores: everything over 0.0001 is kept, as it is.
const SETTINGS: &[(&str, &str)] = &[
    ("--min-score", "0.0001"),
    ("--top-k", "525"),
    ("--coverage", "1"),
    ("--class-coverage", "1"),
    ("--logits", "float16"),
];

fn built(dir: &Path, more: &[(&str, &str)]) -> PathBuf {
    let out = dir.join("cache");
    let settings: Vec<_> = SETTINGS.iter().chain(more).copied().collect();
    logitcache(&build_args(&shapes(dir, 24), &out, &settings)).expect(0);
    out
}

fn audit(cache: &Path, teacher: &Path, more: &[(&str, &str)]) -> crate::support::Run {
    let mut words = args(["audit"], &[], &[]);
    words.push(cache.into());
    words.extend(args([], &[("--teacher", teacher)], more));
    logitcache(&words)
}

/// The same cache with other records or another manifest, in a folder of its own.
fn altered(
    cache: &Path,
    name: &str,
    manifest: impl FnOnce(&mut Manifest),
    mut change: impl FnMut(&mut ImageRecord),
) -> PathBuf {
    let reader = CacheReader::open(cache).unwrap();
    let out = cache.with_file_name(name);
    fs::create_dir(&out).unwrap();
    let lock = Lock::acquire(&out).unwrap();
    let found = reader.manifest();
    let mut new = Manifest::new(found.teacher.clone(), found.dataset.clone(), found.settings.clone());
    manifest(&mut new);
    let mut writer = PartWriter::create(&out, &new).unwrap();
    for image in reader.images() {
        let mut record = image.unwrap().to_record();
        change(&mut record);
        writer.push(&record).unwrap();
    }
    new.add_part(writer.finish().unwrap().unwrap());
    new.complete = true;
    new.digests = Some(CacheReader::with_manifest(&Folder::new(&out), new.clone()).unwrap().content_digests().unwrap());
    new.save(&lock).unwrap();
    out
}

#[test]
fn a_sound_cache_passes_and_the_figures_are_complete() {
    let dir = tempfile::tempdir().unwrap();
    let cache = built(dir.path(), &[]);
    let run = audit(&cache, &teacher(), &[]).expect(0);
    assert!(run.stdout.contains("passed") && run.stdout.contains("softmax-kl"), "{}", run.stdout);

    let mut words = args(["audit", "--json", "--sample", "5"], &[("--teacher", &teacher())], &[]);
    words.push(cache.clone().into());
    let report = logitcache(&words).expect(0).json();
    assert_eq!(report["images"], 5);
    assert!(report["images_in_cache"].as_u64().unwrap() > 5);
    assert_eq!(report["drift"]["equal"], 1.0);
    assert_eq!(report["drift"]["same_programs"], true);
    assert!(report["drift"]["logits"].as_u64().unwrap() > 1000);
    let terms: Vec<_> = report["terms"].as_array().unwrap().iter().map(|t| t["term"].as_str().unwrap()).collect();
    assert_eq!(terms, ["softmax-kl", "bckd", "bce", "dfl", "box"]);
    for term in report["terms"].as_array().unwrap() {
        assert!(term["cosine_mean"].as_f64().unwrap() > 0.999, "{term}");
    }
}

/// Each view is compared with the teacher on that very view, and what is wrong is named with its view.
#[test]
fn views_are_compared_as_the_teacher_saw_them() {
    let dir = tempfile::tempdir().unwrap();
    let cache = built(dir.path(), &[("--views", "2"), ("--seed", "7")]);
    let report = |cache: &Path, code: i32| {
        let mut words = args(["audit", "--json", "--sample", "6"], &[("--teacher", &teacher())], &[]);
        words.push(cache.into());
        logitcache(&words).expect(code).json()
    };
    let sound = report(&cache, 0);
    let whole = CacheReader::open(&cache).unwrap().manifest().images();
    assert_eq!((&sound["images"], &sound["views"]), (&6.into(), &2.into()));
    assert_eq!(sound["images_in_cache"], whole);
    assert_eq!((&sound["drift"]["equal"], &sound["findings"]), (&1.0.into(), &serde_json::json!([])));
    assert!(sound["drift"]["max_box_px"].as_f64().unwrap() < 0.01, "{sound}");
    for term in sound["terms"].as_array().unwrap() {
        assert!(term["cosine_min"].as_f64().unwrap() > 0.999, "{term}");
    }
    let run = audit(&cache, &teacher(), &[]).expect(0);
    assert!(run.stdout.contains(", each with 2 views against the live teacher"), "{}", run.stdout);

    let other_logits = altered(
        &cache,
        "logits",
        |_| {},
        |record| {
            if (record.image_id, record.view) == (0, 2) {
                record.predictions.class_logits[0] = f16::from_f32(record.predictions.class_logits[0].to_f32() + 3.0);
            }
        },
    );
    let findings = report(&other_logits, 1)["findings"].clone();
    assert_eq!(findings.as_array().unwrap().len(), 1, "{findings}");
    assert!(findings[0].as_str().unwrap().starts_with("view 2 of image 0 ("), "{findings}");
    let other_view = altered(
        &cache,
        "view",
        |_| {},
        |record| {
            if (record.image_id, record.view) == (0, 1) {
                record.change.offset_x += 3.0;
            }
        },
    );
    let findings = report(&other_view, 1)["findings"].to_string();
    assert!(findings.contains("view 1 of image 0 (") && findings.contains("by its seed"), "{findings}");

    // An image that is gone fails once, not once for each view.
    let (picture, root) = {
        let reader = CacheReader::open(&cache).unwrap();
        let root = reader.place(&reader.manifest().dataset.root).unwrap();
        (reader.image(0, 0).unwrap().unwrap().path.to_owned(), root)
    };
    fs::write(root.join(picture), "no picture").unwrap();
    let failed = report(&cache, 1);
    assert_eq!((failed["failures"].as_array().unwrap().len(), &failed["images"]), (1, &5.into()), "{failed}");
}

/// The default: rounded to 8 bits, class logits of the best anchors only. Its values are the live teacher's, rounded in the same way.
#[test]
fn a_compact_cache_passes_and_its_values_are_the_rounded_ones() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    logitcache(&build_args(&shapes(dir.path(), 24), &cache, &[])).expect(0);
    let mut words = args(["audit", "--json"], &[("--teacher", &teacher())], &[("--min-cosine", "0.95")]);
    words.push(cache.clone().into());
    let report = logitcache(&words).expect(0).json();
    assert_eq!(report["drift"]["equal"], 1.0);
    assert_eq!(report["drift"]["max_logit"], 0.0);
    let rounding = report["drift"]["max_rounding_error"].as_f64().unwrap();
    assert!((0.01..=0.25).contains(&rounding), "{rounding}");

    let moved = altered(
        &cache,
        "moved",
        |_| {},
        |record| {
            // One step of the codebook at one bin that is not a side's highest.
            let p = &mut record.predictions;
            let at = p.dfl_logits.iter().position(|v| v.to_f32() < -1.0).unwrap();
            p.dfl_logits[at] = f16::from_f32(p.dfl_logits[at].to_f32() - 2.0);
        },
    );
    let run = audit(&moved, &teacher(), &[]).expect(1);
    assert!(run.stdout.contains("DFL logits or boxes are off"), "{}", run.stdout);
}

#[test]
fn a_dense_cache_is_the_teacher_but_for_float16_and_a_poor_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 16);
    let report = |name: &str, settings: &[(&str, &str)], code: i32| {
        let out = dir.path().join(name);
        logitcache(&build_args(&data, &out, settings)).expect(0);
        let mut words = args(["audit", "--json"], &[("--teacher", &teacher())], &[]);
        words.push(out.into());
        logitcache(&words).expect(code).json()
    };
    let dense = report("dense", &[("--profile", "dense")], 0);
    for term in dense["terms"].as_array().unwrap() {
        assert!(term["cosine_min"].as_f64().unwrap() > 0.999_99, "{term}");
    }
    assert_eq!(dense["dropped"]["weight"], 0.0);
    let poor = report("poor", &[("--min-score", "0"), ("--top-k", "2")], 1);
    assert!(poor["dropped"]["weight"].as_f64().unwrap() > 0.5);
    assert_eq!((&poor["passed"], poor["findings"].as_array().unwrap().len()), (&false.into(), 0));
}

/// Each way to keep too little fails in its own way, and the option that is named mends it.
#[test]
fn a_failed_part_says_what_it_means_and_what_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 12);
    let run = |name: &str, settings: &[(&str, &str)], more: &[(&str, &str)]| {
        let out = dir.path().join(name);
        let settings: Vec<_> = SETTINGS.iter().chain(settings).copied().collect();
        logitcache(&build_args(&data, &out, &settings)).expect(0);
        audit(&out, &teacher(), more)
    };
    // The lines under a loss's name.
    let of = |stdout: &str, loss: &str| -> String {
        let mut lines = stdout.lines().skip_while(|line| !line.starts_with(&format!("  {loss} (")));
        let head = lines.next().unwrap_or_default();
        [head].into_iter().chain(lines.take_while(|line| line.starts_with("    "))).collect::<Vec<_>>().join("\n")
    };

    let few = run("few", &[("--coverage", "0.5")], &[]).expect(1).stdout;
    let told = of(&few, "dfl");
    assert!(told.contains("the DFL part of `train --distill all`"), "{few}");
    let advice = told.split_once("lost with anchors that were dropped: build with --coverage ").unwrap().1;
    let coverage = advice.split_once(',').unwrap().0;
    let followed = run("followed", &[("--coverage", coverage)], &[]).stdout;
    assert!(of(&followed, "dfl").is_empty(), "--coverage {coverage} does not suffice: {followed}");
    assert!(of(&few, "bce").contains("the class part of `train --cls-loss bce`"), "{few}");
    assert!(of(&few, "box").contains("until the student predicts its first boxes"), "{few}");
    assert!(!few.contains("--class-coverage") && !few.contains("--logits"), "{few}");
    run("enough", &[("--coverage", "0.9999999")], &[]).expect(0);

    let capped = run("capped", &[("--top-k", "5")], &[]).expect(1).stdout;
    assert!(of(&capped, "dfl").contains("build with --top-k above 5,"), "{capped}");
    let cut = run("cut", &[("--min-score", "0.5")], &[]).expect(1).stdout;
    assert!(of(&cut, "dfl").contains("build with --min-score below 0.5,"), "{cut}");

    let classes = run("classes", &[("--class-coverage", "0.3")], &[]).expect(1).stdout;
    assert!(of(&classes, "softmax-kl").contains("class logits missing in kept anchors: build with --class-coverage 1"));
    assert!(of(&classes, "dfl").is_empty(), "{classes}");

    // The teacher as its own student learns from rounding alone.
    let own = teacher();
    let own = [("--student", own.to_str().unwrap())];
    let coarse = run("coarse", &[("--logits", "8bit")], &own).expect(1).stdout;
    assert!(of(&coarse, "bce").contains("lost with rounding: build with --logits 8bit-dfl"), "{coarse}");
    assert!(of(&coarse, "dfl").contains("lost with rounding: build with --logits float16"), "{coarse}");
    let fine = run("fine", &[], &own).expect(1).stdout;
    assert!(of(&fine, "dfl").contains("float16 is the finest type"), "{fine}");
    assert!(!of(&fine, "box").contains("first boxes"), "{fine}");
}

/// Where the cosine is lost adds up to what is lost.
#[test]
fn what_is_lost_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let settings = [("--coverage", "0.9"), ("--class-coverage", "0.5"), ("--logits", "8bit")];
    logitcache(&build_args(&shapes(dir.path(), 12), &cache, &settings)).expect(0);
    let mut words = args(["audit", "--json"], &[("--teacher", &teacher())], &[]);
    words.push(cache.into());
    let report = logitcache(&words).expect(1).json();
    for term in report["terms"].as_array().unwrap() {
        let lost = |cause: &str| term["lost"][cause].as_f64().unwrap();
        let sum = lost("dropped_anchors") + lost("missing_class_logits") + lost("rounding");
        assert!((sum - (1.0 - term["cosine_mean"].as_f64().unwrap())).abs() < 1e-9, "{term}");
        assert!(lost("dropped_anchors") > 1e-4, "{term}");
        let is_class = !["dfl", "box"].contains(&term["term"].as_str().unwrap());
        assert_eq!(lost("missing_class_logits") != 0.0, is_class, "{term}");
    }
    let limits = &report["dropped"]["limits"];
    assert_eq!(limits["coverage"], report["images"]);
    assert_eq!((&limits["top_k"], &limits["min_score"]), (&0.into(), &0.into()));
}

#[test]
fn one_anchor_whose_logits_were_moved_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let cache = built(dir.path(), &[]);
    let (mut at, mut planted) = (0, None);
    let moved = altered(
        &cache,
        "moved",
        |_| {},
        |record| {
            if at == 7 {
                let row = record.predictions.len() / 2;
                // The class that is not the highest goes down: score and class stay as the format wants them.
                let logits = &mut record.predictions.class_logits[row * 6..(row + 1) * 6];
                let lowest = (0..6).min_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
                logits[lowest] = f16::from_f32(logits[lowest].to_f32() - 1.5);
                planted = Some((record.path.clone(), record.predictions.anchor[row]));
            }
            at += 1;
        },
    );
    let (path, anchor) = planted.unwrap();
    logitcache(&[std::ffi::OsStr::new("verify"), moved.as_os_str()]).expect(0);
    let run = audit(&moved, &teacher(), &[]).expect(1);
    let told = format!("class logits of anchor {anchor} are off by 1.");
    assert!(run.stdout.contains(&told) && run.stdout.contains(&path), "{told}\n{}", run.stdout);
    assert!(run.stdout.contains("1 finding:"), "{}", run.stdout);
}

#[test]
fn anchors_that_are_missing_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let cache = built(dir.path(), &[]);
    let without = altered(
        &cache,
        "without",
        |_| {},
        |record| {
            let p = &mut record.predictions;
            let best = (0..p.len()).max_by(|a, b| p.score[*a].total_cmp(&p.score[*b])).unwrap();
            for ints in [&mut p.anchor, &mut p.stride, &mut p.class_id] {
                ints.remove(best);
            }
            p.score.remove(best);
            p.boxes_xyxy_px.remove(best);
            p.class_logits.drain(best * 6..(best + 1) * 6);
            p.dfl_logits.drain(best * 64..(best + 1) * 64);
        },
    );
    let run = audit(&without, &teacher(), &[]).expect(1);
    assert!(run.stdout.contains("is not in the cache, whose highest score of a dropped anchor is"), "{}", run.stdout);
}

#[test]
fn another_teacher_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let cache = built(dir.path(), &[]);
    // The same graph and names, other weights.
    let mut model = ModelProto::decode(fs::read(teacher()).unwrap().as_slice()).unwrap();
    let weights = model.graph.as_mut().unwrap().initializer.iter_mut();
    let weights = weights.filter_map(|w| w.raw_data.as_mut()).max_by_key(|data| data.len()).unwrap();
    let mut negated = weights.to_vec();
    negated.chunks_exact_mut(4).for_each(|float| float[3] ^= 0x80);
    *weights = negated.into();
    let other = dir.path().join("other.onnx");
    fs::write(&other, model.encode_to_vec()).unwrap();
    let run = audit(&cache, &other, &[]).expect(1);
    assert!(run.stdout.contains("this is another teacher") && run.stdout.contains("1 finding:"), "{}", run.stdout);
    // Another head cannot be compared at all.
    audit(&cache, &fixture("models/yolo11-wide.onnx"), &[]).refused(&["yolo11-wide.onnx", "yolov8-dynamic.onnx"]);
}

/// A cache of the quantized teacher is judged by its gradients, against the teacher itself.
#[test]
fn a_quantized_teacher_is_judged_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let cache = built(dir.path(), &[]);
    let (quantized, other) = (dir.path().join("quantized.onnx"), dir.path().join("other"));
    let values = [("--calibration", "min-max"), ("--keep-float", "0"), ("--latency-runs", "0")];
    let mut words = args(["quantize"], &[("--cache", &cache), ("--out", &quantized)], &values);
    words.push(teacher().into());
    logitcache(&words).expect(0);
    let mut words = build_args(&dir.path().join("shapes/data.yaml"), &other, SETTINGS);
    let teachers_place = words.iter().position(|word| word == "--teacher").unwrap() + 1;
    words[teachers_place] = quantized.into();
    logitcache(&words).expect(0);

    let run = audit(&other, &teacher(), &[]).expect(1);
    assert!(run.stdout.contains("this is another teacher"), "{}", run.stdout);
    let judged = |min_cosine: &str| {
        let mut words = args(["audit", "--substitute"], &[("--teacher", &teacher())], &[("--min-cosine", min_cosine)]);
        words.push(other.clone().into());
        logitcache(&words)
    };
    let run = judged("0.5").expect(0);
    assert!(run.stdout.contains("built with quantized.onnx in its place"), "{}", run.stdout);
    let run = judged("1").expect(1);
    assert!(run.stdout.contains("quantize with a higher --keep-float"), "{}", run.stdout);
    // It changes nothing where the teacher is the cache's own.
    audit(&cache, &teacher(), &[("--min-cosine", "0.99999")]).expect(0);
}

#[test]
fn a_changed_letterbox_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let cache = built(dir.path(), &[]);
    let shifted = altered(
        &cache,
        "shifted",
        |_| {},
        |record| record.letterbox.pad_top = (record.letterbox.pad_top - 8.0).max(0.0),
    );
    let run = audit(&shifted, &teacher(), &[]).expect(1);
    assert!(run.stdout.contains("its letterbox is"), "{}", run.stdout);

    let ruled = altered(&cache, "ruled", |m| m.teacher.letterbox = "top left, black".into(), |_| {});
    let run = audit(&ruled, &teacher(), &[]).expect(1);
    assert!(run.stdout.contains("the letterbox has changed: \"top left, black\""), "{}", run.stdout);
}

#[test]
fn changed_and_missing_images_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let cache = built(dir.path(), &[]);
    let reader = CacheReader::open(&cache).unwrap();
    let root = reader.place(&reader.manifest().dataset.root).unwrap();
    let paths: Vec<_> = reader.images().map(|i| root.join(i.unwrap().path)).collect();
    fs::copy(&paths[1], &paths[0]).unwrap();
    fs::remove_file(&paths[2]).unwrap();
    let run = audit(&cache, &teacher(), &[]).expect(1);
    assert!(run.stdout.contains("the image file changed"), "{}", run.stdout);
    assert!(run.stdout.contains("1 image could not be compared"), "{}", run.stdout);

    // Moved as a whole, the data set is found with --data.
    let moved = dir.path().join("moved-data");
    fs::rename(dir.path().join("shapes"), &moved).unwrap();
    audit(&cache, &teacher(), &[]).refused(&["has moved or was removed", "--data"]);
    let yaml = moved.join("data.yaml");
    let lost = paths[2].file_name().unwrap().to_str().unwrap();
    audit(&cache, &teacher(), &[("--data", yaml.to_str().unwrap())]).refused(&[
        lost,
        "is not in this data set",
        "--data",
    ]);
    fs::copy(moved.join(paths[3].strip_prefix(&root).unwrap()), moved.join(paths[2].strip_prefix(&root).unwrap()))
        .unwrap();
    let run = audit(&cache, &teacher(), &[("--data", yaml.to_str().unwrap())]).expect(1);
    assert!(
        run.stdout.contains("2 findings") || run.stdout.matches("the image file changed").count() == 2,
        "{}",
        run.stdout
    );
}

#[test]
fn a_student_is_taken_as_it_is_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = built(dir.path(), &[]);
    // The teacher as its own student has nothing to learn: what gradients there are come from rounding, and do not agree.
    let own = teacher();
    let run = audit(&cache, &teacher(), &[("--student", own.to_str().unwrap())]).expect(1);
    assert!(run.stdout.contains(&format!("student: {}", own.display())), "{}", run.stdout);
    let other = fixture("models/yolo11-wide.onnx");
    audit(&cache, &teacher(), &[("--student", other.to_str().unwrap())]).refused(&["the student", "yolo11-wide.onnx"]);
    audit(&cache, &teacher(), &[("--min-cosine", "1.5")]).expect(2);
    audit(&dir.path().join("nothing"), &teacher(), &[]).refused(&["not a cache"]);
}

#[test]
fn coverage_keeps_the_anchors_that_matter() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 12);
    let rows = |name: &str, coverage: &str| {
        let out = dir.path().join(name);
        let settings: Vec<_> = SETTINGS.iter().chain(&[("--coverage", coverage)]).copied().collect();
        logitcache(&build_args(&data, &out, &settings)).expect(0);
        logitcache(&[std::ffi::OsStr::new("verify"), out.as_os_str()]).expect(0);
        let reader = CacheReader::open(&out).unwrap();
        let dense = reader.images().map(|image| image.unwrap().to_record().predictions).collect::<Vec<_>>();
        (out, dense)
    };
    let ((_, all), (out, half)) = (rows("all", "1"), rows("half", "0.5"));
    for (all, half) in all.iter().zip(&half) {
        let square = |scores: &[f32]| scores.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>();
        let (whole, kept) = (square(&all.score), square(&half.score));
        let lowest = half.score.iter().copied().fold(f32::INFINITY, f32::min);
        // Enough, and not without the last one. Every anchor over 0.0001 is in `all`; the rest is nothing.
        assert!(
            kept >= 0.5 * whole * 0.999_99 && kept - f64::from(lowest).powi(2) < 0.5 * whole * 1.000_1,
            "{kept} {whole}"
        );
        assert!(all.score.iter().filter(|&&s| s > lowest).count() <= half.len(), "not the highest");
    }
    // Another coverage is another cache.
    logitcache(&build_args(&data, &out, SETTINGS)).refused(&["settings.coverage", "0.5", "1"]);
    let mut words = args(["inspect"], &[], &[]);
    words.push(out.into());
    assert!(logitcache(&words).expect(0).stdout.contains("coverage 0.5"));
}
