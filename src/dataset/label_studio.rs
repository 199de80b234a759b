//! Label Studio: one JSON export, a list of tasks with an image and its regions in per cent of the
//! image's sides. Read task by task.
//!
//! Of a task with several annotations the first that was not cancelled counts. Of a polygon, an
//! ellipse or a turned rectangle the box around it is taken; other regions are no objects and are
//! counted. The classes are those of a `label_config.xml` beside the file, in its order; without
//! one the names that occur, sorted. A task without annotations is not annotated.

use super::{
    DataSource, DatasetFormat, FaultKind, LabelFault, RawBox, fault, files,
    listed::{Classes, Listed, ListedImage, Subsets, around, finite, turned},
    notes::Note,
};
use crate::{Error, Result, text, types::ImageSize};
use roxmltree::{Document, ParsingOptions};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

const BUFFER_BYTES: usize = 1 << 20;
/// So much of a file tells what it is.
const HEAD_BYTES: u64 = 1 << 16;
/// The most that is read of a labelling configuration.
const CONFIG_CAP_BYTES: u64 = 8 << 20;
/// The labelling configuration beside the export.
pub const CONFIG_NAME: &str = "label_config.xml";

/// Whether a JSON file is such an export: a list whose first entries have `data`.
pub(super) fn is_one(json: &Path) -> bool {
    let mut head = Vec::new();
    let is_file = std::fs::metadata(json).is_ok_and(|metadata| metadata.is_file());
    if !is_file || File::open(json).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head)).is_err() {
        return false;
    }
    // UTF-16 without its zeros is ASCII as far as keys go.
    let head: Vec<u8> = head.into_iter().filter(|&byte| byte != 0 && byte < 0x80).collect();
    let text = String::from_utf8_lossy(&head);
    text.trim_start().starts_with('[') && text.contains("\"data\"")
}

/// Opens a file, given as an absolute path.
pub(super) fn open(json: &Path, source: &DataSource) -> Result<Subsets> {
    let file = File::open(json).map_err(|e| Error::io(json, "open", e))?;
    let refuse = |found: String| {
        let found = format!("this is not a JSON export of Label Studio: {found}");
        fault(json, found, "Export the project again as \"JSON\".")
    };
    let text = text::reader(BufReader::with_capacity(BUFFER_BYTES, file)).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => refuse(e.to_string()),
        _ => Error::io(json, "read", e),
    })?;
    let mut parser = Parser::new();
    for name in declared_classes(json) {
        parser.listed.classes.id(&name);
    }
    let declared = parser.listed.classes.len();
    let mut deserializer = serde_json::Deserializer::from_reader(text);
    let tasks = Tasks(&mut parser);
    let read = serde::de::DeserializeSeed::deserialize(tasks, &mut deserializer).and_then(|()| deserializer.end());
    read.map_err(|e| if e.is_io() { Error::io(json, "read", e.into()) } else { refuse(e.to_string()) })?;
    let Parser { mut listed, others, several } = parser;
    others.finish(&mut listed.notes);
    several.finish(&mut listed.notes);
    listed.finish(json, DatasetFormat::LabelStudio, declared, source)
}

/// Names of the labels in the configuration beside the export; none where there is none that can be
/// read.
fn declared_classes(json: &Path) -> Vec<String> {
    let config = json.with_file_name(CONFIG_NAME);
    let Ok(bytes) = files::read_capped(&config, CONFIG_CAP_BYTES) else { return Vec::new() };
    let Ok(text) = text::decode_xml(&bytes) else { return Vec::new() };
    let options = ParsingOptions { allow_dtd: false, ..ParsingOptions::default() };
    let Ok(document) = Document::parse_with_options(&text, options) else { return Vec::new() };
    let is_label = |node: &roxmltree::Node<'_, '_>| {
        node.has_tag_name("Label") && node.parent().is_some_and(|p| p.tag_name().name().ends_with("Labels"))
    };
    let labels = document.descendants().filter(is_label);
    labels.filter_map(|label| label.attribute("value").map(str::to_owned)).collect()
}

struct Parser {
    listed: Listed,
    others: Note,
    several: Note,
}

/// The list, whose entries are taken one by one.
struct Tasks<'a>(&'a mut Parser);

impl<'de> serde::de::DeserializeSeed<'de> for Tasks<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Tasks<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tasks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tasks: A) -> Result<(), A::Error> {
        while let Some(task) = tasks.next_element::<Task>()? {
            self.0.add(task).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

#[derive(Default, Deserialize)]
#[serde(expecting = "a task (an object with `data`)", default)]
struct Task {
    id: Value,
    data: Map<String, Value>,
    annotations: Vec<Annotation>,
}

#[derive(Default, Deserialize)]
#[serde(expecting = "an annotation (an object with `result`)", default)]
struct Annotation {
    was_cancelled: Option<bool>,
    result: Vec<Map<String, Value>>,
}

impl Parser {
    fn new() -> Self {
        Self {
            listed: Listed::default(),
            others: Note::new(
                "region is neither a box nor has one around it and was not read, in task",
                "regions are neither boxes nor have one around them and were not read, in tasks",
            ),
            several: Note::new(
                "task has several annotations; the first one is used",
                "tasks have several annotations; the first one of each is used",
            ),
        }
    }

    fn add(&mut self, task: Task) -> Result<(), String> {
        let position = self.listed.images.len();
        let entry = match &task.id {
            Value::Number(id) => format!("task {id}"),
            Value::String(id) => format!("task {}", short(id)),
            _ => format!("task number {position} (counted from 0)"),
        };
        let place = image_of(&task.data).ok_or_else(|| format!("{entry} has no image in its `data`"))?;
        let subset = ["split", "subset"].iter().find_map(|key| task.data.get(*key)?.as_str());
        let mut image = ListedImage {
            names: names(place),
            subset: subset.map(str::to_owned),
            entry: entry.clone(),
            ..ListedImage::default()
        };
        let kept: Vec<Annotation> =
            task.annotations.into_iter().filter(|annotation| annotation.was_cancelled != Some(true)).collect();
        if kept.len() > 1 {
            self.several.add(&entry);
        }
        if let Some(annotation) = kept.into_iter().next() {
            image.annotated = true;
            for (region, number) in annotation.result.iter().zip(1..) {
                let name = format!("region {number}");
                match read_region(region, &name, &mut self.listed.classes) {
                    Ok(Some((raw, declared))) => {
                        image.declared = Some(declared);
                        image.boxes.push(raw);
                    }
                    Ok(None) => self.others.add(format_args!("{name} of {entry}")),
                    Err(fault) => image.faults.push(fault),
                }
            }
        }
        self.listed.images.push(image);
        Ok(())
    }
}

/// What a task says of its image: `image`, else the first text that is named as one.
fn image_of(data: &Map<String, Value>) -> Option<&str> {
    let usual = data.get("image").and_then(Value::as_str);
    let named = || {
        let texts = data.values().filter_map(Value::as_str);
        texts.into_iter().find(|text| names(text).first().is_some_and(|name| files::is_named_as_image(Path::new(name))))
    };
    usual.or_else(named).filter(|text| !text.is_empty())
}

/// Where an image may lie that Label Studio serves or finds at an address.
fn names(place: &str) -> Vec<String> {
    let local = place.split_once("?d=").map(|(_, path)| path);
    let plain = local.unwrap_or_else(|| place.split(['?', '#']).next().unwrap_or(place));
    let decoded = percent_decoded(plain);
    let path = match decoded.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or(rest, |(_, path)| path),
        None => decoded.trim_start_matches('/'),
    };
    let file = path.rsplit('/').next().unwrap_or(path);
    let mut names = vec![path.to_owned(), file.to_owned()];
    // `data/local-files` serves a folder above; each folder less may be ours. An upload has eight
    // digits before its name.
    names.splice(1..1, path.match_indices('/').map(|(at, _)| path[at + 1..].to_owned()));
    if let Some((digits, rest)) = file.split_once('-')
        && digits.len() == 8
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        names.push(rest.to_owned());
    }
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code =
            if *first == b'%' { tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()) } else { None };
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// A region and the size of its image; `None` where it is none that has a box.
fn read_region(
    region: &Map<String, Value>,
    place: &str,
    classes: &mut Classes,
) -> Result<Option<(RawBox, ImageSize)>, LabelFault> {
    let malformed = |words: &str| LabelFault::new(FaultKind::Malformed, format!("{place}: {words}"));
    let kind = region.get("type").and_then(Value::as_str).unwrap_or_default();
    let none = Map::new();
    let value = region.get("value").and_then(Value::as_object).unwrap_or(&none);
    let number = |of: &Map<String, Value>, name: &str| match of.get(name).and_then(Value::as_f64) {
        Some(number) if number.is_finite() => Ok(number),
        _ => Err(malformed(&format!("{name} is missing or no number"))),
    };
    if !matches!(kind, "rectanglelabels" | "polygonlabels" | "ellipselabels" | "labels") {
        return Ok(None);
    }
    let is_text = kind == "labels" && !value.contains_key("width") && !value.contains_key("points");
    if is_text {
        return Ok(None);
    }
    let side = |name: &str| {
        let side = number(region, name)?;
        let whole = (1.0..=f64::from(u32::MAX)).contains(&side) && side.fract() == 0.0;
        if whole { Ok(side as u32) } else { Err(malformed(&format!("{name} is {side}"))) }
    };
    let size = ImageSize { width: side("original_width")?, height: side("original_height")? };
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let to_px =
        |[x1, y1, x2, y2]: [f64; 4]| [x1 * width / 100.0, y1 * height / 100.0, x2 * width / 100.0, y2 * height / 100.0];
    let degrees = if value.contains_key("rotation") { number(value, "rotation")? } else { 0.0 };
    let (xyxy_px, outlined) = if value.contains_key("points") {
        let points = value.get("points").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let point = |point: &Value| Some((point.get(0)?.as_f64()?, point.get(1)?.as_f64()?));
        let points: Option<Vec<(f64, f64)>> = points.iter().map(point).collect();
        let corners = points.and_then(around).ok_or_else(|| malformed("its points are not pairs of numbers"))?;
        (to_px(corners), true)
    } else if kind == "ellipselabels" {
        let [x, y] = [number(value, "x")?, number(value, "y")?];
        let [rx, ry] = [number(value, "radiusX")?, number(value, "radiusY")?];
        let corners = to_px([x - rx, y - ry, x + rx, y + ry]);
        (turned(corners, degrees, (x * width / 100.0, y * height / 100.0)), true)
    } else {
        let [x, y] = [number(value, "x")?, number(value, "y")?];
        let corners = to_px([x, y, x + number(value, "width")?, y + number(value, "height")?]);
        // A rectangle turns about its upper left corner.
        if degrees == 0.0 { (corners, false) } else { (turned(corners, degrees, (corners[0], corners[1])), true) }
    };
    let xyxy_px = finite(xyxy_px, place)?;
    if xyxy_px[2] < xyxy_px[0] || xyxy_px[3] < xyxy_px[1] {
        return Err(malformed("its width or height is below 0"));
    }
    let label = value.get(kind).and_then(|labels| labels.get(0)?.as_str()).filter(|label| !label.is_empty());
    let class_id = classes.id(label.ok_or_else(|| malformed("it has no label"))?);
    Ok(Some((RawBox { outlined, ..RawBox::object(class_id, xyxy_px) }, size)))
}

fn short(text: &str) -> String {
    text.chars().take(24).collect()
}
