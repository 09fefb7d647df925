//! What the standard library lacks: error kinds, crash-safe files, undo, failpoints, time.
//!
//! Everything here is small, synchronous and free of Gantry's own nouns, so that every layer above can use it.

#![forbid(unsafe_code)]

pub mod error;
pub mod failpoint;
pub mod fs;
pub mod lock;
pub mod time;
pub mod undo;

pub use error::{Classify, Context, Error, Kind, Result};
pub use undo::Undo;
