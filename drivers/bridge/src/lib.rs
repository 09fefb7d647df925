//! Networks on a Linux bridge.
//!
//! ```text
//!   container          host
//!   eth0 ────veth──── vethXXXXXXX ── gantry0 (172.17.0.1/16) ──forward──▶ eth0 ──masquerade──▶ LAN
//! ```
//!
//! - [`plan`] computes what joining means, as a value; [`apply`] is the one function that does it: two messages on the host and
//!   three in the sandbox, each group in one system call.
//! - [`rules`] computes the firewall table of all networks; it is written whole when a network comes or goes, never when
//!   a container does.
//! - [`lease`] knows which address belongs to which link, until the kernel says that the link is gone.
//! - A thread listens for links that go. Nobody ever deletes a veth on a path that somebody waits for: the sandbox's end
//!   takes it away.
//!
//! Everything of ours on the host carries a mark: links have the alias `gantry:<table>:…`, rules are in our table. What
//! has no mark is not touched.

#![forbid(unsafe_code)]

pub mod apply;
mod forwarding;
mod host;
mod join;
pub mod lease;
mod networks;
pub mod options;
pub mod plan;
mod recover;
pub mod rules;
mod watch;

use host::Host;
use ipnet::IpNet;
use lease::{Lease, Leases};
use network::{
    Driver, Endpoint, EndpointId, Ipam, Joined, Live, Network, NetworkConfig, NetworkId, Recovered,
    Sandbox,
};
use options::Options;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::{Error, Kind, Result};

/// Where this instance of the daemon keeps its things on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Six hexadecimal digits when the daemon does not use the default exec-root; they keep instances apart.
    pub instance: Option<String>,
    /// EXEC-ROOT/network: what was changed on the host is written here first.
    pub state: PathBuf,
}

impl Config {
    /// The default network's bridge: `gantry0`, `gantry0-1a2b3c`.
    pub fn default_bridge(&self) -> String {
        match &self.instance {
            None => "gantry0".into(),
            Some(instance) => format!("gantry0-{instance}"),
        }
    }

    /// The firewall table: `gantry`, `gantry_1a2b3c`.
    pub fn table(&self) -> String {
        match &self.instance {
            None => "gantry".into(),
            Some(instance) => format!("gantry_{instance}"),
        }
    }

    /// What the aliases of our links begin with.
    pub fn mark(&self) -> String {
        format!("gantry:{}:", self.table())
    }

    /// The bridge of a network.
    fn bridge_of(&self, network: &NetworkConfig, options: &Options) -> String {
        if let Some(name) = &options.name {
            return name.clone();
        }
        // 15 bytes are all a link's name can have; the id's first twelve digits are what Docker uses too.
        if network.default {
            self.default_bridge()
        } else {
            format!("br-{}", &network.id.to_string()[..12])
        }
    }
}

/// The driver `bridge`.
#[derive(Debug)]
pub struct Bridge {
    inner: Arc<Inner>,
    _watch: watch::Watch,
}

/// What the driver and its listening thread share. Who needs both locks takes `host` first.
#[derive(Debug)]
struct Inner {
    config: Config,
    ipam: Arc<dyn Ipam>,
    /// The host's links and firewall; held while the kernel works on them, which it does one after another anyway.
    host: Mutex<Host>,
    /// Networks and leases; held for lookups only, never while the kernel works.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    networks: HashMap<NetworkId, Net>,
    leases: Leases,
}

/// A network of ours.
#[derive(Debug, Clone)]
struct Net {
    config: NetworkConfig,
    options: Options,
    /// The bridge's name and number. The number changes when somebody deletes the bridge and we make it again.
    bridge: String,
    index: u32,
    /// We made the bridge.
    owned: bool,
    /// At most one a family, IPv4 first.
    pools: Vec<NetPool>,
}

/// The addresses of one family.
#[derive(Debug, Clone)]
struct NetPool {
    subnet: IpNet,
    range: Option<IpNet>,
    gateway: IpAddr,
}

impl Bridge {
    /// Opens the driver in the calling thread's network namespace, which is "the host" from now on. Nothing on the host
    /// changes before the first `create`.
    pub fn open(config: Config, ipam: Arc<dyn Ipam>) -> Result<Self> {
        stdx::fs::create_dir(&config.state, 0o700)?;
        let host = Host::open()?;
        let inner =
            Arc::new(Inner { config, ipam, state: Mutex::default(), host: Mutex::new(host) });
        let watch = watch::Watch::start(Arc::clone(&inner))?;
        Ok(Self { inner, _watch: watch })
    }

    /// Removes every link, rule and setting of this instance from the host: `gantryd --cleanup`. No driver of the same
    /// configuration may be open: it would put right what this takes away.
    pub fn cleanup(config: &Config) -> Result<()> {
        let mut host = Host::open()?;
        let mark = config.mark();
        host.remove_links(|link| link.alias.starts_with(&mark))?;
        // Forwarding first: without the table the host would forward for everybody.
        forwarding::restore(&config.state, &config.table(), &mut host)?;
        host.firewall.delete(&config.table())
    }

    /// How many endpoints hold an address, those included whose link the kernel is still removing.
    pub fn leases(&self) -> usize {
        self.inner.state().leases.len()
    }
}

impl Driver for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn create(&self, config: &NetworkConfig) -> Result<Network> {
        self.inner.create(config)
    }

    fn delete(&self, network: &NetworkId) -> Result<()> {
        let mut host = self.inner.host();
        let net = {
            let mut state = self.inner.state();
            let Some(net) = state.networks.get(network).cloned() else { return Ok(()) };
            if state.leases.active(network) > 0 {
                let text = format!(
                    "error while removing network: network {} id {network} has active endpoints",
                    net.config.name
                );
                return Err(Error::new(Kind::Forbidden, text));
            }
            state.networks.remove(network);
            state.leases.forget_network(network);
            net
        };
        if net.owned {
            host.remove_links(|link| link.index == net.index && link.name == net.bridge)?;
        } else {
            host.remove_addresses(net.index, &net.bridge_addresses())?;
        }
        self.inner.release_pools(&net.pools);
        self.inner.write_rules(&mut host)
    }

    fn join(&self, endpoint: &Endpoint, sandbox: &mut Sandbox) -> Result<Joined> {
        self.inner.join(endpoint, sandbox)
    }

    fn leave(&self, endpoint: &EndpointId) -> Result<()> {
        let freed = self.inner.state().leases.leave(endpoint);
        self.inner.release(freed);
        Ok(())
    }

    fn detach(&self, endpoint: &EndpointId) -> Result<()> {
        self.inner.detach(endpoint)
    }

    fn recover(&self, live: Vec<Live>) -> Result<Recovered> {
        self.inner.recover(live)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // State changes by whole inserts and removes: a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self) -> MutexGuard<'_, Host> {
        // The sockets number their messages; a conversation that was broken off is only a stale answer to skip.
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives addresses back.
    fn release(&self, lease: Option<Lease>) {
        for (pool, address) in lease.into_iter().flat_map(|lease| lease.addresses) {
            self.ipam.release(&pool, address);
        }
    }
}
