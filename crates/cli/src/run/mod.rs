//! What `run` and `create` share: arguments → [`RunArgs`] → the body of `POST /containers/create`.
//!
//! ```text
//! Matches (what was typed) ──RunArgs::read, opens the files that flags name──▶ RunArgs ──create_body, pure──▶ body
//! ```
//! `tests/golden/create.json` holds what Docker's client 28.2 sends for about 200 command lines; a test compares.

mod args;
mod body;
pub(crate) mod devices;
mod files;
pub(crate) mod flags;
mod modes;
pub(crate) mod mounts;
pub(crate) mod network;
mod ports;

#[cfg(test)]
mod tests;

pub(crate) use crate::flags::check::csv;
pub(crate) use args::refuse_windows;
pub use args::{Pull, RunArgs};
pub use body::create_body;
pub(crate) use body::size;
pub(crate) use files::environment;
pub(crate) use modes::restart_policy;
