//! The helper process, really: in network namespaces that each test makes, asked through sockets inside them.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stderr, reason = "a failing test shows the helper's log")]
#![allow(clippy::disallowed_methods, reason = "starts programs and waits as a user does")]

mod abuse;
mod datagrams;
mod figures;
mod firewall;
mod forward;
mod life;
mod loopback;
mod names;
mod rig;
