//! The daemon: read configuration, choose implementations, recover, serve, drain.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a daemon that cannot start says so on its terminal"
)]

mod config;
mod defaults;
mod drivers;
mod dump;
mod flags;
mod given;
mod log;
mod networks;
mod options;
mod pidfile;
mod run;
mod runtimes;
mod traces;
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(e) = stdx::failpoint::arm_from_env() {
        eprintln!("gantryd: {e}");
        return ExitCode::from(1);
    }
    let config = match flags::parse(std::env::args_os()) {
        Ok(flags::Parsed::Run(config)) => config,
        Ok(flags::Parsed::Say(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Ok(flags::Parsed::Valid) => {
            eprintln!("configuration OK");
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(1);
        }
    };
    match run::run(*config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("failed to start daemon: {e}");
            ExitCode::from(1)
        }
    }
}
