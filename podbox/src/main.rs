//! The binary: parses the command line, runs the command, tells an error in one line.

use podbox::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
