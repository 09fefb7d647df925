//! User stories through the real programs: one module per story.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(clippy::disallowed_methods, reason = "they wait and start programs as users do")]

mod compat;
mod hostile;
mod images;
mod isolation;
mod life;
mod network;
mod nospace;
mod restart;
mod run;
mod terminal;
