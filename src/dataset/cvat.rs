//! CVAT for images 1.1: one `annotations.xml` that lists images with their shapes, in pixels. Read
//! as a stream, so that a large file is never held as a tree.
//!
//! Boxes are taken as they are. Of a polygon, a mask, an ellipse or a turned box the box around it
//! is taken; other shapes are no objects and are counted. The classes are those that the file
//! declares, in its order. `difficult` and `is_crowd` are read where they are attributes of a
//! shape, as CVAT's own import of VOC and COCO writes them.

use super::{
    DataSource, DatasetFormat, FaultKind, LabelFault, Mark, RawBox, fault,
    listed::{Listed, ListedImage, Subsets, around, finite, turned},
    notes::Note,
};
use crate::{Error, Result, text, types::ImageSize};
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

const BUFFER_BYTES: usize = 1 << 20;
/// Elements inside one another: far above any file of CVAT.
const MOST_DEPTH: usize = 64;
/// Bytes of a tag or a text: a mask of the largest picture has less.
const MOST_TEXT: usize = 64 << 20;

/// Opens a file, given as an absolute path.
pub(super) fn open(xml: &Path, source: &DataSource) -> Result<Subsets> {
    let file = File::open(xml).map_err(|e| Error::io(xml, "open", e))?;
    let refuse = |found: &str| {
        let found = format!("this is not an annotations.xml of CVAT for images: {found}");
        let remedy = "Export the task or project again as \"CVAT for images 1.1\". For Pascal VOC give the folder of the \
                      XML files.";
        fault(xml, found, remedy)
    };
    let text = text::reader(BufReader::with_capacity(BUFFER_BYTES, file)).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => refuse(&e.to_string()),
        _ => Error::io(xml, "read", e),
    })?;
    let mut parser = Parser::default();
    parser.read(text).map_err(|found| refuse(&found))?;
    let Parser { mut listed, declared, others, .. } = parser;
    others.finish(&mut listed.notes);
    listed.finish(xml, DatasetFormat::Cvat, declared, source)
}

struct Parser {
    listed: Listed,
    /// How many classes the file declares.
    declared: usize,
    others: Note,
    /// Whether the outermost element was there.
    begun: bool,
    /// Names of the elements that are open.
    open: Vec<Vec<u8>>,
    image: Option<ListedImage>,
    shape: Option<Result<RawBox, LabelFault>>,
    /// Shapes of the image so far.
    shapes: usize,
    /// Name of the attribute of a shape whose text comes.
    attribute: Option<String>,
    text: String,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            listed: Listed::default(),
            declared: 0,
            others: Note::new(
                "shape is neither a box nor has one around it and was not read, in image",
                "shapes are neither boxes nor have one around them and were not read, in images",
            ),
            begun: false,
            open: Vec::new(),
            image: None,
            shape: None,
            shapes: 0,
            attribute: None,
            text: String::new(),
        }
    }
}

impl Parser {
    fn read(&mut self, text: impl BufRead) -> Result<(), String> {
        let mut reader = Reader::from_reader(text);
        let mut buffer = Vec::new();
        loop {
            let event = reader
                .read_event_into(&mut buffer)
                .map_err(|e| format!("the XML cannot be parsed at byte {}: {e}", reader.error_position()))?;
            match event {
                Event::Start(tag) => {
                    self.start(&tag)?;
                    self.open.push(tag.name().as_ref().to_vec());
                    if self.open.len() > MOST_DEPTH {
                        return Err(format!("elements lie more than {MOST_DEPTH} deep in one another"));
                    }
                }
                Event::Empty(tag) => {
                    self.start(&tag)?;
                    self.open.push(tag.name().as_ref().to_vec());
                    self.end();
                }
                Event::End(_) => self.end(),
                Event::Text(text) => {
                    self.add_text(&text.xml_content(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?)
                }
                Event::CData(text) => self.add_text(&text.decode().map_err(|e| e.to_string())?),
                Event::GeneralRef(reference) => {
                    let known = match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                        Some(character) => Some(character.to_string()),
                        None => {
                            let name = reference.decode().map_err(|e| e.to_string())?;
                            quick_xml::escape::resolve_predefined_entity(&name).map(str::to_owned)
                        }
                    };
                    self.add_text(&known.ok_or("it uses an entity that is not defined in XML itself")?);
                }
                // A document type could define entities, which is how a small file fills the
                // memory. No export has one.
                Event::DocType(_) => return Err("it has a document type, which no export has".into()),
                Event::Eof if self.open.is_empty() && self.begun => return Ok(()),
                Event::Eof => return Err("the file ends early".into()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
            if buffer.len() > MOST_TEXT || self.text.len() > MOST_TEXT {
                return Err("a tag or text is too long".into());
            }
            buffer.clear();
        }
    }

    fn add_text(&mut self, text: &str) {
        if self.attribute.is_some() || self.open.last().is_some_and(|name| name == b"name") {
            self.text.push_str(text);
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), String> {
        let name = tag.name();
        let name = name.as_ref();
        match (self.open.len(), name) {
            (0, b"annotations") => self.begun = true,
            (0, other) => {
                let other: String = String::from_utf8_lossy(other).chars().take(24).collect();
                return Err(format!("the outermost element is <{other}> instead of <annotations>"));
            }
            (1, b"image") => {
                let values = values(tag)?;
                self.image = Some(image(&values, self.listed.images.len())?);
                self.shapes = 0;
            }
            (1, b"track") => {
                return Err("it holds tracks of a video; export the task as \"CVAT for images 1.1\"".into());
            }
            (2, shape) if self.image.is_some() => {
                self.shapes += 1;
                let values = values(tag)?;
                self.shape = self.shape(shape, &values);
            }
            (3, b"attribute") if self.shape.is_some() => {
                self.attribute = values(tag)?.remove("name");
            }
            _ => {}
        }
        self.text.clear();
        Ok(())
    }

    fn end(&mut self) {
        let Some(name) = self.open.pop() else { return };
        match (self.open.len(), name.as_slice()) {
            (1, b"image") => self.listed.images.extend(self.image.take()),
            (2, _) => {
                let Some(image) = &mut self.image else { return };
                match self.shape.take() {
                    Some(Ok(raw)) => image.boxes.push(raw),
                    Some(Err(fault)) => image.faults.push(fault),
                    None => {}
                }
            }
            (3, b"attribute") => {
                let set = matches!(self.text.trim(), "1" | "true" | "True");
                if let (Some(Ok(raw)), Some(name), true) = (&mut self.shape, self.attribute.take(), set) {
                    match name.as_str() {
                        "difficult" => raw.mark = Mark::Difficult,
                        "is_crowd" | "iscrowd" => raw.mark = Mark::Crowd,
                        _ => {}
                    }
                }
                self.attribute = None;
            }
            // annotations > meta > task, project or job > labels > label > name
            (_, b"name") if self.open.ends_with(&[b"labels".to_vec(), b"label".to_vec()]) => {
                let name = self.text.trim();
                if !name.is_empty() {
                    self.listed.classes.id(name);
                    self.declared = self.listed.classes.len();
                }
            }
            _ => {}
        }
        self.text.clear();
    }

    /// A shape of the image; `None` where it is none that has a box.
    fn shape(&mut self, kind: &[u8], values: &HashMap<String, String>) -> Option<Result<RawBox, LabelFault>> {
        let shown = String::from_utf8_lossy(kind).into_owned();
        let place = format!("{shown} {}", self.shapes);
        let number = |name: &str| number(values, name, &place);
        let numbers =
            |names: [&str; 4]| Ok([number(names[0])?, number(names[1])?, number(names[2])?, number(names[3])?]);
        let corners: Result<([f64; 4], bool), LabelFault> = match kind {
            b"box" => numbers(["xtl", "ytl", "xbr", "ybr"]).map(|corners| (corners, false)),
            b"mask" => numbers(["left", "top", "width", "height"]).map(|[x, y, w, h]| ([x, y, x + w, y + h], true)),
            b"ellipse" => {
                numbers(["cx", "cy", "rx", "ry"]).map(|[x, y, rx, ry]| ([x - rx, y - ry, x + rx, y + ry], true))
            }
            b"polygon" => polygon(values, &place).map(|corners| (corners, true)),
            // A tag is about the whole image.
            _ => {
                let name = self.image.as_ref().and_then(|image| image.names.first());
                self.others.add(format_args!("{shown} of {}", name.map_or("", String::as_str)));
                return None;
            }
        };
        let raw = corners.and_then(|(corners, outlined)| {
            let degrees = if values.contains_key("rotation") { number("rotation")? } else { 0.0 };
            let [x1, y1, x2, y2] = corners;
            if x2 < x1 || y2 < y1 {
                let words =
                    format!("{place}: its right or lower edge comes before the opposite one: {x1} {y1} {x2} {y2}");
                return Err(LabelFault::new(FaultKind::Malformed, words));
            }
            let xyxy_px = match degrees {
                0.0 => corners,
                _ => turned(corners, degrees, ((x1 + x2) / 2.0, (y1 + y2) / 2.0)),
            };
            let label = values.get("label").map(|label| label.trim()).filter(|label| !label.is_empty());
            let label =
                label.ok_or_else(|| LabelFault::new(FaultKind::Malformed, format!("{place}: it has no label")))?;
            let class_id = self.listed.classes.id(label);
            let xyxy_px = finite(xyxy_px, &place)?;
            Ok(RawBox { outlined: outlined || degrees != 0.0, ..RawBox::object(class_id, xyxy_px) })
        });
        Some(raw)
    }
}

fn values(tag: &BytesStart<'_>) -> Result<HashMap<String, String>, String> {
    let pairs = tag.attributes().map(|attribute| {
        let attribute = attribute.map_err(|e| e.to_string())?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
        Ok((String::from_utf8_lossy(attribute.key.as_ref()).into_owned(), value.into_owned()))
    });
    pairs.collect()
}

fn image(values: &HashMap<String, String>, position: usize) -> Result<ListedImage, String> {
    let name = values.get("name").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| format!("image number {position} (counted from 0) has no name"))?;
    let side = |side: &str| values.get(side)?.trim().parse::<u32>().ok().filter(|&side| side > 0);
    let id = values.get("id").map_or_else(|| position.to_string(), Clone::clone);
    Ok(ListedImage {
        names: vec![name.clone()],
        subset: values.get("subset").cloned(),
        entry: format!("image id {}", id.chars().take(24).collect::<String>()),
        declared: side("width").zip(side("height")).map(|(width, height)| ImageSize { width, height }),
        annotated: true,
        ..ListedImage::default()
    })
}

fn number(values: &HashMap<String, String>, name: &str, place: &str) -> Result<f64, LabelFault> {
    let text = values.get(name);
    let text = text.ok_or_else(|| LabelFault::new(FaultKind::Malformed, format!("{place}: it has no {name}")))?;
    let shown = || text.chars().take(24).collect::<String>();
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(LabelFault::new(FaultKind::NonFinite, format!("{place}: {name} is {:?}", shown()))),
        Err(_) => {
            let words = format!("{place}: {name} is {:?}, which is not a number", shown());
            Err(LabelFault::new(FaultKind::Malformed, words))
        }
    }
}

/// The box around `x,y;x,y;...`.
fn polygon(values: &HashMap<String, String>, place: &str) -> Result<[f64; 4], LabelFault> {
    let text = values.get("points").map(String::as_str).unwrap_or_default();
    let point = |pair: &str| {
        let (x, y) = pair.split_once(',')?;
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        number(x).zip(number(y))
    };
    let points: Option<Vec<(f64, f64)>> = text.split(';').map(point).collect();
    points.and_then(around).ok_or_else(|| {
        LabelFault::new(FaultKind::Malformed, format!("{place}: its points are not pairs of numbers, `x,y;x,y`"))
    })
}
