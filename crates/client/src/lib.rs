//! Typed client of the Docker Engine API over a Unix socket, TCP, TLS or `ssh`.
//!
//! ```text
//! Client ── one idle HTTP/1.1 connection, reused by calls that follow each other
//!   ├── call        request, whole answer (at most one MiB of error text is read)
//!   ├── stream      request, JSON lines or log bytes until the daemon ends them
//!   └── hijack      `Connection: Upgrade`: the connection becomes the container's stdin and output
//! ```
//! A stream or hijacked connection is its own connection, so that nothing waits behind it. Built for speed: on a Unix
//! socket the first request already speaks the newest version that this client knows, and only a daemon that refuses it
//! (400, "client version … is too new") costs the `HEAD /_ping` of a negotiation.
//!
//! The client never prints and never retries what the daemon may have begun.

#![forbid(unsafe_code)]

mod client;
mod connection;
mod containers;
mod error;
mod exec;
mod files;
mod hijack;
mod host;
mod images;
mod lines;
mod networks;
pub mod stdcopy;
mod system;
mod transport;
mod url;
mod volumes;

pub use client::{Client, Options};
pub use connection::ByteStream;
pub use containers::{AttachOptions, ListOptions, LogsOptions, WaitCondition};
pub use error::{Error, Result};
pub use files::{CommitOptions, PathStat};
pub use hijack::{Hijacked, ReadHalf, WriteHalf};
pub use host::{Host, InvalidHost};
pub use images::PullOptions;
pub use lines::JsonLines;
pub use system::{Filters, Ping};
pub use transport::{Tls, Transport, Trouble};
