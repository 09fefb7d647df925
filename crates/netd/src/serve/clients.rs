//! Queries of containers, over UDP and TCP, and their answers.
//!
//! A client over TCP has five seconds for each query, however it spends them (CVE-2024-8418), and one query at a time;
//! what is no DNS ends the connection (CVE-2026-35406). When a container has too many clients, its oldest goes.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use dns::{Decision, Malformed, Query, Rcode, Transport};
use rustix::event::epoll::EventFlags;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

use super::Server;
use super::poll::Token;
use super::slab::Key;

/// How long a client over TCP may take for a query, and how long it may be silent.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients over TCP of all containers.
pub(crate) const MOST_TCP: usize = 4096;
/// Clients over TCP of one container.
const MOST_TCP_EACH: usize = 256;
/// Datagrams of one container, or connections, that are taken in a row: others wait too.
const ROUND: usize = 64;
/// A part of a stream that is read at once.
const PART: usize = 4 << 10;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// From this address, over UDP.
    Udp(SocketAddr),
    /// Over this connection.
    Tcp(Key),
}

impl Client {
    pub(crate) fn transport(self) -> Transport {
        match self {
            Self::Udp(_) => Transport::Udp,
            Self::Tcp(_) => Transport::Tcp,
        }
    }
}

/// A client over TCP.
#[derive(Debug)]
pub(crate) struct TcpClient {
    sandbox: Key,
    socket: OwnedFd,
    /// What came and is no whole query yet. At most one query and a part.
    input: Vec<u8>,
    /// An answer that does not fit into the socket.
    output: Vec<u8>,
    /// A query waits for a server outside; nothing is read meanwhile.
    waiting: bool,
    /// When it is too late.
    deadline: Instant,
}

impl Server {
    pub(crate) fn read_udp(&mut self, key: Key) {
        for _datagram in 0..ROUND {
            let Some(attached) = self.sandboxes.get(key) else { return };
            let received =
                rustix::net::recvfrom(&attached.udp, &mut self.scratch[..], RecvFlags::DONTWAIT);
            let Ok((_, length, from)) = received else { return };
            let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else {
                continue;
            };
            let bytes = self.scratch[..length].to_vec();
            self.query(key, &bytes, Client::Udp(from));
        }
    }

    /// Answers a query, or asks outside. `false`: it was none, and its sender gets no answer.
    fn query(&mut self, key: Key, bytes: &[u8], client: Client) -> bool {
        let query = match Query::parse(bytes) {
            Ok(query) => query,
            Err(Malformed::Ignore) => return false,
            Err(Malformed::Fail(rcode)) => {
                if let Some(answer) = dns::failure(bytes, rcode) {
                    self.reply(key, client, &answer);
                }
                return true;
            }
        };
        let Some(attached) = self.sandboxes.get(key) else { return false };
        let id = attached.id.as_str();
        let seed = self.random.seed();
        match self.records.tables.decide(id, &query, client.transport(), seed) {
            Decision::Answer(answer) => {
                self.counters.answered += 1;
                self.give(key, client, &query, &answer, false);
            }
            Decision::Refuse(rcode) => self.reply(key, client, &query.empty(rcode)),
            Decision::Forward => match self.may_ask(key, &query) {
                None => self.forward(key, bytes, query, client),
                // What it says beside its question is nobody's business outside.
                Some(true) => self.forward(key, &query.alone(), query, client),
                Some(false) => self.reply(key, client, &query.empty(Rcode::Refused)),
            },
        }
        true
    }

    /// Gives a client an answer once the addresses in it are allowed. `outside`: a stranger gave it.
    pub(crate) fn give(
        &mut self,
        key: Key,
        client: Client,
        query: &Query,
        answer: &[u8],
        outside: bool,
    ) {
        match self.learn(key, query, answer, outside) {
            Ok(()) => self.reply(key, client, answer),
            Err(e) => {
                self.log.note(&e);
                self.reply(key, client, &query.empty(Rcode::ServFail));
            }
        }
    }

    /// Gives a client its answer.
    pub(crate) fn reply(&mut self, key: Key, client: Client, answer: &[u8]) {
        match client {
            Client::Udp(to) => {
                let Some(attached) = self.sandboxes.get(key) else { return };
                // A client that does not read loses answers, as on any network.
                let _sent = rustix::net::sendto(&attached.udp, answer, SendFlags::DONTWAIT, &to);
            }
            Client::Tcp(client) => self.reply_tcp(client, answer),
        }
    }

    pub(crate) fn accept_tcp(&mut self, key: Key) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _connection in 0..ROUND {
            let Some(attached) = self.sandboxes.get_mut(key) else { return };
            let Ok(socket) = rustix::net::accept_with(&attached.tcp, flags) else { return };
            if attached.clients.len() >= MOST_TCP_EACH
                && let Some(oldest) = attached.clients.pop_front()
            {
                self.clients.remove(oldest);
            }
            let deadline = Instant::now() + PATIENCE;
            let client = TcpClient {
                sandbox: key,
                socket,
                input: Vec::new(),
                output: Vec::new(),
                waiting: false,
                deadline,
            };
            let Ok(client) = self.clients.insert(client) else { continue };
            attached.clients.push_back(client);
            self.sandboxes.deadlines.push_back((deadline, client));
            let Some(socket) = self.clients.get(client).map(|c| &c.socket) else { continue };
            if self.poll.add(socket, Token::TcpClient(client), EventFlags::IN).is_err() {
                self.close_tcp(client);
            }
        }
    }

    pub(crate) fn serve_tcp(&mut self, key: Key, flags: EventFlags) {
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            return self.close_tcp(key);
        }
        if flags.contains(EventFlags::OUT) {
            self.reply_tcp(key, &[]);
        }
        if flags.contains(EventFlags::IN) {
            let Some(client) = self.clients.get_mut(key) else { return };
            if client.waiting || !client.output.is_empty() {
                return;
            }
            let mut part = [0; PART];
            match rustix::io::read(&client.socket, &mut part) {
                Ok(0) => return self.close_tcp(key),
                Ok(n) => client.input.extend_from_slice(&part[..n]),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(_) => return self.close_tcp(key),
            }
        }
        self.work_tcp(key);
    }

    /// Serves the queries that a client sent as far as they are whole, one after the other.
    fn work_tcp(&mut self, key: Key) {
        while let Some(client) = self.clients.get_mut(key) {
            let is_busy = client.waiting || !client.output.is_empty();
            let whole = if is_busy { None } else { take_message(&mut client.input) };
            let Some(message) = whole else { break };
            client.waiting = true;
            let sandbox = client.sandbox;
            self.working = Some(key);
            let understood = !message.is_empty() && self.query(sandbox, &message, Client::Tcp(key));
            self.working = None;
            if !understood {
                return self.close_tcp(key);
            }
        }
        self.wait_tcp(key);
    }

    /// An answer for a client, or what is left of one.
    fn reply_tcp(&mut self, key: Key, answer: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if !answer.is_empty() {
            client.output.extend_from_slice(&(answer.len() as u16).to_be_bytes());
            client.output.extend_from_slice(answer);
            client.waiting = false;
            client.deadline = Instant::now() + PATIENCE;
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        while !client.output.is_empty() {
            match rustix::net::send(&client.socket, &client.output, flags) {
                Ok(sent) => drop(client.output.drain(..sent)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Err(_) => return self.close_tcp(key),
            }
        }
    }

    /// An answer that came from outside: whoever waited may ask on.
    pub(crate) fn go_on_tcp(&mut self, client: Client) {
        // One whose queries are being worked on has its turn anyway.
        if let Client::Tcp(key) = client
            && self.working != Some(key)
        {
            self.work_tcp(key);
        }
    }

    fn wait_tcp(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let flags = match (client.output.is_empty(), client.waiting) {
            (false, _) => EventFlags::OUT,
            (true, true) => EventFlags::empty(),
            (true, false) => EventFlags::IN,
        };
        if self.poll.change(&client.socket, Token::TcpClient(key), flags).is_err() {
            self.close_tcp(key);
        }
    }

    fn close_tcp(&mut self, key: Key) {
        let Some(client) = self.clients.remove(key) else { return };
        if let Some(attached) = self.sandboxes.get_mut(client.sandbox) {
            attached.clients.retain(|other| *other != key);
        }
    }

    /// Closes clients over TCP that took too long.
    pub(crate) fn expire_tcp(&mut self, now: Instant) {
        while let Some((at, key)) = self.sandboxes.deadlines.front().copied() {
            if at > now && self.clients.get(key).is_some() {
                break;
            }
            self.sandboxes.deadlines.pop_front();
            let Some(client) = self.clients.get_mut(key) else { continue };
            if client.waiting {
                // Not it, but a server takes long; that has a limit of its own.
                client.deadline = now + PATIENCE;
            }
            if client.deadline <= now {
                self.close_tcp(key);
            } else {
                // At the end of the queue, so not before what is in it already: late by one round at most.
                let at = client.deadline;
                self.sandboxes.deadlines.push_back((at, key));
            }
        }
    }
}

/// Takes the first message off a stream (RFC 1035, 4.2.2) if it is whole. An empty one is taken for what it is: none.
fn take_message(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let [high, low] = *input.first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let message = input.get(2..2 + length)?.to_vec();
    input.drain(..2 + length);
    Some(message)
}

/// The code for a container that has too many queries under way.
pub(crate) const TOO_MANY: Rcode = Rcode::Refused;
