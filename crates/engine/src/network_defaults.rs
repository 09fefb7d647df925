//! What the daemon's options say of networks: the default bridge, pools, rules, name servers.
//!
//! Values only, checked where they are read (`bin/gantryd/src/networks.rs`); nothing here touches the host.

use crate::networks::{WAY_OUT, WAY_OUT_V6};
use ipnet::IpNet;
use network::pools::Pool;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use store::records::container::HostConfig;
use store::records::network::{NetworkRecord, PoolRecord};

/// How networks, and containers on them, are set that say nothing themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDefaults {
    /// The default `bridge` network; `None` (`--bridge=none`): there is none, and containers that name no network have
    /// only a loopback device.
    pub bridge: Option<BridgeDefaults>,
    /// What subnets are taken from that nobody asked for (`--default-address-pool`); empty: Docker's own.
    pub pools: Vec<Pool>,
    /// Options of new networks that do not have them, by driver and name (`--default-network-opt`). The default three
    /// networks do not take them.
    pub options: BTreeMap<String, BTreeMap<String, String>>,
    /// Name servers of containers that name none (`--dns`); empty: the host's.
    pub dns: Vec<IpAddr>,
    /// Resolver options of containers that have none (`--dns-opt`).
    pub dns_options: Vec<String>,
    /// Search domains of containers that name none (`--dns-search`); `.` alone: none at all.
    pub dns_search: Vec<String>,
    /// What `host-gateway` stands for in `--add-host`, at most one a family; empty: the default bridge's own addresses.
    pub host_gateways: Vec<IpAddr>,
    /// What is done to the host's forwarding and to its rules.
    pub rules: Rules,
}

/// The default `bridge` network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeDefaults {
    /// A link that somebody else made and keeps (`--bridge`), whose addresses count where none are given here; `None`:
    /// our own.
    pub link: Option<String>,
    /// The IPv4 subnet, with the bridge's own address (`--bip`); `None`: one that is free, or the link's.
    pub ipv4: Option<Subnet<Ipv4Addr>>,
    /// The same for IPv6 (`--bip6`, or `--fixed-cidr-v6` alone).
    pub ipv6: Option<Subnet<Ipv6Addr>>,
    /// The network has IPv6 (`--ipv6`, or any option about it).
    pub enable_ipv6: bool,
    /// The part that addresses are taken from (`--fixed-cidr`), within [`Self::ipv4`] where that is given.
    pub range_ipv4: Option<IpNet>,
    /// The same for IPv6 (`--fixed-cidr-v6`).
    pub range_ipv6: Option<IpNet>,
    /// Containers' way out, when it is another address than the bridge's own (`--default-gateway`). Nobody else gets it.
    pub gateway_ipv4: Option<Ipv4Addr>,
    /// The same for IPv6 (`--default-gateway-v6`).
    pub gateway_ipv6: Option<Ipv6Addr>,
    /// Containers reach each other's ports (`--icc`).
    pub icc: bool,
    /// Containers reach the world by the host's address (`--ip-masq`).
    pub masquerade: bool,
    /// Bytes of the largest packet (`--mtu`); `None`: 1500.
    pub mtu: Option<u32>,
    /// The host's address that ports are published on that name none (`--ip`).
    pub publish_address: IpAddr,
}

/// A subnet of the default bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet<A> {
    /// The subnet.
    pub net: IpNet,
    /// The bridge's own address in it; `None`: the first.
    pub address: Option<A>,
}

/// What is done to the host's forwarding and to its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Forwarding is switched on where a network needs it (`--ip-forward`).
    pub forward: bool,
    /// Where that made the host forward, it still forwards for nobody else (not `--ip-forward-no-drop`).
    pub guard: bool,
    /// IPv4 rules are written (`--iptables`). Without them nothing is masqueraded, published or kept apart: that is left
    /// to whoever runs the host.
    pub ipv4: bool,
    /// IPv6 rules are written (`--ip6tables`).
    pub ipv6: bool,
    /// Published ports are also reached by containers' own addresses, from anywhere (`--allow-direct-routing`).
    pub direct_routing: bool,
    /// Packets with this mark enter bridges whatever the rules say (`--bridge-accept-fwmark`).
    pub accept_mark: Option<Mark>,
    /// Who decides about published ports.
    pub publish: PublishPolicy,
}

/// A packet's mark as it is compared: the packet's, masked, must be the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The value.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// Who decides about published ports (`--publish-policy`, which Docker lacks).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PublishPolicy {
    /// They are open to everybody, as Docker has it, whatever the host's own input rules say.
    #[default]
    Open,
    /// The host's own input rules decide.
    Host,
}

impl NetworkDefaults {
    /// Whether the options say anything of containers' resolvers.
    pub(crate) fn has_resolver(&self) -> bool {
        !(self.dns.is_empty() && self.dns_options.is_empty() && self.dns_search.is_empty())
    }

    /// Fills in what a container's resolver is not told by its own configuration.
    pub(crate) fn resolver(&self, host: &mut HostConfig) {
        if host.dns.is_empty() {
            host.dns = self.dns.iter().map(ToString::to_string).collect();
        }
        if host.dns_options.is_empty() {
            host.dns_options.clone_from(&self.dns_options);
        }
        if host.dns_search.is_empty() {
            host.dns_search.clone_from(&self.dns_search);
        }
    }

    /// Fills in a new network's options that it does not have.
    pub(crate) fn fill_in(&self, record: &mut NetworkRecord) {
        for (name, value) in self.options.get(&record.driver).into_iter().flatten() {
            record.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

impl BridgeDefaults {
    /// Sets the default network's record as the daemon's options say, with Docker's names for them. The subnet that it
    /// had stays, unless another is asked for.
    pub(crate) fn apply(&self, record: &mut NetworkRecord) {
        let mut set = |name: &str, value: String| {
            record.options.insert(format!("com.docker.network.{name}"), value);
        };
        set("bridge.default_bridge", "true".to_owned());
        set("bridge.enable_icc", self.icc.to_string());
        set("bridge.enable_ip_masquerade", self.masquerade.to_string());
        set("bridge.host_binding_ipv4", self.publish_address.to_string());
        set("driver.mtu", self.mtu.unwrap_or(1500).to_string());
        record.ipv6 = self.enable_ipv6;
        let families = [
            (
                true,
                self.ipv4.map(|s| (s.net, s.address.map(IpAddr::V4))),
                self.range_ipv4,
                (WAY_OUT, self.gateway_ipv4.map(IpAddr::V4)),
            ),
            (
                false,
                self.ipv6.map(|s| (s.net, s.address.map(IpAddr::V6))),
                self.range_ipv6,
                (WAY_OUT_V6, self.gateway_ipv6.map(IpAddr::V6)),
            ),
        ];
        for (v4, subnet, range, (name, way_out)) in families {
            let of_family = |pool: &PoolRecord| pool.subnet.contains(':') != v4;
            let text = |range: Option<IpNet>| range.map(|r| r.to_string()).unwrap_or_default();
            match subnet {
                Some((net, address)) => {
                    record.ipam.pools.retain(|pool| !of_family(pool));
                    record.ipam.pools.push(PoolRecord {
                        subnet: net.trunc().to_string(),
                        gateway: address.map(|a| a.to_string()).unwrap_or_default(),
                        range: text(range),
                        auxiliary: BTreeMap::new(),
                        chosen: false,
                    });
                }
                None => {
                    for pool in record.ipam.pools.iter_mut().filter(|pool| of_family(pool)) {
                        pool.range = text(range);
                    }
                }
            }
            for pool in record.ipam.pools.iter_mut().filter(|pool| of_family(pool)) {
                pool.auxiliary.remove(name);
                pool.auxiliary
                    .extend(way_out.map(|address| (name.to_owned(), address.to_string())));
            }
        }
    }
}

impl Default for NetworkDefaults {
    fn default() -> Self {
        Self {
            bridge: Some(BridgeDefaults::default()),
            pools: Vec::new(),
            options: BTreeMap::new(),
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            host_gateways: Vec::new(),
            rules: Rules::default(),
        }
    }
}

impl Default for BridgeDefaults {
    fn default() -> Self {
        Self {
            link: None,
            ipv4: None,
            ipv6: None,
            enable_ipv6: false,
            range_ipv4: None,
            range_ipv6: None,
            gateway_ipv4: None,
            gateway_ipv6: None,
            icc: true,
            masquerade: true,
            mtu: None,
            publish_address: Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            forward: true,
            guard: true,
            ipv4: true,
            ipv6: true,
            direct_routing: false,
            accept_mark: None,
            publish: PublishPolicy::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::records::network::IpamRecord;

    #[test]
    fn the_default_networks_options_are_its_record() {
        let pool = |subnet: &str| PoolRecord {
            subnet: subnet.into(),
            gateway: String::new(),
            range: String::new(),
            auxiliary: BTreeMap::new(),
            chosen: false,
        };
        let mut record: NetworkRecord =
            serde_json::from_str(r#"{"id":"aa","name":"bridge","driver":"bridge","created":""}"#)
                .unwrap();
        record.ipam = IpamRecord { pools: vec![pool("172.17.0.0/16")], ..IpamRecord::default() };
        let range = Some("172.17.5.0/24".parse().unwrap());
        let mut defaults =
            BridgeDefaults { icc: false, range_ipv4: range, ..BridgeDefaults::default() };
        defaults.apply(&mut record);
        assert_eq!(record.ipam.pools[0].range, "172.17.5.0/24");
        assert_eq!(record.options["com.docker.network.bridge.enable_icc"], "false");
        let own = Subnet {
            net: "10.9.0.1/24".parse().unwrap(),
            address: Some(Ipv4Addr::new(10, 9, 0, 1)),
        };
        defaults = BridgeDefaults {
            ipv4: Some(own),
            mtu: Some(1400),
            gateway_ipv4: Some(Ipv4Addr::new(10, 9, 0, 254)),
            ..BridgeDefaults::default()
        };
        defaults.apply(&mut record);
        assert_eq!(record.ipam.pools[0].auxiliary["DefaultGatewayIPv4"], "10.9.0.254");
        let pools: Vec<_> =
            record.ipam.pools.iter().map(|p| (&*p.subnet, &*p.gateway, &*p.range)).collect();
        assert_eq!(pools, [("10.9.0.0/24", "10.9.0.1", "")]);
        assert_eq!(record.options["com.docker.network.driver.mtu"], "1400");
    }

    #[test]
    fn own_wishes_win() {
        let defaults = NetworkDefaults {
            dns: vec!["10.0.0.53".parse().unwrap()],
            dns_search: vec!["lan".into()],
            ..NetworkDefaults::default()
        };
        let mut host = HostConfig { dns_search: vec!["own".into()], ..HostConfig::default() };
        defaults.resolver(&mut host);
        assert_eq!(
            (host.dns, host.dns_search),
            (vec!["10.0.0.53".to_owned()], vec!["own".to_owned()])
        );
    }
}
