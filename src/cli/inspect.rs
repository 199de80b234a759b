//! `logitcache inspect`

use super::{Status, args::InspectArgs, output::table, print, print_json};
use crate::{
    Error, Result,
    augment::with_views,
    inspect::{self, CacheSummary, ImageSummary, ModelSummary},
    types::{BoxXyxyPx, FailureStage, InputSize},
    words::counted,
};
use indicatif::{HumanBytes, HumanCount};

/// Rows of a table on the terminal; `--json` gives all.
const ROWS_SHOWN: usize = 20;

pub fn run(args: &InspectArgs) -> Result<Status> {
    if args.cache.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("onnx")) && !args.cache.is_dir() {
        return show_model_file(args);
    }
    if let Some(option) = args.reading.stated().or(args.imgsz.map(|_| "--imgsz")) {
        return Err(Error::Mismatch {
            found: format!("{option} says how an .onnx file is read; {} is none", args.cache.display()),
            remedy: format!("Leave out {option}."),
        });
    }
    match &args.image {
        None => {
            let summary = inspect::summary(&args.cache)?;
            if args.json { print_json(&summary)? } else { print(&show_cache(&summary))? }
        }
        Some(wanted) => {
            let image = inspect::image(&args.cache, wanted, args.view)?;
            if let Some(out) = &args.out {
                inspect::draw_image(&args.cache, wanted, args.view, out, args.overwrite)?;
            }
            match (args.json, &args.out) {
                (true, _) => print_json(&image)?,
                (false, None) => print(&show_image(&image))?,
                (false, Some(out)) => print(&format!("{}\n\ndrawn in {}", show_image(&image), out.display()))?,
            }
        }
    }
    Ok(Status::Done)
}

fn show_model_file(args: &InspectArgs) -> Result<Status> {
    if args.image.is_some() {
        return Err(Error::Mismatch {
            found: format!("--image shows an image of a cache; {} is a model", args.cache.display()),
            remedy: "Leave out --image; `logitcache predict` runs a model over images.".into(),
        });
    }
    let model = inspect::model(&args.cache, args.reading.reading(), args.imgsz)?;
    if args.json {
        print_json(&model)?
    } else {
        print(&show_model(&model))?
    }
    Ok(Status::Done)
}

fn show_model(m: &ModelSummary) -> String {
    let size = if m.fixed_size { "and no other size" } else { "or other sizes" };
    let batch =
        m.batch.map_or_else(|| "any number of images a run".to_owned(), |n| format!("{} a run", counted(n, "image")));
    let bins = if m.bins > 0 { format!("{} a side", counted(m.bins, "DFL bin")) } else { "no DFL bins".to_owned() };
    let places = match m.strides.as_slice() {
        [] => counted(m.predictions, "query"),
        strides => {
            let strides = strides.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            format!("{} (strides {strides})", counted(m.predictions, "anchor"))
        }
    };
    let nms = if m.needs_nms { "NMS needed" } else { "no NMS needed" };
    let mut names = m.class_names.iter().take(ROWS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if m.class_names.len() > ROWS_SHOWN {
        names += ", ...";
    }
    let mut lines = vec![
        format!("file      {}, {} parameters, {}", m.file_name, HumanCount(m.parameters), m.precision),
        format!("          sha256 {}", m.sha256),
        format!("family    {} (head {})", m.family, m.head),
        format!("input     {} {size}, {batch}; rule {}", input_in_words(m.input_height, m.input_width), m.input_rule),
        format!("logits    {}; {}: {names}", m.logits, counted(m.num_classes, "class")),
        format!("boxes     {places}, {bins}, {nms}"),
        format!(
            "check     boxes within {:.4} px, probabilities within {:.1e} of its own output",
            m.max_box_error_px, m.max_score_error
        ),
    ];
    lines.extend(m.distillation.iter().map(|line| format!("distil    {line}")));
    lines.join("\n")
}

fn input_in_words(height: u32, width: u32) -> String {
    InputSize { height, width }.in_words()
}

fn show_cache(s: &CacheSummary) -> String {
    let (t, set) = (&s.teacher, &s.settings);
    let state = match (s.complete, s.images, s.failures.len()) {
        (true, ..) => "complete",
        (false, 0, 1..) => {
            "not complete: no image could be used. Fix the images or their labels, then run the same build again"
        }
        _ => "unfinished: run the same build to go on",
    };
    let kept = s.settings.profile.as_str();
    let profile = if s.archive { format!("archive of a {kept} cache") } else { kept.to_owned() };
    let boxes = match t.reg_max {
        0 => "boxes without DFL".to_owned(),
        bins => counted(bins, "DFL bin"),
    };
    let share = |name, share| if share < 1.0 { format!("{name} {share}, ") } else { String::new() };
    let coverage = share("coverage", set.coverage) + &share("class-coverage", set.class_coverage);
    let mut lines = vec![
        format!("format    {}, by {}, {profile}, {state}", s.format, s.producer),
        format!(
            "images    {} of {} ({} labelled, {}), {} failed{}",
            HumanCount(s.images),
            HumanCount(s.dataset.samples),
            HumanCount(s.labelled_images),
            counted(s.label_boxes, "box"),
            HumanCount(s.failures.len() as u64),
            with_views(set.views)
        ),
        format!(
            "rows      {}, {:.1} an image",
            counted(s.rows, "prediction"),
            s.rows as f64 / (s.images.max(1)) as f64
        ),
        format!("size      {}, {} an image", HumanBytes(s.bytes), HumanBytes(s.bytes_per_image as u64)),
        format!(
            "teacher   {}: {}, {}, {boxes}, {}, {}",
            t.file_name,
            t.head,
            counted(t.num_classes, "class"),
            input_in_words(t.input_height, t.input_width),
            t.precision
        ),
        format!("          sha256 {}", t.sha256),
        format!("data      {} {} at {}", s.dataset.format, s.dataset.split, s.dataset.root),
    ];
    if !t.input_rule.is_default() {
        lines.push(format!("          teacher's input rule {}", t.input_rule));
    }
    if !s.dataset.class_map.is_empty() {
        lines.push(format!("          classes {}", s.dataset.class_map));
    }
    lines.extend([
        format!(
            "settings  min-score {}, top-k {}, {coverage}{} logits, batch {}, {}, {}",
            set.min_score,
            set.top_k,
            set.logits.as_str(),
            set.batch,
            set.provider,
            set.runtime
        ),
        format!("content   {}", s.content_sha256.as_ref().map_or("-".to_owned(), |d| format!("sha256 {d}"))),
        String::new(),
    ]);
    let mut classes: Vec<_> = s.classes.iter().filter(|c| c.count > 0 || c.label_boxes > 0).collect();
    classes.sort_by(|a, b| b.count.cmp(&a.count).then(a.class_id.cmp(&b.class_id)));
    let rows: Vec<_> = classes
        .iter()
        .take(ROWS_SHOWN)
        .map(|c| vec![c.name.clone(), c.count.to_string(), format!("{:.3}", c.mean_score), c.label_boxes.to_string()])
        .collect();
    lines.push(table(&["class", "predictions", "mean score", "label boxes"], &[false, true, true, true], &rows));
    if classes.len() > ROWS_SHOWN {
        lines.push(format!("... {} more (--json has all)", counted(classes.len() - ROWS_SHOWN, "class")));
    }
    if !s.failures.is_empty() {
        let rows: Vec<_> = s
            .failures
            .iter()
            .take(ROWS_SHOWN)
            .map(|f| vec![f.path.clone(), stage(f.stage).into(), f.reason.clone()])
            .collect();
        lines.push(String::new());
        lines.push(table(&["failed", "at", "reason"], &[false; 3], &rows));
        if s.failures.len() > ROWS_SHOWN {
            lines.push(format!("... {} more (--json has all)", counted(s.failures.len() - ROWS_SHOWN, "failure")));
        }
    }
    lines.join("\n")
}

fn stage(stage: FailureStage) -> &'static str {
    match stage {
        FailureStage::Read => "read",
        FailureStage::Decode => "decode",
        FailureStage::Labels => "labels",
        FailureStage::Teacher => "teacher",
    }
}

fn show_image(image: &ImageSummary) -> String {
    let size = image.size;
    let mut lines = vec![format!("image {}  {}  {} x {}", image.image_id, image.path, size.width, size.height)];
    if image.view != 0 {
        lines.push(show_view(image));
    }
    lines.extend([
        format!(
            "{}; of the other anchors the highest score is {:.4}, the mean probability {:.2e}",
            counted(image.predictions.len(), "prediction"),
            image.dropped_max_score,
            image.dropped_mean_prob
        ),
        String::new(),
    ]);
    let rows: Vec<_> = image
        .predictions
        .iter()
        .take(ROWS_SHOWN)
        .map(|p| {
            let others: Vec<_> = p.runners_up.iter().map(|c| format!("{} {:.3}", c.class, c.prob)).collect();
            let stride = p.stride.map_or_else(|| "-".to_owned(), |stride| stride.to_string());
            let mut row = vec![p.anchor.to_string(), stride, format!("{:.3}", p.score), p.class.clone()];
            row.extend(corners(&p.box_xyxy_px));
            row.push(others.join(", "));
            row
        })
        .collect();
    let head = ["anchor", "stride", "score", "class", "x1", "y1", "x2", "y2", "next classes"];
    lines.push(table(&head, &[true, true, true, false, true, true, true, true, false], &rows));
    if image.predictions.len() > ROWS_SHOWN {
        lines
            .push(format!("... {} more (--json has all)", counted(image.predictions.len() - ROWS_SHOWN, "prediction")));
    }
    lines.push(String::new());
    match &image.labels {
        None => lines.push("unlabelled".into()),
        Some(labels) if labels.is_empty() => lines.push("labelled: no object".into()),
        Some(labels) => {
            let rows: Vec<_> =
                labels.iter().map(|l| [vec![l.class.clone()], corners(&l.box_xyxy_px)].concat()).collect();
            lines.push(table(&["label", "x1", "y1", "x2", "y2"], &[false, true, true, true, true], &rows));
        }
    }
    lines.join("\n")
}

/// "view 2  scaled by 0.812, moved by (31.2, -8.0), mirrored; hue +0.004, saturation -0.21, value +0.13"
fn show_view(image: &ImageSummary) -> String {
    let c = &image.change;
    format!(
        "view {}  scaled by {:.3}, moved by ({:.1}, {:.1}){}; hue {:+.3}, saturation {:+.2}, value {:+.2}",
        image.view,
        c.scale,
        c.offset_x,
        c.offset_y,
        if c.flip { ", mirrored" } else { "" },
        c.hue,
        c.saturation,
        c.value
    )
}

fn corners(b: &BoxXyxyPx) -> Vec<String> {
    [b.x1, b.y1, b.x2, b.y2].iter().map(|v| format!("{v:.1}")).collect()
}
