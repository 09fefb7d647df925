//! The protocol between the engine and a container's shim, both ends.
//!
//! One shim supervises one container. The daemon starts it with one end of a socket pair as its standard input and may
//! come back at any time through the socket in the container's runtime folder. Everything that must reach the shim is
//! said in messages ([`protocol`]); descriptors travel beside them. The shim never asks the daemon for anything: it
//! goes on alone when the daemon dies.
//!
//! ```text
//! EXEC-ROOT/containers/<id>/
//! ├── shim.json     written by the shim before the container runs: pid, start time, protocol version
//! ├── shim.sock     0600, where a restarted daemon comes back
//! └── exit.json     written by the shim before it tells anyone that the container ended
//! ```

#![forbid(unsafe_code)]

pub mod client;
pub mod frame;
pub mod launch;
pub mod protocol;
pub mod transport;

pub use launch::launch;
