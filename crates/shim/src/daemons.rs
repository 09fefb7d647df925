//! The connections of daemons: the one that started us, and those that come back.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::SocketFlags;
use stdx::{Context as _, Result};
use task::protocol::{Answer, Call, Event, Message};
use task::transport::Connection;

use crate::poll::{Interest, Poll, Token};

/// Whom an answer goes to: the connection and the request's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    daemon: u32,
    number: u64,
}

/// What came of a connection.
pub(crate) type Received = Vec<(Caller, Call, Vec<OwnedFd>)>;

/// All connections, and the socket where more are made.
#[derive(Debug)]
pub(crate) struct Daemons {
    poll: Poll,
    listener: Option<(UnixListener, Interest)>,
    connections: BTreeMap<u32, (Connection, Interest)>,
    next: u32,
}

impl Daemons {
    pub(crate) fn new(poll: Poll) -> Self {
        Self { poll, listener: None, connections: BTreeMap::new(), next: 0 }
    }

    /// Begins to serve a connected socket.
    pub(crate) fn add(&mut self, socket: OwnedFd) -> io::Result<()> {
        let connection = Connection::new(socket)?;
        let mut interest = Interest::default();
        interest.set(
            &self.poll,
            connection.as_fd(),
            Token::Daemon(self.next),
            Some(EventFlags::IN),
        )?;
        self.connections.insert(self.next, (connection, interest));
        self.next += 1;
        Ok(())
    }

    /// Listens at `shim.sock` in the runtime folder, for root and our own user only.
    pub(crate) fn listen(&mut self, dir: &Path) -> Result<()> {
        let listen = || -> io::Result<UnixListener> {
            // Through a descriptor: the folder's path alone may be longer than a socket's name can be (108 bytes).
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::open(dir, flags, Mode::empty())?;
            let path = task::socket_path(&dir);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let before = rustix::process::umask(Mode::from_raw_mode(0o177));
            let listener = UnixListener::bind(path);
            rustix::process::umask(before);
            let listener = listener?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = listen().context(|| format!("listen in {}", dir.display()))?;
        let mut interest = Interest::default();
        interest
            .set(&self.poll, &listener, Token::Listener, Some(EventFlags::IN))
            .context(|| "wait for daemons")?;
        self.listener = Some((listener, interest));
        Ok(())
    }

    /// Takes the socket's name away; connections go on.
    pub(crate) fn stop_listening(&mut self, dir: &Path) -> Result<()> {
        self.listener = None;
        stdx::fs::remove_file(&dir.join(task::SOCKET))
    }

    /// Daemons connect.
    pub(crate) fn on_listener(&mut self) -> Result<()> {
        while let Some((listener, _)) = &self.listener {
            let socket = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(e) => return Err(io::Error::from(e)).context(|| "accept a daemon"),
            };
            let peer = rustix::net::sockopt::socket_peercred(&socket).map_err(io::Error::from)?;
            // The socket's mode says the same; this holds where the folder was opened up by hand.
            if peer.uid.is_root() || peer.uid == rustix::process::geteuid() {
                self.add(socket)?;
            }
        }
        Ok(())
    }

    /// A connection can be read or written, or ended. Gives the requests that came, also those before its end.
    pub(crate) fn on_daemon(&mut self, id: u32, events: EventFlags) -> Received {
        let mut received = Vec::new();
        let Some((connection, _)) = self.connections.get_mut(&id) else { return received };
        let mut alive = !events.contains(EventFlags::OUT) || connection.flush().is_ok();
        if alive && events.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            alive = connection.receive().is_ok();
            loop {
                match connection.next_call() {
                    Ok(Some((call, fds))) => {
                        received.push((Caller { daemon: id, number: call.number }, call, fds));
                    }
                    Ok(None) => break,
                    // Somebody who speaks another language is not served further.
                    Err(_) => {
                        alive = false;
                        break;
                    }
                }
            }
        }
        self.settle(id, alive);
        received
    }

    /// Answers a request, if who asked is still there.
    pub(crate) fn answer(&mut self, caller: Caller, answer: Answer) {
        self.send(caller.daemon, &Message::Answer { number: caller.number, answer });
    }

    /// Tells everyone.
    pub(crate) fn tell(&mut self, event: &Event) {
        let message = Message::Event(event.clone());
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.send(id, &message);
        }
    }

    /// Whether nobody is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Ends all connections. What was sent is still read by the other ends; what a full socket did not take is given
    /// a moment.
    pub(crate) fn finish(&mut self) {
        for (connection, _) in self.connections.values_mut() {
            let mut poll = [PollFd::new(connection, PollFlags::OUT)];
            let moment = Timespec { tv_sec: 1, tv_nsec: 0 };
            if connection.wants_write() && rustix::event::poll(&mut poll, Some(&moment)).is_ok() {
                let _gone = connection.flush();
            }
        }
        self.connections.clear();
    }

    fn send(&mut self, id: u32, message: &Message) {
        if let Some((connection, _)) = self.connections.get_mut(&id) {
            let alive = connection.send(message).is_ok();
            self.settle(id, alive);
        }
    }

    fn settle(&mut self, id: u32, alive: bool) {
        let Some((connection, interest)) = self.connections.get_mut(&id) else { return };
        let mut wanted = EventFlags::IN;
        wanted.set(EventFlags::OUT, connection.wants_write());
        if !alive
            || interest
                .set(&self.poll, connection.as_fd(), Token::Daemon(id), Some(wanted))
                .is_err()
        {
            self.connections.remove(&id);
        }
    }
}
