//! Containers for real: each test runs one as root, by the example program `container`, which is single-threaded as
//! the library wants its caller to be.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

mod job;

mod basics;
mod confinement;
mod exec;
mod hostile;
mod mounts;
mod races;
mod terminal;
mod users;
