//! Queries on their way to servers outside.
//!
//! Each has a socket of its own, connected to its server: the kernel gives it a random port and lets nothing through that
//! comes from elsewhere; its id is random too. Four seconds a server, up to three servers, as Docker. The container's own
//! servers are asked from its namespace, the host's from the host's: 127.0.0.53 means what it means there. A query that
//! came over TCP is asked over TCP: a client that was told "truncated" gets the whole.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use dns::relay::{Relayed, Reply};
use dns::{Query, Rcode, Transport};
use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Server;
use super::clients::{Client, TOO_MANY};
use super::poll::Token;
use super::resolv::MOST_SERVERS;
use super::slab::{Key, Slab};

/// How long one server may take; moby's `extIOTimeout`.
const PATIENCE: Duration = Duration::from_secs(4);
/// Queries of one container that are under way; moby's `maxConcurrent`.
const MOST_EACH: usize = 1024;
/// Queries of all containers that are under way. Each is a descriptor.
const MOST: usize = 8192;
/// Packets that are no answer, after which a server is given up: somebody tries many, and no port is worth that.
const MOST_FORGED: u32 = 64;

/// All that are under way.
#[derive(Debug)]
pub(crate) struct Upstream {
    slab: Slab<Asked>,
    /// All have the same patience, so the first is the next.
    deadlines: VecDeque<(Instant, Key)>,
}

/// One that is under way.
#[derive(Debug)]
struct Asked {
    sandbox: Key,
    client: Client,
    query: Query,
    relayed: Relayed,
    servers: Rc<[SocketAddr]>,
    /// They are the container's own.
    inside: bool,
    /// The next of them.
    next: usize,
    socket: Option<OwnedFd>,
    stream: Stream,
    forged: u32,
    deadline: Instant,
}

/// What went and came over TCP.
#[derive(Debug, Default)]
struct Stream {
    sent: usize,
    input: Vec<u8>,
}

/// What a look at a socket brought.
enum Heard {
    /// Nothing yet.
    Nothing,
    /// A packet.
    Message(Vec<u8>),
    /// The server cannot be reached, or hung up.
    Gone,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        Self { slab: Slab::new(MOST), deadlines: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// When the next server took too long. Those that have answered are forgotten on the way.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some((at, key)) = self.deadlines.front() {
            if self.slab.get(*key).is_some_and(|asked| asked.deadline == *at) {
                return Some(*at);
            }
            self.deadlines.pop_front();
        }
        None
    }
}

impl Server {
    /// Asks outside.
    pub(crate) fn forward(&mut self, key: Key, bytes: &[u8], query: Query, client: Client) {
        let Some(attached) = self.sandboxes.get_mut(key) else { return };
        let settings = self.records.sandbox(&attached.id);
        let own = settings.map(|s| Rc::clone(&s.upstream)).filter(|own| !own.is_empty());
        // Who may not go everywhere may not go to its servers either: they are asked in its stead, from here.
        let judged = settings.is_some_and(|settings| settings.egress.is_some());
        let inside = own.is_some() && !judged;
        let asked = Asked {
            sandbox: key,
            client,
            relayed: Relayed::new(bytes, self.random.id()),
            query,
            servers: own.unwrap_or_else(|| self.resolv.servers()),
            inside,
            next: 0,
            socket: None,
            stream: Stream::default(),
            forged: 0,
            deadline: Instant::now(),
        };
        let inserted = if attached.in_flight < MOST_EACH {
            self.upstream.slab.insert(asked)
        } else {
            Err(asked)
        };
        match inserted {
            Ok(number) => {
                attached.in_flight += 1;
                self.counters.forwarded += 1;
                self.ask_next(number);
            }
            Err(asked) => self.reply(key, client, &asked.query.empty(TOO_MANY)),
        }
    }

    /// Asks the next server that can be asked, or tells the client that there is none.
    fn ask_next(&mut self, key: Key) {
        loop {
            let Some(asked) = self.upstream.slab.get_mut(key) else { return };
            asked.socket = None;
            asked.stream = Stream::default();
            asked.forged = 0;
            let most = asked.servers.len().min(MOST_SERVERS);
            let Some(server) = asked.servers[..most].get(asked.next).copied() else {
                let answer = asked.query.empty(Rcode::ServFail);
                return self.finish(key, &answer);
            };
            asked.next += 1;
            let transport = asked.client.transport();
            let Some(sandbox) = self.sandboxes.get(asked.sandbox) else {
                // Nobody is there any more to be told, and nothing may be asked in its stead from elsewhere.
                self.upstream.slab.remove(key);
                return;
            };
            let opened = if asked.inside {
                self.home.inside(sandbox.netns.as_fd(), || connect(server, transport))
            } else {
                connect(server, transport)
            };
            let Ok(socket) = opened else { continue };
            let flags = match transport {
                Transport::Udp => {
                    let flags = SendFlags::NOSIGNAL;
                    if rustix::net::send(&socket, asked.relayed.bytes(), flags).is_err() {
                        continue;
                    }
                    EventFlags::IN
                }
                Transport::Tcp => EventFlags::OUT,
            };
            if self.poll.add(&socket, Token::Upstream(key), flags).is_err() {
                continue;
            }
            asked.socket = Some(socket);
            asked.deadline = Instant::now() + PATIENCE;
            self.upstream.deadlines.push_back((asked.deadline, key));
            return;
        }
    }

    /// A server said something, or takes something.
    pub(crate) fn hear_upstream(&mut self, key: Key) {
        loop {
            let Some(asked) = self.upstream.slab.get_mut(key) else { return };
            let Some(socket) = &asked.socket else { return };
            let heard = match asked.client.transport() {
                Transport::Udp => receive(socket, &mut self.scratch[..]),
                Transport::Tcp => converse(socket, asked.relayed.bytes(), &mut asked.stream),
            };
            let mut message = match heard {
                Heard::Message(message) => message,
                Heard::Gone => return self.ask_next(key),
                Heard::Nothing => {
                    if asked.client.transport() == Transport::Tcp {
                        let is_sent = asked.stream.sent == asked.relayed.bytes().len() + 2;
                        let flags = if is_sent { EventFlags::IN } else { EventFlags::OUT };
                        let _changed = self.poll.change(socket, Token::Upstream(key), flags);
                    }
                    return;
                }
            };
            match asked.relayed.judge(&message) {
                Reply::Answer => {
                    let limit = asked.query.limit(asked.client.transport());
                    asked.relayed.for_client(&mut message, limit);
                    return self.finish(key, &message);
                }
                Reply::Failure => return self.ask_next(key),
                Reply::Foreign => {
                    self.counters.forged += 1;
                    asked.forged += 1;
                    // A stream has one sender, which talks nonsense.
                    let is_stream = asked.client.transport() == Transport::Tcp;
                    if is_stream || asked.forged >= MOST_FORGED {
                        return self.ask_next(key);
                    }
                }
            }
        }
    }

    fn finish(&mut self, key: Key, answer: &[u8]) {
        let Some(asked) = self.upstream.slab.remove(key) else { return };
        if let Some(attached) = self.sandboxes.get_mut(asked.sandbox) {
            attached.in_flight -= 1;
        }
        self.give(asked.sandbox, asked.client, &asked.query, answer, true);
        self.go_on_tcp(asked.client);
    }

    /// Gives up servers that took too long.
    pub(crate) fn expire_upstream(&mut self, now: Instant) {
        while let Some(at) = self.upstream.next_deadline().filter(|at| *at <= now) {
            let Some((_, key)) = self.upstream.deadlines.pop_front() else { return };
            debug_assert!(at <= now);
            self.ask_next(key);
        }
    }
}

/// A socket that talks to `server` and nobody else, in the namespace where we are.
fn connect(server: SocketAddr, transport: Transport) -> io::Result<OwnedFd> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match transport {
        Transport::Udp => SocketType::DGRAM,
        Transport::Tcp => SocketType::STREAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e.into()),
    }
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Heard {
    match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
        Ok((_, n)) => Heard::Message(buffer[..n].to_vec()),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Heard::Nothing,
        // As a rule "connection refused": the host is there, the server is not.
        Err(_) => Heard::Gone,
    }
}

/// Sends what is left to be sent and reads what there is to be read.
fn converse(socket: &OwnedFd, query: &[u8], stream: &mut Stream) -> Heard {
    let prefix = (query.len() as u16).to_be_bytes();
    while stream.sent < query.len() + 2 {
        let rest = match stream.sent {
            sent @ (0 | 1) => &prefix[sent..],
            sent => &query[sent - 2..],
        };
        match rustix::net::send(socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => stream.sent += sent,
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => return Heard::Nothing,
            Err(_) => return Heard::Gone,
        }
    }
    let mut part = [0; 4096];
    loop {
        if let Some([high, low]) = stream.input.first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if let Some(message) = stream.input.get(2..2 + length) {
                return Heard::Message(message.to_vec());
            }
        }
        match rustix::io::read(socket, &mut part) {
            Ok(0) => return Heard::Gone,
            Ok(n) => stream.input.extend_from_slice(&part[..n]),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => return Heard::Nothing,
            Err(_) => return Heard::Gone,
        }
    }
}
