//! What is attached: the sockets inside namespaces, and when they are let go.
//!
//! A socket keeps its namespace alive, with all links in it. So each is let go as soon as its container's process has
//! ended (pidfd), when the daemon says so, or, while no process is known yet, when the daemon's connection ends.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use stdx::{Context as _, Result};
use sys::netlink::{Protocol, Socket};

use super::Server;
use super::owner::{self, Owner};
use super::poll::Token;
use super::redirect::{self, RESOLVER, There};
use super::slab::{Key, Slab};
use crate::state::{self, Id};

/// How many clients may wait to be accepted over TCP.
const BACKLOG: i32 = 128;
/// More than any host's containers; each has four descriptors.
const MOST: usize = 8192;

/// A namespace that is served.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) id: Id,
    pub(crate) netns: OwnedFd,
    pub(crate) udp: OwnedFd,
    pub(crate) tcp: OwnedFd,
    /// The process that it lives as long as.
    owner: Option<OwnedFd>,
    /// The daemon's connection that it lives as long as, before there is a process.
    daemon: Option<Key>,
    /// Queries that wait for a server outside.
    pub(crate) in_flight: usize,
    /// Its clients over TCP, the oldest first.
    pub(crate) clients: VecDeque<Key>,
}

/// All that are served.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    slab: Slab<Attached>,
    keys: HashMap<Id, Key>,
    /// When clients over TCP are looked at, the earliest first.
    pub(crate) deadlines: VecDeque<(Instant, Key)>,
}

impl Default for Sandboxes {
    fn default() -> Self {
        Self { slab: Slab::new(MOST), keys: HashMap::new(), deadlines: VecDeque::new() }
    }
}

impl Sandboxes {
    pub(crate) fn get(&self, key: Key) -> Option<&Attached> {
        self.slab.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Attached> {
        self.slab.get_mut(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(at, _)| *at)
    }
}

impl Server {
    /// Serves the namespace for the sandbox, which has a record. It was served already: anew.
    pub(crate) fn attach(&mut self, id: &Id, netns: OwnedFd, daemon: Option<Key>) -> Result<()> {
        self.detach(id);
        let (udp, tcp) = self
            .home
            .inside(netns.as_fd(), open)
            .context(|| format!("open {RESOLVER} in the container's network"))?;
        let attached = Attached {
            id: id.clone(),
            netns,
            udp,
            tcp,
            owner: None,
            daemon,
            in_flight: 0,
            clients: VecDeque::new(),
        };
        let key =
            self.sandboxes.slab.insert(attached).map_err(|_| {
                stdx::Error::new(stdx::Kind::NoSpace, "too many networks are served")
            })?;
        self.sandboxes.keys.insert(id.clone(), key);
        let attached = self.sandboxes.slab.get(key).expect("it was put there just now");
        let added = self
            .poll
            .add(&attached.udp, Token::Udp(key), EventFlags::IN)
            .and_then(|()| self.poll.add(&attached.tcp, Token::TcpListener(key), EventFlags::IN))
            .context(|| "wait for queries");
        added.inspect_err(|_| self.detach(id))
    }

    /// The sandbox lives as long as this process; it is attached through it if it is not yet.
    pub(crate) fn set_owner(&mut self, id: &Id, pid: u32, pidfd: OwnedFd) -> Result<()> {
        if !self.records.sandbox(id).is_some_and(|settings| settings.dns) {
            return Ok(());
        }
        if !self.sandboxes.keys.contains_key(id) {
            let netns = sys::netns::of_process(pid)
                .context(|| format!("open the network of process {pid}"))?;
            self.attach(id, netns, None)?;
        }
        let Some(key) = self.sandboxes.keys.get(id).copied() else { return Ok(()) };
        let Some(attached) = self.sandboxes.slab.get_mut(key) else { return Ok(()) };
        match Owner::of(pid, &attached.netns) {
            Ok(owner) => owner.write(self.records.paths(), id)?,
            // It ended meanwhile: its pidfd tells in a moment.
            Err(e) if owner::has_ended(&e) => {}
            Err(e) => return Err(e).context(|| format!("read process {pid}")),
        }
        if let Some(old) = attached.owner.take() {
            self.poll.remove(&old);
        }
        self.poll
            .add(&pidfd, Token::Owner(key), EventFlags::IN)
            .context(|| "wait for the container's end")?;
        attached.owner = Some(pidfd);
        attached.daemon = None;
        Ok(())
    }

    /// The process of a sandbox ended.
    pub(crate) fn owner_ended(&mut self, key: Key) {
        if let Some(id) = self.sandboxes.slab.get(key).map(|attached| attached.id.clone()) {
            self.detach(&id);
        }
    }

    /// Lets go of a sandbox's namespace, and forgets its process.
    pub(crate) fn detach(&mut self, id: &Id) {
        let Some(key) = self.sandboxes.keys.remove(id) else { return };
        let Some(attached) = self.sandboxes.slab.remove(key) else { return };
        // Somebody else may hold the same open process, and epoll would go on telling of it.
        if let Some(owner) = &attached.owner {
            self.poll.remove(owner);
        }
        for client in attached.clients {
            self.clients.remove(client);
        }
        if let Err(e) = stdx::fs::remove_file(&self.records.paths().owner(id)) {
            self.log.note(&e);
        }
    }

    /// Lets go of what a daemon attached that is gone, and that has no process.
    pub(crate) fn detach_started_by(&mut self, daemon: Key) {
        let orphans: Vec<Id> = self
            .sandboxes
            .slab
            .iter()
            .filter(|(_, attached)| attached.daemon == Some(daemon))
            .map(|(_, attached)| attached.id.clone())
            .collect();
        orphans.iter().for_each(|id| self.detach(id));
    }

    /// Attaches what another helper had attached, as far as its processes live.
    pub(crate) fn attach_recorded(&mut self) {
        let ids = state::ids(&self.records.paths().owners()).unwrap_or_default();
        for id in ids {
            if let Err(e) = self.attach_again(&id) {
                self.log.note(&e);
                let _gone = std::fs::remove_file(self.records.paths().owner(&id));
            }
        }
    }

    fn attach_again(&mut self, id: &Id) -> Result<()> {
        let path = self.records.paths().owner(id);
        let Some(owner) = state::read::<Owner>(&path)? else { return Ok(()) };
        if !self.records.sandbox(id).is_some_and(|settings| settings.dns) {
            return stdx::fs::remove_file(&path);
        }
        let (pidfd, netns) = owner.find()?;
        self.attach(id, netns, None)?;
        self.set_owner(id, owner.pid(), pidfd)
    }
}

/// The sockets of a namespace and the rules that lead to them; to be called inside. Where there are rules already, of a
/// helper that was killed or of an earlier attachment, it is listened where they lead.
fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut netfilter = Socket::open(Protocol::Netfilter)?;
    let refused = |e: sys::netlink::Error| {
        io::Error::other(format!("redirect queries (does the kernel have nf_tables?): {e}"))
    };
    let before = redirect::there(&mut netfilter).map_err(refused)?;
    if let There::To(udp, tcp) = before
        && let Ok(opened) = open_at(udp, tcp)
    {
        return Ok(opened);
    }
    let (udp, tcp) = open_at(0, 0)?;
    let ports = (port(udp.as_fd())?, port(tcp.as_fd())?);
    netfilter.execute(redirect::rules(ports, before != There::Nothing)).map_err(refused)?;
    Ok((udp, tcp))
}

fn open_at(udp: u16, tcp: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let (udp, tcp) = (bound(SocketType::DGRAM, udp)?, bound(SocketType::STREAM, tcp)?);
    rustix::net::listen(&tcp, BACKLOG)?;
    Ok((udp, tcp))
}

/// A socket on this port of the resolver's address, 0 for a free one.
fn bound(kind: SocketType, port: u16) -> io::Result<OwnedFd> {
    let protocol = if kind == SocketType::DGRAM { ipproto::UDP } else { ipproto::TCP };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, Some(protocol))?;
    if kind == SocketType::STREAM {
        // To be there again while connections of the one before still end.
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddrV4::new(RESOLVER, port))?;
    Ok(socket)
}

fn port(socket: BorrowedFd<'_>) -> io::Result<u16> {
    let address = rustix::net::getsockname(socket)?;
    Ok(SocketAddrV4::try_from(address).map_err(io::Error::from)?.port())
}
