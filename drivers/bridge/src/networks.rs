//! Making networks: subnets, bridges, rules.

use crate::forwarding;
use crate::host::{Found, Host, Wanted};
use crate::options::{GatewayMode, Options};
use crate::plan::Attachment;
use crate::{Inner, Net, rules};
use ipnet::IpNet;
use network::ipam::subnets::{self, Subnet};
use network::{Family, Mac, Network, NetworkConfig, NetworkId, Pool, route};
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
        if let Some(other) = self.state().networks.values().find(|net| net.bridge == bridge) {
            return Err(Error::new(
                stdx::Kind::Forbidden,
                format!(
                    "cannot create network {} ({bridge}): conflicts with network {} ({bridge}): networks have same \
                     bridge name",
                    config.id, other.config.id
                ),
            ));
        }
        let config = &as_the_link_is(&mut self.host(), config, &options)?;
        // A plugin may be asked for addresses: nobody else is to wait for it.
        let pools = subnets::take_some(&*self.ipam, config, || self.host().routed_beside(&bridge))?;
        let mut net = Net { config: config.clone(), options, bridge, index: 0, owned: true, pools };
        let result = self.make(&mut net, &mut self.host());
        if result.is_err() {
            self.state().networks.remove(&config.id);
            self.release_pools(&config.id, &net.pools);
        }
        result.context(|| format!("create network {}", config.name))
    }

    fn make(&self, net: &mut Net, host: &mut Host) -> Result<Network> {
        fail_point!("bridge.create.before-link");
        let found = self.ensure_bridge(net, host)?;
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

    /// Makes the network's bridge, or finds it.
    pub(crate) fn ensure_bridge(&self, net: &Net, host: &mut Host) -> Result<Found> {
        host.ensure_bridge(&Wanted {
            name: &net.bridge,
            mark: &format!("{}{}", self.config.mark(), net.config.id),
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
