//! What the daemon's options say of networks: the default bridge, pools, rules, name servers.
//!
//! Values only, checked where they are read (`bin/gantryd/src/networks.rs`); nothing here touches the host.

use ipnet::IpNet;
use network::pools::Pool;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
            ipv4: true,
            ipv6: true,
            direct_routing: false,
            accept_mark: None,
            publish: PublishPolicy::Open,
        }
    }
}
