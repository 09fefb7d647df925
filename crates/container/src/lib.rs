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
pub mod devices;
pub mod driver;
pub mod files;
pub mod recover;
pub mod services;
pub mod shim;
pub mod signals;
pub mod spec;
mod start;

pub mod state;

pub use driver::{Container, KillRequest, RemoveRequest, StopRequest};
pub use services::{Logs, Networking, Paths, Save, Services, World};
pub use state::{Endpoint, Phase, Published};
