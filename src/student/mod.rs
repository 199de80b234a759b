//! The student: YOLOv8 in libtorch, its weights in and out.

pub mod native;
