//! One attached client: a socket that gets output and may send input.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};

use logging::Stream;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use task::protocol::Attachment;

use crate::poll::{Interest, Poll, Token};

/// What a client's half of the input is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// It sends.
    Open,
    /// It ended its input, or never had any.
    Ended,
}

/// A client of a session.
#[derive(Debug)]
pub(crate) struct Client {
    /// Whose.
    pub(crate) session: u32,
    pub(crate) input: Input,
    /// It hung up: nothing is sent to it any more; what it sent before is still taken.
    pub(crate) gone: bool,
    /// The session has ended: it is let go when it has everything.
    pub(crate) last: bool,
    socket: OwnedFd,
    streams: Attachment,
    /// Output comes in frames that say which stream it is of.
    framed: bool,
    unsent: Vec<u8>,
    interest: Interest,
}

impl Client {
    pub(crate) fn new(
        socket: OwnedFd,
        session: u32,
        streams: Attachment,
        framed: bool,
    ) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let input = if streams.stdin { Input::Open } else { Input::Ended };
        let (unsent, interest) = (Vec::new(), Interest::default());
        Ok(Self {
            session,
            input,
            gone: false,
            last: false,
            socket,
            streams,
            framed,
            unsent,
            interest,
        })
    }

    /// It has not taken all that it was given: its session has to wait.
    pub(crate) fn holds(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Gives it output: sends what the socket takes and keeps the rest. A session that waits for its clients when they
    /// [hold](Self::holds) gives at most one read's worth of each of its two streams more than the socket takes.
    pub(crate) fn give(&mut self, stream: Stream, bytes: &[u8]) {
        let wanted = match stream {
            Stream::Stdout => self.streams.stdout,
            Stream::Stderr => self.streams.stderr,
        };
        if !wanted || self.gone {
            return;
        }
        let mut header = [0; 8];
        let header = if self.framed {
            header[0] = if stream == Stream::Stdout { 1 } else { 2 };
            header[4..]
                .copy_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            &header[..]
        } else {
            &[]
        };
        let mut sent = 0;
        while self.unsent.is_empty() && !self.gone && sent < header.len() + bytes.len() {
            let (head, tail) =
                (&header[sent.min(header.len())..], &bytes[sent.saturating_sub(header.len())..]);
            match self.send(&[IoSlice::new(head), IoSlice::new(tail)]) {
                0 => break,
                n => sent += n,
            }
        }
        if !self.gone && sent < header.len() + bytes.len() {
            self.unsent.extend_from_slice(&header[sent.min(header.len())..]);
            self.unsent.extend_from_slice(&bytes[sent.saturating_sub(header.len())..]);
        }
    }

    /// Sends what was kept, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        let unsent = std::mem::take(&mut self.unsent);
        let mut sent = 0;
        while sent < unsent.len() && !self.gone {
            match self.send(&[IoSlice::new(&unsent[sent..])]) {
                0 => break,
                n => sent += n,
            }
        }
        if !self.gone && sent < unsent.len() {
            self.unsent = unsent;
            self.unsent.drain(..sent);
        }
    }

    /// There will be no more output: lets the kernel hold what is left, so that nobody has to wait for the reader.
    pub(crate) fn finish(&mut self) {
        self.last = true;
        if self.holds() {
            // Twice: the kernel counts its own overhead in. Without the privilege the reader is waited for.
            let size = self.unsent.len() * 2 + (256 << 10);
            let _refused =
                rustix::net::sockopt::set_socket_send_buffer_size_force(&self.socket, size);
            self.flush();
        }
    }

    /// It hung up: whatever it was given is dropped.
    pub(crate) fn hang_up(&mut self) {
        self.gone = true;
        self.unsent = Vec::new();
    }

    /// Reads input. `None`: nothing for now; `Some(0)`: the end.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match rustix::io::read(&self.socket, &mut *buffer) {
                Ok(n) => return Some(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                // Reset: nobody is there who could send more.
                Err(_) => return Some(0),
            }
        }
    }

    /// Registers what is being waited for; `room` says that input can be passed on.
    pub(crate) fn watch(&mut self, poll: &Poll, id: u32, room: bool) -> io::Result<()> {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, self.input == Input::Open && room);
        wanted.set(EventFlags::OUT, self.holds());
        // A hang-up that has been seen would be reported for ever.
        let wanted = if self.gone { None } else { Some(wanted) };
        self.interest.set(poll, self.socket.as_fd(), Token::Client(id), wanted)
    }

    /// Whether there is nothing left to do for it.
    pub(crate) fn is_done(&self) -> bool {
        let nothing_to_get = self.gone || (self.last && !self.holds());
        let nothing_to_take = self.input == Input::Ended || self.last;
        nothing_to_get && nothing_to_take
    }

    /// How much went; 0 when the socket takes nothing now, or never again (then it is gone).
    fn send(&mut self, bytes: &[IoSlice<'_>]) -> usize {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match rustix::net::sendmsg(
                &self.socket,
                bytes,
                &mut SendAncillaryBuffer::default(),
                flags,
            ) {
                Ok(n) => return n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return 0,
                Err(_) => {
                    self.hang_up();
                    return 0;
                }
            }
        }
    }
}

impl Drop for Client {
    /// What it sent and nobody read is taken from the socket: closed with something unread, a socket tells its peer of a
    /// reset (`unix_release_sock`), where the end of the output is meant.
    fn drop(&mut self) {
        // Nothing comes after what is there now.
        let _hung_up = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Read);
        let mut unread = [0; 4096];
        while self.read(&mut unread).is_some_and(|n| n > 0) {}
    }
}
