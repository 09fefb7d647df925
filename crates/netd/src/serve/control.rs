//! The daemon's connections: requests in, answers out.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::net::SocketFlags;
use stdx::{Error, Result};

use super::Server;
use super::poll::Token;
use super::slab::Key;
use crate::packet;
use crate::protocol::{Answer, Request, Status, VERSION};

/// A daemon's connection.
#[derive(Debug)]
pub(crate) struct Daemon {
    socket: OwnedFd,
}

impl Daemon {
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }
}

impl Server {
    pub(crate) fn accept_daemons(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
            // More than there is room for are turned away: there is one daemon.
            let Ok(key) = self.daemons.insert(Daemon { socket }) else { continue };
            let Some(daemon) = self.daemons.get(key) else { continue };
            if self.poll.add(&daemon.socket, Token::Daemon(key), EventFlags::IN).is_err() {
                self.daemons.remove(key);
                continue;
            }
            self.firewall.set_daemon(key, None);
        }
    }

    /// Answers all that a daemon asked, in order.
    pub(crate) fn hear_daemon(&mut self, key: Key) {
        while !self.stop {
            let Some(daemon) = self.daemons.get(key) else { return };
            let (request, fds) = match packet::receive::<Request>(&daemon.socket) {
                Ok(Some(received)) => received,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) => return self.forget_daemon(key),
                Err(e) => {
                    self.log.note(&Error::io("read a request", e));
                    return self.forget_daemon(key);
                }
            };
            let answer = self.answer(key, request, fds).unwrap_or_else(|e| {
                self.log.note(&e);
                Answer::Failed(e.to_string())
            });
            let Some(daemon) = self.daemons.get(key) else { return };
            if packet::send(&daemon.socket, &answer, &[]).is_err() {
                // It asks and does not listen, or is gone.
                return self.forget_daemon(key);
            }
            self.tell_denials();
        }
    }

    fn forget_daemon(&mut self, key: Key) {
        self.daemons.remove(key);
        self.firewall.forget_daemon(key);
        self.egress.forget_daemon(key);
        self.detach_started_by(key);
    }

    fn answer(&mut self, from: Key, request: Request, fds: Vec<OwnedFd>) -> Result<Answer> {
        if fds.len() != request.descriptors() {
            return Err(Error::invalid("a request without its descriptors"));
        }
        let fd = fds.into_iter().next();
        match (request, fd) {
            (Request::Hello { .. }, _) => {
                let pid = std::process::id();
                return Ok(Answer::Hello { version: VERSION, pid, port: self.relays.port() });
            }
            (Request::Attach { sandbox }, Some(netns)) => {
                self.records.read_sandbox(&sandbox)?;
                if self.records.sandbox(&sandbox).is_none() {
                    return Err(Error::not_found(format!("no record of sandbox {sandbox}")));
                }
                self.end_sessions(&sandbox);
                self.attach(&sandbox, netns, Some(from))?;
                self.listen_to_denials();
            }
            (Request::Owner { sandbox, pid }, Some(pidfd)) => {
                self.set_owner(&sandbox, pid, pidfd)?;
            }
            (Request::Sandbox { id }, _) => {
                self.records.read_sandbox(&id)?;
                self.end_sessions(&id);
                self.listen_to_denials();
            }
            (Request::Watch, _) => self.watch_denials(from),
            (Request::Network { id }, _) => self.records.read_network(&id)?,
            (Request::Detach { sandbox }, _) => {
                self.records.read_sandbox(&sandbox)?;
                self.end_sessions(&sandbox);
                self.detach(&sandbox);
                self.forget_egress(&sandbox);
            }
            (Request::Firewall { netlink_port }, _) => {
                self.firewall.set_daemon(from, netlink_port);
                self.firewall.check(&mut self.log);
            }
            (Request::Status, _) => return Ok(Answer::Status(self.status())),
            (Request::Stop, _) => self.stop = true,
            (Request::Attach { .. } | Request::Owner { .. }, None) => {
                return Err(Error::invalid("a request without its descriptors"));
            }
        }
        Ok(Answer::Done)
    }

    fn status(&self) -> Status {
        let (networks, sandboxes) = self.records.tables.counts();
        Status {
            attached: self.sandboxes.len(),
            sandboxes,
            networks,
            answered: self.counters.answered,
            forwarded: self.counters.forwarded,
            in_flight: self.upstream.len(),
            forged: self.counters.forged,
            tcp_clients: self.clients.len(),
            relays: self.relays.len(),
            sessions: self.sessions.len(),
            dropped: self.counters.dropped,
            replayed: self.firewall.replayed(),
            denied: self.egress.told(),
        }
    }
}
