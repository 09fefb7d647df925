//! What joining means, as a value. Pure.

use crate::options::EndpointOptions;
use ipnet::IpNet;
use network::{Endpoint, EndpointId, Joined, Mac};
use std::net::IpAddr;

/// A network and the addresses taken in it for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name, for texts.
    pub name: String,
    /// The bridge's number on the host.
    pub bridge: u32,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// The endpoint's addresses with the prefixes of their subnets, IPv4 first.
    pub addresses: Vec<IpNet>,
    /// Where everything else goes, at most one a family; none on an internal network.
    pub gateways: Vec<IpAddr>,
    /// Other containers on the bridge are not to be reached.
    pub isolated: bool,
    /// What aliases of our links begin with.
    pub mark: String,
    /// What the sandbox's links are called.
    pub prefix: String,
}

/// A pair of links to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPlan {
    /// The host's end: name, alias, and the bridge it goes into.
    pub host: String,
    /// Says whose it is: the mark and the endpoint.
    pub alias: String,
    /// The bridge's number.
    pub bridge: u32,
    /// Keep it from other isolated ports.
    pub isolated: bool,
    /// Largest packet of both ends, in bytes.
    pub mtu: u32,
    /// The sandbox's end.
    pub interface: String,
    /// The number it will most likely have there. Knowing it saves asking.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses and their subnets' prefixes.
    pub addresses: Vec<IpNet>,
    /// Addresses beside those of the network.
    pub link_local: Vec<IpNet>,
    /// The network's gateways.
    pub gateways: Vec<IpAddr>,
    /// Everything else goes through them.
    pub default_route: bool,
    /// Settings of the sandbox's end, written before it gets its addresses.
    pub sysctls: Vec<(String, String)>,
}

/// The plan for one endpoint whose end in the sandbox gets this number and name.
pub fn plan_join(
    attachment: &Attachment,
    endpoint: &Endpoint,
    options: &EndpointOptions,
    index: u32,
    interface: &str,
) -> LinkPlan {
    let addresses = attachment.addresses.clone();
    let mac = endpoint.mac.or_else(|| Mac::of_any(addresses.iter().map(IpNet::addr)));
    let mut sysctls = Vec::new();
    if addresses.iter().any(|address| address.addr().is_ipv6()) {
        // New namespaces have it switched off for links that come (CVE-2024-32473). What a neighbour announces is not
        // believed: addresses and routes are ours to give (CVE-2020-13401).
        sysctls.push((format!("net/ipv6/conf/{interface}/accept_ra"), "0".to_owned()));
        sysctls.push((format!("net/ipv6/conf/{interface}/disable_ipv6"), "0".to_owned()));
    }
    sysctls.extend(options.sysctls_of(interface));
    LinkPlan {
        host: link_names(&endpoint.id)[0].clone(),
        alias: alias(&attachment.mark, &endpoint.id),
        bridge: attachment.bridge,
        isolated: attachment.isolated,
        mtu: attachment.mtu,
        interface: interface.to_owned(),
        index,
        mac: mac.expect("a network has addresses of at least one family"),
        addresses,
        link_local: endpoint.link_local.iter().map(|address| link_local(*address)).collect(),
        gateways: attachment.gateways.clone(),
        default_route: endpoint.default_route,
        sysctls,
    }
}

/// The prefix that link-local addresses have (RFC 3927, RFC 4291).
fn link_local(address: IpAddr) -> IpNet {
    let prefix = if address.is_ipv4() { 16 } else { 64 };
    IpNet::new(address, prefix).expect("the prefix is one of the family")
}

impl LinkPlan {
    /// What the container sees once the plan is applied.
    pub fn joined(&self) -> Joined {
        Joined {
            interface: self.interface.clone(),
            host_interface: Some(self.host.clone()),
            mac: Some(self.mac),
            addresses: self.addresses.clone(),
            gateways: self.gateways.clone(),
        }
    }
}

/// What the host's end of an endpoint may be called: `veth` and seven digits of its id, as long as such a name is taken
/// the next seven.
pub fn link_names(endpoint: &EndpointId) -> [String; 3] {
    let id = endpoint.to_string();
    [0, 7, 14].map(|at| format!("veth{}", &id[at..at + 7]))
}

/// The alias of the host's end.
pub fn alias(mark: &str, endpoint: &EndpointId) -> String {
    format!("{mark}{endpoint}")
}

/// Whose end it is, by its alias; `None` when it is not ours or no endpoint's.
pub fn owner(mark: &str, alias: &str) -> Option<EndpointId> {
    alias.strip_prefix(mark)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use network::NetworkId;

    fn endpoint(mac: Option<&str>) -> Endpoint {
        let id = "0123456789abcdef".repeat(4).parse().unwrap();
        let container = types::ContainerId::from_bytes(&[2; 32]);
        let endpoint = Endpoint::new(id, NetworkId::from_bytes([1; 32]), container);
        Endpoint { mac: mac.map(|m| m.parse().unwrap()), ..endpoint }
    }

    fn attachment() -> Attachment {
        Attachment {
            name: "bridge".into(),
            bridge: 4,
            mtu: 1500,
            addresses: vec!["172.17.0.2/16".parse().unwrap()],
            gateways: vec!["172.17.0.1".parse().unwrap()],
            isolated: false,
            mark: "gantry:gantry:".into(),
            prefix: "eth".into(),
        }
    }

    fn plan_join(at: &Attachment, endpoint: &Endpoint, index: u32, name: &str) -> LinkPlan {
        super::plan_join(at, endpoint, &EndpointOptions::default(), index, name)
    }

    #[test]
    fn ipv6_is_switched_on_where_the_network_has_it() {
        let plain = plan_join(&attachment(), &endpoint(None), 2, "eth0");
        assert!(plain.sysctls.is_empty());
        let both = ["172.17.0.2/16", "fd00::2/64"].map(|a| a.parse().unwrap()).to_vec();
        let dual = Attachment { addresses: both, ..attachment() };
        let mut endpoint = endpoint(None);
        endpoint.link_local = vec!["169.254.9.9".parse().unwrap(), "fe80::9".parse().unwrap()];
        let plan = plan_join(&dual, &endpoint, 2, "eth0");
        let on = ("net/ipv6/conf/eth0/disable_ipv6".to_owned(), "0".to_owned());
        assert!(plan.sysctls.contains(&on), "{:?}", plan.sysctls);
        assert_eq!(plan.mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(plan.joined().addresses.len(), 2);
        assert_eq!(
            plan.link_local.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["169.254.9.9/16", "fe80::9/64"]
        );
    }

    #[test]
    fn the_plan_of_a_plain_container() {
        let plan = plan_join(&attachment(), &endpoint(None), 2, "eth0");
        assert_eq!(plan.host, "veth0123456");
        assert_eq!(plan.alias, format!("gantry:gantry:{}", endpoint(None).id));
        assert_eq!(plan.mac.to_string(), "02:42:ac:11:00:02");
        let joined = plan.joined();
        assert_eq!(joined.interface, "eth0");
        assert_eq!(joined.gateways, ["172.17.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(joined.addresses, ["172.17.0.2/16".parse().unwrap()]);
    }

    #[test]
    fn what_was_asked_for_is_kept() {
        let internal = Attachment { gateways: Vec::new(), isolated: true, ..attachment() };
        let plan = plan_join(&internal, &endpoint(Some("02:00:00:00:00:09")), 7, "eth3");
        assert_eq!(plan.mac.to_string(), "02:00:00:00:00:09");
        assert_eq!((plan.gateways.len(), plan.isolated, plan.index), (0, true, 7));
        assert!(plan.joined().gateways.is_empty());
    }

    #[test]
    fn names_fit_a_link_and_aliases_name_the_owner() {
        let id = endpoint(None).id;
        assert_eq!(link_names(&id), ["veth0123456", "veth789abcd", "vethef01234"]);
        assert_eq!(owner("gantry:a:", &alias("gantry:a:", &id)), Some(id));
        for foreign in ["", "gantry:b:", "gantry:a:x", &alias("gantry:ab:", &id)] {
            assert_eq!(owner("gantry:a:", foreign), None, "{foreign}");
        }
    }
}
