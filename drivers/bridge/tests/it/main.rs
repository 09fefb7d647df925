//! The bridge driver in a real kernel: every test has a "host" of its own, a network namespace, and leaves nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod beside;
mod daemons;
mod egress;
mod families;
mod faults;
mod lan;
mod policy;
mod publish;
mod rig;
mod sctp;
mod traffic;
