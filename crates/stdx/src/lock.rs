//! One owner of a directory at a time.

use crate::error::{Context, Error, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::Path;

/// An exclusive lock on a file, given back when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    _fd: OwnedFd,
}

impl FileLock {
    /// Takes the lock now or says `Ok(None)` when somebody else has it.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
            .map_err(std::io::Error::from)
            .context(|| format!("open lock {}", path.display()))?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _fd: fd })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(Error::io(format!("lock {}", path.display()), e.into())),
        }
    }
}
