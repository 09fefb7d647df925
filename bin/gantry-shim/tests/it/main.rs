//! The real shim, driven as a daemon drives it. Needs root and busybox-static.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod figures;
mod life;
mod rig;
mod stdio;
