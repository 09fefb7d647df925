//! OCI runtime library: namespaces, root file system, init, exec.
//!
//! # The story of one container
//!
//! [`create()`] first turns the specification into a plan (`plan`) without looking at anything else: whatever can be
//! refused is refused there. Then it opens what must be opened in the host's mount namespace and nothing attaches: the
//! root file system as a detached overlay, clones of bind sources and of the cgroup's directories, namespaces to join.
//! One clone3 makes the process in its new namespaces (and v2 cgroup). The child assembles its tree of mounts by
//! descriptors, pivots, becomes its user and executes its program; what it and the parent say to each other is the table
//! in `sync`. The parent never touches the child's files, and nothing of the container's is ever mounted on
//! the host.
//!
//! ```text
//!   caller            plan ─▶ open ─▶ clone3 ─────────────────────── listen ───▶ Container {pid, pidfd, console, root}
//!   container's process                  └─▶ cgroup ─▶ mounts ─▶ masks ─▶ pivot ─▶ identity ─▶ [wait] ─▶ filter ─▶ exec
//! ```
//!
//! A user namespace is made by the same clone; the parent writes its maps while the child waits. Nobody but root may open
//! the host's directories as detached mounts, so without root the child does that, in its own mount namespace
//! (`sources`). Hooks and seccomp's agent are served by the parent when the child says that it is their turn.
//!
//! [`exec()`] adds a process by way of a go-between (`birth`) that has closed everything of the caller's
//! before anybody in the container can see it.
//!
//! # What this crate counts on
//!
//! The calling process is single-threaded, has `/proc` mounted, and may do what it is asked to (root, as a rule).
//! Invariants: no path of the container is ever resolved but by the kernel from its root (`sys::dir`); nothing is read
//! from `/proc/self/mountinfo`; no sleeps and no polling; errors carry the step and the path.

#![forbid(unsafe_code)]

mod birth;
mod capability;
mod child;
mod create;
mod error;
mod exec;
mod filter;
mod hooks;
mod ids;
mod label;
mod notify;
mod plain;
mod plan;
mod rootfs;
mod sources;
mod sync;
mod user;

pub use capability::capabilities;
pub use child::Stdio;
pub use create::{Container, Create, create, create_listening, run, start_at};
pub use error::{Error, Result};
pub use exec::{Exec, Process, exec};
pub use hooks::{Status, Who, run_hooks, state};
pub use notify::Agent;
pub use plain::plain;
pub use rootfs::Rootfs;
