//! Networks on a link of the host's (`parent`): every container has a link of its own that shares the parent's wire, with
//! an Ethernet address of its own (macvlan) or the parent's (ipvlan).
//!
//! ```text
//!   container                 host
//!   eth0 (macvlan) ─────────▶ parent: eth0, or eth0.50 (made by us if it is not there), or one that leads nowhere ──▶ LAN
//! ```
//!
//! The link is made in the container's namespace and goes with it; on the host there are only the parents that we made.
//! They bear our mark as their alias, and what has no mark is not touched. Nothing is published: containers are on the
//! LAN themselves. The host and its containers do not see each other by these links, which is the kernel's way.

#![forbid(unsafe_code)]

mod driver;
pub mod options;

use network::Ipam;
use network::ipam::subnets::Subnet;
use network::route;
use options::Options;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::{Error, Result};
use sys::netlink::{Protocol, Socket};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `macvlan`
    Macvlan,
    /// `ipvlan`
    Ipvlan,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    fn mode_key(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan_mode",
            Self::Ipvlan => "ipvlan_mode",
        }
    }

    /// What a parent that leads nowhere is called, as Docker calls it.
    fn prefix(self) -> &'static str {
        match self {
            Self::Macvlan => "dm-",
            Self::Ipvlan => "di-",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of the drivers.
#[derive(Debug)]
pub struct Macvlan {
    kind: Kind,
    /// What the aliases of our parents begin with.
    mark: String,
    ipam: Arc<dyn Ipam>,
    host: Mutex<Socket>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    networks: HashMap<network::NetworkId, Net>,
    /// Who is on which network with which addresses.
    endpoints: HashMap<network::EndpointId, (network::NetworkId, Vec<(ipnet::IpNet, IpAddr)>)>,
}

/// A network of ours.
#[derive(Debug, Clone)]
struct Net {
    name: String,
    internal: bool,
    options: Options,
    /// The parent's name.
    parent: String,
    pools: Vec<Subnet>,
}

impl Macvlan {
    /// Opens the driver in the calling thread's network namespace, which is "the host" from now on. `table` names this
    /// instance of the daemon (`gantry`, `gantry_1a2b3c`).
    pub fn open(kind: Kind, table: &str, ipam: Arc<dyn Ipam>) -> Result<Self> {
        let host =
            Socket::open(Protocol::Route).map_err(|e| Error::io("open netlink socket", e))?;
        Ok(Self {
            kind,
            mark: mark(kind, table),
            ipam,
            host: Mutex::new(host),
            state: Mutex::default(),
        })
    }

    /// Removes every parent that this instance made: `gantryd --cleanup`.
    pub fn cleanup(table: &str) -> Result<()> {
        let mut host =
            Socket::open(Protocol::Route).map_err(|e| Error::io("open netlink socket", e))?;
        let ours = [Kind::Macvlan, Kind::Ipvlan].map(|kind| mark(kind, table));
        for link in route::links(&mut host)? {
            if ours.iter().any(|mark| link.alias.starts_with(mark)) {
                driver::remove(&mut host, &link)?;
            }
        }
        Ok(())
    }

    fn host(&self) -> MutexGuard<'_, Socket> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // State changes by whole inserts and removes: a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the aliases of our parents begin with; not as those of bridges and their ports, which another driver sweeps.
fn mark(kind: Kind, table: &str) -> String {
    format!("gantry-{kind}:{table}:")
}
