//! The command line: Docker's grammar, one file per command.
//!
//! ```text
//! app      global flags → which command → its arguments, by flags::Command tables → run
//! commands one file per command: its table, and the story of what it asks the daemon
//! run      what `run` and `create` share: arguments → RunArgs → create body (pure)
//! template, table, format      rows → what --format wants
//! stdio, terminal, keys, attach      the user's terminal and streams
//! ```
//! Texts, exit codes and output are those of Docker's client 28.2, and tests hold them against recordings of it. Two
//! rules keep a start below a millisecond: nothing is built that the command does not need, and nothing is asked twice.

#![forbid(unsafe_code)]

mod app;
mod attach;
mod commands;
mod config;
mod contexts;
mod cp;
mod credentials;
mod env;
mod exit;
pub mod flags;
mod format;
mod host;
mod inspect;
mod json_text;
mod keys;
mod output;
mod progress;
pub mod run;
mod signals;
mod stdio;
mod table;
mod terminal;
mod units;

pub use app::App;
pub use commands::all as all_commands;
pub use env::Env;
pub use exit::Failure;

/// Runs one invocation; `args` begin with the program's name. The number is the exit code.
pub fn main(args: impl Iterator<Item = std::ffi::OsString>, env: Env) -> u8 {
    // What is no UTF-8 could not travel in JSON either.
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    app::run(&args, env)
}
