//! A container's supervisor. Started by the daemon, with a socket as standard input; see `crates/shim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match shim::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "standard error is the daemon's log")]
            {
                eprintln!("gantry-shim: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
