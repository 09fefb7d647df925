//! Descriptors beside bytes: `SCM_RIGHTS` on Unix stream sockets (unix(7)).
//!
//! Descriptors travel with the first byte of the message that they are sent with. A stream keeps their order, but a
//! receiver may get the end of an earlier message and the start of this one in one read: callers keep received
//! descriptors in a queue and let each message take as many as it says that it has.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// No message carries more descriptors than this (the kernel's own bound, `SCM_MAX_FD`, is 253).
pub const MAX_FDS: usize = 64;

/// A pair of connected stream sockets, closed on exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Sends what fits of `bytes`, with `fds` beside the first byte, and says how many bytes went.
///
/// When fewer than all bytes went, the descriptors went all the same: send the rest without them. Never raises
/// `SIGPIPE`. `WouldBlock` on a full non-blocking socket, `InvalidInput` for more than [`MAX_FDS`] descriptors or for
/// descriptors without bytes.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAX_FDS || (bytes.is_empty() && !fds.is_empty()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let iov = [IoSlice::new(bytes)];
    retry(|| rustix::net::sendmsg(&socket, &iov, &mut control, SendFlags::NOSIGNAL))
}

/// Receives bytes into `buffer` and descriptors, closed on exec, onto the end of `fds`.
///
/// `Ok(0)` is the end of the stream (for a `buffer` that is not empty). `WouldBlock` on an empty non-blocking socket;
/// `InvalidData` when the sender sent more descriptors than [`MAX_FDS`] at once: some are lost, so the stream is of no
/// further use.
pub fn recv_with_fds(
    socket: impl AsFd,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut iov = [IoSliceMut::new(buffer)];
    let received =
        retry(|| rustix::net::recvmsg(&socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(received.bytes)
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn descriptors_arrive_in_order_and_closed_on_exec() {
        let (ours, theirs) = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(send_with_fds(&ours, b"ab", &[writer.as_fd(), file.as_fd()]).unwrap(), 2);
        drop((writer, file));
        let (mut buffer, mut fds) = ([0; 16], Vec::new());
        assert_eq!(recv_with_fds(&theirs, &mut buffer, &mut fds).unwrap(), 2);
        assert_eq!(fds.len(), 2);
        for fd in &fds {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        std::fs::File::from(fds.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn the_end_and_an_empty_socket_differ() {
        let (ours, theirs) = pair().unwrap();
        rustix::io::ioctl_fionbio(&theirs, true).unwrap();
        let (mut buffer, mut fds) = ([0; 4], Vec::new());
        let error = recv_with_fds(&theirs, &mut buffer, &mut fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(ours);
        assert_eq!(recv_with_fds(&theirs, &mut buffer, &mut fds).unwrap(), 0);
        let error = send_with_fds(&theirs, b"x", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn too_many_descriptors_are_refused() {
        let (ours, _theirs) = pair().unwrap();
        let fds = vec![ours.as_fd(); MAX_FDS + 1];
        let error = send_with_fds(&ours, b"x", &fds).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
