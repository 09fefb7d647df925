//! Which ports of a container are published, and where. Pure.

use network::{PortRequest, Protocol, PublishedPort};
use std::collections::BTreeMap;
use stdx::{Error, Result};
use store::records::container::{ContainerRecord, PortBinding};
use store::records::network::PortRecord;

/// What the container's user wants published: `-p`, and with `-P` every exposed port that is not named there.
pub(crate) fn requests(record: &ContainerRecord) -> Result<Vec<PortRequest>> {
    let mut requests = Vec::new();
    for (port, bindings) in &record.host.port_bindings {
        let (container, protocol) = container_port(port)?;
        let any = [PortBinding::default()];
        let bindings = if bindings.is_empty() { &any[..] } else { bindings };
        for binding in bindings {
            requests.push(PortRequest {
                protocol,
                container,
                address: address(&binding.address)?,
                ports: host_ports(&binding.port)?,
            });
        }
    }
    if record.host.publish_all_ports {
        let named = &record.host.port_bindings;
        for port in record.config.exposed_ports.iter().filter(|port| !named.contains_key(*port)) {
            let (container, protocol) = container_port(port)?;
            requests.push(PortRequest { protocol, container, address: None, ports: None });
        }
    }
    Ok(requests)
}

/// The ports that a container says it serves, and those that are published.
pub(crate) fn exposed(record: &ContainerRecord) -> Vec<(Protocol, u16)> {
    let said = record.config.exposed_ports.iter().chain(record.host.port_bindings.keys());
    let mut ports: Vec<_> = said
        .filter_map(|text| container_port(text).ok())
        .map(|(port, kind)| (kind, port))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Refuses bindings that cannot be read, before the container is created.
pub(crate) fn check(bindings: &BTreeMap<String, Vec<PortBinding>>) -> Result<()> {
    for (port, bindings) in bindings {
        container_port(port)?;
        for binding in bindings {
            address(&binding.address)?;
            host_ports(&binding.port)?;
        }
    }
    Ok(())
}

/// `80/tcp`, `80`.
pub(crate) fn container_port(text: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse().map_err(|_| invalid(port))?;
    let protocol =
        protocol.parse().map_err(|e: network::InvalidProtocol| Error::invalid(e.to_string()))?;
    Ok((port, protocol))
}

/// `8080`, `8000-8010`; nothing and 0 are any.
fn host_ports(text: &str) -> Result<Option<(u16, u16)>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |part: &str| part.parse::<u16>().map_err(|_| invalid(text));
    if text.is_empty() {
        return Ok(None);
    }
    match (port(first)?, port(last)?) {
        (0, 0) => Ok(None),
        (first, last) if first <= last => Ok(Some((first, last))),
        _ => Err(invalid(text)),
    }
}

fn address(text: &str) -> Result<Option<std::net::IpAddr>> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| Error::invalid(format!("invalid IP address: {text}"))),
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid(format!("invalid port specification: {text:?}"))
}

/// Whether clients may come that the kernel cannot translate: over TCP or UDP, to an IPv6 address of the host.
pub(super) fn may_need_relay(request: &PortRequest) -> bool {
    request.protocol != Protocol::Sctp && request.address.is_none_or(|address| address.is_ipv6())
}

/// Published ports for the record of the run: neighbours are one row.
pub(crate) fn write_down(ports: &[PublishedPort]) -> Vec<PortRecord> {
    let mut rows: Vec<(&PublishedPort, u16)> = Vec::new();
    for port in ports {
        let same = |(first, _): &&mut (&PublishedPort, u16)| {
            first.protocol == port.protocol && first.address == port.address
        };
        let next = |(first, more): &(&PublishedPort, u16)| {
            let after = |n: u16| n.checked_add(*more).and_then(|n| n.checked_add(1));
            after(first.port) == Some(port.port) && after(first.container) == Some(port.container)
        };
        // A port of both families is two of which neighbours are every second.
        match rows.iter_mut().rev().find(same) {
            Some(row) if next(row) => row.1 += 1,
            _ => rows.push((port, 0)),
        }
    }
    let record = |(first, more): (&PublishedPort, u16)| PortRecord {
        protocol: first.protocol.to_string(),
        container: first.container,
        address: first.address.to_string(),
        port: first.port,
        more,
    };
    rows.into_iter().map(record).collect()
}

/// The same, read again; nothing of what is no port.
pub(crate) fn of_record(record: &PortRecord) -> Vec<PublishedPort> {
    let (Ok(protocol), Ok(address)) = (record.protocol.parse(), record.address.parse()) else {
        return Vec::new();
    };
    let one = |(port, container)| PublishedPort { protocol, container, address, port };
    record.each().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_row() {
        let port = |address: &str, port: u16, container: u16| PublishedPort {
            protocol: Protocol::Tcp,
            container,
            address: address.parse().unwrap(),
            port,
        };
        let both =
            |at: u16, container: u16| [port("0.0.0.0", at, container), port("::", at, container)];
        let ports = [both(80, 80), both(81, 81), both(83, 82), both(65535, 90)].concat();
        let rows = write_down(&ports);
        let shown: Vec<_> = rows
            .iter()
            .map(|r| format!("{} {}+{} {}", r.address, r.port, r.more, r.container))
            .collect();
        assert_eq!(
            shown,
            [
                "0.0.0.0 80+1 80",
                ":: 80+1 80",
                "0.0.0.0 83+0 82",
                ":: 83+0 82",
                "0.0.0.0 65535+0 90",
                ":: 65535+0 90"
            ]
        );
        let mut again: Vec<_> = rows.iter().flat_map(of_record).collect();
        again.sort_by_key(|p| (p.port, p.address));
        assert_eq!(again, ports);
        assert!(rows[0].leads_to(81) && !rows[0].leads_to(82) && !rows[0].leads_to(79));
        let broken = PortRecord { address: "x".into(), protocol: "tcp".into(), ..rows[0].clone() };
        assert!(of_record(&broken).is_empty());
    }

    #[test]
    fn bindings_are_read_as_docker_reads_them() {
        assert_eq!(container_port("80/udp").unwrap(), (80, Protocol::Udp));
        assert_eq!(container_port("80").unwrap(), (80, Protocol::Tcp));
        assert_eq!(host_ports("").unwrap(), None);
        assert_eq!(host_ports("0").unwrap(), None);
        assert_eq!(host_ports("80").unwrap(), Some((80, 80)));
        assert_eq!(host_ports("8000-8010").unwrap(), Some((8000, 8010)));
        for bad in ["x", "70000", "9-8", "1-2-3", "-1"] {
            let text = host_ports(bad).unwrap_err().to_string();
            assert_eq!(text, format!("invalid port specification: \"{bad}\""));
        }
        assert_eq!(address("[::1]").unwrap(), Some("::1".parse().unwrap()));
        assert_eq!(address("").unwrap(), None);
        assert!(address("host").is_err());
        assert!(container_port("80/icmp").is_err());
    }
}
