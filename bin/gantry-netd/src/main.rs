//! Names, redirects and the firewall's watch for all containers of a daemon. Started by the daemon; see `crates/netd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match netd::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "standard error is the helper's log")]
            {
                eprintln!("gantry-netd: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
