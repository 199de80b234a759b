//! The teacher that comes with the program.

/// An ONNX export of a `yolov8p` that knows the shapes of `synth`, for `logitcache demo`. `assets/README.md` says how it was made
/// and how good it is.
pub const EMBEDDED: &[u8] = include_bytes!("../../assets/teacher.onnx");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dataset::synth::ShapeClass,
        detector::{Detector, DetectorOptions},
        types::Store,
    };

    #[test]
    fn it_is_the_one_described_and_knows_the_shapes() {
        let options = DetectorOptions { imgsz: None, store: Store::All, names: None, ..DetectorOptions::default() };
        let teacher = Detector::from_bytes("teacher.onnx", EMBEDDED.to_vec(), &options).unwrap();
        let digest: String = teacher.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let readme = include_str!("../../assets/README.md");
        assert!(readme.contains(&digest), "assets/README.md does not name the digest {digest}");
        assert_eq!(teacher.class_names, ShapeClass::ALL.map(ShapeClass::name));
        assert_eq!((teacher.input.height, teacher.input.width), (160, 160));
        assert!((1_000_000..3_000_000).contains(&EMBEDDED.len()), "{} bytes", EMBEDDED.len());
    }
}
