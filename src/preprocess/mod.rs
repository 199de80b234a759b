//! Pictures into model input: decoding, letterbox and its inverse.
