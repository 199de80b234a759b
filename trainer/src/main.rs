//! The `logitcache-train` executable, which `logitcache train` and `logitcache export` hand over to.

use std::process::ExitCode;

fn main() -> ExitCode {
    logitcache_train::cli::main()
}
