//! Datagrams to published UDP ports that the kernel cannot translate: the firewall redirects them to one socket on all
//! IPv6 addresses, the kernel's connection tracking says where they were meant to go, and a socket of its own carries what
//! one client and one port say to each other. Answers leave by the socket of all, from the address where the question
//! came in, and the kernel makes of that the address that the client asked.
//!
//! ```text
//!   client ──▶ [host]:5353 ══redirect══▶ [host]:R ── session's socket ──▶ container:53
//!          ◀── [host]:5353 ◀═══════════ [host]:R ◀──────────────────────
//! ```
//!
//! A session lives as long as the kernel's flow does, by the same clock. The helper keeps nothing of them on disk: another
//! one asks the kernel when the next datagram comes.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Server;
use super::conntrack::Conntrack;
use super::poll::Token;
use super::slab::{Key, Slab};
use crate::state::{Id, Protocol};

/// Sessions of all containers together; a descriptor each.
const MOST: usize = 4096;
/// Sessions of one container.
const MOST_EACH: usize = 1024;
/// Datagrams that are carried in a row: others wait too.
const ROUND: usize = 32;
/// For so long it is believed that a flow is still the one that the kernel was asked about. One that it forgot may come
/// again as another's: to another port, from the same.
const FRESH: Duration = Duration::from_secs(5);
/// From then on a flow that was answered is a stream for the kernel (`nf_conntrack_proto_udp.c`).
const STREAM_AFTER: Duration = Duration::from_secs(2);

/// The socket of all, and what is being carried.
#[derive(Debug)]
pub(crate) struct Sessions {
    socket: Option<OwnedFd>,
    port: u16,
    /// Opened when it is first needed.
    kernel: Option<Conntrack>,
    patience: Patience,
    slab: Slab<Session>,
    keys: HashMap<Way, Key>,
    counts: HashMap<Id, usize>,
    /// One a session, no later than its end; those that said something meanwhile get another.
    deadlines: BTreeSet<(Instant, Key)>,
}

/// Between whom: what the kernel, which translates, never gives to two flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Way {
    client: SocketAddrV6,
    /// Our address that the redirect led to.
    here: Ipv6Addr,
}

/// What a client and a container's port say to each other.
#[derive(Debug)]
struct Session {
    way: Way,
    /// The link to answer through, where the address alone does not say it; else 0.
    link: u32,
    sandbox: Id,
    meant: SocketAddr,
    to: SocketAddr,
    socket: OwnedFd,
    born: Instant,
    /// When the kernel said so last.
    checked: Instant,
    /// When somebody said something last.
    last: Instant,
    answered: bool,
    /// What `deadlines` has of it.
    deadline: Instant,
}

/// How long the kernel remembers a flow after its last packet.
#[derive(Debug, Clone, Copy)]
struct Patience {
    question: Duration,
    stream: Duration,
}

impl Sessions {
    /// Serves `socket`, which is on `port` of all IPv6 addresses. `None` where there is no IPv6.
    pub(crate) fn new(socket: Option<OwnedFd>, port: u16) -> Self {
        Self {
            socket,
            port,
            kernel: None,
            patience: Patience::of_kernel(),
            slab: Slab::new(MOST),
            keys: HashMap::new(),
            counts: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|socket| socket.as_fd())
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Where the kernel says that what comes on this way was meant to go.
    fn meant(&mut self, way: Way) -> Result<Option<SocketAddr>, sys::netlink::Error> {
        let kernel = match &mut self.kernel {
            Some(kernel) => kernel,
            none => none.insert(Conntrack::open()?),
        };
        kernel.meant(SocketAddrV6::new(way.here, self.port, 0, 0), way.client)
    }

    /// Makes room for one more of this container: the one that is silent longest goes, of those that nobody ever
    /// answered if there are any, so that a flood of strangers takes no conversation's place.
    fn make_room(&mut self, sandbox: &Id) {
        let own = self.counts.get(sandbox).copied().unwrap_or_default() >= MOST_EACH;
        if !own && self.len() < MOST {
            return;
        }
        let candidates = self.slab.iter().filter(|(_, s)| !own || s.sandbox == *sandbox);
        if let Some((key, _)) = candidates.min_by_key(|(_, s)| (s.answered, s.last)) {
            self.end(key);
        }
    }

    fn insert(&mut self, mut session: Session) -> Option<Key> {
        session.deadline = session.last + self.patience.of(&session);
        let (way, sandbox, at) = (session.way, session.sandbox.clone(), session.deadline);
        let key = self.slab.insert(session).ok()?;
        *self.counts.entry(sandbox).or_default() += 1;
        self.keys.insert(way, key);
        self.deadlines.insert((at, key));
        Some(key)
    }

    /// Forgets a session.
    fn end(&mut self, key: Key) {
        let Some(session) = self.slab.remove(key) else { return };
        self.keys.remove(&session.way);
        self.deadlines.remove(&(session.deadline, key));
        if let Some(count) = self.counts.get_mut(&session.sandbox) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&session.sandbox);
            }
        }
    }

    /// Ends those that nobody says anything in.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(first @ (_, key)) = self.deadlines.first().copied().filter(|d| d.0 <= now) {
            self.deadlines.remove(&first);
            let Some(session) = self.slab.get_mut(key) else { continue };
            session.deadline = session.last + self.patience.of(session);
            if session.deadline > now {
                self.deadlines.insert((session.deadline, key));
            } else {
                self.end(key);
            }
        }
    }
}

impl Patience {
    /// The kernel's own, of this namespace; its defaults where it does not say.
    fn of_kernel() -> Self {
        let seconds = |name: &str, default: u64| {
            let path = format!("/proc/sys/net/netfilter/nf_conntrack_udp_{name}");
            let said = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
            Duration::from_secs(said.unwrap_or(default).clamp(1, 3600))
        };
        Self { question: seconds("timeout", 30), stream: seconds("timeout_stream", 120) }
    }

    fn of(self, session: &Session) -> Duration {
        let is_stream = session.answered && session.last - session.born > STREAM_AFTER;
        if is_stream { self.stream } else { self.question }
    }
}

impl Server {
    /// Carries what came to the socket of all.
    pub(crate) fn hear_redirected(&mut self) {
        for _datagram in 0..ROUND {
            let Some(socket) = self.sessions.fd() else { return };
            let datagram = match sys::udp::receive(socket, &mut self.scratch[..]) {
                Ok(Some(datagram)) => datagram,
                Ok(None) => {
                    self.counters.dropped += 1;
                    continue;
                }
                // Nothing any more, or an error of an earlier answer.
                Err(_) => return,
            };
            let way = Way { client: datagram.from, here: datagram.to };
            let sent = self.session(way, datagram.link).and_then(|key| {
                let session = self.sessions.slab.get_mut(key)?;
                session.last = Instant::now();
                say(&session.socket, &self.scratch[..datagram.length])
            });
            if sent.is_none() {
                self.counters.dropped += 1;
            }
        }
    }

    /// Carries what a container answers.
    pub(crate) fn hear_session(&mut self, key: Key) {
        for _datagram in 0..ROUND {
            let Some(session) = self.sessions.slab.get_mut(key) else { return };
            let flags = RecvFlags::DONTWAIT;
            let length = match rustix::net::recv(&session.socket, &mut self.scratch[..], flags) {
                Ok((_, length)) => length,
                // Nobody listens in the container, or not yet: the client hears as much as of a packet that is lost.
                Err(rustix::io::Errno::CONNREFUSED) => continue,
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => return,
                Err(_) => return self.sessions.end(key),
            };
            let now = Instant::now();
            (session.last, session.answered) = (now, true);
            if !self.is_current(key, now) {
                // Without the kernel's flow it would come from a port that nobody asked.
                self.counters.dropped += 1;
                return self.sessions.end(key);
            }
            let (Some(session), Some(socket)) = (self.sessions.slab.get(key), self.sessions.fd())
            else {
                return;
            };
            let Way { client, here } = session.way;
            let bytes = &self.scratch[..length];
            if sys::udp::send(socket, bytes, client, here, session.link).is_err() {
                self.counters.dropped += 1;
            }
        }
    }

    /// The session of a way: the one that is there, or another if what was asked is published.
    fn session(&mut self, way: Way, link: u32) -> Option<Key> {
        let now = Instant::now();
        if let Some(key) = self.sessions.keys.get(&way).copied() {
            if self.is_current(key, now) {
                return Some(key);
            }
            self.sessions.end(key);
        }
        let meant = match self.sessions.meant(way) {
            Ok(meant) => meant?,
            Err(e) => {
                self.log.note(&format_args!("ask where a datagram was meant to go: {e}"));
                return None;
            }
        };
        let (sandbox, to) = self.records.forward(Protocol::Udp, meant)?;
        let sandbox = sandbox.clone();
        self.sessions.make_room(&sandbox);
        let socket = match connect(to) {
            Ok(socket) => socket,
            Err(e) => {
                self.log.note(&format_args!("connect to {to}: {e}"));
                return None;
            }
        };
        let link = if way.here.is_unicast_link_local() { link } else { 0 };
        let session = Session {
            way,
            link,
            sandbox,
            meant,
            to,
            socket,
            born: now,
            checked: now,
            last: now,
            answered: false,
            deadline: now,
        };
        let key = self.sessions.insert(session)?;
        let socket = &self.sessions.slab.get(key)?.socket;
        if let Err(e) = self.poll.add(socket, Token::Session(key), EventFlags::IN) {
            self.log.note(&format_args!("wait for {to}: {e}"));
            self.sessions.end(key);
            return None;
        }
        Some(key)
    }

    /// Whether a session is still what the kernel has there.
    fn is_current(&mut self, key: Key, now: Instant) -> bool {
        let Some(session) = self.sessions.slab.get(key) else { return false };
        if now - session.checked < FRESH {
            return true;
        }
        let (way, meant) = (session.way, session.meant);
        let is_current = self.sessions.meant(way).is_ok_and(|now| now == Some(meant));
        if let Some(session) = self.sessions.slab.get_mut(key) {
            session.checked = now;
        }
        is_current
    }

    /// Ends the sessions of a container whose ports lead elsewhere or nowhere now.
    pub(crate) fn end_sessions(&mut self, sandbox: &Id) {
        if !self.sessions.counts.contains_key(sandbox) {
            return;
        }
        let is_over = |session: &Session| {
            session.sandbox == *sandbox
                && self.records.forward(Protocol::Udp, session.meant) != Some((sandbox, session.to))
        };
        let over: Vec<Key> =
            self.sessions.slab.iter().filter(|(_, s)| is_over(s)).map(|(key, _)| key).collect();
        over.into_iter().for_each(|key| self.sessions.end(key));
    }
}

/// Sends to the container. That nobody listened to an earlier datagram is told by the next, which is then sent again.
fn say(socket: &OwnedFd, bytes: &[u8]) -> Option<()> {
    let send = || rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    match send() {
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::INTR) => send().ok(),
        sent => sent.ok(),
    }
    .map(drop)
}

/// A socket that talks to a container's port and hears nobody else.
fn connect(to: SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket)
}
