//! The shim's side of one connection: calls with their descriptors in, messages out, never blocking.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::frame::{Decoder, FrameError, encode};
use crate::protocol::{Call, Message};

/// A daemon that does not read its answers is given up when this many bytes of them wait for it.
pub const MAX_UNSENT: usize = 1 << 20;

/// Requests are read in parts of this many bytes; most fit into one, and a shim's stack is to stay small.
const READ: usize = 4 << 10;

/// Why a connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The other end closed it.
    #[error("the daemon closed the connection")]
    Closed,
    /// The socket failed.
    #[error("task socket")]
    Io(#[from] io::Error),
    /// What came is no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A request came with fewer descriptors than it says.
    #[error("a request without its descriptors")]
    Descriptors,
    /// More than [`MAX_UNSENT`] bytes wait for a daemon that does not read.
    #[error("the daemon does not read its answers")]
    Unread,
}

/// One daemon's connection, as the shim sees it.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
    unsent: Vec<u8>,
}

impl Connection {
    /// Takes a connected stream socket and makes it non-blocking.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket, decoder: Decoder::new(), fds: VecDeque::new(), unsent: Vec::new() })
    }

    /// Reads what there is. To be called when the socket is readable, and followed by [`next_call`](Self::next_call) until that
    /// says `None`. [`ConnectionError::Closed`] comes after everything that was sent has been read.
    pub fn receive(&mut self) -> Result<(), ConnectionError> {
        let mut buffer = [0; READ];
        let mut fds = Vec::new();
        loop {
            let received = sys::scm::recv_with_fds(&self.socket, &mut buffer, &mut fds);
            self.fds.extend(fds.drain(..));
            match received {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(n) => {
                    self.decoder.push(&buffer[..n]);
                    if n < buffer.len() {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ConnectionError::Closed);
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Takes the next whole call and the descriptors that belong to it.
    pub fn next_call(&mut self) -> Result<Option<(Call, Vec<OwnedFd>)>, ConnectionError> {
        let Some(call) = self.decoder.take::<Call>()? else { return Ok(None) };
        let count = call.request.descriptors();
        if self.fds.len() < count {
            return Err(ConnectionError::Descriptors);
        }
        let fds = self.fds.drain(..count).collect();
        Ok(Some((call, fds)))
    }

    /// Sends a message, or as much of it as the socket takes; the rest waits for [`flush`](Self::flush).
    pub fn send(&mut self, message: &Message) -> Result<(), ConnectionError> {
        let bytes = encode(message)?;
        if self.unsent.len() + bytes.len() > MAX_UNSENT + crate::protocol::MAX_FRAME {
            return Err(ConnectionError::Unread);
        }
        self.unsent.extend_from_slice(&bytes);
        self.flush()?;
        if self.unsent.len() > MAX_UNSENT { Err(ConnectionError::Unread) } else { Ok(()) }
    }

    /// Sends what waits, as far as the socket takes it.
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match sys::scm::send_with_fds(&self.socket, &self.unsent[sent..], &[]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(ConnectionError::Closed);
                }
                Err(e) => return Err(e.into()),
            }
        }
        if sent == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    /// Whether to wait for the socket to become writable.
    pub fn wants_write(&self) -> bool {
        !self.unsent.is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Answer, Attachment, Event, Request, Session};

    fn attach(number: u64) -> Call {
        let streams = Attachment { stdin: true, stdout: true, stderr: true };
        Call { number, request: Request::Attach { session: Session::Container, streams } }
    }

    #[test]
    fn each_call_gets_its_own_descriptors() {
        let (ours, theirs) = sys::scm::pair().unwrap();
        let mut shim = Connection::new(theirs).unwrap();
        let (a, b) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        for (number, pipe) in [(1, &a), (2, &b)] {
            let bytes = encode(&attach(number)).unwrap();
            sys::scm::send_with_fds(&ours, &bytes, &[pipe.1.as_fd()]).unwrap();
        }
        let id = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let expected = [(1, id(&a.1.into())), (2, id(&b.1.into()))];
        let mut seen = Vec::new();
        while seen.len() < 2 {
            shim.receive().unwrap();
            while let Some((call, fds)) = shim.next_call().unwrap() {
                assert_eq!(fds.len(), 1);
                seen.push((call.number, id(&fds[0])));
            }
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_call_without_its_descriptors_ends_the_connection() {
        let (ours, theirs) = sys::scm::pair().unwrap();
        let mut shim = Connection::new(theirs).unwrap();
        sys::scm::send_with_fds(&ours, &encode(&attach(1)).unwrap(), &[]).unwrap();
        shim.receive().unwrap();
        assert!(matches!(shim.next_call(), Err(ConnectionError::Descriptors)));
    }

    #[test]
    fn a_daemon_that_does_not_read_is_given_up() {
        let (ours, theirs) = sys::scm::pair().unwrap();
        let mut shim = Connection::new(theirs).unwrap();
        let error = loop {
            if let Err(error) = shim.send(&Message::Event(Event::Oom)) {
                break error;
            }
            assert!(shim.unsent.len() <= MAX_UNSENT);
        };
        assert!(matches!(error, ConnectionError::Unread));
        drop(ours);
        assert!(matches!(shim.receive(), Err(ConnectionError::Closed)));
    }

    #[test]
    fn what_was_sent_before_a_hang_up_is_still_read() {
        let (ours, theirs) = sys::scm::pair().unwrap();
        let mut shim = Connection::new(theirs).unwrap();
        let bytes = encode(&Call { number: 9, request: Request::Shutdown }).unwrap();
        sys::scm::send_with_fds(&ours, &bytes, &[]).unwrap();
        drop(ours);
        shim.receive().unwrap();
        assert_eq!(shim.next_call().unwrap().unwrap().0.number, 9);
        assert!(matches!(shim.receive(), Err(ConnectionError::Closed)));
        let answer = Message::Answer { number: 9, answer: Answer::Done };
        assert!(matches!(shim.send(&answer), Err(ConnectionError::Closed)));
    }
}
