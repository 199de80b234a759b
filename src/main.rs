//! The `logitcache` executable: parse, run, print the error, choose the exit code.

fn main() {}
