//! DNS messages, and what the embedded resolver answers, as values. Neither sockets nor a clock.
//!
//! ```text
//!   bytes ──Query::parse──▶ Query ──Tables::decide(sandbox, query)──▶ Decision::Answer     names of ours
//!     │                                                              Decision::Forward    ask outside, as it is
//!     │                                                              Decision::Refuse     nobody may be asked
//!     └─ what is asked outside is passed on byte by byte; `relay` says whether what comes back is its answer
//! ```
//!
//! Of other people's messages only the header and the question are understood; the rest is skipped over, record by
//! record, without following a compression pointer. So there is nothing in a message that could make this loop.
//! Source: RFC 1035, RFC 6891 (EDNS), RFC 7766 (TCP); Docker's resolver for what is answered.

#![forbid(unsafe_code)]

mod message;
mod name;
pub mod relay;
mod tables;

pub use message::{
    CLASS_IN, HEADER, Malformed, Query, Rcode, TYPE_A, TYPE_AAAA, TYPE_PTR, Transport, failure,
};
pub use name::Name;
pub use tables::{Decision, Place, Tables, View};

/// How long clients may keep what they were told, in seconds; Docker's.
pub const TTL: u32 = 600;
