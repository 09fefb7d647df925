//! Networks and addresses that plugins give: Docker's remote network and address management drivers.
//!
//! ```text
//!   engine ─ network::Driver ─▶ driver ──┬─▶ peer ── POST /NetworkDriver.… ──▶ plugin ── makes a link on the host
//!                                        └─▶ link: takes that link into the container, with its addresses and routes
//!   bridge, macvlan, driver ─ Ipam ─▶ ipam ─▶ peer ── POST /IpamDriver.… ──▶ plugin
//! ```
//!
//! - [`peer`] is one plugin: it is found when it is first needed, and what it is to take back is asked of it by a thread
//!   of its own, so that nobody waits for a plugin that hangs but who wants something of it.
//! - [`journal`] has on disk what plugins were asked for, written before it is asked: a plugin keeps what it gave when
//!   this daemon dies, and the host's next start may not find it. What nobody owns at the daemon's start is taken back.
//! - A network that was made is not made again when the daemon starts, and an endpoint that lives is not told of: the
//!   plugin may be dead then, and containers go on.
//!
//! What plugins answer is not trusted: links by their names alone, which must be names; addresses must be addresses of
//! the pool; nothing is a path.

#![forbid(unsafe_code)]

mod driver;
mod ipam;
mod join;
mod journal;
mod link;
mod peer;
mod text;
mod undo;
mod wire;

use driver::Remote;
use ipam::Addresses;
use ipnet::IpNet;
use journal::Journal;
use network::ipam::subnets::Subnet;
use network::{Driver, EndpointId, Ipam, NetworkConfig, NetworkId, Owner};
use peer::Peer;
pub use plugin::Folders;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::{Context as _, Error, Result};
use sys::netlink::{Protocol, Socket};

/// All plugins that give networks or addresses.
#[derive(Debug, Clone)]
pub struct NetPlugins {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folders: plugin::Folders,
    journal: Journal,
    /// Who gives addresses where no plugin does.
    builtin: Arc<dyn Ipam>,
    /// By name.
    peers: Mutex<HashMap<String, Arc<Peer>>>,
    /// The namespace that plugins make their links in.
    home: OwnedFd,
    host: Mutex<Socket>,
    state: Mutex<State>,
}

/// What is known of networks and endpoints; held for looking things up only.
#[derive(Debug, Default)]
struct State {
    networks: HashMap<NetworkId, Net>,
    endpoints: HashMap<EndpointId, Attached>,
}

/// A network of a plugin's.
#[derive(Debug, Clone)]
struct Net {
    config: NetworkConfig,
    pools: Vec<Subnet>,
    global: bool,
}

/// An endpoint of a plugin's.
#[derive(Debug, Clone)]
struct Attached {
    network: NetworkId,
    /// The addresses that address management gave, each with its pool.
    addresses: Vec<(IpNet, IpAddr)>,
    /// The ports that the container says it serves.
    exposed: Vec<(network::Protocol, u16)>,
    /// It leads out, if it is asked to.
    has_gateway: bool,
    /// The plugin was told that it leads out.
    leads_out: bool,
}

impl NetPlugins {
    /// Those in these folders. `records` is where is written what they were asked for; `builtin` gives addresses where no
    /// plugin is asked. The calling thread's network namespace is the host's.
    pub fn open(folders: plugin::Folders, records: &Path, builtin: Arc<dyn Ipam>) -> Result<Self> {
        let host =
            Socket::open(Protocol::Route).map_err(|e| Error::io("open netlink socket", e))?;
        let inner = Inner {
            folders,
            journal: Journal::open(records)?,
            builtin,
            peers: Mutex::default(),
            home: sys::netns::current().context(|| "the host's network namespace")?,
            host: Mutex::new(host),
            state: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Address management for all drivers: the built-in one, or the plugin that a network names.
    pub fn ipam(&self) -> Arc<dyn Ipam> {
        Arc::new(Addresses { inner: Arc::clone(&self.inner) })
    }
}

impl network::Plugins for NetPlugins {
    fn driver(&self, name: &str) -> Arc<dyn Driver> {
        Arc::new(Remote { name: name.to_owned(), inner: Arc::clone(&self.inner) })
    }

    fn loaded(&self) -> Vec<String> {
        let peers = self.inner.peers();
        let mut names: Vec<String> =
            peers.values().filter(|p| p.gives_networks()).map(|p| p.name.clone()).collect();
        names.sort();
        names
    }

    fn recover(&self, networks: &[NetworkId], owners: &[Owner]) {
        self.inner.take_back(networks, owners);
    }
}

impl Inner {
    /// The plugin of that name, whether there is one or not.
    fn peer(self: &Arc<Self>, name: &str) -> Arc<Peer> {
        let mut peers = self.peers();
        if let Some(peer) = peers.get(name) {
            return Arc::clone(peer);
        }
        // Names that are only asked for once are not kept: anybody may ask for any.
        peers
            .retain(|_, peer| peer.is_loaded() || peer.has_chores() || Arc::strong_count(peer) > 1);
        let peer = Arc::new(Peer::new(name));
        peers.insert(name.to_owned(), Arc::clone(&peer));
        peer
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<String, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // State changes by whole inserts and removes: a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self) -> MutexGuard<'_, Socket> {
        // The sockets number their messages: a conversation that was broken off is only a stale answer to skip.
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
