//! `NaN` and `Infinity` in JSON: no JSON, but what Python's `json` writes. Put in quotes on the way to the parser, they become
//! values of their fields like any other text, so that what is wrong can be told by entry and field.

use std::io::{self, BufRead, Read};

/// Where in the text the reader is.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Outside of strings.
    Plain,
    /// In a string.
    Text,
    /// In a string, after a backslash.
    Escape,
    /// After a `-`, an `n` or both, which are kept back: they may belong to a number or to `null`.
    Held { minus: bool, n: bool },
    /// In a word that was put in quotes.
    Word,
}

/// A reader that puts `NaN`, `Infinity`, `-Infinity` and what C prints for them (`nan`, `-inf`) in quotes.
pub(super) struct Quoted<R> {
    inner: R,
    state: State,
    ready: Vec<u8>,
    /// How much of `ready` was handed out.
    at: usize,
}

impl<R: BufRead> Quoted<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, state: State::Plain, ready: Vec::new(), at: 0 }
    }

    /// Takes in the next stretch; at the end of the file nothing is left in `ready`.
    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.at = 0;
        while self.ready.is_empty() {
            let chunk = self.inner.fill_buf()?;
            if chunk.is_empty() {
                match std::mem::replace(&mut self.state, State::Plain) {
                    State::Held { minus, n } => hold(minus, n, &mut self.ready),
                    State::Word => self.ready.push(b'"'),
                    _ => {}
                }
                return Ok(());
            }
            let (mut rest, len) = (chunk, chunk.len());
            while !rest.is_empty() {
                let taken = step(&mut self.state, rest, &mut self.ready);
                rest = rest.get(taken..).unwrap_or_default();
            }
            self.inner.consume(len);
        }
        Ok(())
    }
}

/// Copies from `rest` up to where the state changes; gives how much was taken.
fn step(state: &mut State, rest: &[u8], ready: &mut Vec<u8>) -> usize {
    let up_to = |is_end: fn(u8) -> bool| rest.iter().position(|&byte| is_end(byte)).unwrap_or(rest.len());
    let first = rest.first().copied().unwrap_or_default();
    match *state {
        State::Plain => {
            let end = up_to(|byte| matches!(byte, b'"' | b'-' | b'n' | b'N' | b'i' | b'I'));
            ready.extend_from_slice(&rest[..end]);
            *state = match rest.get(end) {
                None => return end,
                Some(b'"') => State::Text,
                Some(b'-') => State::Held { minus: true, n: false },
                Some(b'n') => State::Held { minus: false, n: true },
                Some(_) => {
                    ready.push(b'"');
                    *state = State::Word;
                    return end;
                }
            };
            if matches!(*state, State::Text) {
                ready.push(b'"');
            }
            end + 1
        }
        State::Text => {
            let end = up_to(|byte| matches!(byte, b'"' | b'\\'));
            let taken = (end + 1).min(rest.len());
            ready.extend_from_slice(&rest[..taken]);
            match rest.get(end) {
                None => {}
                Some(b'"') => *state = State::Plain,
                Some(_) => *state = State::Escape,
            }
            taken
        }
        State::Escape => {
            ready.push(first);
            *state = State::Text;
            1
        }
        State::Held { minus, n: false } if first == b'n' => {
            *state = State::Held { minus, n: true };
            1
        }
        State::Held { minus, n } => {
            let is_word = if n { minus || first != b'u' } else { matches!(first, b'N' | b'i' | b'I') };
            if is_word {
                ready.push(b'"');
            }
            hold(minus, n, ready);
            *state = if is_word { State::Word } else { State::Plain };
            0
        }
        State::Word => {
            let end = up_to(|byte| !byte.is_ascii_alphanumeric());
            ready.extend_from_slice(&rest[..end]);
            if end < rest.len() {
                ready.push(b'"');
                *state = State::Plain;
            }
            end
        }
    }
}

/// What was kept back.
fn hold(minus: bool, n: bool, ready: &mut Vec<u8>) {
    ready.extend(minus.then_some(b'-'));
    ready.extend(n.then_some(b'n'));
}

impl<R: BufRead> Read for Quoted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let taken = self.fill_buf()?.read(out)?;
        self.consume(taken);
        Ok(taken)
    }
}

impl<R: BufRead> BufRead for Quoted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.ready.len() {
            self.fill()?;
        }
        Ok(self.ready.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;

    fn quoted(text: &str, chunk: usize) -> String {
        let mut out = String::new();
        Quoted::new(BufReader::with_capacity(chunk, text.as_bytes())).read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn words_that_are_no_numbers_are_quoted() {
        for (text, expected) in [
            (r#"{"a": NaN, "b": [-Infinity,Infinity]}"#, r#"{"a": "NaN", "b": ["-Infinity","Infinity"]}"#),
            (r#"[nan, -nan, inf, -inf]"#, r#"["nan", "-nan", "inf", "-inf"]"#),
            (r#"[null,-1,-0.5e-3,true,false,1e-5]"#, r#"[null,-1,-0.5e-3,true,false,1e-5]"#),
            (r#"{"NaN": "-Infinity \" NaN \\", "x": NaN}"#, r#"{"NaN": "-Infinity \" NaN \\", "x": "NaN"}"#),
            ("NaN", "\"NaN\""),
            ("-", "-"),
            ("n", "n"),
            ("--n-", "-\"-n\"-"),
            ("", ""),
        ] {
            for chunk in [1, 2, 3, 100] {
                assert_eq!(quoted(text, chunk), expected, "in chunks of {chunk}");
            }
        }
    }

    proptest! {
        #[test]
        fn json_stays_as_it_is(text in "[-0-9.eE,:{}\\[\\] tfusrla]{0,20}", word in "(\\PC|[\"\\\\]){0,12}", chunk in 1usize..9) {
            let text = format!("{text}[{},null]", serde_json::to_string(&word).unwrap());
            prop_assert_eq!(quoted(&text, chunk), text);
        }

        #[test]
        fn nothing_panics_or_hangs(text in "(\\PC|[-nNiIu\"\\\\]){0,40}", chunk in 1usize..9) {
            let one = quoted(&text, chunk);
            prop_assert_eq!(one, quoted(&text, 1000));
        }
    }
}
