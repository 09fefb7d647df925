//! Seccomp profiles compiled to BPF programs (pure).
//!
//! ```text
//! Docker profile (JSON)          OCI form, for inspect                sock_filter[], loaded by the
//! conditions on capabilities, ─▶ and foreign runtimes            ─▶   container's first process
//! architecture, kernel           Profile::resolve                     compile
//! ```
//!
//! [`Profile`] is Docker's format; a document in the OCI form is one too. [`Profile::builtin`] is ours. [`compile`] turns
//! the resolved form into one classic BPF program for the native architecture and those that the kernel runs beside it:
//! one binary search over ranges of call numbers per architecture, then comparisons of arguments where rules have them.
//! Every path uses only instructions that the kernel's own bitmap of always-allowed calls understands (Linux 5.11,
//! `seccomp_is_const_allow`), so that in practice most calls cost no filter run at all.
//!
//! # Rules that meet
//!
//! The OCI specification is silent about several rules for one call; as in runc with libseccomp: a rule that does the
//! same as the default is no rule; a rule without conditions beats those with; among equals the first in the document
//! counts; several conditions on the *same* argument are alternatives, on different arguments they must all hold.

#![forbid(unsafe_code)]

mod arch;
mod assembler;
mod builtin;
mod compile;
mod profile;
mod program;
mod rules;
mod table;

#[cfg(test)]
mod interpreter;

pub use arch::{ARCHITECTURES, Arch};
pub use builtin::{Strictness, default_profile};
pub use compile::compile;
pub use profile::{ArchMap, Condition, Kernel, Profile, Rule};
pub use program::Program;
pub use rules::{ACTIONS, FLAGS, OPERATORS};
pub use table::{names, number};
