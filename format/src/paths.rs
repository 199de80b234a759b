//! Paths between the operating system and the cache's `path` column.
//!
//! The column is text, a Unix path is bytes. A path that is UTF-8 stands there as it is; any other stands as
//! `percent:` followed by its bytes, percent-encoded. A UTF-8 path that itself begins with `percent:` is encoded as
//! well, so two different paths never share one text, and the text leads back to the path.

use std::{
    ffi::OsString,
    fmt::Write as _,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

const PREFIX: &str = "percent:";

/// The text of the `path` column for a path.
pub fn to_column(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(PREFIX) => text.to_owned(),
        _ => encode(bytes),
    }
}

/// The path that [`to_column`] turned into this text.
///
/// # Errors
/// A text that [`to_column`] never writes: a broken `%XX`, or an encoding where none was needed. The message names it.
pub fn from_column(text: &str) -> Result<PathBuf, String> {
    let Some(encoded) = text.strip_prefix(PREFIX) else { return Ok(PathBuf::from(text)) };
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest.next().and_then(hex_value).zip(rest.next().and_then(hex_value));
        let Some((high, low)) = digits else {
            return Err(format!("{text:?} is not a path of this format: a % is not followed by two digits 0-9A-F"));
        };
        bytes.push(high * 16 + low);
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    if to_column(&path) == text {
        Ok(path)
    } else {
        Err(format!("{text:?} is not a path of this format: it is encoded in a way that is never written"))
    }
}

/// `path` as seen from the folder `root`, with `..` where it lies outside. Both absolute, without `.` and `..`
/// (see [`absolute`]); a path that shares nothing with `root` comes back as it is.
pub fn relative_to(root: &Path, path: &Path) -> PathBuf {
    if let Ok(inside) = path.strip_prefix(root) {
        return inside.to_path_buf();
    }
    let shared = root.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    if shared == 0 {
        return path.to_path_buf();
    }
    let up = root.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// An absolute path without `.` and `..`. Links stay as they are, except where a `..` follows one: then what the
/// system makes of the path counts.
pub fn absolute(path: &Path) -> PathBuf {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    if !full.components().any(|c| c == Component::ParentDir) {
        return full;
    }
    let mut lexical = PathBuf::new();
    for component in full.components() {
        match component {
            Component::ParentDir => drop(lexical.pop()),
            other => lexical.push(other),
        }
    }
    match (full.canonicalize(), lexical.canonicalize()) {
        (Ok(meant), Ok(cleaned)) if meant != cleaned => meant,
        (Ok(meant), Err(_)) => meant,
        _ => lexical,
    }
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(PREFIX.len() + bytes.len() * 2);
    text.push_str(PREFIX);
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::OsStr;

    fn path_of(bytes: &[u8]) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(bytes))
    }

    #[test]
    fn utf8_stays_readable() {
        assert_eq!(to_column(Path::new("images/trafic été 100%.jpg")), "images/trafic été 100%.jpg");
        assert_eq!(to_column(&path_of(b"a/\xff b.jpg")), "percent:a/%FF%20b.jpg");
        assert_eq!(to_column(Path::new("percent:a.jpg")), "percent:percent%3Aa.jpg");
    }

    #[test]
    fn foreign_texts_are_refused() {
        for text in ["percent:%", "percent:%4", "percent:%ff", "percent:%ZZ", "percent:plain.jpg", "percent:%41%FF"] {
            assert!(from_column(text).is_err(), "{text}");
        }
    }

    #[test]
    fn outside_the_root() {
        let rel = |root: &str, path: &str| relative_to(Path::new(root), Path::new(path)).display().to_string();
        assert_eq!(rel("/data/set", "/data/set/images/a.jpg"), "images/a.jpg");
        assert_eq!(rel("/data/set", "/data/other/a.jpg"), "../other/a.jpg");
        assert_eq!(rel("/data/set", "/data/settle/a.jpg"), "../settle/a.jpg");
        assert_eq!(rel("/data/set/deep", "/a.jpg"), "../../../a.jpg");
    }

    #[test]
    fn dots_are_removed_but_links_obeyed() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        std::fs::create_dir_all(base.join("c")).unwrap();
        std::os::unix::fs::symlink(base.join("a/b"), base.join("c/link")).unwrap();
        assert_eq!(absolute(&base.join("a/./b/../b")), base.join("a/b"));
        assert_eq!(absolute(&base.join("c/link/..")), base.join("a"), "a link's parent is where it leads");
        assert_eq!(absolute(&base.join("c/link")), base.join("c/link"), "a link by itself keeps its name");
        assert_eq!(absolute(&base.join("no/../such.jpg")), base.join("such.jpg"));
    }

    proptest! {
        #[test]
        fn round_trip(bytes in prop::collection::vec(1u8.., 0..40), marked: bool) {
            let mut bytes = bytes;
            if marked { bytes.splice(0..0, PREFIX.bytes()); }
            let path = path_of(&bytes);
            let text = to_column(&path);
            prop_assert_eq!(from_column(&text).unwrap().into_os_string().into_vec(), bytes);
        }

        #[test]
        fn injective(a in prop::collection::vec(1u8.., 0..12), b in prop::collection::vec(1u8.., 0..12)) {
            prop_assert_eq!(a == b, to_column(&path_of(&a)) == to_column(&path_of(&b)));
        }

        #[test]
        fn every_accepted_text_is_the_written_one(text in "(percent:)?[a-c%0-9A-Fa-f:/é]{0,12}") {
            if let Ok(path) = from_column(&text) { prop_assert_eq!(to_column(&path), text); }
        }
    }
}
