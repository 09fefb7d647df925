//! The program as engines call it.
//!
//! `conformance` holds for any runtime with runc's command line: `GANTRY_RUNTIME_UNDER_TEST` names another one, and
//! Debian's runc goes through it in every run of the tests, which shows that they are right.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod bundle;
mod cli;
mod conformance;
mod known;
mod podman;
mod rootless;
