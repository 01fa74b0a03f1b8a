//! The `guildhall` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    guildhall::commands::run(std::env::args_os())
}
