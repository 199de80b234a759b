//! The review page: of each suspicion the picture with label and teacher's box, the class
//! distribution, and why. It is static: no script, no request (its own policy forbids both); `maud`
//! escapes every text.

use super::{Issue, IssuesReport, Kind, labels::Labels};
use crate::{
    Result,
    cache::CacheReader,
    draw::{self, Mark, Style},
    inspect::{image_file, read_same_image},
    outputs::PAGE_GENERATOR,
    preprocess::RgbImage,
    report::{STYLE, theme},
    toolkit::Run,
    types::{BoxXyxyPx, ImageSize},
    words::counted,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ExtendedColorType, ImageBuffer, Rgb, codecs::jpeg::JpegEncoder, imageops};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Most bytes of a page: what a browser still opens at once.
const MAX_BYTES: usize = 20_000_000;
/// The longer side of a drawing, in pixels.
const SIDE: u32 = 420;
const JPEG_QUALITY: u8 = 80;
/// The part of the image that is shown: the boxes with so much of their longer side around them,
/// and no less than so many pixels.
const AROUND: f32 = 0.75;
const LEAST_PX: f32 = 96.0;
/// Reasons that a picture is missing, told one by one.
const TOLD: usize = 5;
/// What this page has beside the report's style.
const OWN_STYLE: &str = ".issues{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr));\
    gap:1.6rem}\
    .issue{break-inside:avoid}.issue img{max-width:100%;height:auto;border-radius:3px}\
    .issue h3{margin:.2rem 0;overflow-wrap:anywhere}";

/// The page, and what a user should know of it.
///
/// # Errors
/// [`crate::Error::Interrupted`], [`crate::Error::Cache`].
pub(super) fn page(
    reader: &CacheReader,
    labels: &Labels<'_>,
    report: &IssuesReport,
    most: usize,
    run: &Run<'_>,
) -> Result<(String, Vec<String>)> {
    let (mut items, mut bytes, mut notes, mut unread) = (Vec::new(), 0, Vec::new(), Vec::new());
    for (issue, rank) in report.issues.iter().zip(1usize..).take(most) {
        run.go_on()?;
        let drawing = match drawing(reader, labels, issue)? {
            Ok(drawing) => Some(drawing),
            Err(reason) => {
                unread.push(reason);
                None
            }
        };
        let item = one(rank, issue, drawing.as_ref()).into_string();
        bytes += item.len();
        if bytes > MAX_BYTES {
            break;
        }
        items.push(item);
    }
    if items.len() < report.issues.len() {
        notes.push(format!(
            "the page shows the first {} of {}; issues.csv has all of these",
            items.len(),
            counted(report.issues.len(), "issue")
        ));
    }
    if !unread.is_empty() {
        notes.push(format!("{} could not be drawn on the page", counted(unread.len(), "picture")));
        unread.sort();
        unread.dedup();
        notes.extend(unread.into_iter().take(TOLD));
    }
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                meta name="generator" content={ (PAGE_GENERATOR) " " (env!("CARGO_PKG_VERSION")) };
                meta name="color-scheme" content="light dark";
                title { "label issues" }
                link rel="icon" href="data:,";
                style { (PreEscaped(theme::style_sheet())) (PreEscaped(STYLE)) (PreEscaped(OWN_STYLE)) }
            }
            body {
                header {
                    h1 { "Label issues" }
                    p.muted {
                        (report.cache.display().to_string()) ": " (counted(report.images, "labelled image"))
                        ", " (counted(report.labels, "label"))
                        @if let Some(data) = &report.data { " of " (data.display().to_string()) }
                        "; method " (report.method.as_str())
                    }
                    p.caption {
                        "The most suspicious first. Dashed: labels, the one in question with its class. Solid: the teacher's box. \
                         The bars are the \
                         teacher's probabilities at its box, each from a sigmoid, so they need not sum to 1."
                    }
                    ul.legend { @for (kind, count) in counts(report) { li { (kind.as_str()) ": " (count) } } }
                    @if !notes.is_empty() { section.notes { ul { @for note in &notes { li { (note) } } } } }
                }
                main { div.issues { @for item in &items { (PreEscaped(item)) } } }
                footer { p.muted { "Made by " (report.written_by) "." } }
            }
        }
    };
    Ok((markup.into_string(), notes))
}

fn counts(report: &IssuesReport) -> Vec<(Kind, usize)> {
    let count = |kind: &Kind| report.issues.iter().filter(|issue| issue.kind == *kind).count();
    report.kinds.iter().map(|kind| (*kind, count(kind))).collect()
}

struct Drawing {
    jpeg: Vec<u8>,
    size: ImageSize,
}

fn one(rank: usize, issue: &Issue, drawing: Option<&Drawing>) -> Markup {
    let own = issue.label.as_ref().map(|label| label.class.as_str());
    html! {
        article.issue id=(format!("issue-{rank}")) {
            h3 { (rank) ". " (issue.kind.as_str()) " " span.muted { (format!("{:.3}", issue.score)) } }
            p.muted { (issue.path) }
            @if let Some(drawing) = drawing {
                img src=(format!("data:image/jpeg;base64,{}", STANDARD.encode(&drawing.jpeg)))
                    width=(drawing.size.width) height=(drawing.size.height) alt=(issue.why) loading="lazy";
            } @else { p.nothing { "no picture" } }
            p { (issue.why) }
            @if let Some(teacher) = &issue.teacher {
                table.soft {
                    tbody {
                        @for class in &teacher.classes {
                            tr {
                                th scope="row" { (class.class) @if Some(class.class.as_str()) == own { " (labelled)" } }
                                td { div.bar {
                                    span class="fill teacher" style=(bar(class.probability)) {}
                                    span.value { (format!("{:.3}", class.probability)) }
                                } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How long a bar is.
fn bar(probability: f64) -> String {
    format!("width:{:.1}%", 64.0 * probability.clamp(0.0, 1.0))
}

/// The part of the image around an issue; in words why there is none.
fn drawing(reader: &CacheReader, labels: &Labels<'_>, issue: &Issue) -> Result<std::result::Result<Drawing, String>> {
    let Some(image) = reader.image(issue.image_id, 0)? else { return Ok(Err("not in the cache".into())) };
    let whole = match image_file(reader, &image).and_then(|path| read_same_image(&path, &image)) {
        Ok(whole) => whole,
        Err(error) => return Ok(Err(error.to_string().lines().next().unwrap_or_default().to_owned())),
    };
    let boxes = issue.label.iter().map(|l| l.box_xyxy_px).chain(issue.teacher.iter().map(|t| t.box_xyxy_px));
    let Some(window) = window(boxes, whole.size) else { return Ok(Err("no box to draw".into())) };
    let Some((mut part, scale)) = cut(&whole, window) else { return Ok(Err("no picture to draw".into())) };
    let placed = |b: BoxXyxyPx| BoxXyxyPx {
        x1: (b.x1 - window.x1) * scale,
        y1: (b.y1 - window.y1) * scale,
        x2: (b.x2 - window.x1) * scale,
        y2: (b.y2 - window.y1) * scale,
    };
    let mut marks = Vec::new();
    if let Some(label) = &issue.label {
        let caption = label.class.clone();
        marks.push(Mark { box_xyxy_px: placed(label.box_xyxy_px), caption, style: Style::Label });
    }
    if let Some(t) = &issue.teacher {
        let caption = format!("{} {:.2}", t.class, t.score);
        let style = Style::Detection { class_id: t.class_id };
        marks.push(Mark { box_xyxy_px: placed(t.box_xyxy_px), caption, style });
    }
    let suspect = issue.label.as_ref().map(|label| label.index);
    let others = labels.get(&image).ok().flatten().unwrap_or_default().into_iter().enumerate();
    for (_, label) in others.filter(|(at, _)| Some(*at) != suspect) {
        marks.push(Mark { box_xyxy_px: placed(label.box_xyxy_px), caption: String::new(), style: Style::Label });
    }
    draw::draw(&mut part, &marks);
    let mut jpeg = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY);
    let ImageSize { width, height } = part.size;
    Ok(match encoder.encode(&part.pixels, width, height, ExtendedColorType::Rgb8) {
        Ok(()) => Ok(Drawing { jpeg, size: part.size }),
        Err(e) => Err(format!("cannot draw: {e}")),
    })
}

/// Whole pixels of the image around some boxes.
fn window(boxes: impl Iterator<Item = BoxXyxyPx>, size: ImageSize) -> Option<BoxXyxyPx> {
    let around = boxes.reduce(|a, b| BoxXyxyPx {
        x1: a.x1.min(b.x1),
        y1: a.y1.min(b.y1),
        x2: a.x2.max(b.x2),
        y2: a.y2.max(b.y2),
    })?;
    let (width, height) = (around.x2 - around.x1, around.y2 - around.y1);
    let half = (width.max(height) * (0.5 + AROUND)).max(LEAST_PX);
    let (x, y) = ((around.x1 + around.x2) / 2.0, (around.y1 + around.y2) / 2.0);
    let along = |centre: f32, side: u32| ((centre - half).floor().max(0.0), (centre + half).ceil().min(side as f32));
    let ((x1, x2), (y1, y2)) = (along(x, size.width), along(y, size.height));
    (x2 - x1 >= 1.0 && y2 - y1 >= 1.0).then_some(BoxXyxyPx { x1, y1, x2, y2 })
}

/// A part of an image at the size of the drawings, and by how much it became larger.
fn cut(image: &RgbImage, window: BoxXyxyPx) -> Option<(RgbImage, f32)> {
    let [x, y] = [window.x1 as usize, window.y1 as usize];
    let [w, h] = [(window.x2 - window.x1) as u32, (window.y2 - window.y1) as u32];
    let row_bytes = 3 * image.size.width as usize;
    let rows = image.pixels.chunks_exact(row_bytes.max(1)).skip(y).take(h as usize);
    let pixels: Vec<u8> = rows.filter_map(|row| row.get(3 * x..3 * (x + w as usize))).flatten().copied().collect();
    let part = ImageBuffer::<Rgb<u8>, Vec<u8>>::from_raw(w, h, pixels)?;
    let scale = SIDE as f32 / w.max(h).max(1) as f32;
    let side = |pixels: u32| ((pixels as f32 * scale).round() as u32).max(1);
    let size = ImageSize { width: side(w), height: side(h) };
    let part = imageops::resize(&part, size.width, size.height, imageops::FilterType::Triangle);
    Some((RgbImage { size, pixels: part.into_raw() }, scale))
}
