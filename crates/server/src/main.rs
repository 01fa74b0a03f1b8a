//! The `guildhall` program.

use std::process::ExitCode;

/// Quicker at many small allocations than the system's: see bench/.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    guildhall::commands::run(std::env::args_os())
}
