//! OCI runtime library: namespaces, root file system, init, exec.

#![forbid(unsafe_code)]

mod birth;
mod capability;
mod child;
mod create;
mod error;
mod exec;
mod filter;
mod plan;
mod rootfs;
mod sync;
mod user;

pub use child::Stdio;
pub use create::{Container, Create, create, create_listening, run, start_at};
pub use error::{Error, Result};
pub use exec::{Exec, Process, exec};
pub use rootfs::Rootfs;
