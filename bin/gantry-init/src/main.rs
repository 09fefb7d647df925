//! PID 1 for `--init`; started as `/hello` it greets.
//!
//! As the first process of a pid namespace it does what the kernel expects of one and ordinary programs do not do: it
//! passes on signals, which a first process would otherwise ignore, and it reaps whatever is orphaned to it. It ends
//! with its child, and then the kernel ends the rest.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the program's own output")]

mod hello;
mod supervise;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let own_name = arguments.next().unwrap_or_default();
    if own_name.as_bytes().ends_with(b"hello") {
        return hello::greet();
    }
    let command = match command(arguments) {
        Command::Run(command) => command,
        Command::Version => {
            println!("gantry-init version {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Command::Usage => {
            eprintln!("usage: gantry-init [--] PROGRAM [ARGUMENT...]");
            return ExitCode::from(2);
        }
    };
    match supervise::supervise(&command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("gantry-init: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Run(Vec<OsString>),
    Version,
    Usage,
}

/// Everything after `--`, or everything when there is none.
fn command(arguments: impl Iterator<Item = OsString>) -> Command {
    let mut command: Vec<OsString> = arguments.collect();
    match command.first().and_then(|first| first.to_str()) {
        Some("--version") => return Command::Version,
        Some("--") => {
            command.remove(0);
        }
        Some(option) if option.starts_with('-') => return Command::Usage,
        _ => {}
    }
    if command.is_empty() { Command::Usage } else { Command::Run(command) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_what_follows_the_dashes() {
        let parse = |words: &[&str]| command(words.iter().map(OsString::from));
        let run = |words: &[&str]| Command::Run(words.iter().map(OsString::from).collect());
        assert_eq!(parse(&["--", "sh", "-c", "true"]), run(&["sh", "-c", "true"]));
        assert_eq!(parse(&["sh", "--", "x"]), run(&["sh", "--", "x"]));
        assert_eq!(parse(&["--", "--version"]), run(&["--version"]));
        assert_eq!(parse(&["--version"]), Command::Version);
        for bad in [&[][..], &["--"], &["-s"]] {
            assert_eq!(parse(bad), Command::Usage);
        }
    }
}
