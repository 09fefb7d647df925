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
pub mod lease;
pub mod options;
pub mod plan;
mod recover;
pub mod rules;
mod watch;

use host::Host;
use ipnet::{IpNet, Ipv4Net};
use lease::{Lease, Leases};
use network::{
    Driver, Endpoint, EndpointId, Ipam, Joined, Live, Network, NetworkConfig, NetworkId, Pool,
    Recovered, Sandbox,
};
use options::Options;
use plan::Attachment;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::{Context as _, Error, Kind, Result, fail_point};

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
    subnet: Ipv4Net,
    gateway: Ipv4Addr,
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
        host.remove_links(|link| link.index == net.index && link.name == net.bridge)?;
        self.inner.ipam.release_pool(&IpNet::V4(net.subnet));
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
        let link = self.inner.state().leases.link_of(endpoint).map(str::to_owned);
        self.leave(endpoint)?;
        let Some(link) = link else { return Ok(()) };
        let alias = plan::alias(&self.inner.config.mark(), endpoint);
        let mut host = self.inner.host();
        host.remove_links(|other| other.name == link && other.alias == alias)?;
        Ok(())
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

    fn create(&self, config: &NetworkConfig) -> Result<Network> {
        let mut host = self.host();
        if let Some(net) = self.state().networks.get(&config.id).cloned() {
            return Ok(net.answer());
        }
        let options = Options::parse(&config.options)?;
        let bridge = self.config.bridge_of(config, &options);
        let (subnet, gateway) = self.take_subnet(config, &bridge, &mut host)?;
        let result = (|| -> Result<Network> {
            let mark = format!("{}{}", self.config.mark(), config.id);
            fail_point!("bridge.create.before-link");
            let index = host.ensure_bridge(&bridge, &mark, subnet, gateway, options.mtu)?;
            let net = Net {
                config: config.clone(),
                options,
                bridge: bridge.clone(),
                index,
                subnet,
                gateway,
            };
            let answer = net.answer();
            self.state().networks.insert(config.id, net);
            fail_point!("bridge.create.before-rules");
            forwarding::note(&self.config.state)?;
            self.write_rules(&mut host)?;
            forwarding::enable()?;
            Ok(answer)
        })();
        if result.is_err() {
            self.state().networks.remove(&config.id);
            self.ipam.release_pool(&IpNet::V4(subnet));
        }
        result.context(|| format!("create network {}", config.name))
    }

    /// The subnet that was asked for, or a free one, with the gateway's address taken.
    fn take_subnet(
        &self,
        config: &NetworkConfig,
        bridge: &str,
        host: &mut Host,
    ) -> Result<(Ipv4Net, Ipv4Addr)> {
        if config.ipv6.is_some() {
            return Err(Error::not_implemented("IPv6 networks are not there yet"));
        }
        let wanted = config.ipv4.clone().unwrap_or_default();
        let taken = if wanted.subnet.is_none() { host.routed_beside(bridge)? } else { Vec::new() };
        let pool = self.ipam.pool(wanted.subnet, &taken)?;
        let IpNet::V4(subnet) = pool else {
            self.ipam.release_pool(&pool);
            return Err(Error::not_implemented("IPv6 networks are not there yet"));
        };
        let gateway =
            wanted.gateway.unwrap_or_else(|| IpAddr::V4(network::ipam::first_host(subnet)));
        match self.ipam.allocate(&pool, Some(gateway)) {
            Ok(IpAddr::V4(gateway)) => Ok((subnet, gateway)),
            Ok(other) => {
                self.ipam.release_pool(&pool);
                Err(Error::internal(format!("address management gave {other} for {gateway}")))
            }
            Err(e) => {
                self.ipam.release_pool(&pool);
                Err(e)
            }
        }
    }

    /// Writes the firewall table of all networks.
    fn write_rules(&self, host: &mut Host) -> Result<()> {
        let guard = forwarding::guarded(&self.config.state)?;
        let mut networks: Vec<_> = self.state().networks.values().map(Net::rules).collect();
        networks.sort_by(|a, b| a.bridge.cmp(&b.bridge));
        if networks.is_empty() {
            return host.firewall.delete(&self.config.table());
        }
        host.firewall.replace(&rules::desired(&self.config.table(), &networks, guard))
    }

    fn join(&self, endpoint: &Endpoint, sandbox: &mut Sandbox) -> Result<Joined> {
        let (index, interface) = sandbox.next_link();
        let attachment = self.lease(endpoint)?;
        let plan = plan::plan_join(&attachment, endpoint, index, &interface);
        match self.attach(endpoint, sandbox, plan) {
            Ok(joined) => Ok(joined),
            Err(e) => {
                // `apply` has taken the link away again: nothing will tell of it.
                let freed = self.state().leases.forget(&endpoint.id);
                self.release(freed);
                Err(e).context(|| format!("join network {}", attachment.name))
            }
        }
    }

    /// Takes an address and writes down whose it is.
    fn lease(&self, endpoint: &Endpoint) -> Result<Attachment> {
        let mut state = self.state();
        let net = state
            .networks
            .get(&endpoint.network)
            .ok_or_else(|| Error::not_found(format!("network {} not found", endpoint.network)))?
            .clone();
        let pool = IpNet::V4(net.subnet);
        let address =
            self.ipam.allocate(&pool, endpoint.ipv4.map(IpAddr::V4)).map_err(|e| match endpoint
                .ipv4
            {
                None => Error::new(
                    e.kind(),
                    format!(
                        "no available IPv4 addresses on this network's address pools: {} ({})",
                        net.config.name, net.config.id
                    ),
                ),
                Some(_) => e,
            })?;
        let IpAddr::V4(v4) = address else {
            self.ipam.release(&pool, address);
            return Err(Error::internal(
                "address management gave an IPv6 address for an IPv4 pool",
            ));
        };
        let lease = Lease {
            network: endpoint.network,
            pool,
            address,
            link: plan::link_names(&endpoint.id)[0].clone(),
        };
        if !state.leases.add(endpoint.id, lease) {
            self.ipam.release(&pool, address);
            return Err(Error::conflict(format!(
                "endpoint {} has been joined already",
                endpoint.id
            )));
        }
        Ok(net.attachment(v4, self.config.mark()))
    }

    fn attach(
        &self,
        endpoint: &Endpoint,
        sandbox: &mut Sandbox,
        mut plan: plan::LinkPlan,
    ) -> Result<Joined> {
        let mut host = self.host();
        let mut outcome = apply::apply(&mut host.route, sandbox, &plan);
        for name in &plan::link_names(&endpoint.id)[1..] {
            if !matches!(outcome, Err(apply::Failure::NameTaken)) {
                break;
            }
            plan.host = name.clone();
            self.state().leases.rename(&endpoint.id, name);
            outcome = apply::apply(&mut host.route, sandbox, &plan);
        }
        if matches!(outcome, Err(apply::Failure::NoBridge)) {
            // Somebody deleted the bridge under us: make it again, with everybody on it.
            plan.bridge = self.repair(&mut host, &endpoint.network)?;
            outcome = apply::apply(&mut host.route, sandbox, &plan);
        }
        outcome?;
        // News that were lost meanwhile may have made the link look gone before it was there.
        self.state().leases.link_back(&endpoint.id);
        Ok(plan.joined())
    }

    /// Gives an address back.
    fn release(&self, lease: Option<Lease>) {
        if let Some(lease) = lease {
            self.ipam.release(&lease.pool, lease.address);
        }
    }
}

impl Net {
    fn answer(&self) -> Network {
        Network {
            interface: Some(self.bridge.clone()),
            pools: vec![Pool {
                subnet: IpNet::V4(self.subnet),
                gateway: Some(IpAddr::V4(self.gateway)),
            }],
        }
    }

    fn rules(&self) -> rules::NetworkRules {
        rules::NetworkRules {
            bridge: self.bridge.clone(),
            subnet: self.subnet,
            icc: self.options.icc,
            masquerade: self.options.masquerade,
            internal: self.config.internal,
        }
    }

    fn attachment(&self, address: Ipv4Addr, mark: String) -> Attachment {
        Attachment {
            name: self.config.name.clone(),
            bridge: self.index,
            mtu: self.options.mtu,
            subnet: self.subnet,
            address,
            gateway: (!self.config.internal).then_some(self.gateway),
            isolated: !self.options.icc,
            mark,
        }
    }
}
