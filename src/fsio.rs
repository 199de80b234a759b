//! Atomic writes and locks: the only place that creates or removes files.
