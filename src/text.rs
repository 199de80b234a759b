//! Bytes of text files as people's editors and scripts write them: UTF-8 or UTF-16, with or without a byte order mark.
//!
//! Every text that a user gives is read here. UTF-8 needs no mark; UTF-16 does: without one it is refused by name, since a
//! guess could be wrong without anybody noticing.

use std::{
    borrow::Cow,
    io::{self, BufRead, Cursor},
};

/// How many bytes of an XML file are looked through for its declaration.
const XML_DECLARATION_BYTES: usize = 256;

/// How the bytes after the mark are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16LittleEndian,
    Utf16BigEndian,
}

/// The text of a file.
///
/// # Errors
/// What is wrong, in words that follow "the file is not text: ".
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    let (encoding, rest) = encoding_of(bytes)?;
    match encoding {
        Encoding::Utf8 => utf8(bytes, rest).map(Cow::Borrowed),
        other => utf16(rest, other).map(Cow::Owned),
    }
}

/// [`decode`] for an XML file, whose declaration may name another encoding (XML 1.0, section 4.3.3).
///
/// # Errors
/// As [`decode`]; an encoding that is not read, by its name.
pub fn decode_xml(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    let (encoding, rest) = encoding_of(bytes)?;
    // A mark says more than the declaration, and what is ASCII is the same in all the encodings that are declared in ASCII.
    if encoding != Encoding::Utf8 || rest.len() < bytes.len() || rest.is_ascii() {
        return decode(bytes);
    }
    let declared = declared_encoding(rest).unwrap_or_default().to_ascii_lowercase();
    match declared.as_str() {
        // .NET's string writer declares UTF-16 whatever it is saved as.
        "" | "utf-8" | "utf8" | "utf-16" | "us-ascii" | "ascii" => decode(bytes),
        "iso-8859-1" | "latin1" | "latin-1" => Ok(rest.iter().map(|&byte| char::from(byte)).collect()),
        other => Err(format!("its encoding is {other:?}, which is not supported; save it as UTF-8")),
    }
}

/// The bytes of a file of paths, which need not be UTF-8, without a mark; UTF-16 becomes UTF-8.
///
/// # Errors
/// As [`decode`], for UTF-16 alone.
pub fn decode_paths(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let (encoding, rest) = encoding_of(bytes)?;
    Ok(match encoding {
        Encoding::Utf8 => Cow::Borrowed(rest),
        other => Cow::Owned(utf16(rest, other)?.into_bytes()),
    })
}

/// The lines of a text, whichever line ends it has: LF, CR LF, or CR alone. An empty line counts.
pub fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// The lines of a file that lists one thing a line, without blanks around them; empty ones are left out.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    // Lists are put together from several files: a mark may stand before any line.
    lines.map(|line| line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)).filter(|line| !line.is_empty())
}

/// The text of a file that is too large to be held, as UTF-8 that may yet turn out to be none. UTF-16 is held all the same, since
/// nobody writes large files in it: once as it is and once as UTF-8.
///
/// # Errors
/// Those of `inner`; [`io::ErrorKind::InvalidData`] with words as [`decode`] gives them.
pub fn reader<'a>(mut inner: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let start = inner.fill_buf()?;
    let (encoding, rest) = encoding_of(start).map_err(invalid_data)?;
    if encoding == Encoding::Utf8 {
        let mark = start.len() - rest.len();
        inner.consume(mark);
        return Ok(Box::new(inner));
    }
    let mut bytes = Vec::new();
    inner.read_to_end(&mut bytes)?;
    let text = decode(&bytes).map_err(invalid_data)?.into_owned();
    Ok(Box::new(Cursor::new(text.into_bytes())))
}

fn invalid_data(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// The encoding, and the bytes after the mark.
fn encoding_of(bytes: &[u8]) -> Result<(Encoding, &[u8]), String> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Err("it is UTF-32; save it as UTF-8".into()),
        [0xef, 0xbb, 0xbf, rest @ ..] => Ok((Encoding::Utf8, rest)),
        [0xff, 0xfe, rest @ ..] => Ok((Encoding::Utf16LittleEndian, rest)),
        [0xfe, 0xff, rest @ ..] => Ok((Encoding::Utf16BigEndian, rest)),
        // Texts begin with a letter, a digit, a bracket or a blank, each of which has a zero byte in UTF-16.
        &[first, second, ..] if (first == 0) != (second == 0) => {
            Err("it looks like UTF-16 without a byte order mark; save it as UTF-8, or with the mark".into())
        }
        _ => Ok((Encoding::Utf8, bytes)),
    }
}

fn utf8<'a>(bytes: &[u8], rest: &'a [u8]) -> Result<&'a str, String> {
    let mark = bytes.len() - rest.len();
    std::str::from_utf8(rest).map_err(|e| format!("invalid UTF-8 at byte {}", mark + e.valid_up_to()))
}

fn utf16(bytes: &[u8], encoding: Encoding) -> Result<String, String> {
    let units = bytes.chunks_exact(2).map(|pair| match (encoding, pair) {
        (Encoding::Utf16BigEndian, &[high, low]) => u16::from_be_bytes([high, low]),
        (_, pair) => pair.iter().rev().fold(0, |unit, &byte| unit << 8 | u16::from(byte)),
    });
    let text: Option<String> = char::decode_utf16(units).map(Result::ok).collect();
    match text {
        Some(text) if bytes.len().is_multiple_of(2) => Ok(text),
        _ => Err("its byte order mark is that of UTF-16, but the text is damaged; save it as UTF-8".into()),
    }
}

/// What `<?xml version="1.0" encoding="X"?>` says.
fn declared_encoding(bytes: &[u8]) -> Option<&str> {
    let start = bytes.get(..XML_DECLARATION_BYTES).unwrap_or(bytes).strip_prefix(b"<?xml")?;
    let end = start.windows(2).position(|pair| pair == b"?>")?;
    let declaration = std::str::from_utf8(&start[..end]).ok()?;
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split(quote).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{BufReader, Read};

    fn utf16_of(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    /// A text in every form that is taken.
    fn forms(text: &str) -> [Vec<u8>; 4] {
        let marked = format!("\u{feff}{text}");
        [
            text.as_bytes().to_vec(),
            marked.as_bytes().to_vec(),
            utf16_of(&marked, u16::to_le_bytes),
            utf16_of(&marked, u16::to_be_bytes),
        ]
    }

    fn read(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        // A buffer of few bytes: marks and pairs of bytes lie across its ends.
        reader(BufReader::with_capacity(4, bytes))?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn every_form_gives_the_text() {
        for text in ["", "0 .5 .5 .2 .1\r\n", "Straße 東😀\n", "{\"images\": []}"] {
            for bytes in forms(text) {
                assert_eq!(decode(&bytes).unwrap(), text, "{bytes:?}");
                assert_eq!(decode_xml(&bytes).unwrap(), text, "{bytes:?}");
                assert_eq!(read(&bytes).unwrap(), text, "{bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_not_taken_is_named() {
        let bare = [utf16_of("0 .5", u16::to_le_bytes), utf16_of("<annotation>", u16::to_be_bytes)];
        let utf32 = [b"\xff\xfe\0\x000\0\0\0".to_vec(), b"\0\0\xfe\xff\0\0\x000".to_vec()];
        let damaged = [b"\xff\xfe0".to_vec(), b"\xff\xfe\0\xd8\0\xd8".to_vec(), b"\xfe\xff\xdc\0".to_vec()];
        let words = ["UTF-16 without a byte order mark", "UTF-32", "UTF-16, but the text is damaged"];
        for (cases, words) in [&bare[..], &utf32, &damaged].into_iter().zip(words) {
            for bytes in cases {
                for found in [decode(bytes).map(drop), decode_xml(bytes).map(drop), decode_paths(bytes).map(drop)] {
                    assert!(found.as_ref().is_err_and(|e| e.contains(words)), "{bytes:?}: {found:?}");
                }
                assert!(read(bytes).unwrap_err().to_string().contains(words), "{bytes:?}");
            }
        }
        assert_eq!(decode(b"0 .5 \xff").unwrap_err(), "invalid UTF-8 at byte 5");
        assert_eq!(decode(b"\xef\xbb\xbf\xff").unwrap_err(), "invalid UTF-8 at byte 3");
    }

    #[test]
    fn xml_may_declare_another_encoding() {
        let declared = |name: &str, rest: &[u8]| {
            [format!("<?xml version='1.0' encoding = \"{name}\" ?><a>").as_bytes(), rest].concat()
        };
        assert!(decode_xml(&declared("ISO-8859-1", b"caf\xe9")).unwrap().ends_with("café"));
        assert!(decode_xml(&declared("utf-16", "café".as_bytes())).unwrap().ends_with("café"));
        assert!(decode_xml(&declared("GB2312", b"cat")).unwrap().ends_with("cat"), "ASCII is ASCII");
        let refused = decode_xml(&declared("GB2312", b"\xc1\xaa\xcd\xa8")).unwrap_err();
        assert_eq!(refused, "its encoding is \"gb2312\", which is not supported; save it as UTF-8");
        assert!(decode_xml(&declared("utf-8", b"caf\xe9")).unwrap_err().contains("invalid UTF-8 at byte"));
        assert!(decode_xml(b"<a>caf\xe9</a>").unwrap_err().contains("invalid UTF-8 at byte 6"));
    }

    #[test]
    fn lists_are_lines_of_bytes() {
        let text = "./a.jpg\r\n\n \u{feff}b c.jpg\t\r\u{feff}\n\u{feff}d.jpg";
        for bytes in forms(text) {
            let bytes = decode_paths(&bytes).unwrap();
            let found: Vec<_> = lines(&bytes).map(|line| std::str::from_utf8(line).unwrap()).collect();
            assert_eq!(found, ["./a.jpg", "b c.jpg", "d.jpg"]);
        }
        assert!(lines(&decode_paths(b"a\xff.jpg\n").unwrap()).eq([&b"a\xff.jpg"[..]]));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (decode(&bytes), decode_xml(&bytes), decode_paths(&bytes).map(|b| lines(&b).count()), read(&bytes));
        }
    }

    #[test]
    fn rows_end_at_any_line_end() {
        let all = |text| rows(text).collect::<Vec<_>>();
        assert_eq!(all("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
        assert_eq!(all("a\n\nb\r\rc\r\n\r\nd"), ["a", "", "b", "", "c", "", "d"]);
        assert_eq!(all(""), [""]);
    }
}
