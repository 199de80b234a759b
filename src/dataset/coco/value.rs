//! Values of a COCO file as converters and data frames write them: `7`, `7.0` and `"7"` are the same, and what cannot be meant is
//! told in words that follow the field's name.

use serde_json::Value;
use std::fmt;

/// Whole numbers up to this are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Most characters of a value that a message shows.
const SHOWN: usize = 24;

/// An id. Those that are whole numbers come first, in their order; words follow by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Id {
    /// `7`, `7.0`, `"7"` or `"000007"`.
    Number(i64),
    /// Any other text.
    Text(Box<str>),
}

impl Id {
    /// An id, `None` for `null` or nothing at all.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn of(value: &Value) -> Result<Option<Self>, String> {
        let expected = || Err(format!("is {}; a whole number or a string is needed", shown(value)));
        match value {
            Value::Null => Ok(None),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Ok(Some(Self::Number(whole))),
                (None, Some(float)) if float.fract() == 0.0 && float.abs() <= EXACT => {
                    Ok(Some(Self::Number(float as i64)))
                }
                // Above what fits: as the text of the same digits, which the other lists may have as well.
                _ if number.is_u64() => Ok(Some(Self::Text(number.to_string().into()))),
                (_, Some(float)) if float.fract() == 0.0 => {
                    Err(format!("is {}, too large to be exact; write it as a string", shown(value)))
                }
                _ => expected(),
            },
            Value::String(text) if !is_no_number(text) => Ok(Some(Self::of_text(text.trim()))),
            _ => expected(),
        }
    }

    fn of_text(text: &str) -> Self {
        // `7.0`, as data frames print a column of ids with a gap.
        let digits = text.split_once('.').filter(|(_, zeros)| !zeros.is_empty() && zeros.bytes().all(|b| b == b'0'));
        let digits = digits.map_or(text, |(digits, _)| digits);
        let whole = digits.parse().ok().filter(|_| !digits.starts_with('+'));
        whole.map_or_else(|| Self::Text(text.into()), Self::Number)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(&quoted(text)),
        }
    }
}

/// A number, `None` for `null` or nothing at all.
///
/// # Errors
/// What it is instead.
pub(super) fn number(value: &Value) -> Result<Option<f64>, String> {
    let found = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let found = found.filter(|number: &f64| number.is_finite());
    found.map(Some).ok_or_else(|| format!("is {}; a number is needed", shown(value)))
}

/// A side of a picture in pixels, `None` where it is not given (some write 0).
///
/// # Errors
/// What it is instead.
pub(super) fn side(value: &Value) -> Result<Option<u32>, String> {
    match number(value)? {
        None => Ok(None),
        Some(side) if side.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&side) => {
            Ok(Some(side as u32).filter(|&side| side > 0))
        }
        Some(_) => Err(format!("is {}; a whole number of pixels is needed", shown(value))),
    }
}

/// `0`, `1`, `false`, `true` and `null` all occur.
///
/// # Errors
/// What it is instead.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(set) => Ok(*set),
        Value::String(text) if text == "false" => Ok(false),
        Value::String(text) if text == "true" => Ok(true),
        other => match number(other) {
            Ok(number) => Ok(number.is_some_and(|number| number != 0.0)),
            Err(_) => Err(format!("is {}; 0 or 1 is needed", shown(value))),
        },
    }
}

/// A text.
///
/// # Errors
/// What it is instead.
pub(super) fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) if !is_no_number(&text) => Ok(text),
        Value::Null => Err("is missing or null".into()),
        other => Err(format!("is {}; a string is needed", shown(&other))),
    }
}

/// Left, top, right, bottom of a `bbox`.
///
/// # Errors
/// What it is instead, in words that say `bbox` themselves.
pub(super) fn corners(bbox: &Value) -> Result<[f64; 4], String> {
    let numbers = match bbox {
        Value::Null => return Err("bbox is missing or null".into()),
        Value::Array(numbers) => numbers,
        other => return Err(format!("bbox is {} instead of x, y, width, height", shown(other))),
    };
    let [x, y, w, h] = numbers.as_slice() else {
        return Err(format!("bbox has {} numbers instead of x, y, width, height", numbers.len()));
    };
    let side = |value: &Value| {
        let found = number(value).ok().flatten();
        found.ok_or_else(|| format!("bbox has {} where a number is needed", shown(value)))
    };
    let [x, y, w, h] = [side(x)?, side(y)?, side(w)?, side(h)?];
    if w < 0.0 || h < 0.0 {
        return Err(format!("bbox has the width {w} and the height {h}"));
    }
    Ok([x, y, x + w, y + h])
}

/// Whether a list holds what is no number.
pub(super) fn has_no_number(values: &Value) -> bool {
    let is_no_number = |value: &Value| value.as_str().is_some_and(is_no_number);
    values.as_array().is_some_and(|values| values.iter().any(is_no_number))
}

/// Whether it is what [`super::non_finite`] put in quotes.
fn is_no_number(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity" | "nan" | "-nan" | "inf" | "-inf")
}

/// A value as a message shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if is_no_number(text) => text.clone(),
        Value::String(text) => format!("the string {}", quoted(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut start: String = text.chars().take(SHOWN).collect();
    if start.len() < text.len() {
        start.push_str("...");
    }
    format!("{start:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn id(value: Value) -> Id {
        Id::of(&value).unwrap().unwrap()
    }

    #[test]
    fn ids_that_mean_the_same_are_the_same() {
        for value in [json!(7), json!(7.0), json!("7"), json!("000000000007"), json!("7.0"), json!(" 7 ")] {
            assert_eq!(id(value), Id::Number(7));
        }
        for text in ["1e3", "0x10", "box/001", "+7", "7.5", "7.", "", "12a", "7.0.0"] {
            assert_eq!(id(json!(text)), Id::Text(text.into()));
        }
        assert_eq!(id(json!(u64::MAX)), id(json!(u64::MAX.to_string())));
        assert_eq!(Id::of(&Value::Null), Ok(None));
    }

    #[test]
    fn numbers_come_before_words_and_two_before_ten() {
        let mut ids = [json!("b"), json!("10"), json!(2), json!("a"), json!("-1")].map(id);
        ids.sort();
        assert_eq!(ids.map(|id| id.to_string()), ["-1", "2", "10", "\"a\"", "\"b\""]);
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for (value, words) in [
            (json!(7.5), "is 7.5; a whole number or a string is needed"),
            (json!("NaN"), "is NaN; a whole number or a string is needed"),
            (json!(true), "is true; a whole"),
            (json!([1]), "is a list; a whole"),
            (json!({"a": 1}), "is an object; a whole"),
            (json!(1e20), "is 1e+20, too large to be exact; write it as a string"),
        ] {
            let reason = Id::of(&value).unwrap_err();
            assert!(reason.contains(words), "{value}: {reason}");
        }
        assert_eq!(number(&json!("many")).unwrap_err(), "is the string \"many\"; a number is needed");
        assert_eq!(number(&json!("-Infinity")).unwrap_err(), "is -Infinity; a number is needed");
        assert_eq!(side(&json!(120.5)).unwrap_err(), "is 120.5; a whole number of pixels is needed");
        assert_eq!(side(&json!(-1)).unwrap_err(), "is -1; a whole number of pixels is needed");
        assert_eq!(flag(&json!("no")).unwrap_err(), "is the string \"no\"; 0 or 1 is needed");
        assert_eq!(text(json!(5)).unwrap_err(), "is 5; a string is needed");
        assert_eq!(text(json!("NaN")).unwrap_err(), "is NaN; a string is needed");
        assert!(text(json!("x".repeat(10_000))).is_ok());
        assert!(number(&json!("x".repeat(10_000))).unwrap_err().len() < 100, "a message stays short");
    }

    #[test]
    fn numbers_sides_and_flags_in_every_form() {
        for value in [json!(132), json!(132.0), json!("132"), json!("132.0")] {
            assert_eq!((number(&value), side(&value)), (Ok(Some(132.0)), Ok(Some(132))), "{value}");
        }
        assert_eq!([side(&json!(0)), side(&Value::Null)], [Ok(None), Ok(None)]);
        assert!([json!(1), json!(1.0), json!(true), json!("1"), json!("true")].iter().all(|v| flag(v) == Ok(true)));
        assert!([json!(0), json!(0.0), json!(false), json!("0"), Value::Null].iter().all(|v| flag(v) == Ok(false)));
    }

    #[test]
    fn boxes() {
        assert_eq!(corners(&json!(["1", 2, 3.5, "4"])), Ok([1.0, 2.0, 4.5, 6.0]));
        for (bbox, words) in [
            (json!([1, 2, 3]), "bbox has 3 numbers instead of"),
            (json!([1, 2, -3, 4]), "bbox has the width -3 and the height 4"),
            (json!([1, "NaN", 3, 4]), "bbox has NaN where a number is needed"),
            (json!([1, 2, 3, null]), "bbox has null where a number is needed"),
            (json!([1, 2, 3, "x"]), "bbox has the string \"x\" where"),
            (json!("[1, 2, 3, 4]"), "bbox is the string \"[1, 2, 3, 4]\" instead of"),
            (Value::Null, "bbox is missing or null"),
        ] {
            assert!(corners(&bbox).unwrap_err().contains(words), "{bbox}");
        }
    }
}
