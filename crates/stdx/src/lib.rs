//! What the standard library lacks: error kinds, crash-safe files, undo, failpoints, time.
//!
//! Everything here is small, synchronous and free of Gantry's own nouns, so that every layer above can use it.

#![forbid(unsafe_code)]

/// The target of `tracing` spans that are sent to a collector of traces, where one is configured: one for each request,
/// each use case and each phase of a start. They are of the level TRACE: elsewhere they cost a comparison.
pub const TRACES: &str = "traces";

pub mod error;
pub mod failpoint;
pub mod fs;
pub mod lock;
pub mod time;
pub mod undo;

pub use error::{Classify, Context, Error, Kind, Result};
pub use undo::Undo;
