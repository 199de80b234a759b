//! The metadata an Ultralytics export carries: strings printed by Python, read without evaluating anything.

use super::proto::ModelProto;

/// What the export says about itself; every field may be missing.
#[derive(Debug, Default, Clone, PartialEq)]
pub(in crate::detector) struct Metadata {
    /// `detect`, `segment`, `classify`, `pose`, `obb`.
    pub task: Option<String>,
    /// Class name of the head, e.g. `Detect` (newer exports).
    pub head: Option<String>,
    /// The coarsest stride.
    pub stride: Option<u32>,
    /// Whether NMS was exported with the model.
    pub nms: bool,
    /// Class names in the order of the class ids. `Err` says what is wrong with the text.
    pub names: Option<Result<Vec<String>, String>>,
}

impl Metadata {
    pub fn read(model: &ModelProto) -> Self {
        let value = |key: &str| model.metadata_props.iter().find(|entry| entry.key() == key).map(|entry| entry.value());
        Self {
            task: value("task").map(str::to_owned),
            head: value("head").map(str::to_owned),
            stride: value("stride").and_then(|text| text.trim().parse().ok()),
            nms: value("args").is_some_and(|text| text.contains("'nms': True")),
            names: value("names").map(parse_names),
        }
    }
}

/// Class names from Python's print of a dict `{0: 'person', 1: "driver's seat"}` or a list `['a', 'b']`.
///
/// # Errors
/// Says at which character the text is not such a literal, or which class id is missing or given twice.
pub(in crate::detector) fn parse_names(text: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader { text, at: 0 };
    let dict = reader.eat('{');
    if !dict && !reader.eat('[') {
        return Err(format!("expected {{ or [ at the beginning of {:?}", shorten(text)));
    }
    let close = if dict { '}' } else { ']' };
    let mut names: Vec<Option<String>> = Vec::new();
    while !reader.eat(close) {
        let id = if dict { reader.key()? } else { names.len() };
        let name = reader.string()?;
        // Ids come in any order, but none may lie beyond what the text could possibly list.
        if id > text.len() {
            return Err(format!("class id {id} without the ids before it"));
        }
        if names.len() <= id {
            names.resize(id + 1, None);
        }
        match names.get_mut(id) {
            Some(slot @ None) => *slot = Some(name),
            _ => return Err(format!("class id {id} is given twice")),
        }
        if !reader.eat(',') && reader.peek() != Some(close) {
            return Err(reader.expected(", or the closing bracket"));
        }
    }
    if reader.peek().is_some() {
        return Err(reader.expected("the end"));
    }
    names.into_iter().enumerate().map(|(id, name)| name.ok_or_else(|| format!("class id {id} has no name"))).collect()
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// The next character that is not white space, left in place.
    fn peek(&mut self) -> Option<char> {
        self.at += self.rest().len() - self.rest().trim_start().len();
        self.rest().chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn expected(&self, what: &str) -> String {
        format!("expected {what} at byte {} of the names, before {:?}", self.at, shorten(self.rest()))
    }

    /// `3:` or `'3':`
    fn key(&mut self) -> Result<usize, String> {
        let quoted = matches!(self.peek(), Some('\'' | '"'));
        let digits = if quoted {
            self.string()?
        } else {
            let digits: String = self.rest().chars().take_while(char::is_ascii_digit).collect();
            self.at += digits.len();
            digits
        };
        let id = digits.parse().map_err(|_| self.expected("a class id"))?;
        if self.eat(':') { Ok(id) } else { Err(self.expected(":")) }
    }

    /// A Python string literal as `repr` prints it.
    fn string(&mut self) -> Result<String, String> {
        let Some(quote @ ('\'' | '"')) = self.peek() else { return Err(self.expected("a quoted name")) };
        self.eat(quote);
        let mut value = String::new();
        loop {
            match self.next().ok_or_else(|| self.expected("the closing quote"))? {
                c if c == quote => return Ok(value),
                '\\' => match self.next().ok_or_else(|| self.expected("an escaped character"))? {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'r' => value.push('\r'),
                    'x' => value.push(self.code(2)?),
                    'u' => value.push(self.code(4)?),
                    'U' => value.push(self.code(8)?),
                    c @ ('\\' | '\'' | '"') => value.push(c),
                    _ => return Err(self.expected("a known escape")),
                },
                c => value.push(c),
            }
        }
    }

    fn code(&mut self, digits: usize) -> Result<char, String> {
        let code = self.rest().get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        let code = code.ok_or_else(|| self.expected("a character code"))?;
        self.at += digits;
        Ok(code)
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse_names;

    #[test]
    fn python_prints_are_read() {
        let read = |text| parse_names(text).unwrap();
        assert_eq!(read("{0: 'person', 1: 'traffic light'}"), ["person", "traffic light"]);
        assert_eq!(read(r#"{0: "driver's seat", 1: 'say "cheese"'}"#), ["driver's seat", "say \"cheese\""]);
        assert_eq!(
            read(r#"{0: 'a\\b', 1: 'both \' and \"', 2: '\xe9\u6771\U0001f600\n'}"#),
            ["a\\b", "both ' and \"", "é東😀\n"]
        );
        assert_eq!(read("{1: 'b', 0: 'a, b: {c}',}"), ["a, b: {c}", "b"]);
        assert_eq!(read("['x', 'y']"), ["x", "y"]);
        assert_eq!(read("{'0': 'x'}"), ["x"]);
        assert!(read("{}").is_empty());
    }

    #[test]
    fn wrong_texts_say_where() {
        for (text, says) in [
            ("", "beginning"),
            ("person", "beginning"),
            ("{0: 'a'", "closing bracket"),
            ("{0: 'a", "closing quote"),
            ("{0: 'a'} x", "the end"),
            ("{0 'a'}", "expected :"),
            ("{0: a}", "quoted name"),
            ("{x: 'a'}", "class id"),
            ("{0: 'a', 0: 'b'}", "class id 0 is given twice"),
            ("{0: 'a', 2: 'b'}", "class id 1 has no name"),
            ("{99999999999: 'a'}", "without the ids before it"),
            (r"{0: '\q'}", "known escape"),
            (r"{0: '\ud800'}", "character code"),
        ] {
            let error = parse_names(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC*", tail in "[{}\\[\\]0-9:,'\"\\\\xuU ]{0,40}") {
            let _ = parse_names(&text);
            let _ = parse_names(&tail);
            let _ = parse_names(&format!("{{0: '{text}{tail}"));
        }

        #[test]
        fn what_python_prints_comes_back(names in proptest::collection::vec("[^\\\\'\\p{C}]{0,12}", 0..6)) {
            let text = names.iter().enumerate().map(|(id, name)| format!("{id}: '{name}'")).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(parse_names(&format!("{{{text}}}")).unwrap(), names);
        }
    }
}
