//! Docker's plugin protocol: programs beside the daemon that do a driver's work.
//!
//! ```text
//!   /run/docker/plugins/NAME.sock                              found ── POST /Plugin.Activate ──▶ {"Implements": […]}
//!   {/etc,/usr/lib}/docker/plugins/NAME.spec  (an address)      │
//!                              …/NAME.json    (address, TLS)    └───── POST /NetworkDriver.Join {…} ──▶ {…}
//! ```
//!
//! A plugin is looked for when somebody names it, never listed. What it answers is no more trusted than what a container
//! says: every call ends within [`PATIENCE`], no answer is larger than [`LARGEST`], and nothing that is not what was
//! asked for gets further than this crate. Calls block; whoever makes one holds nothing that others wait for.

#![forbid(unsafe_code)]

mod call;
mod find;
mod http;
mod stream;
mod wire;

pub use call::{Failure, Plugin};
pub use find::Folders;

use std::time::Duration;

/// How long a call may take, from the connection to the last byte of the answer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of the largest answer. Those of Docker's protocols have some hundreds.
pub const LARGEST: usize = 1 << 20;
