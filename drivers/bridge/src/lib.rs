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
mod door;
mod egress;
mod firewall;
mod flows;
mod foreign;
mod forwarding;
mod host;
mod join;
pub mod lease;
mod links;
mod networks;
pub mod options;
pub mod plan;
pub mod policy;
pub mod ports;
mod probe;
mod publish;
mod recover;
pub mod rules;
mod watch;

use host::Host;
use ipnet::IpNet;
use lease::{Lease, Leases};
use network::ipam::subnets;
use network::{
    Driver, Endpoint, EndpointId, Explanation, Ipam, Joined, Link, Live, Network, NetworkConfig,
    NetworkId, PortRequest, PublishedPort, Question, Recovered, Sandbox, Usage,
};
use options::Options;
use policy::Policy;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use stdx::{Context as _, Error, Kind, Result};

/// Where this instance of the daemon keeps its things on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Six hexadecimal digits when the daemon does not use the default exec-root; they keep instances apart.
    pub instance: Option<String>,
    /// EXEC-ROOT/network: what was changed on the host is written here first.
    pub state: PathBuf,
    /// EXEC-ROOT/netd/firewall: the transaction that writes our tables, for whoever puts them back.
    pub firewall: Option<PathBuf>,
    /// What the daemon's options say.
    pub policy: Policy,
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
    /// Told when addresses have been given back.
    freed: Condvar,
    /// The host's ports that containers have; taken before both others, and held while a port is asked for.
    ports: Mutex<ports::Ports>,
    /// What the watching thread shall do, and what wakes it.
    chores: Mutex<firewall::Chores>,
    bell: OwnedFd,
    /// The file of an earlier daemon's tables stays as it is: what is in it of containers that live is not known yet.
    keeps_file: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    networks: HashMap<NetworkId, Net>,
    leases: Leases,
    published: HashMap<EndpointId, publish::Published>,
    /// The listener for what the kernel cannot translate.
    relay: Option<u16>,
    /// Who may talk to whom where neighbours are kept apart.
    links: Vec<Link>,
    /// The number of the link to which copies of packets go that the host's rules let in.
    door: Option<u32>,
    /// Tables of others that refuse our packets and cannot be changed.
    closed: BTreeSet<String>,
    /// Networks whose bridge routes loopback addresses.
    loopback: HashSet<NetworkId>,
    /// Where containers may go.
    judged: egress::Judged,
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
    pools: Vec<network::ipam::subnets::Subnet>,
}

impl Bridge {
    /// Opens the driver in the calling thread's network namespace, which is "the host" from now on. Nothing on the host
    /// changes before the first `create`.
    pub fn open(config: Config, ipam: Arc<dyn Ipam>) -> Result<Self> {
        stdx::fs::create_dir(&config.state, 0o700)?;
        let host = Host::open()?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(std::io::Error::from)
            .context(|| "eventfd")?;
        let keeps_file = config.firewall.as_ref().is_some_and(|path| path.exists());
        let inner = Arc::new(Inner {
            config,
            ipam,
            host: Mutex::new(host),
            state: Mutex::default(),
            freed: Condvar::new(),
            ports: Mutex::default(),
            chores: Mutex::default(),
            bell,
            keeps_file: AtomicBool::new(keeps_file),
        });
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
        foreign::remove(config, &mut host)?;
        if let Some(path) = &config.firewall {
            stdx::fs::remove_file(path)?;
        }
        host.firewall.delete(nft::Family::Bridge, &rules::egress::table(&config.table()))?;
        for family in [nft::Family::Ip, nft::Family::Ip6, nft::Family::Bridge] {
            host.firewall.delete(family, &config.table())?;
        }
        host.firewall.delete(nft::Family::Inet, &config.table())
    }

    /// The port of the listener that passes on what the kernel cannot translate: IPv6 clients of containers without
    /// IPv6, and `::1`. Ports that are published from now on count on it; without it they are not published there.
    pub fn relay(&self, port: Option<u16>) -> Result<()> {
        let mut host = self.inner.host();
        let before = std::mem::replace(&mut self.inner.state().relay, port);
        if before == port || self.inner.state().networks.is_empty() {
            return Ok(());
        }
        self.inner.write_rules(&mut host)?;
        drop(host);
        if before.is_some() {
            // Datagrams would be redirected to where it was for as long as somebody sends.
            let published: Vec<PublishedPort> =
                self.inner.state().published.values().flat_map(|p| p.ports.clone()).collect();
            self.inner.forget_flows(published, Vec::new());
            self.inner.nudge();
        }
        Ok(())
    }

    /// The number by which the kernel announces our own changes of the firewall.
    pub fn netlink_port(&self) -> Result<u32> {
        self.inner.host().firewall.port()
    }

    /// What the tables are made of, to be asked why a packet passes or does not.
    pub fn world(&self) -> Result<rules::World> {
        self.inner.world()
    }

    /// How many endpoints hold an address, those included whose link the kernel is still removing.
    pub fn leases(&self) -> usize {
        self.inner.state().leases.len()
    }
}

impl Driver for Bridge {
    fn name(&self) -> &str {
        "bridge"
    }

    fn relay(&self, port: Option<u16>) -> Result<()> {
        Self::relay(self, port)
    }

    fn firewall_port(&self) -> Option<u32> {
        self.netlink_port().ok()
    }

    fn egress(&self) -> Option<(String, u16)> {
        Some(self.inner.egress_table())
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
            state.loopback.remove(network);
            state.forget_unjudged();
            net
        };
        if net.owned {
            host.remove_links(|link| link.index == net.index && link.name == net.bridge)?;
        } else {
            host.remove_addresses(net.index, &net.bridge_addresses())?;
        }
        self.inner.write_rules(&mut host)?;
        self.inner.drop_unused_egress(&mut host)?;
        drop(host);
        self.inner.release_pools(network, &net.pools);
        Ok(())
    }

    fn join(&self, endpoint: &Endpoint, sandbox: &mut Sandbox) -> Result<Joined> {
        self.inner.join(endpoint, sandbox)
    }

    fn leave(&self, endpoint: &EndpointId) -> Result<()> {
        let withdrawn = self.inner.unlink(endpoint).and(self.inner.withdraw(endpoint));
        // See `make_way`.
        let _host = self.inner.host();
        let freed = self.inner.state().leases.leave(endpoint);
        self.inner.release(freed);
        withdrawn
    }

    fn publish(&self, endpoint: &EndpointId, ports: &[PortRequest]) -> Result<Vec<PublishedPort>> {
        self.inner.publish(endpoint, ports)
    }

    fn withdraw(&self, endpoint: &EndpointId) -> Result<()> {
        self.inner.withdraw(endpoint)
    }

    fn detach(
        &self,
        endpoint: &EndpointId,
        _interface: &str,
        _sandbox: &mut Sandbox,
    ) -> Result<()> {
        self.inner.detach(endpoint)
    }

    fn link(&self, links: Vec<Link>) -> Result<()> {
        self.inner.link(links)
    }

    fn explain(&self, question: &Question) -> Result<Vec<Explanation>> {
        Ok(self.inner.world()?.explain(question))
    }

    fn warnings(&self) -> Vec<String> {
        let bridges = self.inner.bridges();
        if bridges.is_empty() {
            return Vec::new();
        }
        let closed = self.inner.state().closed.clone();
        let owned = (!closed.is_empty()).then(|| foreign::owned(&closed));
        foreign::legacy(&bridges).into_iter().chain(owned).collect()
    }

    fn changes(&self) -> Vec<String> {
        let mut changes = forwarding::changes(&self.inner.config.state);
        changes.extend(foreign::changes(&self.inner.config));
        changes
    }

    fn usage(&self, network: &NetworkId) -> Vec<(IpNet, Usage)> {
        let pools = self.inner.state().networks.get(network).map(|net| net.pools.clone());
        subnets::usage(self.inner.ipam.as_ref(), network, &pools.unwrap_or_default())
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

    fn chores(&self) -> MutexGuard<'_, firewall::Chores> {
        self.chores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // A bell that cannot take one more has rung already.
        let _rung = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Connections to these ports or of these addresses begin anew.
    fn forget_flows(&self, ports: Vec<PublishedPort>, addresses: Vec<IpAddr>) {
        if let Some(flows) = flows::Flows::of(&ports, addresses) {
            self.chores().flows.push(flows);
        }
    }

    /// Gives addresses back whose link is gone.
    fn release(&self, lease: Option<Lease>) {
        let Some(lease) = lease else { return };
        self.unbind_soon(&lease);
        for (pool, address) in lease.addresses {
            self.ipam.release(&lease.network, &pool, address);
        }
        self.freed.notify_all();
    }
}
