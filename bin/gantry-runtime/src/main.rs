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
mod bundle;
mod commands;
mod console;
mod log;
mod signal;
mod state;

use std::process::ExitCode;

fn main() -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    let invocation = match args::parse(std::env::args().skip(1), environment) {
        Ok(invocation) => invocation,
        Err((global, text)) => {
            log::failure(&global, &text);
            return ExitCode::FAILURE;
        }
    };
    match commands::run(&invocation) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log::failure(&invocation.global, &commands::explain(&invocation.command, &error));
            ExitCode::from(commands::failure_code(&invocation.command))
        }
    }
}
