//! One Pascal VOC XML file.

use crate::types::ImageSize;
use roxmltree::{Document, Node, ParsingOptions};

/// Elements and texts that one file may have: far above any annotation, far below what would fill the memory.
const NODES_LIMIT: u32 = 2_000_000;

/// What is kept of an XML file.
#[derive(Debug, PartialEq)]
pub(super) struct Annotation {
    /// `filename` without any folder before it.
    pub(super) file_name: Option<String>,
    /// `filename` as it is written.
    pub(super) written: Option<String>,
    /// `size`; `None` where it is absent or zero, as several tools write it.
    pub(super) size: Option<ImageSize>,
    /// Objects in the order of the file, without the difficult ones.
    pub(super) objects: Vec<Object>,
    /// Objects that are marked difficult; one that cannot be read is none.
    pub(super) difficult: Vec<Object>,
}

/// One `object`.
#[derive(Debug, PartialEq)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) xyxy_px: [f64; 4],
}

impl Annotation {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// What is wrong and in which line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // A document type could define entities, which is how a small file fills the memory. No annotation has one.
        let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_LIMIT, ..ParsingOptions::default() };
        let document =
            Document::parse_with_options(text, options).map_err(|e| format!("the XML cannot be parsed: {e}"))?;
        let root = document.root_element();
        if root.tag_name().name() != "annotation" {
            return Err(format!(
                "the outermost element is <{}> instead of <annotation>",
                short(root.tag_name().name())
            ));
        }
        let mut objects = Vec::new();
        let mut difficult = Vec::new();
        for (number, node) in elements(root, "object").enumerate() {
            if text_of(node, "difficult") == Some("1") {
                difficult.extend(Object::read(node));
                continue;
            }
            let line = document.text_pos_at(node.range().start).row;
            objects.push(Object::read(node).map_err(|reason| format!("line {line}: object {}: {reason}", number + 1))?);
        }
        let written = text_of(root, "filename");
        let file_name = written.and_then(|name| name.rsplit(['/', '\\']).next());
        Ok(Self {
            file_name: file_name.filter(|n| !n.is_empty()).map(str::to_owned),
            written: written.map(str::to_owned),
            size: size(root),
            objects,
            difficult,
        })
    }
}

impl Object {
    fn read(node: Node<'_, '_>) -> Result<Self, String> {
        let name = text_of(node, "name").filter(|name| !name.is_empty()).ok_or("it has no <name>")?;
        let bounds = elements(node, "bndbox").next().ok_or("it has no <bndbox>")?;
        let side = |tag: &str| {
            let text = text_of(bounds, tag).ok_or_else(|| format!("its <bndbox> has no <{tag}>"))?;
            let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
            value.ok_or_else(|| format!("<{tag}> is {:?}, which is not a number", short(text)))
        };
        let xyxy_px @ [x1, y1, x2, y2] = [side("xmin")?, side("ymin")?, side("xmax")?, side("ymax")?];
        if x2 < x1 || y2 < y1 {
            return Err(format!("its right or lower edge comes before the opposite one: {x1} {y1} {x2} {y2}"));
        }
        Ok(Self { name: name.to_owned(), xyxy_px })
    }
}

fn size(root: Node<'_, '_>) -> Option<ImageSize> {
    let size = elements(root, "size").next()?;
    let side = |tag: &str| text_of(size, tag)?.parse::<u32>().ok().filter(|&v| v > 0);
    Some(ImageSize { width: side("width")?, height: side("height")? })
}

fn elements<'a, 'input>(parent: Node<'a, 'input>, tag: &str) -> impl Iterator<Item = Node<'a, 'input>> {
    parent.children().filter(move |child| child.tag_name().name() == tag)
}

fn text_of<'a>(parent: Node<'a, '_>, tag: &str) -> Option<&'a str> {
    elements(parent, tag).next()?.text().map(str::trim)
}

fn short(text: &str) -> String {
    text.chars().take(24).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_object(inner: &str) -> String {
        format!("<annotation>\n<filename>a.jpg</filename>\n<object>{inner}</object></annotation>")
    }

    const BOX: &str = "<bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>";

    #[test]
    fn an_annotation() {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><annotation verified=\"yes\"><filename>C:\\pics\\a b.jpg</filename>\
             <size><width>640</width><height>480</height></size>\
             <object><name> traffic light </name><part><name>lamp</name>{BOX}</part>{BOX}</object>\
             <object><name>cat</name><difficult>1</difficult>{BOX}</object></annotation>"
        );
        let annotation = Annotation::parse(&text).unwrap();
        assert_eq!(annotation.file_name.as_deref(), Some("a b.jpg"));
        assert_eq!(annotation.size, Some(ImageSize { width: 640, height: 480 }));
        assert_eq!(annotation.objects, [Object { name: "traffic light".into(), xyxy_px: [1.0, 2.5, 3.0, 4.0] }]);
        assert_eq!(annotation.difficult, [Object { name: "cat".into(), xyxy_px: [1.0, 2.5, 3.0, 4.0] }]);
    }

    #[test]
    fn a_size_of_zero_is_no_size() {
        for size in ["", "<size/>", "<size><width>0</width><height>0</height></size>", "<size><width>7</width></size>"]
        {
            assert_eq!(Annotation::parse(&format!("<annotation>{size}</annotation>")).unwrap().size, None, "{size}");
        }
    }

    #[test]
    fn wrong_annotations_are_named() {
        let dtd = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;&b;\">]>".to_owned();
        for (text, words) in [
            (String::new(), "the XML cannot be parsed"),
            ("<annotation><object>".into(), "the XML cannot be parsed"),
            (dtd + &with_object(BOX), "the XML cannot be parsed: XML with DTD detected"),
            ("<html></html>".into(), "the outermost element is <html> instead of <annotation>"),
            (with_object(BOX), "line 3: object 1: it has no <name>"),
            (with_object("<name/>"), "it has no <name>"),
            (with_object("<name>a</name>"), "it has no <bndbox>"),
            (with_object("<name>a</name><bndbox><xmin>1</xmin></bndbox>"), "its <bndbox> has no <ymin>"),
            (
                with_object(&format!("<name>a</name>{}", BOX.replace("2.5", "two"))),
                "<ymin> is \"two\", which is not a number",
            ),
            (
                with_object(&format!("<name>a</name>{}", BOX.replace("2.5", "NaN"))),
                "<ymin> is \"NaN\", which is not a number",
            ),
            (
                with_object(&format!("<name>a</name>{}", BOX.replace('4', "1"))),
                "comes before the opposite one: 1 2.5 3 1",
            ),
        ] {
            let reason = Annotation::parse(&text).unwrap_err();
            assert!(reason.contains(words), "{text:?} gave: {reason}");
        }
    }

    #[test]
    fn hostile_xml_is_an_error() {
        for text in [
            "<a>".repeat(1_000_000),
            "<annotation>".to_owned() + &"<a>".repeat(300_000) + &"</a>".repeat(300_000),
            "<annotation>".to_owned() + &"<a/>".repeat(2_000_001) + "</annotation>",
            "<annotation ".to_owned() + &"a='b' ".repeat(10_000) + "/>",
        ] {
            let reason = Annotation::parse(&text).unwrap_err();
            assert!(reason.len() < 300, "{}", reason.len());
        }
        let deep = "<annotation>".to_owned() + &"<a>".repeat(300_000) + &"</a>".repeat(300_000) + "</annotation>";
        assert!(Annotation::parse(&deep).unwrap().objects.is_empty());
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "(<annotation>|</annotation>|<object>|</object>|<name>|</name>|<bndbox>|<xmin>|<size>|&#x?[0-9a-f;]*|<!\\[CDATA\\[|<!--|-->|<\\?|[a-z0-9 <>/\"'=&;\n]|\\PC){0,40}") {
            let _ = Annotation::parse(&text);
        }
    }
}
