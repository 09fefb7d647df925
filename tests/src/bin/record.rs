//! `record [LIST]`: runs the sessions of `tests/compat` (or the one of this list) on the reference daemon and keeps the
//! transcripts.
//!
//! One transcript per client version; `cargo xtask peers` first. What it writes is checked in, so that the comparison
//! needs no reference daemon.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

use std::process::ExitCode;
use testkit::{Cli, Reference};
use tests::transcript::{self, Session};

fn main() -> ExitCode {
    if let Some(why) = testkit::reference::missing() {
        eprintln!("record: {why}");
        return ExitCode::FAILURE;
    }
    let asked = std::env::args().nth(1);
    for session in Session::ALL {
        if asked.as_deref().is_some_and(|list| list != session.list()) {
            continue;
        }
        for cli in [Cli::Reference, Cli::Docker] {
            record(session, cli);
        }
    }
    ExitCode::SUCCESS
}

fn record(session: Session, cli: Cli) {
    let Some(version) = cli.version() else { return };
    let transcripts: Vec<_> = (0..3)
        .map(|_| {
            let daemon = Reference::start();
            transcript::record(session, &daemon.client(cli), &daemon.home())
        })
        .collect();
    let entries = transcript::majority(&transcripts);
    let path = session.recorded(&version);
    std::fs::write(&path, transcript::write(&entries)).expect("write the transcript");
    println!("{}: {} command lines", path.display(), entries.len());
}
