//! The families of students: a folder each, and a variant of [`StudentModel`].

pub mod yolov8;

use super::{net::StudentNet, weights::Refusal, weights::entries::Entries};
use std::{fmt, str::FromStr};
use yolov8::Scale;

/// A student by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StudentModel {
    /// `yolov8n` and its sizes.
    YoloV8(Scale),
}

impl StudentModel {
    /// All names, for messages.
    pub fn names() -> String {
        Scale::ALL.map(Scale::as_str).join(", ")
    }

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::YoloV8(scale) => scale.as_str(),
        }
    }

    /// Its network for so many classes.
    pub fn net(self, num_classes: usize) -> StudentNet {
        match self {
            Self::YoloV8(scale) => yolov8::net(scale, num_classes),
        }
    }

    /// The network whose tensors a weights file holds, by their names and shapes.
    pub(super) fn of_weights(entries: &Entries<'_>) -> Result<StudentNet, Refusal> {
        yolov8::of_weights(entries)
    }
}

impl fmt::Display for StudentModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StudentModel {
    type Err = String;

    /// Reads a name, in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        let scale = Scale::ALL.into_iter().find(|scale| scale.as_str().eq_ignore_ascii_case(text));
        scale.map(Self::YoloV8).ok_or_else(|| format!("{text:?} is not one of {}", Self::names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for scale in Scale::ALL {
            let model = StudentModel::YoloV8(scale);
            assert_eq!(model.to_string().parse(), Ok(model));
        }
        assert_eq!("YOLOv8N".parse(), Ok(StudentModel::YoloV8(Scale::N)));
        assert!("yolov8".parse::<StudentModel>().unwrap_err().contains("yolov8x"));
    }
}
