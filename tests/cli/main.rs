//! Process-level tests: exit status, output, and what is on disk afterwards.

mod determinism;
mod failures;
mod interruption;
mod refusals;
mod support;
