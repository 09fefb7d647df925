//! The client against registries on loopback: a fake one that misbehaves on command, and Debian's.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod auth;
mod debian;
mod fake;
mod transfers;
mod trust;
