//! Networks, and containers' places on them.

use api::network::{
    EndpointIpam, IpamStatus, NetworkCreateBody, NetworkDecision, NetworkStatus, SubnetStatus,
};
use api::{
    ApiVersion, EndpointSettings, Ipam, IpamConfig, Network, NetworkContainer, NetworkSettings,
    NetworkingConfig, PortBinding, PortMap,
};
use engine::{ContainerView, CreateNetwork, EndpointView, Explained, NetworkView};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use stdx::{Error, Result};
use store::records::container::{self as domain, EndpointWishes};
use store::records::network::{IpamRecord, NetworkRecord, PoolRecord, PortRecord};

/// A network in lists and inspects; `containers` are those on it that run.
pub(crate) fn network(
    record: NetworkRecord,
    containers: BTreeMap<String, NetworkContainer>,
    version: ApiVersion,
) -> Network {
    let predefined = matches!(record.name.as_str(), "bridge" | "host" | "none");
    let scope = scope(&record).to_owned();
    let pools: Vec<IpamConfig> = record.ipam.pools.into_iter().map(pool).collect();
    Network {
        name: record.name,
        id: record.id,
        created: record.created,
        scope,
        driver: record.driver,
        enable_ipv4: (version >= ApiVersion::v1(48)).then_some(!record.no_ipv4),
        enable_ipv6: record.ipv6,
        ipam: Ipam {
            driver: record.ipam.driver,
            // Docker's own three have none at all.
            options: Some(record.ipam.options).filter(|options| !options.is_empty() || !predefined),
            config: Some(pools).filter(|pools| !pools.is_empty()),
        },
        internal: record.internal,
        attachable: record.attachable,
        config_from: api::network::ConfigFrom { network: record.config_from },
        config_only: record.config_only,
        containers,
        options: record.options,
        labels: record.labels,
        ..Network::default()
    }
}

/// How full a network is, from its subnets.
pub(crate) fn status(subnets: Vec<(String, u64, u64)>) -> NetworkStatus {
    let subnets = subnets.into_iter().map(|(subnet, ips_in_use, dynamic_ips_available)| {
        (subnet, SubnetStatus { ips_in_use, dynamic_ips_available })
    });
    NetworkStatus { ipam: IpamStatus { subnets: subnets.collect() } }
}

/// Who gets somewhere, and why.
pub(crate) fn decision(explained: Explained) -> NetworkDecision {
    let Explained { about, from, allowed, rule, text } = explained;
    let from = from.map_or_else(|| "everybody".to_owned(), |from| from.to_string());
    NetworkDecision { about, from, allowed, rule, text }
}

/// How far a network goes.
pub(crate) fn scope(record: &NetworkRecord) -> &'static str {
    if record.global { "global" } else { "local" }
}

fn pool(record: PoolRecord) -> IpamConfig {
    IpamConfig {
        subnet: record.subnet,
        ip_range: record.range,
        gateway: record.gateway,
        auxiliary_addresses: Some(record.auxiliary),
    }
}

/// The containers that have an endpoint on a network.
pub(crate) fn members<V: Borrow<ContainerView>>(
    views: impl IntoIterator<Item = V>,
    network: &str,
) -> BTreeMap<String, NetworkContainer> {
    let member = |view: &ContainerView| {
        let endpoint = view
            .network
            .endpoints
            .values()
            .find(|e| e.network_id == network && !e.endpoint_id.is_empty())?;
        let address = |ip: &str, prefix: u8| {
            if ip.is_empty() { String::new() } else { format!("{ip}/{prefix}") }
        };
        let member = NetworkContainer {
            name: view.record.name.clone(),
            endpoint_id: endpoint.endpoint_id.clone(),
            mac_address: endpoint.mac.clone(),
            ipv4_address: address(&endpoint.ip, endpoint.prefix_len),
            ipv6_address: address(&endpoint.ipv6, endpoint.ipv6_prefix_len),
        };
        Some((view.record.id.clone(), member))
    };
    views.into_iter().filter_map(|view| member(view.borrow())).collect()
}

/// A request for a network.
pub(crate) fn create(body: NetworkCreateBody) -> CreateNetwork {
    let ipam = body.ipam.unwrap_or_default();
    let pools = ipam.config.unwrap_or_default().into_iter().map(|pool| PoolRecord {
        subnet: pool.subnet,
        gateway: pool.gateway,
        range: pool.ip_range,
        auxiliary: pool.auxiliary_addresses.unwrap_or_default(),
        chosen: true,
    });
    CreateNetwork {
        name: body.name,
        driver: body.driver,
        scope: body.scope,
        internal: body.internal,
        attachable: body.attachable,
        ingress: body.ingress,
        no_ipv4: body.enable_ipv4 == Some(false),
        ipv6: body.enable_ipv6 == Some(true),
        config_only: body.config_only,
        config_from: body.config_from.map(|from| from.network).unwrap_or_default(),
        ipam: IpamRecord {
            driver: ipam.driver,
            options: ipam.options.unwrap_or_default(),
            pools: pools.collect(),
        },
        options: body.options.unwrap_or_default(),
        labels: body.labels.unwrap_or_default(),
    }
}

/// What a client wants of places on networks, by the networks' names; all that are nil are complained of.
pub(crate) fn endpoints_wanted(
    networking: Option<NetworkingConfig>,
) -> Result<BTreeMap<String, EndpointWishes>> {
    let endpoints = networking.and_then(|n| n.endpoints_config).unwrap_or_default();
    let nil: Vec<String> = endpoints
        .iter()
        .filter(|(_, endpoint)| endpoint.is_none())
        .map(|(name, _)| format!("invalid config for network {name}: EndpointsConfig is nil"))
        .collect();
    match nil.as_slice() {
        [] => {}
        [one] => return Err(Error::invalid(one.as_str())),
        many => {
            let lines: Vec<String> = many.iter().map(|line| format!("* {line}")).collect();
            return Err(Error::invalid(lines.join("\n")));
        }
    }
    Ok(endpoints
        .into_iter()
        .map(|(name, wanted)| (name, wishes(wanted.unwrap_or_default())))
        .collect())
}

/// What a client wants of a place on a network.
pub(crate) fn wishes(wire: EndpointSettings) -> EndpointWishes {
    let ipam = wire.ipam_config.unwrap_or_default();
    EndpointWishes {
        network_id: String::new(),
        ipv4: ipam.ipv4_address,
        ipv6: ipam.ipv6_address,
        link_local: ipam.link_local_ips.unwrap_or_default(),
        mac: wire.mac_address,
        aliases: wire.aliases.unwrap_or_default(),
        links: wire.links.unwrap_or_default(),
        options: wire.driver_opts.unwrap_or_default(),
        gateway_priority: wire.gw_priority.unwrap_or_default(),
    }
}

fn endpoint(view: EndpointView, version: ApiVersion) -> EndpointSettings {
    let EndpointView { wishes, .. } = view;
    let ipam = EndpointIpam {
        ipv4_address: wishes.ipv4,
        ipv6_address: wishes.ipv6,
        link_local_ips: Some(wishes.link_local).filter(|addresses| !addresses.is_empty()),
    };
    let mut aliases = wishes.aliases;
    if version < ApiVersion::v1(45)
        && let Some(short) = view.dns_names.iter().find(|name| is_short_id(name))
    {
        // Until then the short id was among them.
        aliases.push(short.clone());
    }
    EndpointSettings {
        ipam_config: Some(ipam).filter(|ipam| *ipam != EndpointIpam::default()),
        links: Some(wishes.links).filter(|links| !links.is_empty()),
        aliases: Some(aliases).filter(|aliases| !aliases.is_empty()),
        mac_address: if view.mac.is_empty() { wishes.mac } else { view.mac },
        network_id: view.network_id,
        endpoint_id: view.endpoint_id,
        gateway: view.gateway,
        ip_address: view.ip,
        ip_prefix_len: i64::from(view.prefix_len),
        ipv6_gateway: view.ipv6_gateway,
        global_ipv6_address: view.ipv6,
        global_ipv6_prefix_len: i64::from(view.ipv6_prefix_len),
        driver_opts: Some(wishes.options).filter(|options| !options.is_empty()),
        gw_priority: (version >= ApiVersion::v1(48)).then_some(wishes.gateway_priority),
        dns_names: Some(view.dns_names).filter(|names| !names.is_empty()),
    }
}

fn is_short_id(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A container's places on networks, by the networks' names.
pub(crate) fn endpoints(
    network: BTreeMap<String, EndpointView>,
    version: ApiVersion,
) -> BTreeMap<String, EndpointSettings> {
    network.into_iter().map(|(name, view)| (name, endpoint(view, version))).collect()
}

/// The addresses at the top are the default bridge's; all served versions have them (1.52 drops them).
pub(crate) fn settings(
    mut network: NetworkView,
    exposed: &[String],
    live: bool,
    version: ApiVersion,
) -> NetworkSettings {
    let ports = ports(&network, exposed, live);
    let endpoints_of = std::mem::take(&mut network.endpoints);
    let networks = endpoints(endpoints_of, version);
    let bridge = networks.get("bridge").cloned().unwrap_or_default();
    NetworkSettings {
        sandbox_id: network.sandbox_id,
        sandbox_key: network.sandbox_key,
        ports,
        endpoint_id: bridge.endpoint_id,
        gateway: bridge.gateway,
        ip_address: bridge.ip_address,
        ip_prefix_len: bridge.ip_prefix_len,
        ipv6_gateway: bridge.ipv6_gateway,
        global_ipv6_address: bridge.global_ipv6_address,
        global_ipv6_prefix_len: bridge.global_ipv6_prefix_len,
        mac_address: if live { bridge.mac_address } else { String::new() },
        networks,
        ..NetworkSettings::default()
    }
}

/// Whether a container has ports of its own: it runs, and on a network with addresses.
fn has_ports(network: &NetworkView, live: bool) -> bool {
    live && !matches!(network.mode.as_str(), "host" | "none")
}

fn ports(network: &NetworkView, exposed: &[String], live: bool) -> PortMap {
    let mut map = PortMap::new();
    if !has_ports(network, live) {
        return map;
    }
    for port in exposed {
        map.insert(port.clone(), None);
    }
    for row in &network.ports {
        for (port, container) in row.each() {
            let binding = PortBinding { host_ip: row.address.clone(), host_port: port.to_string() };
            let name = format!("{container}/{}", row.protocol);
            map.entry(name).or_default().get_or_insert_default().push(binding);
        }
    }
    map
}

/// A container's ports in lists.
pub(crate) fn port_list(network: &NetworkView, exposed: &[String], live: bool) -> Vec<api::Port> {
    if !has_ports(network, live) {
        return Vec::new();
    }
    let of = |row: &PortRecord| {
        let (ip, kind) = (row.address.clone(), row.protocol.clone());
        let one = move |(public_port, private_port)| api::Port {
            ip: ip.clone(),
            private_port,
            public_port,
            kind: kind.clone(),
        };
        row.each().map(one).collect::<Vec<_>>()
    };
    let published = |port: &api::Port| {
        network.ports.iter().any(|p| p.protocol == port.kind && p.leads_to(port.private_port))
    };
    let exposed = exposed.iter().filter_map(|port| exposed_port(port)).filter(|p| !published(p));
    exposed.chain(network.ports.iter().flat_map(of)).collect()
}

/// `80/tcp`
fn exposed_port(text: &str) -> Option<api::Port> {
    let (number, kind) = text.split_once('/').unwrap_or((text, "tcp"));
    Some(api::Port {
        private_port: number.parse().ok()?,
        kind: kind.to_owned(),
        ..api::Port::default()
    })
}

/// Where ports shall be published.
pub(crate) fn bindings(wire: PortMap) -> BTreeMap<String, Vec<domain::PortBinding>> {
    let binding = |b: PortBinding| domain::PortBinding { address: b.host_ip, port: b.host_port };
    wire.into_iter()
        .map(|(port, list)| (port, list.unwrap_or_default().into_iter().map(binding).collect()))
        .collect()
}

/// The same, as inspects show it.
pub(crate) fn bindings_to_wire(bindings: &BTreeMap<String, Vec<domain::PortBinding>>) -> PortMap {
    let binding = |b: &domain::PortBinding| PortBinding {
        host_ip: b.address.clone(),
        host_port: b.port.clone(),
    };
    bindings
        .iter()
        .map(|(port, list)| (port.clone(), Some(list.iter().map(binding).collect())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposed_ports() {
        let port = exposed_port("80/udp").unwrap();
        assert_eq!((port.private_port, port.kind.as_str()), (80, "udp"));
        assert!(exposed_port("x/tcp").is_none() && exposed_port("80-90/tcp").is_none());
    }

    #[test]
    fn published_ports_stand_beside_exposed_ones() {
        let record = |address: &str| PortRecord {
            protocol: "tcp".into(),
            container: 80,
            address: address.into(),
            port: 8080,
            more: 0,
        };
        let network = NetworkView {
            mode: "bridge".into(),
            ports: vec![record("0.0.0.0"), record("::")],
            ..NetworkView::default()
        };
        let exposed = ["80/tcp".to_owned(), "53/udp".to_owned()];
        let map = ports(&network, &exposed, true);
        assert_eq!(map["53/udp"], None);
        let addresses: Vec<_> = map["80/tcp"]
            .iter()
            .flatten()
            .map(|b| (b.host_ip.as_str(), b.host_port.as_str()))
            .collect();
        assert_eq!(addresses, [("0.0.0.0", "8080"), ("::", "8080")]);
        let list = port_list(&network, &exposed, true);
        assert_eq!(list.len(), 3);
        assert_eq!((list[0].private_port, list[0].public_port), (53, 0));
        assert!(ports(&network, &exposed, false).is_empty());
    }
}
