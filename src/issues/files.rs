//! The folder of a review: the page, tables, and the suspect boxes for annotation tools. All of it
//! appears at once or not at all.

use super::{Issue, IssuesReport, labels::Labels, page};
use crate::{
    Error, Result,
    cache::CacheReader,
    toolkit::{
        Run,
        folder::{NewFolder, make_parent, write_file},
        formats::{json, label_studio as studio, number, xml},
    },
    types::BoxXyxyPx,
};
use serde_json::json;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

const PAGE: &str = "index.html";
const ISSUES_CSV: &str = "issues.csv";
const IMAGES_CSV: &str = "images.csv";
const REPORT: &str = "issues.json";
const CVAT: &str = "cvat/annotations.xml";
const LABEL_STUDIO: &str = "label-studio/tasks.json";
const LABEL_STUDIO_CONFIG: &str = "label-studio/label_config.xml";
const COCO: &str = "coco.json";

/// Digits of pixels, of per cents.
const DIGITS: usize = 6;

/// Writes all files.
pub(super) fn write(
    out: &Path,
    reader: &CacheReader,
    labels: &Labels<'_>,
    report: &mut IssuesReport,
    pictures: usize,
    run: &Run<'_>,
) -> Result<()> {
    let folder = NewFolder::create(out)?;
    let classes = &reader.manifest().teacher.class_names;
    let images = by_image(&report.issues);
    let (html, notes) = page::page(reader, labels, report, pictures, run)?;
    report.notes.extend(notes);
    let (issues, worst) = (issues_csv(report)?, images_csv(report)?);
    let mut files = vec![
        (PAGE, html),
        (ISSUES_CSV, issues),
        (IMAGES_CSV, worst),
        (CVAT, cvat(&images, classes)),
        (LABEL_STUDIO, label_studio(&images, report)),
        (LABEL_STUDIO_CONFIG, studio::config(classes)),
        (COCO, coco(&images, classes)),
    ];
    drop(images);
    report.files = files.iter().map(|(name, _)| *name).chain([REPORT]).map(|name| out.join(name)).collect();
    let text = serde_json::to_string_pretty(report)
        .map_err(|e| Error::io(out.join(REPORT), "write to", std::io::Error::other(e)))?;
    files.push((REPORT, text + "\n"));
    for (name, text) in files {
        run.go_on()?;
        let path: PathBuf = folder.path().join(name);
        make_parent(&path)?;
        write_file(&path, text.as_bytes())?;
    }
    folder.finish()
}

/// The issues of each image, the image of the worst one first.
fn by_image(issues: &[Issue]) -> Vec<Vec<&Issue>> {
    let mut place = std::collections::HashMap::new();
    let mut images: Vec<Vec<&Issue>> = Vec::new();
    for issue in issues {
        let at = *place.entry(issue.image_id).or_insert(images.len());
        match images.get_mut(at) {
            Some(of) => of.push(issue),
            None => images.push(vec![issue]),
        }
    }
    images
}

/// The box to look at: the label, or what has none.
fn suspect(issue: &Issue) -> Option<(u32, &str, BoxXyxyPx)> {
    let label = issue.label.as_ref().map(|label| (label.class_id, label.class.as_str(), label.box_xyxy_px));
    label.or_else(|| issue.teacher.as_ref().map(|t| (t.class_id, t.class.as_str(), t.box_xyxy_px)))
}

/// The class that the teacher sees instead.
fn suggested(issue: &Issue) -> Option<&str> {
    let label = issue.label.as_ref()?;
    issue.teacher.as_ref().map(|t| t.class.as_str()).filter(|class| *class != label.class)
}

fn csv_text(rows: csv::Writer<Vec<u8>>) -> String {
    String::from_utf8_lossy(&rows.into_inner().unwrap_or_default()).into_owned()
}

/// A row in memory; it cannot fail.
fn csv_error(error: csv::Error) -> Error {
    Error::io(Path::new(ISSUES_CSV), "write to", std::io::Error::other(error))
}

fn issues_csv(report: &IssuesReport) -> Result<String> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    let head = "rank,kind,score,path,image_id,label_index,label_class,label_x1,label_y1,label_x2,label_y2,\
                teacher_class,\
                teacher_score,teacher_x1,teacher_y1,teacher_x2,teacher_y2,iou,why";
    rows.write_record(head.split(',')).map_err(csv_error)?;
    for (issue, rank) in report.issues.iter().zip(1u64..) {
        let corners = |b: Option<BoxXyxyPx>| match b {
            Some(b) => [b.x1, b.y1, b.x2, b.y2].map(|v| v.to_string()),
            None => Default::default(),
        };
        let (label, teacher) = (issue.label.as_ref(), issue.teacher.as_ref());
        let mut row = vec![rank.to_string(), issue.kind.as_str().to_owned(), format!("{:.6}", issue.score)];
        row.extend([issue.path.clone(), issue.image_id.to_string()]);
        row.push(label.map_or_else(String::new, |label| label.index.to_string()));
        row.push(label.map_or_else(String::new, |label| label.class.clone()));
        row.extend(corners(label.map(|label| label.box_xyxy_px)));
        row.push(teacher.map_or_else(String::new, |t| t.class.clone()));
        row.push(teacher.map_or_else(String::new, |t| format!("{:.6}", t.score)));
        row.extend(corners(teacher.map(|t| t.box_xyxy_px)));
        row.push(teacher.and_then(|t| t.iou).map_or_else(String::new, |iou| format!("{iou:.6}")));
        row.push(issue.why.clone());
        rows.write_record(&row).map_err(csv_error)?;
    }
    Ok(csv_text(rows))
}

fn images_csv(report: &IssuesReport) -> Result<String> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    rows.write_record(["rank", "path", "image_id", "score", "issues"]).map_err(csv_error)?;
    for (image, rank) in report.worst_images.iter().zip(1u64..) {
        let [rank, id, issues] = [rank.to_string(), image.image_id.to_string(), image.issues.to_string()];
        rows.write_record([&rank, &image.path, &id, &format!("{:.6}", image.score), &issues]).map_err(csv_error)?;
    }
    Ok(csv_text(rows))
}

/// CVAT for images 1.1. `issue`, `score`, `suggested` and `why` are attributes of a box.
fn cvat(images: &[Vec<&Issue>], classes: &[String]) -> String {
    let attributes: String = ["issue", "score", "suggested", "why"]
        .map(|name| {
            format!(
                "<attribute><name>{name}</name><mutable>False</mutable><input_type>text</input_type>\
                 <default_value></default_value><values></values></attribute>"
            )
        })
        .concat();
    let mut text =
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    \
                    <project>\n      \
                    <name>label issues</name>\n      <labels>\n"
            .to_owned();
    for name in classes {
        text.push_str("        <label><name>");
        xml(&mut text, name);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "</name><type>any</type><attributes>{attributes}</attributes></label>");
    }
    text.push_str("      </labels>\n    </project>\n  </meta>\n");
    for (issues, id) in images.iter().zip(0u64..) {
        let Some(first) = issues.first() else { continue };
        let _ = write!(text, "  <image id=\"{id}\" name=\"");
        xml(&mut text, &first.path);
        let _ = writeln!(text, "\" width=\"{}\" height=\"{}\">", first.width, first.height);
        for issue in issues {
            let Some((_, class, b)) = suspect(issue) else { continue };
            text.push_str("    <box label=\"");
            xml(&mut text, class);
            text.push_str("\" source=\"auto\" occluded=\"0\"");
            for (name, value) in [("xtl", b.x1), ("ytl", b.y1), ("xbr", b.x2), ("ybr", b.y2)] {
                let _ = write!(text, " {name}=\"");
                number(&mut text, f64::from(value), DIGITS);
                text.push('"');
            }
            text.push_str(" z_order=\"0\">");
            let score = format!("{:.3}", issue.score);
            let values = [issue.kind.as_str(), &score, suggested(issue).unwrap_or_default(), &issue.why];
            for (name, value) in ["issue", "score", "suggested", "why"].iter().zip(values) {
                let _ = write!(text, "<attribute name=\"{name}\">");
                xml(&mut text, value);
                text.push_str("</attribute>");
            }
            text.push_str("</box>\n");
        }
        text.push_str("  </image>\n");
    }
    text + "</annotations>\n"
}

/// Tasks of Label Studio with predictions, which it shows and offers as annotations; images through
/// its local file storage, with the data set as the root.
fn label_studio(images: &[Vec<&Issue>], report: &IssuesReport) -> String {
    let task = |issues: &Vec<&Issue>| {
        let first = issues.first()?;
        let (width, height) = (f64::from(first.width), f64::from(first.height));
        let result = issues.iter().zip(1..).filter_map(|(issue, region)| {
            let (_, class, b) = suspect(issue)?;
            let [x1, y1, x2, y2] = [b.x1, b.y1, b.x2, b.y2].map(f64::from);
            Some(json!({
                "id": format!("{}-{region}", first.image_id), "from_name": "label", "to_name": "image",
                "type": "rectanglelabels",
                "original_width": first.width, "original_height": first.height, "image_rotation": 0,
                "score": issue.score,
                "value": {"rotation": 0, "x": 100.0 * x1 / width, "y": 100.0 * y1 / height,
                    "width": 100.0 * (x2 - x1) / width,
                    "height": 100.0 * (y2 - y1) / height, "rectanglelabels": [class]},
                "meta": {"text": [format!("{} {:.3}: {}", issue.kind.as_str(), issue.score, issue.why)]},
            }))
        });
        let result: Vec<serde_json::Value> = result.collect();
        let model = format!("logitcache issues {}", report.method.as_str());
        Some(json!({
            "data": {"image": format!("/data/local-files/?d={}", studio::address(&first.path)), "path": first.path},
            "predictions": [{"model_version": model, "score": first.score, "result": result}],
        }))
    };
    let tasks: Vec<String> = images.iter().filter_map(task).map(|task| task.to_string()).collect();
    format!("[\n{}\n]\n", tasks.join(",\n"))
}

/// COCO with `score`, `issue`, `suggested` and `why` in each annotation, which FiftyOne's importer
/// takes as attributes.
fn coco(images: &[Vec<&Issue>], classes: &[String]) -> String {
    let (mut pictures, mut annotations) = (Vec::new(), Vec::new());
    for (issues, id) in images.iter().zip(1u64..) {
        let Some(first) = issues.first() else { continue };
        let (width, height) = (first.width, first.height);
        pictures.push(json!({"id": id, "file_name": first.path, "width": width, "height": height}).to_string());
        for issue in issues {
            let Some((class_id, _, b)) = suspect(issue) else { continue };
            let [x1, y1, x2, y2] = [b.x1, b.y1, b.x2, b.y2].map(f64::from);
            annotations.push(
                json!({
                    "id": annotations.len() + 1, "image_id": id, "category_id": class_id + 1,
                    "iscrowd": 0, "segmentation": [],
                    "area": (x2 - x1) * (y2 - y1), "bbox": [x1, y1, x2 - x1, y2 - y1], "score": issue.score,
                    "issue": issue.kind.as_str(), "suggested": suggested(issue), "why": issue.why,
                })
                .to_string(),
            );
        }
    }
    let categories: Vec<String> =
        classes.iter().zip(1u32..).map(|(name, id)| format!("{{\"id\": {id}, \"name\": {}}}", json(name))).collect();
    format!(
        "{{\"info\": {{\"description\": \"written by logitcache issues\"}}, \"licenses\": [],\n\"images\": [\n{}\n],\n\
         \"annotations\": \
         [\n{}\n],\n\"categories\": [\n{}\n]}}\n",
        pictures.join(",\n"),
        annotations.join(",\n"),
        categories.join(",\n")
    )
}
