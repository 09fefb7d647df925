//! One helper process a daemon, for what must go on while the daemon is dead: names at 127.0.0.11, published ports that
//! the kernel cannot translate, and the watch over our firewall tables (architecture 7.4).
//!
//! ```text
//!   gantryd ── client ──▶ EXEC-ROOT/netd/{networks,sandboxes}/*.json      what is to be (state)
//!              client ══▶ socket, namespaces and pidfds beside            "it changed, look" (protocol)
//!                                   │
//!                              gantry-netd: one thread, one epoll (serve)
//!                                   ├── 127.0.0.11 of every namespace, UDP and TCP ─▶ the host's or the container's servers
//!                                   ├── 127.0.0.1 and [::], one redirect listener, TCP and UDP ─▶ containers
//!                                   └── nf_tables' notifications ─▶ our tables, put back
//! ```
//!
//! [`client`] is the daemon's side, [`run`] the program. Neither trusts memory over files: the records of [`state`] are
//! written before the helper hears of them, and a helper that was killed and started again serves the same.

#![forbid(unsafe_code)]

pub mod client;
pub mod protocol;
pub mod state;

mod packet;
mod serve;

pub use client::{Client, Config};
pub use protocol::{Denial, Denied};
pub use serve::run;
pub use state::{Egress, Endpoint, Forward, Id, Link, Network, Protocol, Sandbox};
