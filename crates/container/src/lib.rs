//! One container's life.
//!
//! ```text
//!            create                start                 exit
//!   (none) ─────────▶ Created ─────────▶ Starting ─▶ Running ⇄ Paused
//!                        │  ▲               │ fail      │ exit
//!                 remove │  │ start         ▼           ▼
//!                        ▼  └──────────── Exited ◀── Stopping ──┐
//!                     Removing ◀─────────────┴──── remove       │ deadline: SIGKILL
//!                        │
//!                        ▼
//!                      Gone           a failed Removing stays `Dead` and is tried again at the next start
//! ```
//!
//! An end may also lead to Restarting: the policy ([`restart`]) waits there to start it again, and whoever stops it
//! sends it to Exited. While it runs, its [`health`] is looked after by the same task.
//!
//! Each container has one task, its [`driver`], the only writer of its state. Everyone else holds a [`Container`],
//! sends it requests and reads what it last published. The driver decides with [`admission`] (pure), builds the OCI
//! specification with [`spec`] (pure) and talks to the container's supervisor through [`shim`].
//!
//! **Invariants.** Only the driver changes [`Phase`]. This crate never reads an image: it is given the snapshot to
//! stand on. No HTTP status and no JSON of the Engine API is known here. Whatever a start makes on the host lies under
//! the container's folder in the exec-root before it is made, so that a restarted daemon finds it.

#![forbid(unsafe_code)]

pub mod admission;
pub mod capabilities;
mod cdi;
pub mod devices;
mod driver;
pub mod egress;
pub mod exec;
pub mod files;
pub mod handle;
pub mod health;
pub mod join;
pub mod limits;
pub mod links;
mod mounts;
pub mod recover;
pub mod resolver;
pub mod restart;
pub mod runtimes;
pub mod services;
pub mod shim;
pub mod signals;
pub mod spec;
mod start;
pub mod state;
pub mod strict;
mod userns;

pub use handle::{Container, KillRequest, RemoveRequest, StopRequest};
pub use limits::Update;
pub use services::{Logs, Measured, Networking, Paths, Save, Services, World};
pub use start::cgroup_path;
pub use state::{Endpoints, Phase, Published};
