//! The program: everything is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// A scan's worker makes and drops a few thousand small texts for each dump.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kbtriage::cli::main()
}
