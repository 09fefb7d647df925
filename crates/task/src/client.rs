//! The daemon's side of one connection, blocking: for tests and tools. The engine has its own, on [`crate::frame`].

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use stdx::{Context as _, Error, Kind, Result};

use crate::frame::{Decoder, encode};
use crate::protocol::{Answer, Call, Event, Message, Request};

/// A connection to a shim.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    decoder: Decoder,
    events: VecDeque<Event>,
    number: u64,
}

impl Client {
    /// Over a connected stream socket, such as the one that [`crate::launch`] gives.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, decoder: Decoder::new(), events: VecDeque::new(), number: 0 }
    }

    /// Over the socket in the runtime folder `dir`.
    pub fn connect(dir: &Path) -> Result<Self> {
        crate::connect(dir).map(Self::new)
    }

    /// Sends a request without waiting for its answer; says its number.
    pub fn send(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<u64> {
        self.number += 1;
        let bytes = encode(&Call { number: self.number, request })
            .map_err(|e| Error::invalid("request to shim").caused_by(e))?;
        let mut sent = 0;
        while sent < bytes.len() {
            let fds = if sent == 0 { fds } else { &[] };
            sent += sys::scm::send_with_fds(&self.socket, &bytes[sent..], fds)
                .context(|| "send to shim")?;
        }
        Ok(self.number)
    }

    /// Asks and waits for the answer; events that come meanwhile are kept for [`next_event`](Self::next_event).
    pub fn call(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<Answer> {
        let number = self.send(request, fds)?;
        self.answer(number, Duration::from_secs(60))
    }

    /// Waits for the answer to the request of that number. [`Kind::Timeout`] when it does not come in time.
    pub fn answer(&mut self, number: u64, timeout: Duration) -> Result<Answer> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.message(deadline)? {
                Message::Event(event) => self.events.push_back(event),
                Message::Answer { number: n, answer } if n == number => return Ok(answer),
                Message::Answer { .. } => {}
            }
        }
    }

    /// The next event. [`Kind::Timeout`] when none comes in time.
    pub fn next_event(&mut self, timeout: Duration) -> Result<Event> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        let deadline = Instant::now() + timeout;
        loop {
            if let Message::Event(event) = self.message(deadline)? {
                return Ok(event);
            }
        }
    }

    fn message(&mut self, deadline: Instant) -> Result<Message> {
        loop {
            let message = self
                .decoder
                .take()
                .map_err(|e| Error::new(Kind::DataLoss, "answer of shim").caused_by(e))?;
            if let Some(message) = message {
                return Ok(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(|_| Error::invalid("timeout"))?;
            let mut poll = [PollFd::new(&self.socket, PollFlags::IN)];
            if rustix::event::poll(&mut poll, Some(&timeout)).map_err(std::io::Error::from)? == 0 {
                return Err(Error::new(Kind::Timeout, "the shim does not answer"));
            }
            let mut buffer = [0; 16 << 10];
            let n = rustix::io::read(&self.socket, &mut buffer)
                .map_err(std::io::Error::from)
                .context(|| "receive from shim")?;
            if n == 0 {
                return Err(Error::new(Kind::Unavailable, "the shim closed the connection"));
            }
            self.decoder.push(&buffer[..n]);
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
