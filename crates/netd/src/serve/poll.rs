//! What the helper waits for: one epoll, level-triggered, and what each event is about.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::slab::Key;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A daemon connects.
    Listener,
    /// A daemon asks.
    Daemon(Key),
    /// A file changed that may be the host's `resolv.conf`.
    Resolv,
    /// Somebody changed rules.
    Firewall,
    /// A query over UDP, of a sandbox.
    Udp(Key),
    /// A client connects over TCP, of a sandbox.
    TcpListener(Key),
    /// A client over TCP.
    TcpClient(Key),
    /// The process that a sandbox lives as long as.
    Owner(Key),
    /// A server outside.
    Upstream(Key),
    /// A redirected connection.
    Redirect(Family),
    /// One end of a redirected connection.
    Relay(Key, Side),
    /// A redirected datagram.
    Datagrams,
    /// A container answers a redirected datagram.
    Session(Key),
    /// Packets that egress rules denied.
    Denied,
}

/// Which of the two redirect listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// On 127.0.0.1.
    V4,
    /// On `::1`.
    V6,
}

/// Which end of a redirected connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Who connected.
    Client,
    /// The container.
    Container,
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, key) = match self {
            Self::Listener => (0, 0),
            Self::Daemon(key) => (1, key.pack()),
            Self::Resolv => (2, 0),
            Self::Firewall => (3, 0),
            Self::Udp(key) => (4, key.pack()),
            Self::TcpListener(key) => (5, key.pack()),
            Self::TcpClient(key) => (6, key.pack()),
            Self::Owner(key) => (7, key.pack()),
            Self::Upstream(key) => (8, key.pack()),
            Self::Redirect(Family::V4) => (9, 0),
            Self::Redirect(Family::V6) => (10, 0),
            Self::Relay(key, Side::Client) => (11, key.pack()),
            Self::Relay(key, Side::Container) => (12, key.pack()),
            Self::Datagrams => (13, 0),
            Self::Session(key) => (14, key.pack()),
            Self::Denied => (15, 0),
        };
        kind << Key::BITS | key
    }

    fn unpack(data: u64) -> Option<Self> {
        let key = Key::unpack(data);
        Some(match data >> Key::BITS {
            0 => Self::Listener,
            1 => Self::Daemon(key),
            2 => Self::Resolv,
            3 => Self::Firewall,
            4 => Self::Udp(key),
            5 => Self::TcpListener(key),
            6 => Self::TcpClient(key),
            7 => Self::Owner(key),
            8 => Self::Upstream(key),
            9 => Self::Redirect(Family::V4),
            10 => Self::Redirect(Family::V6),
            11 => Self::Relay(key, Side::Client),
            12 => Self::Relay(key, Side::Container),
            13 => Self::Datagrams,
            14 => Self::Session(key),
            15 => Self::Denied,
            _ => return None,
        })
    }
}

/// The epoll instance.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Waits for events, for at most `timeout`, and gives a bounded number of them.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<(Token, EventFlags)>> {
        let empty = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [empty; 64];
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().cast_signed(),
            tv_nsec: t.subsec_nanos().into(),
        });
        let n = match epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => 0,
            other => other?,
        };
        Ok(events[..n]
            .iter()
            .filter_map(|e| Some((Token::unpack(e.data.u64())?, e.flags)))
            .collect())
    }

    /// Waits for `fd` too. Forgotten when the last descriptor of it is closed.
    pub(crate) fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.pack()), flags)?)
    }

    /// Waits for something else of `fd`. Errors and hang-ups are told always.
    pub(crate) fn change(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token.pack()), flags)?)
    }

    /// Does not wait for `fd` any more.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        let _was_there = epoll::delete(&self.epoll, fd);
    }
}
