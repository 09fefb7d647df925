//! Use cases about the files of a container: look, copy out, copy in, export, what has changed, commit.
//!
//! ```text
//!                    ┌ running: the root of its mount namespace, entered by its first process' descriptor
//!   Container ─▶ Root┤
//!                    └ stopped: its overlay and its mounts, put together in a private mount namespace
//!                 │
//!                 ▼
//!   jailed thread: paths resolved by the kernel from that root ─▶ archive, piece by piece
//! ```
//!
//! Nothing of a container is executed or loaded, no path of it is joined to one of the host, and no host mount is made.

pub(crate) mod archive;
pub(crate) mod changes;
pub(crate) mod commit;
mod instructions;
mod owner;
pub(crate) mod pace;
pub(crate) mod path;
mod root;
pub(crate) mod stream;
