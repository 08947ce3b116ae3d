//! See the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    shm_comm_cli::main(std::env::args_os())
}
