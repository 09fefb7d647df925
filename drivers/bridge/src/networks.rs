//! Making networks: subnets, bridges, rules.

use crate::forwarding;
use crate::host::{Found, Host, Wanted};
use crate::options::{GatewayMode, Options};
use crate::plan::Attachment;
use crate::{Inner, Net, rules};
use ipnet::IpNet;
use network::ipam::subnets::{self, Subnet};
use network::{Family, Mac, Network, NetworkConfig, NetworkId, Pool, pools, route};
use std::net::IpAddr;
use stdx::{Context as _, Error, Result, fail_point};

impl Inner {
    pub(crate) fn create(&self, config: &NetworkConfig) -> Result<Network> {
        if let Some(net) = self.state().networks.get(&config.id).cloned() {
            return Ok(net.answer());
        }
        let options = Options::parse(&config.options)?;
        let isolated = [options.mode_v4, options.mode_v6].contains(&GatewayMode::Isolated);
        if isolated && !config.internal {
            let text = "gateway mode 'isolated' can only be used for an internal network";
            return Err(Error::invalid(text));
        }
        let bridge = self.config.bridge_of(config, &options);
        self.check_name(&config.id, &bridge)?;
        let config = &as_the_link_is(&mut self.host(), config, &options)?;
        // A plugin may be asked for addresses: nobody else is to wait for it.
        let pools = subnets::take_some(&*self.ipam, config, || self.host().routed_beside(&bridge))?;
        let mut net = Net { config: config.clone(), options, bridge, index: 0, owned: true, pools };
        // Held to the end: what is checked of other networks stays as it was.
        let mut host = self.host();
        let result = self.check_beside(&net, &mut host).and_then(|()| {
            self.make(&mut net, &mut host).context(|| format!("create network {}", config.name))
        });
        drop(host);
        if result.is_err() {
            self.release_pools(&config.id, &net.pools);
        }
        result
    }

    fn check_name(&self, id: &NetworkId, bridge: &str) -> Result<()> {
        match self.state().networks.values().find(|net| net.bridge == bridge) {
            None => Ok(()),
            Some(other) => Err(conflict((id, bridge), other, "networks have same bridge name")),
        }
    }

    /// Whether the network can be beside those that there are: of this daemon, whose addresses may be a plugin's, and of
    /// other daemons on this host.
    fn check_beside(&self, net: &Net, host: &mut Host) -> Result<()> {
        let id = &net.config.id;
        self.check_name(id, &net.bridge)?;
        {
            let state = self.state();
            for other in state.networks.values() {
                let theirs = other.pools.iter().map(|pool| pool.subnet);
                if let Some(text) = overlapping(net, theirs) {
                    return Err(conflict((id, &net.bridge), other, &text));
                }
            }
        }
        let there = route::link(&mut host.route, &net.bridge)?;
        if there.is_some_and(|link| link.alias == self.mark_of(net)) {
            // It was there before somebody else's, or they were made in spite of each other.
            return Ok(());
        }
        self.check_elsewhere(net, host)
    }

    /// Another daemon's network with addresses of the same subnet: the kernel would send what is for either to whichever
    /// bridge came first. That the host routes a subnet in another way is no fault of one that was asked for, as with
    /// Docker; this is known to be one.
    fn check_elsewhere(&self, net: &Net, host: &mut Host) -> Result<()> {
        let own = self.config.mark();
        let mut others = route::links(&mut host.route)?;
        others.retain(|link| {
            let theirs = link.alias.starts_with("gantry:") && !link.alias.starts_with(&own);
            theirs && link.kind == "bridge" && link.name != net.bridge
        });
        if others.is_empty() {
            return Ok(());
        }
        let addresses = route::addresses(&mut host.route)?;
        for other in others {
            let theirs = addresses.iter().filter(|(index, _)| *index == other.index);
            let Some(text) = overlapping(net, theirs.map(|(_, address)| address.trunc())) else {
                continue;
            };
            let id = other.alias.rsplit(':').next().unwrap_or_default();
            let (ours, theirs) = ((&net.config.id, net.bridge.as_str()), (id, other.name.as_str()));
            return Err(conflicting(ours, theirs, &text));
        }
        Ok(())
    }

    fn make(&self, net: &mut Net, host: &mut Host) -> Result<Network> {
        fail_point!("bridge.create.before-link");
        let mark = self.mark_of(net);
        let is_new = route::link(&mut host.route, &net.bridge)?.is_none();
        let made = self.make_with_rules(net, host, is_new);
        if made.is_err() {
            self.state().networks.remove(&net.config.id);
            if is_new {
                // The first error is the one to report; what is left is removed at the next start.
                let _removed =
                    host.remove_links(|link| link.name == net.bridge && link.alias == mark);
            }
            self.nudge();
        }
        made
    }

    fn make_with_rules(&self, net: &mut Net, host: &mut Host, is_new: bool) -> Result<Network> {
        let found = self.ensure_bridge(net, host)?;
        if is_new {
            // Another daemon may have done the same at the same moment: whoever sees the other's goes back.
            self.check_elsewhere(net, host)?;
        }
        (net.index, net.owned) = (found.index, found.owned);
        let answer = net.answer();
        self.state().networks.insert(net.config.id, net.clone());
        fail_point!("bridge.create.before-rules");
        let families: Vec<Family> = net.pools.iter().map(|p| Family::of(&p.subnet)).collect();
        let forward = if self.config.policy.forward { &families[..] } else { &[] };
        for family in forward {
            forwarding::note(&self.config.state, *family)?;
        }
        self.write_rules(host)?;
        for family in forward {
            forwarding::enable(&self.config.state, *family)?;
        }
        Ok(answer)
    }

    fn mark_of(&self, net: &Net) -> String {
        format!("{}{}", self.config.mark(), net.config.id)
    }

    /// Makes the network's bridge, or finds it.
    pub(crate) fn ensure_bridge(&self, net: &Net, host: &mut Host) -> Result<Found> {
        host.ensure_bridge(&Wanted {
            name: &net.bridge,
            mark: &self.mark_of(net),
            mac: net.mac(),
            mtu: net.options.mtu,
            addresses: &net.bridge_addresses(),
            ipv6: net.pools.iter().any(|pool| Family::of(&pool.subnet) == Family::V6),
            foreign: net.options.name.is_some(),
        })
    }

    pub(crate) fn release_pools(&self, network: &NetworkId, pools: &[Subnet]) {
        subnets::release(&*self.ipam, network, pools);
    }
}

/// What of a network's subnets overlaps with others, in Docker's words.
fn overlapping(net: &Net, others: impl Iterator<Item = IpNet>) -> Option<String> {
    let mut others = others;
    let own = |other: &IpNet| net.pools.iter().any(|pool| pools::overlap(&pool.subnet, other));
    let family = Family::of(&others.find(own)?);
    Some(format!("networks have overlapping {family}"))
}

fn conflict(ours: (&NetworkId, &str), other: &Net, why: &str) -> Error {
    conflicting(ours, (&other.config.id.to_string(), &other.bridge), why)
}

fn conflicting(ours: (&NetworkId, &str), other: (&str, &str), why: &str) -> Error {
    let ((id, bridge), (other, of)) = (ours, other);
    let text = format!(
        "cannot create network {id} ({bridge}): conflicts with network {other} ({of}): {why}"
    );
    Error::new(stdx::Kind::Forbidden, text)
}

/// The default network on a link that somebody else made: its addresses are the link's own, where it has some.
fn as_the_link_is(
    host: &mut Host,
    config: &NetworkConfig,
    options: &Options,
) -> Result<NetworkConfig> {
    let mut config = config.clone();
    let Some(name) = options.name.as_deref().filter(|_| config.default) else { return Ok(config) };
    let Some(link) = route::link(&mut host.route, name)? else {
        return Err(Error::not_found(format!(
            "bridge device with non default name {name} must be created manually"
        )));
    };
    let kernels_own =
        |address: &IpNet| matches!(address, IpNet::V6(six) if six.addr().is_unicast_link_local());
    let mut own = route::addresses(&mut host.route)?;
    own.retain(|(index, address)| *index == link.index && !kernels_own(address));
    for (family, pool) in [(Family::V4, &mut config.ipv4), (Family::V6, &mut config.ipv6)] {
        // The first of a family, as Docker takes it.
        let first = own.iter().map(|(_, address)| address).find(|a| Family::of(a) == family);
        if let (Some(pool), Some(address)) = (pool, first) {
            (pool.subnet, pool.gateway) = (Some(address.trunc()), Some(address.addr()));
        }
    }
    Ok(config)
}

impl Net {
    pub(crate) fn answer(&self) -> Network {
        let pools = self.pools.iter();
        Network {
            interface: Some(self.bridge.clone()),
            pools: pools
                .map(|pool| Pool { subnet: pool.subnet, gateway: Some(pool.gateway) })
                .collect(),
            global: false,
        }
    }

    /// The host's own addresses on the bridge.
    pub(crate) fn bridge_addresses(&self) -> Vec<IpNet> {
        let has = |pool: &&Subnet| match Family::of(&pool.subnet) {
            Family::V4 => !self.options.inhibit_v4 && self.options.mode_v4 != GatewayMode::Isolated,
            Family::V6 => self.options.mode_v6 != GatewayMode::Isolated,
        };
        self.pools
            .iter()
            .filter(has)
            .map(|pool| {
                IpNet::new(pool.gateway, pool.subnet.prefix_len())
                    .expect("the prefix comes from a subnet")
            })
            .collect()
    }

    pub(crate) fn rules(&self) -> rules::NetworkRules {
        rules::NetworkRules {
            bridge: self.bridge.clone(),
            sides: self.pools.iter().map(|pool| self.side(pool)).collect(),
            icc: self.options.icc,
            masquerade: self.options.masquerade,
            internal: self.config.internal,
            trusted: self.options.trusted.clone(),
        }
    }

    fn side(&self, pool: &Subnet) -> rules::Side {
        let family = Family::of(&pool.subnet);
        let snat = match family {
            Family::V4 => self.options.host_v4.map(IpAddr::V4),
            Family::V6 => self.options.host_v6.map(IpAddr::V6),
        };
        let mode = self.mode_of(family);
        rules::Side { subnet: pool.subnet, gateway: pool.gateway, mode, snat }
    }

    /// Where containers send what is for elsewhere.
    fn way_out(&self, pool: &Subnet) -> IpAddr {
        let wanted = match Family::of(&pool.subnet) {
            Family::V4 => &self.config.ipv4,
            Family::V6 => &self.config.ipv6,
        };
        wanted.as_ref().and_then(|wanted| wanted.way_out).unwrap_or(pool.gateway)
    }

    /// The bridge's Ethernet address.
    pub(crate) fn mac(&self) -> Mac {
        let mac = Mac::of_any(self.pools.iter().map(|pool| pool.gateway));
        mac.expect("a network has addresses of at least one family")
    }

    /// What an endpoint with these addresses is attached to.
    pub(crate) fn attachment(&self, addresses: Vec<IpNet>, mark: String) -> Attachment {
        let gateways = self.pools.iter().filter(|_| !self.config.internal);
        Attachment {
            name: self.config.name.clone(),
            bridge: self.index,
            mtu: self.options.mtu,
            addresses,
            gateways: gateways.map(|pool| self.way_out(pool)).collect(),
            isolated: !self.options.icc,
            mark,
            prefix: self.options.prefix.clone(),
        }
    }
}
