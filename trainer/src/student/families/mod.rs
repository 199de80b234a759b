//! The families of students: a folder each, and a variant of [`StudentModel`].

mod blocks;
mod trunk;
mod weights;
pub mod yolo11;
pub mod yolo26;
pub mod yolov8;

use super::{net::StudentNet, weights::Refusal, weights::entries::Entries};
use std::{fmt, str::FromStr};

/// A student by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StudentModel {
    /// `yolov8n` and its sizes.
    YoloV8(yolov8::Scale),
    /// `yolo11n` and its sizes.
    Yolo11(yolo11::Scale),
    /// `yolo26n` and its sizes.
    Yolo26(yolo26::Scale),
}

impl StudentModel {
    /// All of them, family by family, smallest first.
    pub fn all() -> impl Iterator<Item = Self> {
        let yolov8 = yolov8::Scale::ALL.into_iter().map(Self::YoloV8);
        let yolo11 = yolo11::Scale::ALL.into_iter().map(Self::Yolo11);
        yolov8.chain(yolo11).chain(yolo26::Scale::ALL.into_iter().map(Self::Yolo26))
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::all().map(Self::as_str).collect::<Vec<_>>().join(", ")
    }

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::YoloV8(scale) => scale.as_str(),
            Self::Yolo11(scale) => yolo11::name(scale),
            Self::Yolo26(scale) => yolo26::name(scale),
        }
    }

    /// Its network for so many classes.
    pub fn net(self, num_classes: usize) -> StudentNet {
        match self {
            Self::YoloV8(scale) => yolov8::net(scale, num_classes),
            Self::Yolo11(scale) => yolo11::net(scale, num_classes),
            Self::Yolo26(scale) => yolo26::net(scale, num_classes),
        }
    }

    /// The network whose tensors a weights file holds, by their names and shapes.
    pub(super) fn of_weights(entries: &Entries<'_>) -> Result<StudentNet, Refusal> {
        let later = yolo26::of_weights(entries).or_else(|| yolo11::of_weights(entries));
        later.unwrap_or_else(|| yolov8::of_weights(entries))
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
        let model = Self::all().find(|model| model.as_str().eq_ignore_ascii_case(text));
        model.ok_or_else(|| format!("{text:?} is not one of {}", Self::names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for model in StudentModel::all() {
            assert_eq!(model.to_string().parse(), Ok(model));
        }
        assert_eq!("YOLOv8N".parse(), Ok(StudentModel::YoloV8(yolov8::Scale::N)));
        assert!("yolov8".parse::<StudentModel>().unwrap_err().contains("yolov8x"));
    }
}
