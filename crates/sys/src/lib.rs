//! Every unsafe block and raw system call of Gantry, safe to call.
//!
//! Each unsafe block carries a JUSTIFICATION (why no safe crate serves) and a SAFETY argument. Above this crate
//! `unsafe_code` is forbidden. What `rustix` offers safely is used from there directly, by everyone.

pub mod activation;
pub mod bpf;
pub mod clone;
pub mod command;
pub mod dir;
pub mod jail;
pub mod memory;
pub mod mntns;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod packet;
pub mod process;
pub mod schedule;
pub mod scm;
pub mod seccomp;
pub mod signals;
pub mod tty;
pub mod udp;
pub mod userns;
