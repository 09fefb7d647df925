//! What joining means, as a value. Pure.

use ipnet::{IpNet, Ipv4Net};
use network::{Endpoint, EndpointId, Joined, Mac};
use std::net::{IpAddr, Ipv4Addr};

/// A network and the address taken in it for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name, for texts.
    pub name: String,
    /// The bridge's number on the host.
    pub bridge: u32,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// The network's subnet.
    pub subnet: Ipv4Net,
    /// The endpoint's address in it.
    pub address: Ipv4Addr,
    /// Where everything else goes; `None` on an internal network.
    pub gateway: Option<Ipv4Addr>,
    /// Other containers on the bridge are not to be reached.
    pub isolated: bool,
    /// What aliases of our links begin with.
    pub mark: String,
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
    /// Its address and the subnet's prefix.
    pub address: Ipv4Net,
    /// The network's gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Everything else goes through it.
    pub default_route: bool,
}

/// The plan for one endpoint whose end in the sandbox gets this number and name.
pub fn plan_join(
    attachment: &Attachment,
    endpoint: &Endpoint,
    index: u32,
    interface: &str,
) -> LinkPlan {
    LinkPlan {
        host: link_names(&endpoint.id)[0].clone(),
        alias: alias(&attachment.mark, &endpoint.id),
        bridge: attachment.bridge,
        isolated: attachment.isolated,
        mtu: attachment.mtu,
        interface: interface.to_owned(),
        index,
        mac: endpoint.mac.unwrap_or_else(|| Mac::of(attachment.address)),
        address: Ipv4Net::new(attachment.address, attachment.subnet.prefix_len())
            .expect("the prefix comes from a subnet"),
        gateway: attachment.gateway,
        default_route: endpoint.default_route,
    }
}

impl LinkPlan {
    /// What the container sees once the plan is applied.
    pub fn joined(&self) -> Joined {
        Joined {
            interface: self.interface.clone(),
            host_interface: Some(self.host.clone()),
            mac: Some(self.mac),
            addresses: vec![IpNet::V4(self.address)],
            gateways: self.gateway.map(IpAddr::V4).into_iter().collect(),
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
            subnet: "172.17.0.0/16".parse().unwrap(),
            address: "172.17.0.2".parse().unwrap(),
            gateway: Some("172.17.0.1".parse().unwrap()),
            isolated: false,
            mark: "gantry:gantry:".into(),
        }
    }

    #[test]
    fn the_plan_of_a_plain_container() {
        let plan = plan_join(&attachment(), &endpoint(None), 2, "eth0");
        assert_eq!(plan.host, "veth0123456");
        assert_eq!(plan.alias, format!("gantry:gantry:{}", endpoint(None).id));
        assert_eq!(plan.mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(plan.address.to_string(), "172.17.0.2/16");
        let joined = plan.joined();
        assert_eq!(joined.interface, "eth0");
        assert_eq!(joined.gateways, ["172.17.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(joined.addresses, ["172.17.0.2/16".parse().unwrap()]);
    }

    #[test]
    fn what_was_asked_for_is_kept() {
        let internal = Attachment { gateway: None, isolated: true, ..attachment() };
        let plan = plan_join(&internal, &endpoint(Some("02:00:00:00:00:09")), 7, "eth3");
        assert_eq!(plan.mac.to_string(), "02:00:00:00:00:09");
        assert_eq!((plan.gateway, plan.isolated, plan.index), (None, true, 7));
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
