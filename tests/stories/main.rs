//! User stories through the real programs: one module per story.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod compat;
