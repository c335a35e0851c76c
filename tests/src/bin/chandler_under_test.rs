//! The real program, started by tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::main()
}
