//! Things a user should be told about a data set, each as one bounded line.

use std::fmt::Display;

/// How many cases a note spells out.
const SHOWN: usize = 3;

/// Cases of one kind: counted, the first few kept.
pub(super) struct Note {
    one: &'static str,
    many: &'static str,
    count: usize,
    first: Vec<String>,
}

impl Note {
    /// A kind of note, as the words that follow the count: `("image is listed twice", "images are listed twice")`.
    pub(super) fn new(one: &'static str, many: &'static str) -> Self {
        Self { one, many, count: 0, first: Vec::new() }
    }

    /// Counts one case.
    pub(super) fn add(&mut self, case: impl Display) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(case.to_string());
        }
    }

    /// Appends the line, if there was any case.
    pub(super) fn finish(self, notes: &mut Vec<String>) {
        if self.count == 0 {
            return;
        }
        let words = if self.count == 1 { self.one } else { self.many };
        let more = if self.count > self.first.len() { ", ..." } else { "" };
        notes.push(format!("{} {words}: {}{more}", self.count, self.first.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_counted() {
        let line = |n: usize| {
            let mut note = Note::new("cat", "cats");
            (0..n).for_each(|i| note.add(i));
            let mut notes = Vec::new();
            note.finish(&mut notes);
            notes
        };
        assert_eq!(line(0), Vec::<String>::new());
        assert_eq!(line(1), ["1 cat: 0"]);
        assert_eq!(line(3), ["3 cats: 0, 1, 2"]);
        assert_eq!(line(1000), ["1000 cats: 0, 1, 2, ..."]);
    }
}
