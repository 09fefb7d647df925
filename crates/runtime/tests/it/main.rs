//! Containers for real: each test runs one as root, by the example program `container`, which is single-threaded as
//! the library wants its caller to be.

mod job;

mod basics;
mod confinement;
mod exec;
mod hostile;
mod mounts;
mod terminal;
mod users;
