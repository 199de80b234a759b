//! Data sets of several formats as one ordered, deterministic list of samples, and the drawing of synthetic ones.
