//! The protocol between the engine and a container's shim, both ends.
//!
//! One shim supervises one container. The daemon starts it with one end of a socket pair as its standard input and may
//! come back at any time through the socket in the container's runtime folder. Everything that must reach the shim is
//! said in messages ([`protocol`]); descriptors travel beside them. The shim never asks the daemon for anything: it
//! goes on alone when the daemon dies.
//!
//! ```text
//! EXEC-ROOT/containers/<id>/
//! ├── shim.json     written by the shim before the container runs: pid, start time, protocol version
//! ├── shim.sock     0600, where a restarted daemon comes back
//! └── exit.json     written by the shim before it tells anyone that the container ended
//! ```

#![forbid(unsafe_code)]

pub mod client;
pub mod frame;
pub mod launch;
pub mod protocol;
pub mod transport;

pub use launch::launch;

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use stdx::{Context as _, Result};

/// The name of a shim's socket in the container's runtime folder.
pub const SOCKET: &str = "shim.sock";

/// A path to the socket in the opened runtime folder that is short enough for a socket's name (107 bytes), however
/// deep the folder is. Valid in this process while `dir` is open.
pub fn socket_path(dir: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_fd().as_raw_fd()))
}

/// Connects to the shim whose runtime folder `dir` is; the socket is blocking and closed on exec.
pub fn connect(dir: &Path) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let connect = || -> std::io::Result<OwnedFd> {
        let dir = rustix::fs::open(
            dir,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(std::os::unix::net::UnixStream::connect(socket_path(&dir))?.into())
    };
    connect().context(|| format!("connect to the shim in {}", dir.display()))
}
