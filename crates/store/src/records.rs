//! The records, one file a noun.

pub mod container;
pub mod image;
pub mod network;
pub mod volume;
