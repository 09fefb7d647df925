//! The OCI runtime behind runc's command line.
//!
//! `create` ends while the container waits, so the container waits at a socket in its state directory:
//!
//! ```text
//! ROOT/<id>/
//! ├── state.json   who the container is: pid, its start time, bundle, cgroup
//! └── start.sock   where it waits for `start`; removed by it
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program's own output")]

mod args;
mod commands;
mod console;
mod log;
mod signal;
mod state;

use std::process::ExitCode;

fn main() -> ExitCode {
    let invocation = match args::parse(std::env::args().skip(1)) {
        Ok(invocation) => invocation,
        Err(text) => {
            eprintln!("gantry-runtime: {text}");
            return ExitCode::FAILURE;
        }
    };
    match commands::run(&invocation) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log::failure(&invocation.global, &error.to_string());
            ExitCode::FAILURE
        }
    }
}
