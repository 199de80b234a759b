//! The formulae of the document, computed as they stand there.

/// The value of a formula: numbers (`1,000`, `0.5`), names, `+ - * / ^ < ( )`, `floor(..)` and `ceil(..)`. What stands side by
/// side is multiplied; a comparison that holds is 1.
pub fn value(formula: &str, names: &dyn Fn(&str) -> f64) -> f64 {
    let mut parser = Parser { rest: formula, names };
    let value = parser.comparison();
    assert!(parser.next().is_none(), "{:?} is left of the formula {formula:?}", parser.rest);
    value
}

/// The value of a formula without names.
pub fn number(formula: &str) -> f64 {
    value(formula, &|name| panic!("{formula:?} has the name {name:?}"))
}

struct Parser<'a> {
    rest: &'a str,
    names: &'a dyn Fn(&str) -> f64,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.next() == Some(wanted);
        self.rest = &self.rest[if found { wanted.len_utf8() } else { 0 }..];
        found
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let (word, rest) = self.rest.split_at(self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        word.to_owned()
    }

    fn comparison(&mut self) -> f64 {
        let left = self.sum();
        if self.take('<') { f64::from(u8::from(left < self.sum())) } else { left }
    }

    fn sum(&mut self) -> f64 {
        let mut value = self.product();
        loop {
            if self.take('+') {
                value += self.product();
            } else if self.take('-') {
                value -= self.product();
            } else {
                return value;
            }
        }
    }

    fn product(&mut self) -> f64 {
        let mut value = self.power();
        loop {
            if self.take('*') {
                value *= self.power();
            } else if self.take('/') {
                value /= self.power();
            } else if self.next().is_some_and(|c| c == '(' || c.is_alphanumeric()) {
                value *= self.power();
            } else {
                return value;
            }
        }
    }

    fn power(&mut self) -> f64 {
        let value = self.atom();
        if self.take('^') { value.powf(self.atom()) } else { value }
    }

    fn atom(&mut self) -> f64 {
        if self.take('-') {
            return -self.atom();
        }
        if self.take('(') {
            let value = self.comparison();
            assert!(self.take(')'), "a bracket stays open before {:?}", self.rest);
            return value;
        }
        if self.next().is_some_and(|c| c.is_ascii_digit()) {
            return self.word(|c| c.is_ascii_digit() || c == '.' || c == ',').replace(',', "").parse().unwrap();
        }
        match self.word(|c| c.is_alphanumeric() || c == '_').as_str() {
            "floor" => self.atom().floor(),
            "ceil" => self.atom().ceil(),
            "" => panic!("no value begins at {:?}", self.rest),
            name => (self.names)(name),
        }
    }
}

#[test]
fn formulae_have_their_values() {
    let names = |name: &str| if name == "s6" { 3.0 } else { panic!("{name}") };
    for (formula, expected) in [
        ("1/16", 0.0625),
        ("2^31 - 1", 2_147_483_647.0),
        ("1,000", 1000.0),
        ("-24", -24.0),
        ("1 + 0.5 * s6", 2.5),
        ("2s6 - 1", 5.0),
        ("floor(7 (s6 - 1) / 4)", 3.0),
        ("ceil(s6 / 2)", 2.0),
        ("s6 < 0.5", 0.0),
        ("0.5 < s6", 1.0),
        ("10 - 4 - 3", 3.0),
        ("8 / 4 / 2", 1.0),
    ] {
        assert_eq!(value(formula, &names), expected, "{formula}");
    }
}
