//! User stories through the real programs, and what they share: transcripts of sessions and their comparison.
//!
//! `stories/` has a module per user story; `compat/` has a session that is run on the reference daemon and on ours;
//! `src/bin/crash.rs` kills the daemon at every named point; `storm` is fifty clients at once.

#![forbid(unsafe_code)]

pub mod crash;
pub mod normalise;
pub mod storm;
pub mod transcript;
