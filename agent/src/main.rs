//! The `edgeward` binary: arguments in, exit code out; everything else is the library's.

use std::process::ExitCode;

/// The gateway allocates a few small things for every request, and idle connections give back what they had.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    edgeward::cli::main()
}
