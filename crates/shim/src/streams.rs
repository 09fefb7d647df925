//! Everybody's bytes: from sessions to the log and to clients, from clients to sessions.
//!
//! ```text
//!   stdout ─┬─▶ log                              clients' input ──▶ stdin
//!   stderr ─┴─▶ clients of the session           (all clients of the session, as it comes)
//! ```
//!
//! Nothing is ever lost on the way to a client that is there: as long as one has not taken what it was given, its
//! session's output is not read, the pipe fills and the process waits, as with Docker. A client that hangs up is let
//! go of at once. What is kept for a client or for a process is bounded by one read.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use logging::Stream;
use rustix::event::epoll::EventFlags;
use stdx::{Context as _, Error, Result};
use sys::tty::Size;
use task::protocol::Attachment;

use crate::client::{Client, Input};
use crate::log::Log;
use crate::poll::Poll;
use crate::session::{Read, Session};

/// How much is read at a time: a default pipe's content.
const READ: usize = 64 << 10;

/// How much input is taken from a client at a time, and so the most that is kept for a process.
const INPUT: usize = 16 << 10;

/// How many reads of one stream there are before others have their turn.
const TURNS: usize = 4;

/// How much of each stream is still taken after the process has ended: more than a pipe holds. Only what a process
/// outside the container goes on writing can be more.
const DRAIN: usize = 2 << 20;

/// Clients that hung up but whose input the process has not taken yet: no more than this many a session are kept.
const MAX_GONE: usize = 8;

/// All sessions' streams and all clients.
#[derive(Debug)]
pub(crate) struct Streams {
    poll: Poll,
    log: Option<Log>,
    /// What is logged is not to be read for now: it is written faster than the daemon ships it.
    held: bool,
    sessions: BTreeMap<u32, Session>,
    clients: BTreeMap<u32, Client>,
    next_client: u32,
    buffer: Vec<u8>,
}

impl Streams {
    pub(crate) fn new(poll: Poll) -> Self {
        let (sessions, clients) = (BTreeMap::new(), BTreeMap::new());
        Self { poll, log: None, held: false, sessions, clients, next_client: 0, buffer: Vec::new() }
    }

    /// Where the output of sessions that are `logged` goes.
    pub(crate) fn set_log(&mut self, log: Option<Log>) {
        self.log = log;
    }

    /// Stops reading what is logged, or goes on.
    pub(crate) fn hold(&mut self, hold: bool) {
        if self.held != hold {
            self.held = hold;
            for id in self.sessions.keys().copied().collect::<Vec<_>>() {
                self.watch(id);
            }
        }
    }

    /// Begins to serve a session.
    pub(crate) fn add(&mut self, id: u32, session: Session) {
        self.sessions.insert(id, session);
        self.watch(id);
    }

    /// Gives a client a session's streams. The client's output is bounded by what its socket holds and one read.
    pub(crate) fn attach(&mut self, id: u32, socket: OwnedFd, streams: Attachment) -> Result<()> {
        let session = self.sessions.get(&id).ok_or_else(|| Error::not_found("no such session"))?;
        let client =
            Client::new(socket, id, streams, !session.is_terminal()).context(|| "attach")?;
        self.clients.insert(self.next_client, client);
        self.next_client += 1;
        self.watch(id);
        Ok(())
    }

    /// Sets the size of a session's terminal.
    pub(crate) fn resize(&self, id: u32, size: Size) -> Result<()> {
        let session = self.sessions.get(&id).ok_or_else(|| Error::not_found("no such session"))?;
        let result =
            session.resize(size).ok_or_else(|| Error::conflict("the process has no terminal"))?;
        result.context(|| "resize terminal")
    }

    /// Output can be read.
    pub(crate) fn on_output(&mut self, id: u32, stream: Stream) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ, 0);
        for _ in 0..TURNS {
            // An earlier event of the same round may have filled a client.
            if self.is_held(id) || self.pump(id, stream, &mut buffer) != Some(READ) {
                break;
            }
        }
        self.buffer = buffer;
        self.watch(id);
    }

    /// A process takes input again.
    pub(crate) fn on_input(&mut self, id: u32) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.flush();
        }
        // Clients that are gone are not in the epoll: their turn is now.
        let gone = self.clients.iter().filter(|(_, c)| c.session == id && c.gone);
        for client in gone.map(|(client, _)| *client).collect::<Vec<_>>() {
            self.take_input(client);
        }
        self.watch(id);
    }

    /// A client sends, takes again, or hung up.
    pub(crate) fn on_client(&mut self, id: u32, events: EventFlags) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let session = client.session;
        if events.intersects(EventFlags::HUP | EventFlags::ERR) {
            client.hang_up();
        } else if events.contains(EventFlags::OUT) {
            client.flush();
        }
        if client.gone || events.contains(EventFlags::IN) {
            self.take_input(id);
        }
        self.watch(session);
    }

    /// The session's process has ended: what it wrote is taken whether clients have room or not, so that the exit need
    /// not wait for them. Says whether that was all; otherwise somebody else has its streams open.
    pub(crate) fn drain(&mut self, id: u32) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return true };
        session.drain(DRAIN);
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(READ, 0);
            while self.pump(id, stream, &mut buffer).is_some_and(|n| n > 0) {}
            self.buffer = buffer;
        }
        self.watch(id);
        self.is_drained(id)
    }

    /// Whether nothing more will come of a session's output.
    pub(crate) fn is_drained(&self, id: u32) -> bool {
        self.sessions.get(&id).is_none_or(Session::at_end)
    }

    /// Ends a session: its log is complete, its clients are let go when they have everything.
    pub(crate) fn finish(&mut self, id: u32) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(log) = self.log.as_mut().filter(|_| session.logged) {
            log.finish();
        }
        for client in self.clients.values_mut().filter(|c| c.session == id) {
            client.finish();
        }
        self.watch(id);
    }

    /// Whether clients still have output to take.
    pub(crate) fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// After a round of events: makes log records visible. Says what is wrong with the log, if anything is.
    pub(crate) fn end_round(&mut self) -> Option<Error> {
        let log = self.log.as_mut()?;
        log.flush();
        log.complaint()
    }

    /// Whether memory is held that silence could free.
    pub(crate) fn holds_memory(&self) -> bool {
        self.buffer.capacity() > 0
    }

    /// Frees memory that is not needed while everybody is silent.
    pub(crate) fn release(&mut self) {
        self.buffer = Vec::new();
        if let Some(log) = &mut self.log {
            log.release();
        }
    }

    /// One read of a stream to everyone. `None` when there is nothing.
    fn pump(&mut self, id: u32, stream: Stream, buffer: &mut [u8]) -> Option<usize> {
        let session = self.sessions.get_mut(&id)?;
        let limit = session
            .draining
            .map_or(buffer.len(), |left| left[crate::session::index(stream)].min(buffer.len()));
        if limit == 0 {
            session.close_outputs();
            return None;
        }
        let Read::Bytes(n) = session.read(stream, &mut buffer[..limit]) else { return None };
        if let Some(left) = &mut session.draining {
            left[crate::session::index(stream)] -= n;
        }
        if let Some(log) = self.log.as_mut().filter(|_| session.logged) {
            log.push(stream, &buffer[..n]);
        }
        for client in self.clients.values_mut().filter(|c| c.session == id) {
            client.give(stream, &buffer[..n]);
        }
        Some(n)
    }

    /// Passes on what a client sent, as far as its session has room.
    fn take_input(&mut self, id: u32) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        self.buffer.resize(READ, 0);
        let buffer = &mut self.buffer[..INPUT];
        let mut session = self.sessions.get_mut(&client.session);
        // What a client left behind is finite, and there will be no event for the rest of it.
        let turns = if client.gone { usize::MAX } else { TURNS };
        for _ in 0..turns {
            if client.input == Input::Ended || session.as_ref().is_some_and(|s| !s.has_room()) {
                break;
            }
            match client.read(buffer) {
                None => break,
                Some(0) => {
                    client.input = Input::Ended;
                    if let Some(session) = &mut session {
                        session.end_input();
                    }
                }
                Some(n) => {
                    if let Some(session) = &mut session {
                        session.write(&buffer[..n]);
                    }
                }
            }
        }
    }

    fn is_held(&self, id: u32) -> bool {
        let session = self.sessions.get(&id);
        let draining = session.is_some_and(|s| s.draining.is_some());
        let held = self.held && session.is_some_and(|s| s.logged);
        !draining && (held || self.clients.values().any(|c| c.session == id && c.holds()))
    }

    /// Lets go of clients with whom all is done, and waits for what comes next of the others.
    fn watch(&mut self, id: u32) {
        self.clients.retain(|_, c| c.session != id || !c.is_done());
        let waiting = self.clients.values().filter(|c| c.session == id && c.gone).count();
        let mut surplus = waiting.saturating_sub(MAX_GONE);
        self.clients.retain(|_, c| {
            let drop = surplus > 0 && c.session == id && c.gone;
            surplus -= usize::from(drop);
            !drop
        });
        let held = self.is_held(id);
        let mut room = true;
        if let Some(session) = self.sessions.get_mut(&id) {
            room = session.has_room();
            if let Err(error) = session.watch(&self.poll, id, held) {
                // Out of watches or memory: streams that cannot be watched are closed rather than left to block.
                self.complain(&error);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.close_outputs();
                }
            }
        }
        let poll = self.poll.clone();
        self.clients.retain(|client, c| c.session != id || c.watch(&poll, *client, room).is_ok());
    }

    fn complain(&mut self, error: &io::Error) {
        if let Some(log) = &mut self.log {
            log.fail(Error::internal(format!("watch streams: {error}")));
        }
    }
}

#[cfg(test)]
mod tests;
