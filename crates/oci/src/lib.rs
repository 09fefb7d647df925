//! OCI image and runtime documents as plain values.
//!
//! Plain structs with public fields: no builders, no getters. Unknown fields are ignored on reading; digests are always
//! taken of raw bytes, never of a document written anew.

#![forbid(unsafe_code)]

pub mod image;
pub mod runtime;
