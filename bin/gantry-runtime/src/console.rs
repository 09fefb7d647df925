//! A container's terminal: handed to whoever asked for it, or joined to our own.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{WaitId, WaitIdOptions};
use stdx::{Context as _, Error, Result};

/// Sends a descriptor to the socket of `--console-socket` or `--pidfd-socket`, as runc does: one message with its name
/// and it.
pub(crate) fn hand_over(socket: &Path, name: &[u8], fd: &OwnedFd) -> Result<()> {
    let step = || format!("send {} to {}", String::from_utf8_lossy(name), socket.display());
    let stream = std::os::unix::net::UnixStream::connect(socket).context(step)?;
    sys::scm::send_with_fds(&stream, name, &[fd.as_fd()]).context(step)?;
    Ok(())
}

/// Copies between our own terminal and the container's until its process ends.
pub(crate) fn join(master: &OwnedFd, process: &OwnedFd) -> Result<()> {
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let _raw = sys::tty::is_terminal(stdin)
        .then(|| sys::tty::Raw::enter(stdin))
        .transpose()
        .context(|| "raw mode")?;
    if let Ok(size) = sys::tty::size(stdin) {
        sys::tty::set_size(master, size).context(|| "set the terminal's size")?;
    }
    let mut input_open = true;
    let mut buffer = [0_u8; 16 << 10];
    loop {
        let input = if input_open { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = [PollFd::new(master, PollFlags::IN), PollFd::from_borrowed_fd(stdin, input)];
        // The process may end while something else still holds its terminal: look now and then.
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        match rustix::event::poll(&mut fds, Some(&second)) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result.map_err(std::io::Error::from).context(|| "wait for the terminal")?,
        };
        let (from_container, from_us) = (fds[0].revents(), fds[1].revents());
        if !from_container.is_empty() {
            // EIO: everybody in the container has closed it.
            match rustix::io::read(master, &mut buffer) {
                Ok(n @ 1..) => write_all(stdout, &buffer[..n])?,
                _ => return Ok(()),
            }
        } else if ended(process) {
            return Ok(());
        }
        if input_open && !from_us.is_empty() {
            match rustix::io::read(stdin, &mut buffer) {
                Ok(n @ 1..) => write_all(master.as_fd(), &buffer[..n])?,
                _ => input_open = false,
            }
        }
    }
}

fn write_all(fd: std::os::fd::BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("copy the terminal", e.into())),
        }
    }
    Ok(())
}

fn ended(process: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::PidFd(process.as_fd()), options)
        .is_ok_and(|status| status.is_some())
}
