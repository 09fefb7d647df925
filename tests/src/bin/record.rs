//! `record`: runs the session of `tests/compat/commands.txt` on the reference daemon and keeps the transcripts.
//!
//! One transcript per client version; `cargo xtask peers` first. What it writes is checked in, so that the comparison
//! needs no reference daemon.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

use std::process::ExitCode;
use testkit::{Cli, Reference};
use tests::transcript;

fn main() -> ExitCode {
    if let Some(why) = testkit::reference::missing() {
        eprintln!("record: {why}");
        return ExitCode::FAILURE;
    }
    for cli in [Cli::Reference, Cli::Docker] {
        let Some(version) = cli.version() else { continue };
        let sessions: Vec<_> = (0..3)
            .map(|_| {
                let daemon = Reference::start();
                transcript::record(&daemon.client(cli), &daemon.home())
            })
            .collect();
        let entries = transcript::majority(&sessions);
        let path = transcript::folder().join(format!("dockerd-26.1-cli-{version}.txt"));
        std::fs::write(&path, transcript::write(&entries)).expect("write the transcript");
        println!("{}: {} command lines", path.display(), entries.len());
    }
    ExitCode::SUCCESS
}
