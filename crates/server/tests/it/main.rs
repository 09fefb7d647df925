//! The whole API over a real socket, with a real engine on real stores; only containers are not started here (that is
//! the end-to-end tests' work), so that no link or cgroup of the host is touched.
//!
//! Needs root: the image's layer becomes a snapshot.

#![allow(clippy::unwrap_used)] // A test: a panic is its way to fail.

mod api;
mod hostile;
mod rig;
mod tls;
