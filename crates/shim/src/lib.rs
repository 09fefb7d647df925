//! Supervises one container: streams, logs, exit, for as long as it lives and whether or not a daemon does.
//!
//! One process a container, one thread, one epoll. It makes the container by the runtime library that it is linked
//! with, carries its bytes, and outlives the daemon that started it: the daemon is never in a container's data path.
//!
//! ```text
//!   daemon ══ task protocol ══▶ ┌──────────── shim ────────────┐
//!                               │ daemons   requests, answers  │
//!   clients ◀── sockets ──────▶ │ streams   bytes, backpressure│ ◀── pipes or terminal ──▶ container's processes
//!   log ◀────────────────────── │ end       reaping, records   │ ──▶ cgroup
//!                               └──────────────────────────────┘
//! ```
//!
//! Nothing but `SIGKILL`, `Shutdown` and the end of the container ends it. Without a daemon it goes on alone; when the
//! container then ends, the exit is written where the daemon that comes back looks for it, and the shim is gone.

#![forbid(unsafe_code)]

mod supervisor;

mod client;
mod container;
mod create;
mod daemons;
mod end;
mod foreign;
mod log;
mod poll;
mod record;
mod request;
mod session;
mod setup;
mod streams;

/// Supervises the container that the daemon at the standard input (a stream socket) asks for. Returns when that is
/// over, or at once when the standard input is no socket.
pub fn run() -> stdx::Result<()> {
    if let Err(error) = stdx::failpoint::arm_from_env() {
        return Err(stdx::Error::invalid(error));
    }
    supervisor::run()
}
