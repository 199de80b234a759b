//! The frozen teacher: ONNX graph editing, ONNX Runtime sessions, head decoding, selection of anchors.
