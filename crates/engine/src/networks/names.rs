//! What a container's resolver is to know: the record for `gantry-netd`. Pure.

use container::resolver;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use store::records::container::ContainerRecord;
use store::records::network::{EndpointRecord, PortRecord};

/// The port of name servers.
const DNS: u16 = 53;

/// Whether a container with these endpoints knows others by name.
pub(super) fn has_names(endpoints: &[EndpointRecord]) -> bool {
    endpoints.iter().any(|endpoint| !endpoint.dns_names.is_empty())
}

/// The record. `internal`: which networks, by id, lead nowhere; `host`: the host's address for containers.
pub(super) fn sandbox(
    record: &ContainerRecord,
    endpoints: &[EndpointRecord],
    internal: impl Fn(&str) -> bool,
    host: Option<IpAddr>,
) -> netd::Sandbox {
    let mut ordered: Vec<&EndpointRecord> = endpoints.iter().collect();
    // Names are looked up first where everything else goes, too.
    ordered.sort_by_key(|endpoint| !endpoint.default_route);
    let upstream = record.host.dns.iter().filter_map(|server| server.parse::<IpAddr>().ok());
    let hosts = host.map(|address| ("host.docker.internal".to_owned(), vec![address]));
    netd::Sandbox {
        dns: has_names(endpoints),
        endpoints: ordered
            .into_iter()
            .filter_map(|owned| endpoint(record, owned, &internal))
            .collect(),
        upstream: upstream.map(|server| SocketAddr::new(server, DNS)).collect(),
        ndots: resolver::has_ndots(&record.host),
        hosts: hosts.into_iter().collect(),
        forwards: endpoints.iter().flat_map(forwards).collect(),
        egress: None,
    }
}

/// Published ports on IPv6, for the clients that only the helper can serve.
fn forwards(owned: &EndpointRecord) -> Vec<netd::Forward> {
    let target = owned.ipv6().or_else(|| owned.ipv4());
    let Some(target) = target.and_then(|(address, _)| address.parse::<IpAddr>().ok()) else {
        return Vec::new();
    };
    let forward = |port: &PortRecord| {
        let protocol = match port.protocol.as_str() {
            "tcp" => netd::Protocol::Tcp,
            "udp" => netd::Protocol::Udp,
            _ => return None,
        };
        let address: IpAddr = port.address.parse().ok()?;
        address.is_ipv6().then(|| netd::Forward {
            protocol,
            listen: SocketAddr::new(address, port.port),
            ports: port.more.saturating_add(1),
            to: SocketAddr::new(target, port.container),
        })
    };
    owned.ports.iter().filter_map(forward).collect()
}

fn endpoint(
    record: &ContainerRecord,
    owned: &EndpointRecord,
    internal: impl Fn(&str) -> bool,
) -> Option<netd::Endpoint> {
    let wishes = record.networks().remove(&owned.name).unwrap_or_default();
    let link = |text: &String| {
        let (name, alias) = text.split_once(':').unwrap_or((text, text));
        (alias.to_owned(), name.to_owned())
    };
    Some(netd::Endpoint {
        network: owned.network.parse().ok()?,
        addresses: owned
            .ipv4()
            .into_iter()
            .chain(owned.ipv6())
            .filter_map(|(address, _)| address.parse().ok())
            .collect(),
        names: owned.dns_names.clone(),
        links: wishes.links.iter().map(link).collect::<BTreeMap<_, _>>(),
        internal: internal(&owned.network),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::records::container::{EndpointWishes, HostConfig};

    #[test]
    fn the_way_out_comes_first_and_links_are_read() {
        let mut record = crate::networks::endpoint::tests::record();
        record.host = HostConfig { dns: vec!["1.1.1.1".into(), "fd00::1".into()], ..record.host };
        let wishes = EndpointWishes {
            links: vec!["db:database".into(), "cache".into()],
            ..EndpointWishes::default()
        };
        record.endpoints = Some([("a".to_owned(), wishes)].into());
        let endpoint = |name: &str, id: &str, default_route: bool, names: &[&str]| EndpointRecord {
            name: name.into(),
            network: id.into(),
            default_route,
            dns_names: names.iter().map(|n| (*n).to_owned()).collect(),
            addresses: vec!["10.0.0.2/24".into(), "fd00::2/64".into()],
            ..EndpointRecord::default()
        };
        let endpoints = [endpoint("a", "aa", false, &["web"]), endpoint("bridge", "bb", true, &[])];
        let sandbox =
            sandbox(&record, &endpoints, |id| id == "aa", Some("172.17.0.1".parse().unwrap()));
        assert!(sandbox.dns && !sandbox.ndots);
        let order: Vec<_> =
            sandbox.endpoints.iter().map(|e| (e.network.as_str(), e.internal)).collect();
        assert_eq!(order, [("bb", false), ("aa", true)]);
        assert_eq!(sandbox.endpoints[1].links["database"], "db");
        assert_eq!(sandbox.endpoints[1].links["cache"], "cache");
        assert_eq!(sandbox.endpoints[1].addresses.len(), 2);
        assert_eq!(sandbox.upstream[1].to_string(), "[fd00::1]:53");
        assert_eq!(sandbox.hosts["host.docker.internal"][0].to_string(), "172.17.0.1");
        assert!(!has_names(&endpoints[1..]));
    }

    #[test]
    fn ports_on_ipv6_are_the_helpers_too() {
        let port = |address: &str, port: u16, container: u16, more: u16| PortRecord {
            protocol: "tcp".into(),
            container,
            address: address.into(),
            port,
            more,
        };
        let owned = EndpointRecord {
            addresses: vec!["10.0.0.2/24".into()],
            ports: vec![
                port("0.0.0.0", 80, 80, 1),
                port("::", 80, 80, 1),
                port("::", 82, 90, 0),
                PortRecord { protocol: "udp".into(), ..port("::", 83, 91, 0) },
                PortRecord { protocol: "sctp".into(), ..port("::", 84, 92, 0) },
            ],
            ..EndpointRecord::default()
        };
        let found: Vec<_> = forwards(&owned)
            .iter()
            .map(|f| (f.protocol, f.listen.to_string(), f.ports, f.to.to_string()))
            .collect();
        assert_eq!(
            found,
            [
                (netd::Protocol::Tcp, "[::]:80".to_owned(), 2, "10.0.0.2:80".to_owned()),
                (netd::Protocol::Tcp, "[::]:82".to_owned(), 1, "10.0.0.2:90".to_owned()),
                (netd::Protocol::Udp, "[::]:83".to_owned(), 1, "10.0.0.2:91".to_owned())
            ]
        );
    }
}
