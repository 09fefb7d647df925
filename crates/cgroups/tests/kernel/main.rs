//! The real kernel's cgroups: each test has a group of its own beneath the roots and takes it away again.
//!
//! Needs root. On a host with v1 controllers, hybrid or not, both halves are tested; `cargo xtask vm` runs the same on v2.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that starts processes to limit"
)]

mod devices;
mod life;
mod limits_v1;
mod limits_v2;
mod place;
