//! The metadata of an Ultralytics export: strings as Python prints them, read back there by `ast.literal_eval`.

use std::fmt::Write as _;

use crate::{
    detector::onnx::proto::StringStringEntryProto,
    student::{net::StudentNet, weights::Description},
};

use super::options::ExportOptions;

/// Every key that Ultralytics' `AutoBackend` makes use of. No date: the same model has the same bytes.
pub(super) fn entries(
    net: &StudentNet,
    description: &Description,
    options: &ExportOptions,
) -> Vec<StringStringEntryProto> {
    let bool = |value: bool| if value { "True" } else { "False" };
    let size = description.imgsz;
    let text = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    vec![
        text("description", format!("{} detector trained by logitcache", net.model)),
        text("author", env!("CARGO_PKG_NAME").to_owned()),
        text("version", env!("CARGO_PKG_VERSION").to_owned()),
        text("stride", net.head.coarsest_stride().to_string()),
        text("task", "detect".to_owned()),
        text("head", "Detect".to_owned()),
        text("batch", "1".to_owned()),
        text("imgsz", format!("[{}, {}]", size.height, size.width)),
        text("names", dict(&description.class_names)),
        text(
            "args",
            format!(
                "{{'batch': 1, 'half': {}, 'dynamic': {}, 'simplify': True, 'opset': {}, 'nms': {}}}",
                bool(options.half),
                bool(options.dynamic),
                options.opset,
                bool(options.nms.is_some())
            ),
        ),
        text("channels", "3".to_owned()),
        text("end2end", "False".to_owned()),
    ]
}

/// `{0: 'person', 1: "driver's seat"}`
fn dict(names: &[String]) -> String {
    let entries: Vec<String> = names.iter().enumerate().map(|(id, name)| format!("{id}: {}", literal(name))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// A Python string literal.
fn literal(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut literal = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if c == quote => {
                literal.push('\\');
                literal.push(c);
            }
            c if c.is_control() => {
                // Control characters end at U+009F. Writing to a String cannot fail.
                let _ = write!(literal, "\\x{:02x}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal.push(quote);
    literal
}
