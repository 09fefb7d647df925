//! Signals as readable events, for programs that wait in one place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};

/// Blocked signals, one of which makes this descriptor readable (signalfd(2)).
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// Blocks every signal that can be blocked in this thread and reports `SIGCHLD`.
    ///
    /// For the first thing of a single-threaded supervisor that nothing but `SIGKILL` shall end: other blocked
    /// signals stay pending for ever. A child process inherits the blocked set and must unblock it before exec.
    pub fn children_only() -> io::Result<Self> {
        // JUSTIFICATION: rustix has neither sigprocmask nor signalfd.
        // SAFETY: the sets are local, initialised by sigfillset and sigemptyset before use, and outlive the calls;
        // the descriptor that signalfd returns is new and owned by nobody else.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            let error =
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            let mut children = std::mem::zeroed();
            libc::sigemptyset(&raw mut children);
            libc::sigaddset(&raw mut children, libc::SIGCHLD);
            let fd =
                libc::signalfd(-1, &raw const children, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// Takes all reported signals off; the descriptor is not readable until the next.
    pub fn drain(&self) {
        let mut buffer = [0_u8; 8 * size_of::<libc::signalfd_siginfo>()];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|n| n == buffer.len()) {}
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
