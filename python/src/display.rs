//! Caches and images in a line, and on a page of a notebook.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{RgbImage, imageops::thumbnail};
use logitcache::{
    cache::{CacheReader, ImageView, Manifest},
    draw,
    eval::{NmsOptions, teacher_boxes},
    inspect, preprocess,
    types::{Detection, ImageSize, InputSize},
    words::counted,
};
use maud::{Markup, html};
use std::path::Path;

/// Longest side of a picture in a notebook, in pixels.
const MOST_PIXELS: u32 = 1280;
/// Objects in a table.
const ROWS: usize = 5;

/// A cache in a line.
pub fn cache_line(path: &Path, manifest: &Manifest) -> String {
    let views = manifest.settings.views;
    let of_views = if views == 0 { String::new() } else { format!(" with {}", counted(views, "view")) };
    format!(
        "<logitcache.Cache {:?}: {}{of_views}, {}, {}, {}>",
        path.display().to_string(),
        counted(manifest.images(), "image"),
        counted(manifest.rows(), "prediction"),
        counted(manifest.teacher.num_classes, "class"),
        manifest.teacher.file_name,
    )
}

/// A cache as a small table.
pub fn cache_html(path: &Path, manifest: &Manifest) -> String {
    let teacher = &manifest.teacher;
    let rows = [
        ("cache", path.display().to_string()),
        ("images", manifest.images().to_string()),
        ("views of each", manifest.settings.views.to_string()),
        ("predictions", manifest.rows().to_string()),
        ("bytes", manifest.bytes().to_string()),
        ("teacher", format!("{} ({})", teacher.file_name, teacher.head)),
        ("input", format!("{} pixels", InputSize::from(teacher.input()).in_words())),
        ("classes", teacher.class_names.join(", ")),
        ("content sha256", manifest.digests.as_ref().map(|d| d.content_sha256.clone()).unwrap_or_default()),
    ];
    html! { table { @for (name, value) in &rows { tr { th style="text-align:left" { (name) } td style="text-align:left" { (value) } } } } }
        .into_string()
}

/// An image in a line.
pub fn image_line(image: &ImageView<'_>) -> String {
    let ImageSize { width, height } = image.size;
    format!(
        "<logitcache.ImagePredictions {:?}: image {}, view {}, {width} x {height} pixels, {}, {}>",
        image.path,
        image.image_id,
        image.view,
        counted(image.predictions.len(), "prediction"),
        image.labels.map_or_else(|| "not labelled".to_owned(), |labels| counted(labels.len(), "label")),
    )
}

/// An image with what the teacher sees on it and its labels, and its best objects.
pub fn image_html(reader: &CacheReader, image: &ImageView<'_>) -> String {
    let line = image_line(image);
    html! {
        p { (line.trim_start_matches("<logitcache.").trim_end_matches('>')) }
        (drawn(reader, image))
        (best(reader, image))
    }
    .into_string()
}

/// The picture; why there is none, where the data set has moved or changed.
fn drawn(reader: &CacheReader, image: &ImageView<'_>) -> Markup {
    let bytes = inspect::picture(reader, image)
        .map_err(|error| error.to_string())
        .and_then(|picture| draw::encode(&smaller(picture), Path::new("a.jpg")).map_err(|error| error.to_string()));
    match bytes {
        Ok(bytes) => {
            let source = format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes));
            html! { img src=(source) style="max-width:100%" alt="The image with the teacher's boxes and its labels (dashed)"; }
        }
        Err(why) => html! { p { "No picture: " (why) } },
    }
}

fn smaller(picture: preprocess::RgbImage) -> preprocess::RgbImage {
    let ImageSize { width, height } = picture.size;
    let longest = width.max(height);
    if longest <= MOST_PIXELS {
        return picture;
    }
    let side = |side: u32| (u64::from(side) * u64::from(MOST_PIXELS) / u64::from(longest)).max(1) as u32;
    let size = ImageSize { width: side(width), height: side(height) };
    match RgbImage::from_raw(width, height, picture.pixels) {
        Some(whole) => preprocess::RgbImage { size, pixels: thumbnail(&whole, size.width, size.height).into_raw() },
        // Never: the decoder gives as many pixels as the size says.
        None => preprocess::RgbImage { size: ImageSize { width: 1, height: 1 }, pixels: vec![0; 3] },
    }
}

fn best(reader: &CacheReader, image: &ImageView<'_>) -> Markup {
    let names = &reader.manifest().teacher.class_names;
    let found = teacher_boxes(image, &reader.manifest().teacher, &NmsOptions::PREDICTING);
    html! {
        table {
            tr { th { "class" } th { "score" } th { "x1, y1, x2, y2" } }
            @for Detection { class_id, score, box_xyxy_px: b } in found.iter().take(ROWS) {
                tr {
                    td { (names.get(*class_id as usize).map_or("", |name| name)) }
                    td { (format!("{score:.3}")) }
                    td { (format!("{:.0}, {:.0}, {:.0}, {:.0}", b.x1, b.y1, b.x2, b.y2)) }
                }
            }
        }
    }
}
