//! Times another program, from starting it to having reaped it, as the floor times itself.
//!
//! ```text
//! floor-time ROUNDS PROGRAM [ARGUMENT…]
//! ```
//!
//! Runs the program so many times, one after the other and with the floor's rest between, and prints one number a round:
//! microseconds. Whoever starts it decides in which namespaces, so that getting there is not measured.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]
#![expect(
    clippy::disallowed_methods,
    reason = "a program is what is measured, and a rest what is wanted"
)]

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What the kernel still does for the last container would be the next round's.
const REST: Duration = Duration::from_millis(30);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("floor-time: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let rounds: u32 = args.next().ok_or("no number of rounds")?.to_string_lossy().parse()?;
    let program = args.next().ok_or("no program")?;
    let mut command = Command::new(&program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    for _ in 0..rounds {
        let start = Instant::now();
        let status = command.status()?;
        let took = start.elapsed();
        if !status.success() {
            return Err(format!("{}: {status}", program.display()).into());
        }
        println!("{}", took.as_micros());
        std::thread::sleep(REST);
    }
    Ok(())
}
