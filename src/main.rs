//! The command line: arguments → configuration → app → exit code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sudare::cli::run(std::env::args_os())
}
