//! Messages as packets of a `SOCK_SEQPACKET` socket, and such sockets at paths of any length.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::protocol::MAX_PACKET;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

/// How many connections may wait to be accepted: daemons, of which there is one.
const BACKLOG: i32 = 16;

/// Sends one message with its descriptors.
pub(crate) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_PACKET {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A packet goes whole or not at all.
    sys::scm::send_with_fds(socket, &bytes, fds).map(drop)
}

/// Receives one message with its descriptors. `None`: the other end is gone.
pub(crate) fn receive<T: for<'de> Deserialize<'de>>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let (mut buffer, mut fds) = ([0; MAX_PACKET], Vec::new());
    match sys::scm::recv_with_fds(socket, &mut buffer, &mut fds) {
        Ok(0) => Ok(None),
        Ok(n) => Ok(Some((serde_json::from_slice(&buffer[..n])?, fds))),
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(e) => Err(e),
    }
}

/// A listening socket at `path`, whatever was there before. Who connects finds it listening.
pub(crate) fn listen(path: &Path) -> io::Result<OwnedFd> {
    let (dir, name) = split(path)?;
    let temporary = format!(".{name}.{}", std::process::id());
    let at = |name: &str| format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    match rustix::fs::unlinkat(&dir, &temporary, rustix::fs::AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) | Ok(()) => {}
        Err(e) => return Err(e.into()),
    }
    let socket = socket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(at(&temporary))?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    rustix::fs::renameat(&dir, &temporary, &dir, name)?;
    Ok(socket)
}

/// A connection to the socket at `path`. `NotFound` or `ConnectionRefused` when nobody listens.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let (dir, name) = split(path)?;
    let socket = socket()?;
    // By way of the directory's descriptor: addresses have 108 bytes, an exec-root may lie deeper.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn split(path: &Path) -> io::Result<(OwnedFd, &str)> {
    let name = path.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok((rustix::fs::open(dir, flags, Mode::empty())?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Answer, Request};

    #[test]
    fn messages_go_both_ways_at_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("socket");
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(listen(&path).unwrap());
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let listener = listen(&path).unwrap();
        let ours = connect(&path).unwrap();
        let theirs = rustix::net::accept(&listener).unwrap();
        let request = Request::Attach { sandbox: "a1".parse().unwrap() };
        send(&ours, &request, &[listener.as_fd()]).unwrap();
        send(&ours, &Request::Stop, &[]).unwrap();
        let (received, fds) = receive::<Request>(&theirs).unwrap().unwrap();
        assert_eq!((received, fds.len()), (request, 1));
        assert_eq!(receive::<Request>(&theirs).unwrap().unwrap().0, Request::Stop);
        send(&theirs, &Answer::Done, &[]).unwrap();
        drop(theirs);
        assert_eq!(receive::<Answer>(&ours).unwrap().unwrap().0, Answer::Done);
        assert!(receive::<Answer>(&ours).unwrap().is_none());
    }
}
