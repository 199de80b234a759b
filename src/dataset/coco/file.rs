//! The JSON itself: three lists whose entries are checked one by one as they come, so that a large file is never held as it is.
//!
//! What decides which image or class is meant (ids, names) must be right in every entry, or the file is refused. What concerns
//! one image alone (its size, a box of it) costs that image.

use super::{
    non_finite::Quoted,
    value::{self, Id},
};
use crate::{
    Error, Result,
    dataset::{FaultKind, fault},
    text,
    types::ImageSize,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use std::{
    fmt,
    fs::File,
    io::{self, BufReader},
    marker::PhantomData,
    path::Path,
};

const BUFFER_BYTES: usize = 1 << 20;

/// A COCO file, checked entry by entry.
pub(super) struct CocoFile {
    pub(super) images: Vec<Image>,
    pub(super) annotations: Option<Vec<Annotation>>,
    pub(super) categories: Vec<Category>,
}

/// An entry of `images`.
pub(super) struct Image {
    pub(super) id: Id,
    pub(super) file_name: String,
    /// `width` and `height`, where both are there; or what is wrong with them.
    pub(super) size: Result<Option<ImageSize>, Box<str>>,
}

/// An entry of `annotations`.
pub(super) struct Annotation {
    /// It only serves messages.
    pub(super) id: Option<Id>,
    pub(super) image_id: Id,
    pub(super) category_id: Id,
    /// What it marks, or what is wrong.
    pub(super) shape: Result<Shape, (FaultKind, Box<str>)>,
    /// Whether it has a segmentation.
    pub(super) outlined: bool,
    /// What it says, or what it says that is no number.
    pub(super) area: Result<Option<f64>, Box<str>>,
}

/// What an annotation marks, as left, top, right, bottom. There are many of them, so nothing is kept that is not needed.
pub(super) enum Shape {
    Object([f64; 4]),
    /// A crowd region, whose box may be of no use.
    Crowd(Option<[f64; 4]>),
}

/// An entry of `categories`.
pub(super) struct Category {
    pub(super) id: Id,
    pub(super) name: String,
    pub(super) supercategory: Option<String>,
}

/// Reads and checks the file.
pub(super) fn read(json: &Path) -> Result<CocoFile> {
    let file = File::open(json).map_err(|e| Error::io(json, "open", e))?;
    let refuse =
        |found: String, remedy: &str| fault(json, format!("this is not a COCO instances file: {found}"), remedy);
    let text = text::reader(BufReader::with_capacity(BUFFER_BYTES, file)).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => refuse(e.to_string(), "Save it as UTF-8."),
        _ => Error::io(json, "read", e),
    })?;
    let lists: Lists = serde_json::from_reader(BufReader::new(Quoted::new(text))).map_err(|e| {
        if e.is_io() {
            return Error::io(json, "read", e.into());
        }
        let needed = "It needs the lists `images` (id, file_name), `annotations` (image_id, category_id, bbox) and `categories` (id, name).";
        let remedy = match e.to_string() {
            words if words.contains("invalid unicode") => "Save it as UTF-8.",
            _ if e.is_eof() => "It is incomplete: write or download it again.",
            _ if e.is_syntax() => "Correct that place, or write the file again with a JSON library.",
            words if words.contains(COUNTED) => "Correct the entry.",
            _ => needed,
        };
        refuse(e.to_string(), remedy)
    })?;
    Ok(CocoFile {
        images: lists.images.0,
        annotations: lists.annotations.map(|list| list.0),
        categories: lists.categories.map(|list| list.0).unwrap_or_default(),
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object with the list `images`")]
struct Lists {
    images: Entries<Image>,
    annotations: Option<Entries<Annotation>>,
    categories: Option<Entries<Category>>,
}

/// Words of every message that names an entry.
const COUNTED: &str = "(counted from 0)";

/// Which entry it is, by its id where it has one.
pub(super) fn entry_name(kind: &str, id: Option<&Id>, position: usize) -> String {
    match id {
        Some(id) => format!("{kind} id {id}"),
        None => format!("{kind} number {position} {COUNTED}"),
    }
}

/// An entry of a list, made of its fields as they are. Unknown fields, among them the bulky `segmentation`, are skipped without
/// being kept.
trait Entry: Sized {
    type Fields: DeserializeOwned;
    /// What its list is called.
    const LIST: &'static str;

    /// # Errors
    /// Which field is wrong and how.
    fn of(fields: Self::Fields) -> Result<Self, String>;
}

/// A list, checked entry by entry.
struct Entries<T>(Vec<T>);

impl<'de, T: Entry> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Entry> Visitor<'de> for List<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the list `{}`", T::LIST)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Entries<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(fields) = entries.next_element()? {
                    let position = list.len();
                    let named = |reason| format!("entry number {position} {COUNTED} of `{}`: {reason}", T::LIST);
                    list.push(T::of(fields).map_err(|reason| de::Error::custom(named(reason)))?);
                }
                Ok(Entries(list))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

#[derive(Default, Deserialize)]
#[serde(expecting = "an object (an entry of `images`)", default)]
struct ImageFields {
    id: Value,
    file_name: Value,
    width: Value,
    height: Value,
}

impl Entry for Image {
    type Fields = ImageFields;
    const LIST: &'static str = "images";

    fn of(fields: ImageFields) -> Result<Self, String> {
        let size = || {
            let width = value::side(&fields.width).map_err(|reason| format!("width {reason}"))?;
            let height = value::side(&fields.height).map_err(|reason| format!("height {reason}"))?;
            Ok(width.zip(height).map(|(width, height)| ImageSize { width, height }))
        };
        Ok(Self {
            size: size().map_err(String::into),
            id: needed_id("id", &fields.id)?,
            file_name: value::text(fields.file_name).map_err(|reason| format!("`file_name` {reason}"))?,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(expecting = "an object (an entry of `annotations`)", default)]
struct AnnotationFields {
    id: Value,
    image_id: Value,
    category_id: Value,
    bbox: Value,
    area: Value,
    iscrowd: Value,
    segmentation: HasContent,
}

impl Entry for Annotation {
    type Fields = AnnotationFields;
    const LIST: &'static str = "annotations";

    fn of(fields: AnnotationFields) -> Result<Self, String> {
        let shape = || {
            let kind = if value::has_no_number(&fields.bbox) { FaultKind::NonFinite } else { FaultKind::Malformed };
            let corners = value::corners(&fields.bbox).map_err(|reason| (kind, reason.into()));
            let crowd = value::flag(&fields.iscrowd);
            Ok(match crowd.map_err(|reason| (FaultKind::Malformed, format!("iscrowd {reason}").into()))? {
                true => Shape::Crowd(corners.ok()),
                false => Shape::Object(corners?),
            })
        };
        Ok(Self {
            id: id("id", &fields.id)?,
            image_id: needed_id("image_id", &fields.image_id)?,
            category_id: needed_id("category_id", &fields.category_id)?,
            shape: shape(),
            outlined: fields.segmentation.0,
            area: value::number(&fields.area).map_err(|reason| format!("area {reason}").into()),
        })
    }
}

/// Whether a value is anything but null, nothing, an empty list or an empty object; the value itself is not kept.
#[derive(Default)]
struct HasContent(bool);

impl<'de> Deserialize<'de> for HasContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Content;
        impl<'de> Visitor<'de> for Content {
            type Value = HasContent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<HasContent, A::Error> {
                let mut any = false;
                while items.next_element::<IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(HasContent(any))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<HasContent, A::Error> {
                let mut any = false;
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(HasContent(any))
            }

            fn visit_unit<E>(self) -> Result<HasContent, E> {
                Ok(HasContent(false))
            }

            fn visit_bool<E>(self, _: bool) -> Result<HasContent, E> {
                Ok(HasContent(false))
            }

            fn visit_f64<E>(self, _: f64) -> Result<HasContent, E> {
                Ok(HasContent(false))
            }

            fn visit_i64<E>(self, _: i64) -> Result<HasContent, E> {
                Ok(HasContent(false))
            }

            fn visit_u64<E>(self, _: u64) -> Result<HasContent, E> {
                Ok(HasContent(false))
            }

            fn visit_str<E>(self, text: &str) -> Result<HasContent, E> {
                Ok(HasContent(!text.is_empty()))
            }
        }
        deserializer.deserialize_any(Content)
    }
}

#[derive(Default, Deserialize)]
#[serde(expecting = "an object (an entry of `categories`)", default)]
struct CategoryFields {
    id: Value,
    name: Value,
    supercategory: Value,
}

impl Entry for Category {
    type Fields = CategoryFields;
    const LIST: &'static str = "categories";

    fn of(fields: CategoryFields) -> Result<Self, String> {
        Ok(Self {
            id: needed_id("id", &fields.id)?,
            name: value::text(fields.name).map_err(|reason| format!("`name` {reason}"))?,
            supercategory: value::text(fields.supercategory).ok(),
        })
    }
}

fn id(field: &str, value: &Value) -> Result<Option<Id>, String> {
    Id::of(value).map_err(|reason| format!("`{field}` {reason}"))
}

fn needed_id(field: &str, value: &Value) -> Result<Id, String> {
    id(field, value)?.ok_or_else(|| format!("`{field}` is missing or null"))
}
