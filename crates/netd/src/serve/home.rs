//! Work in containers' network namespaces, by the only thread there is.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use sys::netns;

/// The host's network namespace, where this process is at home.
#[derive(Debug)]
pub(crate) struct Home {
    netns: OwnedFd,
}

impl Home {
    /// Where we are.
    pub(crate) fn here() -> io::Result<Self> {
        Ok(Self { netns: netns::current()? })
    }

    /// Runs `work` inside `netns`. A process that cannot come home ends: it would answer the host's questions in a
    /// container. The daemon starts another.
    pub(crate) fn inside<T>(
        &self,
        netns: BorrowedFd<'_>,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        netns::enter(netns)?;
        let done = work();
        if netns::enter(self.netns.as_fd()).is_err() {
            sys::process::exit_now(70);
        }
        done
    }
}
