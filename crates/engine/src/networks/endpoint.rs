//! Which networks a container joins, in which order, and by which names it is known there. Pure.

use super::request::joined;
use super::{BRIDGE, is_predefined};
use ipnet::IpNet;
use network::{Endpoint, EndpointId, Mac, NetworkId};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use stdx::{Error, Result};
use store::records::container::{ContainerRecord, EndpointWishes};
use store::records::network::{EndpointRecord, NetworkRecord};

/// A container's place on a network, about to be taken.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) network: NetworkRecord,
    pub(super) wishes: EndpointWishes,
}

/// The order in which a container joins its networks: first the one of its mode, which gets `eth0`.
pub(super) fn in_order(
    record: &ContainerRecord,
    networks: BTreeMap<String, EndpointWishes>,
) -> Vec<(String, EndpointWishes)> {
    let mode = match record.host.network_mode.as_str() {
        "" | "default" => BRIDGE,
        mode => mode,
    };
    let is_first = |wishes: &EndpointWishes| {
        !wishes.network_id.is_empty() && wishes.network_id.starts_with(mode)
    };
    let (mut first, rest): (Vec<_>, Vec<_>) =
        networks.into_iter().partition(|(name, wishes)| name == mode || is_first(wishes));
    first.extend(rest);
    first
}

/// Which of a container's places leads to everything else, by the network's name: the highest priority, one that leads
/// outside, and of those the first by name, as Docker chooses.
pub(super) fn gateway<'a>(
    places: impl IntoIterator<Item = (&'a NetworkRecord, &'a EndpointWishes)>,
) -> Option<String> {
    places
        .into_iter()
        .filter(|(network, _)| !network.internal)
        .min_by(|(a, x), (b, y)| {
            y.gateway_priority.cmp(&x.gateway_priority).then_with(|| a.name.cmp(&b.name))
        })
        .map(|(network, _)| network.name.clone())
}

/// The names by which a container is known on a network; none on the default ones.
pub(super) fn names(
    record: &ContainerRecord,
    network: &str,
    wishes: &EndpointWishes,
) -> Vec<String> {
    if is_predefined(network) {
        return Vec::new();
    }
    let short = record.id.get(..12).unwrap_or(&record.id).to_owned();
    let hostname = container::spec::hostname(record).to_owned();
    let all = std::iter::once(record.name.clone())
        .chain(wishes.aliases.iter().cloned())
        .chain([short, hostname]);
    let mut names: Vec<String> = Vec::new();
    for name in all.filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Docker's checks of what is wanted of a place on a network; `network`: as far as it is known.
pub(super) fn check(
    name: &str,
    network: Option<&NetworkRecord>,
    wishes: &EndpointWishes,
) -> Result<(), String> {
    let mut wrong = Vec::new();
    let fixed = [&wishes.ipv4, &wishes.ipv6];
    let has_fixed = fixed.iter().any(|address| !address.is_empty());
    if is_predefined(name) {
        if has_fixed {
            wrong.push(
                "user specified IP address is supported on user defined networks only".to_owned(),
            );
        }
        if !wishes.aliases.is_empty() {
            wrong.push(
                "network-scoped alias is supported only for containers in user defined networks"
                    .to_owned(),
            );
        }
    }
    if !wishes.ipv4.is_empty() && wishes.ipv4.parse::<Ipv4Addr>().is_err() {
        wrong.push(format!("invalid IPv4 address: {}", wishes.ipv4));
    }
    if !wishes.ipv6.is_empty() && wishes.ipv6.parse::<Ipv6Addr>().is_err() {
        wrong.push(format!("invalid IPv6 address: {}", wishes.ipv6));
    }
    for address in wishes.link_local.iter().filter(|text| text.parse::<IpAddr>().is_err()) {
        wrong.push(format!("invalid link-local IP address: {address}"));
    }
    if !wishes.mac.is_empty() && wishes.mac.parse::<Mac>().is_err() {
        wrong.push(format!("invalid MAC address: {}", wishes.mac));
    }
    if let Some(network) = network {
        wrong.extend(fixed.iter().filter_map(|address| out_of_range(network, address)));
    }
    match joined(&wrong) {
        None => Ok(()),
        Some(text) => Err(format!("invalid endpoint settings:\n{text}")),
    }
}

/// What is wrong with an address that a user wants on a network.
fn out_of_range(network: &NetworkRecord, address: &str) -> Option<String> {
    let address: IpAddr = address.parse().ok()?;
    let mut chosen = network.ipam.pools.iter().filter(|pool| pool.chosen).peekable();
    if chosen.peek().is_none() {
        return Some(
            "user specified IP address is supported only when connecting to networks with user configured subnets"
                .to_owned(),
        );
    }
    let inside = chosen
        .any(|pool| pool.subnet.parse::<IpNet>().is_ok_and(|subnet| subnet.contains(&address)));
    (!inside).then(|| format!("no configured subnet or ip-range contain the IP address {address}"))
}

/// What the driver is asked for. The wishes have been checked.
pub(super) fn endpoint(
    record: &ContainerRecord,
    network: NetworkId,
    wishes: &EndpointWishes,
    default_route: bool,
) -> Result<Endpoint> {
    Ok(Endpoint {
        ipv4: wishes.ipv4.parse().ok(),
        ipv6: wishes.ipv6.parse().ok(),
        link_local: wishes.link_local.iter().filter_map(|text| text.parse().ok()).collect(),
        mac: wishes.mac.parse().ok(),
        default_route,
        options: wishes.options.clone(),
        egress: container::egress::of(&record.host),
        ..Endpoint::new(EndpointId::random()?, network, record.id.parse()?)
    })
}

/// The endpoint of a record.
pub(crate) fn of_record(owned: &EndpointRecord, record: &ContainerRecord) -> Option<Endpoint> {
    let (id, network) = (owned.id.parse().ok()?, owned.network.parse().ok()?);
    let new = Endpoint::new(id, network, record.id.parse().ok()?);
    let egress = container::egress::of(&record.host);
    Some(Endpoint { default_route: owned.default_route, egress, ..new })
}

/// What the driver told of an endpoint that it joined.
pub(super) fn write_down(owned: &mut EndpointRecord, joined: &network::Joined) {
    owned.interface.clone_from(&joined.interface);
    owned.host_interface = joined.host_interface.clone().unwrap_or_default();
    owned.mac = joined.mac.as_ref().map(ToString::to_string).unwrap_or_default();
    owned.addresses = joined.addresses.iter().map(ToString::to_string).collect();
    let gateway = |v4: bool| {
        let gateway = joined.gateways.iter().find(|gateway| gateway.is_ipv4() == v4);
        gateway.map(ToString::to_string).unwrap_or_default()
    };
    owned.gateway = gateway(true);
    owned.gateway_v6 = gateway(false);
}

/// The same, read again.
pub(crate) fn joined_of(owned: &EndpointRecord) -> network::Joined {
    network::Joined {
        interface: owned.interface.clone(),
        host_interface: Some(owned.host_interface.clone()).filter(|i| !i.is_empty()),
        mac: owned.mac.parse().ok(),
        addresses: owned.addresses.iter().filter_map(|a| a.parse().ok()).collect(),
        gateways: [&owned.gateway, &owned.gateway_v6]
            .iter()
            .filter_map(|g| g.parse().ok())
            .collect(),
    }
}

/// A container's network as an error, when there is none of that name.
pub(super) fn not_found(name: &str) -> Error {
    Error::not_found(format!("network {name} not found"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use stdx::time::Timestamp;
    use store::records::container::{Config, HostConfig, LastRun};
    use store::records::network::{IpamRecord, PoolRecord};

    /// A container with nothing special.
    pub(crate) fn record() -> ContainerRecord {
        ContainerRecord {
            id: "0123456789abcdef".repeat(4),
            name: "web".into(),
            created: Timestamp::ZERO,
            image_id: String::new(),
            parent: None,
            config: Config::default(),
            host: HostConfig::default(),
            mounts: Vec::new(),
            last: LastRun::default(),
            stopped_by_user: false,
            restart_count: 0,
            user_namespace: None,
            endpoints: None,
            links: Vec::new(),
        }
    }

    fn network(name: &str, subnet: Option<&str>) -> NetworkRecord {
        let pool = |subnet: &str| PoolRecord {
            subnet: subnet.into(),
            chosen: true,
            ..PoolRecord::default()
        };
        NetworkRecord {
            id: format!("{name}{}", "0".repeat(64 - name.len())),
            name: name.into(),
            driver: "bridge".into(),
            ipam: IpamRecord {
                pools: subnet.map(pool).into_iter().collect(),
                ..IpamRecord::default()
            },
            ..NetworkRecord::default()
        }
    }

    #[test]
    fn the_network_of_the_mode_comes_first_and_the_first_name_leads_out() {
        let mut record = record();
        record.host.network_mode = "front".into();
        let wishes = EndpointWishes::default;
        let all = ["back", "front", "zoo"].map(|name| (name.to_owned(), wishes()));
        let order: Vec<String> =
            in_order(&record, all.into()).into_iter().map(|(n, _)| n).collect();
        assert_eq!(order, ["front", "back", "zoo"]);

        let mut places: Vec<_> =
            ["zoo", "front", "back"].map(|name| (network(name, None), wishes())).into();
        let chosen = |places: &[(NetworkRecord, EndpointWishes)]| {
            gateway(places.iter().map(|(network, wishes)| (network, wishes)))
        };
        assert_eq!(chosen(&places).as_deref(), Some("back"));
        places[2].0.internal = true;
        assert_eq!(chosen(&places).as_deref(), Some("front"));
        places[0].1.gateway_priority = 1;
        assert_eq!(chosen(&places).as_deref(), Some("zoo"));
        assert_eq!(chosen(&places[2..]), None);
    }

    #[test]
    fn names_are_the_containers_own_and_no_one_twice() {
        let mut record = record();
        record.config.hostname = "shop".into();
        let aliases = ["www", "web", "www"].map(str::to_owned).into();
        let wishes = EndpointWishes { aliases, ..EndpointWishes::default() };
        assert_eq!(names(&record, "front", &wishes), ["web", "www", "0123456789ab", "shop"]);
        assert!(names(&record, "bridge", &wishes).is_empty());
    }

    #[test]
    fn wishes_are_checked_with_dockers_words() {
        let said = |network: &NetworkRecord, change: &dyn Fn(&mut EndpointWishes)| {
            let mut wishes = EndpointWishes::default();
            change(&mut wishes);
            check(&network.name, Some(network), &wishes).err().unwrap_or_default()
        };
        let chosen = network("front", Some("10.0.0.0/24"));
        let own = network("front", None);
        assert_eq!(said(&chosen, &|w| w.ipv4 = "10.0.0.9".into()), "");
        assert_eq!(
            said(&chosen, &|w| w.ipv4 = "10.9.0.9".into()),
            "invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 10.9.0.9"
        );
        assert!(said(&own, &|w| w.ipv4 = "10.0.0.9".into()).ends_with("user configured subnets"));
        assert_eq!(
            said(&chosen, &|w| w.ipv4 = "x".into()),
            "invalid endpoint settings:\ninvalid IPv4 address: x"
        );
        assert!(said(&chosen, &|w| w.mac = "x".into()).ends_with("invalid MAC address: x"));
        let default = network("bridge", None);
        assert_eq!(
            said(&default, &|w| {
                w.ipv4 = "172.17.0.9".into();
                w.aliases = vec!["a".into()];
            })
            .lines()
            .count(),
            4
        );
    }
}
