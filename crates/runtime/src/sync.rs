//! What the runtime and the process it makes say to each other before the program runs.
//!
//! ```text
//!   child                          parent
//!   Joined {pid}             ─▶    (exec, or a shared pid namespace) the process is this one; reaps the go-between
//!   Need IdMaps              ─▶    writes the new user namespace's maps
//!                            ◀─    Done
//!   Need Hooks               ─▶    the mounts are there: runs prestart and createRuntime hooks
//!                            ◀─    Done
//!   Console + descriptor     ─▶    keeps the terminal's master
//!   Ready                    ─▶    create is done; the child waits       (not sent when started in the same round)
//!                            ◀─    Start
//!   Executing                ─▶    what follows is the kernel's
//!   Need Agent {descriptor}  ─▶    takes the filter's listener and hands it to seccomp's agent
//!                            ◀─    Done
//!   (end of stream)          ─▶    the program runs
//!   Failed {error}           ─▶    returns it as its own error, at any time
//! ```
//!
//! Each message is one packet. The sockets are closed on exec, which is how the parent learns of it; end of stream
//! without `Executing` before means that the child was killed.
//!
//! When creator and starter are different processes (`Hold::Listen`), the child says `Ready` to its
//! creator and then listens at the starter's socket: from there on the same messages go over the connection.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Error, Result, Step as _};

/// No message is longer; error texts are cut.
const MAX: usize = 16 << 10;

/// What is said.
#[derive(Debug)]
pub(crate) enum Message {
    /// The process that stays, made by a go-between.
    Joined(i32),
    /// The terminal's master.
    Console(OwnedFd),
    /// The child cannot go on without the parent.
    Need(Need),
    /// The parent has done what was needed.
    Done,
    /// Everything but exec is done.
    Ready,
    /// Go on.
    Start,
    /// execve is next.
    Executing,
    /// It cannot be.
    Failed(Error),
}

/// What only the parent can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Map the ids of the child's user namespace.
    IdMaps,
    /// Run the hooks of the runtime's namespaces.
    Hooks,
    /// Take this descriptor of the child to the agent of its filter.
    Agent(i32),
}

impl Need {
    fn to_bytes(self) -> [u8; 6] {
        let (kind, number) = match self {
            Self::IdMaps => (0, 0),
            Self::Hooks => (1, 0),
            Self::Agent(number) => (2, number),
        };
        let [a, b, c, d] = number.to_ne_bytes();
        [b'N', kind, a, b, c, d]
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, number) = bytes.split_first()?;
        let number = i32::from_ne_bytes(number.try_into().ok()?);
        Some(match kind {
            0 => Self::IdMaps,
            1 => Self::Hooks,
            2 => Self::Agent(number),
            _ => return None,
        })
    }
}

/// One end.
#[derive(Debug)]
pub(crate) struct Sync {
    socket: OwnedFd,
}

impl Sync {
    /// Both ends, closed on exec.
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .step(|| "make a socket pair")?;
        Ok((Self { socket: a }, Self { socket: b }))
    }

    /// Takes over a connection.
    pub(crate) fn from_socket(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Says something. That nobody listens any more is an error.
    pub(crate) fn send(&self, message: &Message) -> Result<()> {
        let mut bytes = Vec::with_capacity(1);
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        match message {
            Message::Joined(pid) => {
                bytes.push(b'J');
                bytes.extend(pid.to_ne_bytes());
            }
            Message::Console(master) => {
                bytes.push(b'C');
                fds.push(master.as_fd());
            }
            Message::Need(need) => bytes.extend(need.to_bytes()),
            Message::Done => bytes.push(b'D'),
            Message::Ready => bytes.push(b'R'),
            Message::Start => bytes.push(b'S'),
            Message::Executing => bytes.push(b'X'),
            Message::Failed(error) => {
                bytes.push(b'F');
                bytes.extend(error.to_bytes());
                bytes.truncate(MAX);
            }
        }
        sys::scm::send_with_fds(&self.socket, &bytes, &fds).step(|| "send to the other process")?;
        Ok(())
    }

    /// Has the parent do something and waits until it is done. When the parent fails it ends this process.
    ///
    /// By write(2) and read(2) alone: the filter may have put every other call into somebody else's hands.
    pub(crate) fn need(&self, need: Need) -> Result<()> {
        let step = || "ask the parent";
        rustix::io::write(&self.socket, &need.to_bytes()).step(step)?;
        let mut answer = [0_u8; 1];
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, &mut answer));
        match (n, answer) {
            (Ok(1), [b'D']) => Ok(()),
            // Whoever should have done it is gone.
            _ => sys::process::exit_now(1),
        }
    }

    /// Waits for the next message; `None` at the end of the stream.
    pub(crate) fn receive(&self) -> Result<Option<Message>> {
        let (mut bytes, mut fds) = (vec![0; MAX], Vec::new());
        let n = match sys::scm::recv_with_fds(&self.socket, &mut bytes, &mut fds) {
            // The other end was closed with something unread in it.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => 0,
            other => other.step(|| "receive from the other process")?,
        };
        let garbled = || Error::Ended("the other process sent what is no message".to_owned());
        let Some((tag, rest)) = bytes[..n].split_first() else { return Ok(None) };
        Ok(Some(match tag {
            b'J' => Message::Joined(i32::from_ne_bytes(rest.try_into().map_err(|_| garbled())?)),
            b'C' => Message::Console(fds.pop().ok_or_else(garbled)?),
            b'N' => Message::Need(Need::from_bytes(rest).ok_or_else(garbled)?),
            b'D' => Message::Done,
            b'R' => Message::Ready,
            b'S' => Message::Start,
            b'X' => Message::Executing,
            b'F' => Message::Failed(Error::from_bytes(rest).ok_or_else(garbled)?),
            _ => return Err(garbled()),
        }))
    }
}

impl AsFd for Sync {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits for one connection at a listening socket.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<Sync> {
    let socket =
        rustix::net::accept_with(listener, SocketFlags::CLOEXEC).step(|| "wait for start")?;
    Ok(Sync::from_socket(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (child, parent) = Sync::pair().unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        child.send(&Message::Joined(77)).unwrap();
        child.send(&Message::Console(reader.into())).unwrap();
        child.send(&Message::Need(Need::Agent(9))).unwrap();
        child.send(&Message::Ready).unwrap();
        child.send(&Message::Executing).unwrap();
        child.send(&Message::Failed(Error::User("unable to find user x".into()))).unwrap();
        drop(child);
        assert!(matches!(parent.receive().unwrap(), Some(Message::Joined(77))));
        assert!(matches!(parent.receive().unwrap(), Some(Message::Console(_))));
        let need = parent.receive().unwrap();
        assert!(matches!(need, Some(Message::Need(Need::Agent(9)))), "{need:?}");
        assert!(matches!(parent.receive().unwrap(), Some(Message::Ready)));
        assert!(matches!(parent.receive().unwrap(), Some(Message::Executing)));
        assert!(matches!(parent.receive().unwrap(), Some(Message::Failed(Error::User(_)))));
        assert!(parent.receive().unwrap().is_none());
    }

    #[test]
    fn a_very_long_error_is_cut() {
        let (child, parent) = Sync::pair().unwrap();
        let error = Error::System { step: "s".repeat(9), errno: 5, cause: "c".repeat(1 << 20) };
        child.send(&Message::Failed(error)).unwrap();
        let Some(Message::Failed(Error::System { step, cause, .. })) = parent.receive().unwrap()
        else {
            panic!()
        };
        assert_eq!(step, "sssssssss");
        assert!(cause.len() < MAX && cause.len() > MAX / 2);
    }

    #[test]
    fn garbage_is_an_error() {
        let (child, parent) = Sync::pair().unwrap();
        for bytes in [&b"?"[..], b"J1", b"C", b"F\x09", b"N", b"N\x07\0\0\0\0"] {
            rustix::io::write(&child, bytes).unwrap();
            assert!(parent.receive().is_err(), "{bytes:?}");
        }
    }
}
