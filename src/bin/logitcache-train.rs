//! The `logitcache-train` executable: `logitcache train` and `logitcache export`, which need libtorch.

use std::process::ExitCode;

fn main() -> ExitCode {
    logitcache::cli::trainer_main()
}
