//! The program as its users meet it, against a daemon that says what the test wants.
//!
//! * [`golden`]: output, exit codes and requests against recordings of Docker's client 28.2, made by the same harness:
//!   `GANTRY_RECORD=1 cargo test -p gantry` records them anew where that client is installed.
//! * [`stories`]: attached runs, terminals, signals, broken pipes, old daemons.

#![allow(clippy::disallowed_methods, reason = "these tests start the program as a shell would")]
#![allow(clippy::unwrap_used, reason = "clippy knows helpers of integration tests for no tests")]

mod fake;
mod golden;
mod program;
mod stories;
mod terminal;
