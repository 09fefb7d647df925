//! The process's own streams, without blocking: a reader that is slow must not keep signals from being passed on.
//!
//! Descriptors 0 to 2 are shared with other processes, so `O_NONBLOCK` must not be set on them. Output to a pipe or a
//! terminal goes through a description of its own, opened anew through `/proc/self/fd`; input asks `poll` before each
//! read. Files and what cannot be opened anew are used as they are.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Standard input.
#[derive(Debug)]
pub(crate) struct Input(Source);

#[derive(Debug)]
enum Source {
    Polled(AsyncFd<OwnedFd>),
    Direct(OwnedFd),
}

impl Input {
    /// Standard input, through a descriptor of its own.
    pub(crate) fn stdin() -> io::Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
        // epoll refuses regular files and /dev/null: they never block.
        Ok(Self(match watch(fd, Interest::READABLE) {
            Ok(polled) => Source::Polled(polled),
            Err(refused) => Source::Direct(refused),
        }))
    }

    /// Reads into `buffer`; 0 at the end. Cancel-safe.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let fd = match &self.0 {
                Source::Direct(fd) => fd,
                Source::Polled(polled) => {
                    let mut ready = polled.readable().await?;
                    if !is_ready(polled.get_ref().as_fd(), PollFlags::IN)? {
                        ready.clear_ready();
                        continue;
                    }
                    polled.get_ref()
                }
            };
            match rustix::io::read(fd, &mut *buffer) {
                Ok(count) => return Ok(count),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                // What a terminal answers that has been hung up.
                Err(rustix::io::Errno::IO) => return Ok(0),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Registers a descriptor with the runtime, or gives it back.
#[expect(
    deprecated,
    reason = "its successor asks the caller to promise that as_raw_fd stays the same, which OwnedFd keeps by itself"
)]
fn watch(fd: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>, OwnedFd> {
    AsyncFd::try_with_interest(fd, interest).map_err(|refused| refused.into_parts().0)
}

fn is_ready(fd: BorrowedFd<'_>, what: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, what)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Standard output or standard error.
#[derive(Debug)]
pub(crate) struct Output(Sink);

#[derive(Debug)]
enum Sink {
    Polled(AsyncFd<OwnedFd>),
    Direct(OwnedFd),
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::open(std::io::stdout().as_fd(), 1)
    }

    /// Standard error.
    pub(crate) fn stderr() -> io::Result<Self> {
        Self::open(std::io::stderr().as_fd(), 2)
    }

    fn open(fd: BorrowedFd<'_>, number: u8) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
        if kind == FileType::Fifo || rustix::termios::isatty(fd) {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(own) =
                rustix::fs::open(format!("/proc/self/fd/{number}"), flags, Mode::empty())
                && let Ok(polled) = watch(own, Interest::WRITABLE)
            {
                return Ok(Self(Sink::Polled(polled)));
            }
        }
        Ok(Self(Sink::Direct(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)))
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match &self.0 {
                Sink::Direct(fd) => match rustix::io::write(fd, bytes) {
                    // Somebody else made the shared description non-blocking: wait for room.
                    Err(rustix::io::Errno::AGAIN) => {
                        poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::OUT)], None)?;
                        continue;
                    }
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other?,
                },
                Sink::Polled(polled) => {
                    polled
                        .async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?))
                        .await?
                }
            };
            bytes = &bytes[written..];
        }
        Ok(())
    }
}
