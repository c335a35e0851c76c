//! The one binary, `chandler`.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::main()
}
