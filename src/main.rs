//! The `logitcache` executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    logitcache::cli::main()
}
